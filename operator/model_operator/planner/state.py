"""The state of a rollout and the status: written down, read back, or rebuilt from the cluster.

The status is only a report, and anybody with the right may have written it. Text that can't be read counts as
absent. Everything in it can be had again from the kept revisions, their verdicts and the revisions that the
Deployments carry. So a restore from backup is never mistaken for a first deployment.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from model_operator.api import names
from model_operator.domain.objects import Object, applied_revision, read_time, rfc3339, selected_track
from model_operator.domain.revision import Revision, Side, Verdict, VerdictState
from model_operator.domain.rollout import Candidate, Departed, Phase, Rejection, RolloutState, Serving
from model_operator.domain.world import World

REJECTIONS_SHOWN = 10
HISTORY_SHOWN = 20


def to_status(state: RolloutState, keep: str = "") -> dict[str, Any]:
    """The status fields that hold ``state``; the rejection of revision ``keep`` is never cut off."""
    fields: dict[str, Any] = {}
    if s := state.serving:
        fields["serving"] = _clean(
            version=s.version,
            revision=s.revision,
            alias=s.alias,
            track=s.track,
            since=rfc3339(s.since),
            selfTest=s.self_test,
            settled=s.settled,
            watchEnds=rfc3339(s.watch_ends) if s.watch_ends else "",
            reason=s.reason,
            message=s.message,
        )
    if c := state.candidate:
        fields["candidate"] = _clean(
            version=c.version,
            revision=c.revision,
            alias=c.alias,
            track=c.track,
            phase=c.phase.value,
            since=rfc3339(c.since),
            deadline=rfc3339(c.deadline) if c.deadline else "",
            reason=c.reason,
            message=c.message,
            attempts=c.attempts,
            retryAt=rfc3339(c.retry_at) if c.retry_at else "",
        )
    shown = list(state.rejected[:REJECTIONS_SHOWN])
    if (kept := state.rejection_of(keep)) and kept not in shown:
        shown[-1] = kept
    if shown:
        fields["rejected"] = [
            _clean(
                version=r.version,
                revision=r.revision,
                alias=r.alias,
                side=r.side.value,
                reason=r.reason,
                message=r.message,
                attempts=r.attempts,
                at=rfc3339(r.at),
                retryAt=rfc3339(r.retry_at) if r.retry_at else "",
                served=r.served or "",
            )
            for r in shown
        ]
    if state.history:
        fields["history"] = [
            _clean(
                version=p.version,
                revision=p.revision,
                alias=p.alias,
                to=rfc3339(p.until),
                reason=p.reason,
                message=p.message,
                **{"from": rfc3339(p.since)},
            )
            for p in state.history[:HISTORY_SHOWN]
        ]
    return fields


def _clean(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value != ""}


def load(world: World) -> RolloutState:
    """Returns the state that the status holds, completed from the cluster where the status is silent."""
    status = world.status
    serving = _read_serving(_part(status, "serving"), world.name)
    candidate = _read_candidate(_part(status, "candidate"), world.name)
    rejected = [r for r in map(_read_rejection, _items(status, "rejected")) if r]
    if serving is None:
        serving, tried = _rebuild(world)
        candidate = candidate or tried
        if serving and candidate and candidate.revision == serving.revision:
            candidate = None
    known = {r.revision for r in rejected}
    for revision in reversed(world.children.revisions):
        if revision.name not in known and (found := _rebuild_rejection(revision)):
            rejected.append(found)
    # what serves, or is being tried again, is rejected no longer, even if the verdict could not be taken back
    forgiven = {serving.revision} if serving else set()
    forgiven |= {candidate.revision} if candidate and candidate.phase is not Phase.FAILED else set()
    rejected = [r for r in rejected if r.revision not in forgiven]
    rejected.sort(key=lambda r: r.at, reverse=True)
    history = [p for p in map(_read_departed, _items(status, "history")) if p]
    if not history and "observedGeneration" not in status and serving:
        history = _rebuild_history(world, serving)
    return RolloutState(serving, candidate, tuple(rejected), tuple(history))


# --- rebuilding ------------------------------------------------------------------------------------


def _rebuild(world: World) -> tuple[Serving | None, Candidate | None]:
    """Serving and candidate from the verdicts and the Deployments, when the status names neither."""
    revisions = {r.name: r for r in world.children.revisions}
    lived = [(r.verdict, r) for r in revisions.values() if r.verdict and r.verdict.state is VerdictState.LIVE]
    carried = {track: applied_revision(d) for track, d in world.children.deployments.items()}
    pointed = selected_track(world.children.service) or world.name
    serving = None
    if lived:
        # the clock shows whole seconds, and a rollout may take less than one
        verdict, revision = max(lived, key=lambda pair: (pair[0].at, pair[1].number))
        tracks = sorted(
            (t for t, name in carried.items() if name == revision.name), key=lambda t: t != pointed
        )
        track = tracks[0] if tracks else pointed
        serving = Serving(
            revision.name, revision.target.version, "", verdict.at, track=track, settled=verdict.settled
        )
    for track in sorted(carried, key=lambda t: t != pointed):
        found = revisions.get(carried[track])
        if found is None or (serving and found.name == serving.revision):
            continue
        if serving and track != serving.track and (found.verdict or not _size(world.deployment(track))):
            continue  # what served before, or was sent back; it takes no traffic
        return serving, _rebuild_candidate(world, serving, found, track)
    return serving, None


def _rebuild_history(world: World, serving: Serving) -> list[Departed]:
    """What the kept revisions tell of what served before: the last time that each of them went live."""
    lived = [
        (r.verdict.at, r.number, r)
        for r in world.children.revisions
        if r.verdict and r.verdict.state is VerdictState.LIVE and r.name != serving.revision
    ]
    history, until, by = list[Departed](), serving.since, serving.version
    for since, _, revision in sorted(lived, key=lambda found: found[:2], reverse=True):
        text = f"by version {by}"
        history.append(
            Departed(revision.name, revision.target.version, "", since, max(since, until), "Replaced", text)
        )
        until, by = since, revision.target.version
    return history[:HISTORY_SHOWN]


def _rebuild_candidate(
    world: World, serving: Serving | None, revision: Revision, track: str
) -> Candidate | None:
    verdict = revision.verdict
    rejected = verdict is not None and verdict.state is VerdictState.REJECTED
    if rejected and serving:
        return None  # a revert that was decided and not yet carried out
    return Candidate(
        revision.name,
        revision.target.version,
        "",
        world.now,
        Phase.FAILED if rejected else Phase.APPLYING,
        reason=verdict.reason if verdict and rejected else "",
        message=verdict.message if verdict and rejected else "",
        track=track,
    )


def _size(deployment: Object | None) -> int:
    replicas = _part(deployment or {}, "spec").get("replicas", 1)
    return replicas if isinstance(replicas, int) else 0


def _rebuild_rejection(revision: Revision) -> Rejection | None:
    verdict: Verdict | None = revision.verdict
    if verdict is None or verdict.state is not VerdictState.REJECTED or verdict.side is None:
        return None
    return Rejection(
        revision.name,
        revision.target.version,
        "",
        verdict.side,
        verdict.reason,
        verdict.message,
        verdict.at,
        verdict.attempts,
        served=verdict.served,
    )


# --- reading the status, which anybody with the right may have written -------------------------------


def _read_serving(raw: Mapping[str, Any], first_track: str) -> Serving | None:
    revision, since = _text(raw, "revision"), read_time(raw.get("since"))
    if not revision or since is None:
        return None
    return Serving(
        revision,
        _text(raw, "version"),
        _text(raw, "alias"),
        since,
        _text(raw, "selfTest"),
        _read_track(raw, first_track),
        # an operator before this one knew no watch window: what served then is beyond suspicion
        raw.get("settled", True) is not False,
        read_time(raw.get("watchEnds")),
        _text(raw, "reason"),
        _text(raw, "message"),
    )


def _read_candidate(raw: Mapping[str, Any], first_track: str) -> Candidate | None:
    revision, since = _text(raw, "revision"), read_time(raw.get("since"))
    phase = _text(raw, "phase")
    if not revision or since is None or phase not in set(Phase):
        return None
    return Candidate(
        revision,
        _text(raw, "version"),
        _text(raw, "alias"),
        since,
        Phase(phase),
        _text(raw, "reason"),
        _text(raw, "message"),
        read_time(raw.get("deadline")),
        _count(raw),
        read_time(raw.get("retryAt")),
        _read_track(raw, first_track),
    )


def _read_track(raw: Mapping[str, Any], first_track: str) -> str:
    # any other name would be that of an object which is none of ours
    second = first_track + names.SECOND_TRACK_SUFFIX
    return second if _text(raw, "track") == second else first_track


def _read_rejection(raw: Mapping[str, Any]) -> Rejection | None:
    revision, at, side = _text(raw, "revision"), read_time(raw.get("at")), _text(raw, "side")
    if not revision or at is None or side not in set(Side):
        return None
    return Rejection(
        revision,
        _text(raw, "version"),
        _text(raw, "alias"),
        Side(side),
        _text(raw, "reason"),
        _text(raw, "message"),
        at,
        _count(raw),
        read_time(raw.get("retryAt")),
        raw.get("served") is True,
    )


def _read_departed(raw: Mapping[str, Any]) -> Departed | None:
    revision, since, until = _text(raw, "revision"), read_time(raw.get("from")), read_time(raw.get("to"))
    if not revision or since is None or until is None:
        return None
    version, alias = _text(raw, "version"), _text(raw, "alias")
    return Departed(revision, version, alias, since, until, _text(raw, "reason"), _text(raw, "message"))


def _part(raw: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = raw.get(name)
    return value if isinstance(value, Mapping) else {}


def _items(raw: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    value = raw.get(name)
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _text(raw: Mapping[str, Any], name: str) -> str:
    value = raw.get(name)
    return value if isinstance(value, str) else ""


def _count(raw: Mapping[str, Any]) -> int:
    value = raw.get("attempts")
    return value if isinstance(value, int) and value > 0 else 1

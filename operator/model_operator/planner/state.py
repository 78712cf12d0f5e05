"""The state of a rollout: how it is written, read, and rebuilt from the cluster.

It is stored twice: in the status, and as verdicts on the kept revisions. The tables below list the stored names of
both, and how each value is written and read.

The status is only a report, and any client with the permission may have written it. Unreadable parts count as absent.
All of it can be rebuilt from the kept revisions, their verdicts and the revisions of the Deployments, so a restore
from backup is never mistaken for a first deployment.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Generic, TypeVar

from model_operator.api import names
from model_operator.domain.objects import read_time, rfc3339
from model_operator.domain.revision import Revision, Side, Verdict, VerdictState
from model_operator.domain.rollout import (
    REPLACED,
    Candidate,
    Departed,
    Phase,
    Rejection,
    RolloutState,
    Serving,
)
from model_operator.domain.world import World

REJECTIONS_SHOWN = 10
HISTORY_SHOWN = 20
_LONGEST_VERDICT = 16 * 1024

# --- how single values are stored ----------------------------------------------------------------------

_NOTHING: Any = object()
"""Written: the field is left out. Read: the value is unreadable, and the whole record with it."""


@dataclass(frozen=True, slots=True)
class _Codec:
    write: Callable[[Any], Any]
    read: Callable[[Any], Any]
    """Takes the stored value, or None if there is none."""


def _as_it_is(value: Any) -> Any:
    return value


def _choice(of: type[StrEnum]) -> _Codec:
    return _Codec(str, lambda raw: of(raw) if isinstance(raw, str) and raw in set(of) else _NOTHING)


def _exact_time(raw: Any) -> Any:
    try:
        moment = datetime.fromisoformat(raw)
        # a time without a zone would be read in the zone of this machine
        return moment.astimezone(UTC) if moment.tzinfo else _NOTHING
    except (ValueError, TypeError, OverflowError):
        return _NOTHING


def _is_whole(raw: Any, least: int) -> bool:
    return isinstance(raw, int) and not isinstance(raw, bool) and raw >= least


_TEXT = _Codec(lambda text: text or _NOTHING, lambda raw: raw if isinstance(raw, str) else "")
_NAME = _Codec(_as_it_is, lambda raw: raw if isinstance(raw, str) and raw else _NOTHING)
_TIME = _Codec(rfc3339, lambda raw: read_time(raw) or _NOTHING)
_TIME_OR_NONE = _Codec(lambda moment: rfc3339(moment) if moment else _NOTHING, read_time)
_ATTEMPTS = _Codec(_as_it_is, lambda raw: raw if _is_whole(raw, 1) else 1)
_ONLY_TRUE = _Codec(lambda flag: flag or _NOTHING, lambda raw: raw is True)
# earlier builds of the operator had no watch window, so a version that served then counts as settled
_TRUE_UNLESS_FALSE = _Codec(_as_it_is, lambda raw: raw is not False)

# a verdict decides whether a version is tried again, so a verdict with an invalid part is ignored
_STRICT_TIME = _Codec(lambda at: at.astimezone(UTC).isoformat().replace("+00:00", "Z"), _exact_time)
_STRICT_SIDE = _Codec(
    lambda side: str(side) if side else _NOTHING,
    lambda raw: None if raw is None else _choice(Side).read(raw),
)
_STRICT_TEXT = _Codec(_as_it_is, lambda raw: raw if isinstance(raw, str) else "" if raw is None else _NOTHING)
_STRICT_ATTEMPTS = _Codec(_as_it_is, lambda raw: raw if _is_whole(raw, 0) else 1 if raw is None else _NOTHING)
_STRICT_FLAG = _Codec(
    lambda flag: flag or _NOTHING,
    lambda raw: raw if isinstance(raw, bool) else False if raw is None else _NOTHING,
)

# --- the tables --------------------------------------------------------------------------------------

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Record(Generic[_T]):
    make: Callable[..., _T]
    fields: Sequence[tuple[str, str, _Codec]]
    """For each field: its stored name, its name in the record, and its codec."""

    def write(self, record: _T) -> dict[str, Any]:
        found = {name: codec.write(getattr(record, here)) for name, here, codec in self.fields}
        return {name: value for name, value in found.items() if value is not _NOTHING}

    def read(self, raw: object) -> _T | None:
        """The record, or None if a required part is missing or has another type."""
        if not isinstance(raw, Mapping):
            return None
        found = {here: codec.read(raw.get(name)) for name, here, codec in self.fields}
        return None if any(value is _NOTHING for value in found.values()) else self.make(**found)


_SERVING = _Record(
    Serving,
    (
        ("version", "version", _TEXT),
        ("revision", "revision", _NAME),
        ("alias", "alias", _TEXT),
        ("track", "track", _TEXT),
        ("since", "since", _TIME),
        ("selfTest", "self_test", _TEXT),
        ("settled", "settled", _TRUE_UNLESS_FALSE),
        ("watchEnds", "watch_ends", _TIME_OR_NONE),
        ("reason", "reason", _TEXT),
        ("message", "message", _TEXT),
        ("errorsNotJudged", "errors_not_judged", _TEXT),
        ("errorsNotJudgedSince", "errors_not_judged_since", _TIME_OR_NONE),
    ),
)
_CANDIDATE = _Record(
    Candidate,
    (
        ("version", "version", _TEXT),
        ("revision", "revision", _NAME),
        ("alias", "alias", _TEXT),
        ("track", "track", _TEXT),
        ("phase", "phase", _choice(Phase)),
        ("since", "since", _TIME),
        ("deadline", "deadline", _TIME_OR_NONE),
        ("reason", "reason", _TEXT),
        ("message", "message", _TEXT),
        ("attempts", "attempts", _ATTEMPTS),
        ("retryAt", "retry_at", _TIME_OR_NONE),
    ),
)
_REJECTION = _Record(
    Rejection,
    (
        ("version", "version", _TEXT),
        ("revision", "revision", _NAME),
        ("alias", "alias", _TEXT),
        ("side", "side", _choice(Side)),
        ("reason", "reason", _TEXT),
        ("message", "message", _TEXT),
        ("attempts", "attempts", _ATTEMPTS),
        ("at", "at", _TIME),
        ("retryAt", "retry_at", _TIME_OR_NONE),
        ("served", "served", _ONLY_TRUE),
    ),
)
_DEPARTED = _Record(
    Departed,
    (
        ("version", "version", _TEXT),
        ("revision", "revision", _NAME),
        ("alias", "alias", _TEXT),
        ("from", "since", _TIME),
        ("to", "until", _TIME),
        ("reason", "reason", _TEXT),
        ("message", "message", _TEXT),
    ),
)
_VERDICT = _Record(
    Verdict,
    (
        ("state", "state", _choice(VerdictState)),
        ("at", "at", _STRICT_TIME),
        ("side", "side", _STRICT_SIDE),
        ("reason", "reason", _STRICT_TEXT),
        ("message", "message", _STRICT_TEXT),
        ("attempts", "attempts", _STRICT_ATTEMPTS),
        ("settled", "settled", _STRICT_FLAG),
        ("served", "served", _STRICT_FLAG),
    ),
)

# --- the status --------------------------------------------------------------------------------------


def to_status(state: RolloutState, keep: str = "") -> dict[str, Any]:
    """The status fields of ``state``. The rejection of revision ``keep`` is always among them."""
    shown = list(state.rejected[:REJECTIONS_SHOWN])
    if (kept := state.rejection_of(keep)) and kept not in shown:
        shown[-1] = kept
    fields = {
        "serving": _SERVING.write(state.serving) if state.serving else None,
        "candidate": _CANDIDATE.write(state.candidate) if state.candidate else None,
        "rejected": [_REJECTION.write(rejection) for rejection in shown],
        "history": [_DEPARTED.write(departed) for departed in state.history[:HISTORY_SHOWN]],
    }
    return {name: value for name, value in fields.items() if value}


def read_status(status: Mapping[str, Any], name: str) -> RolloutState:
    """The state in the status of the ModelDeployment ``name``. Unreadable parts count as absent."""
    serving, candidate = _SERVING.read(status.get("serving")), _CANDIDATE.read(status.get("candidate"))
    return RolloutState(
        serving and replace(serving, track=_known_track(serving.track, name)),
        candidate and replace(candidate, track=_known_track(candidate.track, name)),
        tuple(r for r in map(_REJECTION.read, _items(status, "rejected")) if r),
        tuple(p for p in map(_DEPARTED.read, _items(status, "history")) if p),
    )


def load(world: World) -> RolloutState:
    """Returns the state in the status, with missing parts rebuilt from the cluster."""
    stored = read_status(world.status, world.name)
    serving, candidate, rejected = stored.serving, stored.candidate, list(stored.rejected)
    if serving is None:
        serving, tried = _rebuild(world)
        candidate = candidate or tried
        if serving and candidate and candidate.revision == serving.revision:
            candidate = None
    known = {r.revision for r in rejected}
    for revision in reversed(world.children.revisions):
        if revision.name not in known and (found := _rejection_by(revision.verdict, revision)):
            rejected.append(found)
    # a serving revision or a candidate is not rejected any more, even if its verdict could not be removed
    forgiven = {serving.revision} if serving else set()
    forgiven |= {candidate.revision} if candidate and candidate.phase is not Phase.FAILED else set()
    rejected = [r for r in rejected if r.revision not in forgiven]
    rejected.sort(key=lambda r: r.at, reverse=True)
    history = stored.history
    if not history and "observedGeneration" not in world.status and serving:
        history = _rebuild_history(world, serving)
    return RolloutState(serving, candidate, tuple(rejected), history)


def _known_track(track: str, first: str) -> str:
    # any other name would be an object that does not belong to this ModelDeployment
    second = first + names.SECOND_TRACK_SUFFIX
    return second if track == second else first


def _items(status: Mapping[str, Any], name: str) -> list[Any]:
    value = status.get(name)
    return value if isinstance(value, list) else []


# --- verdicts ----------------------------------------------------------------------------------------


def verdict_annotation(verdict: Verdict | None) -> dict[str, str | None]:
    """The patch of a kept revision's ``metadata.annotations`` that records a verdict, or removes it with None."""
    text = json.dumps(_VERDICT.write(verdict), ensure_ascii=False) if verdict else None
    return {names.ANNOTATION_VERDICT: text}


def read_verdict(text: object) -> Verdict | None:
    """The verdict in the annotation. None if there is none that this operator can read."""
    if not isinstance(text, str) or len(text) > _LONGEST_VERDICT:
        return None
    try:
        return _VERDICT.read(json.loads(text))
    except (ValueError, RecursionError):
        return None


def verdict_on(state: RolloutState, revision: str) -> Verdict | None:
    """The verdict to store on that revision, where it survives the loss of the status. None for no verdict."""
    if state.serving and state.serving.revision == revision:
        return Verdict(VerdictState.LIVE, state.serving.since, settled=state.serving.settled)
    if (found := state.rejection_of(revision)) is None:
        return None
    kept = (found.at, found.side, found.reason, found.message, found.attempts)
    return Verdict(VerdictState.REJECTED, *kept, served=found.served)


def _rejection_by(verdict: Verdict | None, revision: Revision) -> Rejection | None:
    """The rejection in a verdict: the inverse of ``verdict_on``, without the alias and the time of the retry."""
    if verdict is None or verdict.state is not VerdictState.REJECTED or verdict.side is None:
        return None
    kept = (verdict.side, verdict.reason, verdict.message, verdict.at, verdict.attempts)
    return Rejection(revision.name, revision.target.version, "", *kept, served=verdict.served)


# --- rebuilding ----------------------------------------------------------------------------------


def _rebuild(world: World) -> tuple[Serving | None, Candidate | None]:
    """The serving revision and the candidate by the verdicts and the Deployments, for a status without them."""
    revisions = {r.name: r for r in world.children.revisions}
    lived = [(r.verdict, r) for r in revisions.values() if r.verdict and r.verdict.state is VerdictState.LIVE]
    carried = {track: live.revision for track, live in world.children.deployments.items()}
    pointed = world.service_track or world.name
    serving = None
    if lived:
        # times are whole seconds, and a rollout may take less than one: the number decides between equal times
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
        if serving and track != serving.track and (found.verdict or not world.track(track).replicas):
            continue  # an earlier or a rejected revision, which gets no traffic
        return serving, _rebuild_candidate(world, serving, found, track)
    return serving, None


def _rebuild_history(world: World, serving: Serving) -> tuple[Departed, ...]:
    """The earlier serving revisions by their verdicts: the last time that each of them went live."""
    lived = [
        (r.verdict.at, r.number, r)
        for r in world.children.revisions
        if r.verdict and r.verdict.state is VerdictState.LIVE and r.name != serving.revision
    ]
    history, until, by = list[Departed](), serving.since, serving.version
    for since, _, revision in sorted(lived, key=lambda found: found[:2], reverse=True):
        text = f"by version {by}"
        history.append(
            Departed(revision.name, revision.target.version, "", since, max(since, until), REPLACED, text)
        )
        until, by = since, revision.target.version
    return tuple(history[:HISTORY_SHOWN])


def _rebuild_candidate(
    world: World, serving: Serving | None, revision: Revision, track: str
) -> Candidate | None:
    verdict = revision.verdict
    rejected = verdict is not None and verdict.state is VerdictState.REJECTED
    if rejected and serving:
        return None  # the revert is decided and not yet carried out
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

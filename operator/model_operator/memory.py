"""What is remembered of a ModelDeployment's life, read from its status or rebuilt when that was lost.

The status is only a report: everything in here can be had again from the kept revisions, their verdicts and
the revision that the Deployment names. So a restore from backup is never mistaken for a first deployment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from model_operator.api import names
from model_operator.world import Children, Object, Revision, Side, Verdict, VerdictState, World

REJECTIONS_SHOWN = 10


class Phase(StrEnum):
    """Where a candidate stands."""

    WAITING_FOR_SLOT = "WaitingForSlot"
    APPLYING = "Applying"
    SCHEDULING = "Scheduling"
    FETCHING = "Fetching"
    STARTING = "Starting"
    ROLLING = "Rolling"
    """At least one pod is ready, more are to come."""
    WITHDRAWN = "Withdrawn"
    """Taken back because of the environment; will be tried again."""
    FAILED = "Failed"
    """Failed with nothing to go back to; left in place."""

    @property
    def in_flight(self) -> bool:
        """Whether the Deployment carries this candidate and its outcome is still open."""
        return self not in (Phase.WAITING_FOR_SLOT, Phase.WITHDRAWN, Phase.FAILED)


@dataclass(frozen=True, slots=True)
class Serving:
    """The revision that serves, which is also what a revert goes back to."""

    revision: str
    version: str
    alias: str
    since: datetime
    self_test: str = ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """The revision that is on its way."""

    revision: str
    version: str
    alias: str
    since: datetime
    phase: Phase
    reason: str = ""
    message: str = ""
    deadline: datetime | None = None
    attempts: int = 1
    retry_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Rejection:
    """A revision that was tried and refused."""

    revision: str
    version: str
    alias: str
    side: Side
    reason: str
    message: str
    at: datetime
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class Memory:
    """The life so far. ``rejected`` is newest first."""

    serving: Serving | None = None
    candidate: Candidate | None = None
    rejected: Sequence[Rejection] = ()

    def rejection_of(self, revision: str) -> Rejection | None:
        """The remembered rejection of that revision, if any."""
        return next((r for r in self.rejected if r.revision == revision), None)

    @property
    def active(self) -> str:
        """The name of the revision that the Deployment should carry; empty when there is none yet."""
        if self.candidate and (self.candidate.phase.in_flight or self.candidate.phase is Phase.FAILED):
            return self.candidate.revision
        return self.serving.revision if self.serving else ""


def recall(world: World) -> Memory:
    """Returns the memory that the status holds, completed from the cluster where the status is silent."""
    status = world.status
    serving = _serving(_part(status, "serving"))
    candidate = _candidate(_part(status, "candidate"))
    rejected = [r for r in map(_rejection, _items(status, "rejected")) if r]
    if serving is None and candidate is None:
        serving, candidate = _rebuilt(world)
    known = {r.revision for r in rejected}
    for revision in reversed(world.children.revisions):
        if revision.name not in known and (found := _rejection_from(revision)):
            rejected.append(found)
    # what serves, or is being tried again, is rejected no longer, even if the verdict could not be taken back
    pardoned = {serving.revision} if serving else set()
    pardoned |= {candidate.revision} if candidate and candidate.phase is not Phase.FAILED else set()
    rejected = [r for r in rejected if r.revision not in pardoned]
    rejected.sort(key=lambda r: r.at, reverse=True)
    return Memory(serving, candidate, tuple(rejected))


def applied_revision(deployment: Object | None) -> str:
    """The revision that the Deployment's pod template names; empty when it names none."""
    if deployment is None:
        return ""
    template = _part(_part(deployment, "spec"), "template")
    return str(_part(_part(template, "metadata"), "labels").get(names.LABEL_REVISION, ""))


def to_status(memory: Memory, keep: str = "") -> dict[str, Any]:
    """The status fields that hold ``memory``; the rejection of revision ``keep`` is never cut off."""
    fields: dict[str, Any] = {}
    if s := memory.serving:
        fields["serving"] = _clean(
            version=s.version,
            revision=s.revision,
            alias=s.alias,
            since=rfc3339(s.since),
            selfTest=s.self_test,
        )
    if c := memory.candidate:
        fields["candidate"] = _clean(
            version=c.version,
            revision=c.revision,
            alias=c.alias,
            phase=c.phase.value,
            since=rfc3339(c.since),
            deadline=rfc3339(c.deadline) if c.deadline else "",
            reason=c.reason,
            message=c.message,
            attempts=c.attempts,
            retryAt=rfc3339(c.retry_at) if c.retry_at else "",
        )
    shown = list(memory.rejected[:REJECTIONS_SHOWN])
    if (kept := memory.rejection_of(keep)) and kept not in shown:
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
            )
            for r in shown
        ]
    return fields


def rfc3339(moment: datetime) -> str:
    """``moment`` as the API server writes times: UTC, whole seconds, ``Z``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_time(text: object) -> datetime | None:
    """The time in UTC that an RFC 3339 text means, None for anything else."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    # at the ends of the calendar, sums of times would overflow
    return moment.astimezone(UTC) if moment.tzinfo and 1900 < moment.year < 9000 else None


# --- rebuilding ------------------------------------------------------------------------------------


def _rebuilt(world: World) -> tuple[Serving | None, Candidate | None]:
    """Serving and candidate from the verdicts and the Deployment, when the status names neither."""
    children: Children = world.children
    lived = [(r.verdict, r) for r in children.revisions if r.verdict and r.verdict.state is VerdictState.LIVE]
    serving = None
    if lived:
        verdict, revision = max(lived, key=lambda pair: pair[0].at)
        serving = Serving(revision.name, revision.wish.version, "", verdict.at)
    applied = applied_revision(children.deployment)
    revision_applied = next((r for r in children.revisions if r.name == applied), None)
    if revision_applied is None or (serving and serving.revision == applied):
        return serving, None
    verdict_applied = revision_applied.verdict
    rejected = verdict_applied is not None and verdict_applied.state is VerdictState.REJECTED
    if rejected and serving:
        return serving, None  # a revert that was decided and not yet carried out
    phase = Phase.FAILED if rejected else Phase.APPLYING
    return serving, Candidate(
        applied,
        revision_applied.wish.version,
        "",
        world.now,
        phase,
        reason=verdict_applied.reason if verdict_applied and rejected else "",
        message=verdict_applied.message if verdict_applied and rejected else "",
    )


def _rejection_from(revision: Revision) -> Rejection | None:
    verdict: Verdict | None = revision.verdict
    if verdict is None or verdict.state is not VerdictState.REJECTED or verdict.side is None:
        return None
    return Rejection(
        revision.name,
        revision.wish.version,
        "",
        verdict.side,
        verdict.reason,
        verdict.message,
        verdict.at,
        verdict.attempts,
    )


# --- reading the status, which anybody with the right may have written -------------------------------


def _serving(raw: Mapping[str, Any]) -> Serving | None:
    revision, since = _text(raw, "revision"), read_time(raw.get("since"))
    if not revision or since is None:
        return None
    return Serving(revision, _text(raw, "version"), _text(raw, "alias"), since, _text(raw, "selfTest"))


def _candidate(raw: Mapping[str, Any]) -> Candidate | None:
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
    )


def _rejection(raw: Mapping[str, Any]) -> Rejection | None:
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
    )


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


def _clean(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value != ""}

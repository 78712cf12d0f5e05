"""What is remembered of a ModelDeployment's life, and how the status shows it; ``planner.state`` reads it back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from model_operator.api import names
from model_operator.domain.world import Object, Revision, Side, VerdictState

REJECTIONS_SHOWN = 10
HISTORY_SHOWN = 20


class Phase(StrEnum):
    """Where a candidate stands."""

    WAITING_FOR_APPROVAL = "WaitingForApproval"
    """A person has to agree before anything starts."""
    WAITING_FOR_SLOT = "WaitingForSlot"
    APPLYING = "Applying"
    SCHEDULING = "Scheduling"
    FETCHING = "Fetching"
    STARTING = "Starting"
    ROLLING = "Rolling"
    """At least one pod is ready, more are to come."""
    READY = "ReadyForTraffic"
    """Every pod is ready beside what serves; a person has to agree before the Service moves."""
    WITHDRAWN = "Withdrawn"
    """Taken back because of the environment; will be tried again."""
    FAILED = "Failed"
    """Failed with nothing to go back to; left in place."""

    @property
    def in_flight(self) -> bool:
        """Whether a Deployment carries this candidate and its outcome is still open."""
        return self.carried and self is not Phase.FAILED

    @property
    def carried(self) -> bool:
        """Whether a Deployment carries this candidate."""
        return self not in (Phase.WAITING_FOR_APPROVAL, Phase.WAITING_FOR_SLOT, Phase.WITHDRAWN)


@dataclass(frozen=True, slots=True)
class Serving:
    """The revision that serves, which is also what a revert goes back to."""

    revision: str
    version: str
    alias: str
    since: datetime
    self_test: str = ""
    track: str = ""
    settled: bool = False
    """Whether it outlived its watch, so that no later fault is put down to the version."""
    watch_ends: datetime | None = None
    """None while the watch is over, or has not begun because another rollout is under way."""
    reason: str = ""
    """A failure in the watch that was only reported."""
    message: str = ""


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
    track: str = ""


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
    retry_at: datetime | None = None
    """When it is tried again all the same; None when it is quarantined."""
    served: bool = False
    """Whether it had gone live, so that each further try is one on live requests."""


@dataclass(frozen=True, slots=True)
class Past:
    """A revision that served once: from when to when, and why it left."""

    revision: str
    version: str
    alias: str
    since: datetime
    until: datetime
    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Memory:
    """The life so far. ``rejected`` and ``history`` are newest first."""

    serving: Serving | None = None
    candidate: Candidate | None = None
    rejected: Sequence[Rejection] = ()
    history: Sequence[Past] = ()

    def rejection_of(self, revision: str) -> Rejection | None:
        """The remembered rejection of that revision, if any."""
        return next((r for r in self.rejected if r.revision == revision), None)

    def carried(self) -> dict[str, str]:
        """The revision that the Deployment of each track in use should carry."""
        tracks = {self.serving.track: self.serving.revision} if self.serving else {}
        if self.candidate and self.candidate.phase.carried:
            tracks[self.candidate.track] = self.candidate.revision
        return tracks


def revert_target(memory: Memory, revisions: Sequence[Revision]) -> Revision | None:
    """What is gone back to when the serving revision fails: the last one that settled, or else that served."""
    now = memory.serving.revision if memory.serving else ""
    lived = [
        (r.verdict.settled, r.verdict.at, r.number, r)
        for r in revisions
        if r.verdict
        and r.verdict.state is VerdictState.LIVE
        and r.name != now
        and not memory.rejection_of(r.name)
    ]
    return max(lived, key=lambda found: found[:3])[3] if lived else None


def applied_revision(deployment: Object | None) -> str:
    """The revision that the Deployment's pod template names; empty when it names none."""
    if deployment is None:
        return ""
    template = part(part(deployment, "spec"), "template")
    return str(part(part(template, "metadata"), "labels").get(names.LABEL_REVISION, ""))


def to_status(memory: Memory, keep: str = "") -> dict[str, Any]:
    """The status fields that hold ``memory``; the rejection of revision ``keep`` is never cut off."""
    fields: dict[str, Any] = {}
    if s := memory.serving:
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
    if c := memory.candidate:
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
                retryAt=rfc3339(r.retry_at) if r.retry_at else "",
                served=r.served or "",
            )
            for r in shown
        ]
    if memory.history:
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
            for p in memory.history[:HISTORY_SHOWN]
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


def selected_track(service: Object | None) -> str:
    """The track that a Service sends its requests to; empty when there is none."""
    selector = part(part(service or {}, "spec"), "selector")
    return str(selector.get(names.LABEL_TRACK, ""))


def newest(status: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The first entry of a list of the status that is kept newest first; empty when there is none."""
    found = status.get(name)
    first = found[0] if isinstance(found, list) and found else {}
    return first if isinstance(first, Mapping) else {}


def part(raw: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The object under that name; empty when there is none."""
    value = raw.get(name)
    return value if isinstance(value, Mapping) else {}


def _clean(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value != ""}

"""A ModelDeployment's life as it is remembered. ``planner.state`` writes it to the status, and reads it back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from model_operator.domain.revision import Revision, Side, VerdictState


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
    """Every pod is ready beside what serves. A person has to agree, or the strategy waits, before the Service moves."""
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
    """Whether it outlived its watch window, so that no later fault is put down to the version."""
    watch_ends: datetime | None = None
    """None while the watch window is over, or has not begun because another rollout is under way."""
    reason: str = ""
    """A failure in the watch window that was only reported."""
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

    @property
    def progress(self) -> str:
        """Where it stands, in words."""
        return f"version {self.version}: {self.message or self.phase.value}"


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
class Departed:
    """A revision that served once: from when to when, and why it left."""

    revision: str
    version: str
    alias: str
    since: datetime
    until: datetime
    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class RolloutState:
    """The life so far. ``rejected`` and ``history`` are newest first."""

    serving: Serving | None = None
    candidate: Candidate | None = None
    rejected: Sequence[Rejection] = ()
    history: Sequence[Departed] = ()

    def rejection_of(self, revision: str) -> Rejection | None:
        """The remembered rejection of that revision, if any."""
        return next((r for r in self.rejected if r.revision == revision), None)

    def carried(self) -> dict[str, str]:
        """The revision that the Deployment of each track in use should carry."""
        tracks = {self.serving.track: self.serving.revision} if self.serving else {}
        if self.candidate and self.candidate.phase.carried:
            tracks[self.candidate.track] = self.candidate.revision
        return tracks


def revert_target(state: RolloutState, revisions: Sequence[Revision]) -> Revision | None:
    """What is gone back to when the serving revision fails: the last one that settled, or else that served."""
    now = state.serving.revision if state.serving else ""
    lived = [
        (r.verdict.settled, r.verdict.at, r.number, r)
        for r in revisions
        if r.verdict
        and r.verdict.state is VerdictState.LIVE
        and r.name != now
        and not state.rejection_of(r.name)
    ]
    return max(lived, key=lambda found: found[:3])[3] if lived else None

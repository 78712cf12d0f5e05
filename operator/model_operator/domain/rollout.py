"""The state of a ModelDeployment's rollouts. ``planner.state`` writes it to the status and reads it back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from model_operator.domain.revision import Revision, Side, VerdictState


class Phase(StrEnum):
    """The phase of a candidate."""

    WAITING_FOR_APPROVAL = "WaitingForApproval"
    """It needs an approval before any pod starts."""
    WAITING_FOR_SLOT = "WaitingForSlot"
    APPLYING = "Applying"
    SCHEDULING = "Scheduling"
    FETCHING = "Fetching"
    STARTING = "Starting"
    ROLLING = "Rolling"
    """At least one pod is ready, but not all."""
    READY = "ReadyForTraffic"
    """Every pod is ready, and the Service has not moved: an approval is missing, or the strategy waits."""
    WITHDRAWN = "Withdrawn"
    """Withdrawn because of the environment. It is retried, unless each attempt takes away a serving pod."""
    FAILED = "Failed"
    """Failed, and left in place because there is no revert (none possible, or ``revert.policy`` Never)."""

    @property
    def in_flight(self) -> bool:
        """Whether a Deployment runs this candidate and its outcome is still open."""
        return self.carried and self is not Phase.FAILED

    @property
    def carried(self) -> bool:
        """Whether a Deployment runs this candidate."""
        return self not in (Phase.WAITING_FOR_APPROVAL, Phase.WAITING_FOR_SLOT, Phase.WITHDRAWN)


@dataclass(frozen=True, slots=True)
class Serving:
    """The serving revision. If a candidate fails, the operator reverts to it."""

    revision: str
    version: str
    alias: str
    since: datetime
    self_test: str = ""
    track: str = ""
    settled: bool = False
    """Whether it passed its watch window. Later failures are not blamed on the version."""
    watch_ends: datetime | None = None
    """None if the watch window is over, or has not begun, for example during another rollout."""
    reason: str = ""
    """The reason of a failure in the watch window that was reported without a revert."""
    message: str = ""
    errors_not_judged: str = ""
    """Why its 5xx answers can't be counted in the watch window. Kept when it settles."""
    errors_not_judged_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """The revision that is being rolled out."""

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
        """Its progress, as a text for messages."""
        return f"version {self.version}: {self.message or self.phase.value}"


@dataclass(frozen=True, slots=True)
class Rejection:
    """A revision that was tried and rejected."""

    revision: str
    version: str
    alias: str
    side: Side
    reason: str
    message: str
    at: datetime
    attempts: int = 1
    retry_at: datetime | None = None
    """When it is retried. None: it isn't."""
    served: bool = False
    """Whether it had gone live, so that each retry costs live requests."""


REPLACED = "Replaced"
"""The reason of a departure without a failure: another revision was rolled out."""


@dataclass(frozen=True, slots=True)
class Departed:
    """A revision that served earlier: its time, and the reason of its end."""

    revision: str
    version: str
    alias: str
    since: datetime
    until: datetime
    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class RolloutState:
    """The rollouts so far. ``rejected`` and ``history`` are newest first."""

    serving: Serving | None = None
    candidate: Candidate | None = None
    rejected: Sequence[Rejection] = ()
    history: Sequence[Departed] = ()

    def rejection_of(self, revision: str) -> Rejection | None:
        """The rejection of that revision, if any."""
        return next((r for r in self.rejected if r.revision == revision), None)

    def carried(self) -> dict[str, str]:
        """The revision that each track should run, for the serving revision and the candidate, by track."""
        tracks = {self.serving.track: self.serving.revision} if self.serving else {}
        if self.candidate and self.candidate.phase.carried:
            tracks[self.candidate.track] = self.candidate.revision
        return tracks


def revert_target(state: RolloutState, revisions: Sequence[Revision]) -> Revision | None:
    """The revision to revert to if the serving one fails: the last settled one, else the last one that went live."""
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


def was_reverted_to(state: RolloutState) -> bool:
    """Whether the serving revision serves because the operator reverted to it.

    Either the rejection or the history shows that a revision failed when this one went live. A lost status has only
    the first, and a removed verdict only the second.
    """
    serving = state.serving
    if serving is None:
        return False
    # one of the times may have been cut to whole seconds
    since = serving.since - timedelta(seconds=1)
    if any(rejection.served and rejection.at >= since for rejection in state.rejected):
        return True
    last = next(iter(state.history), None)
    return last is not None and last.until >= since and last.reason != REPLACED

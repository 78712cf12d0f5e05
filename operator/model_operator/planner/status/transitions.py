"""The outcomes of rollouts, derived from two consecutive statuses for the metrics. Pure.

A status is written in one place, and only if it differs. So each end of a rollout is between exactly two statuses, even
if the operator was restarted in the meantime.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from model_operator.domain.objects import Object, part, read_time
from model_operator.domain.rollout import Candidate, Phase, Rejection, RolloutState, Serving
from model_operator.domain.world import World
from model_operator.planner.state import read_status


@dataclass(frozen=True, slots=True)
class Started:
    """A candidate got its Deployment."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A rollout came to an end."""

    outcome: str
    """``live``, ``rejected``, ``withdrawn`` or ``cancelled``."""
    reason: str
    """Why it was rejected or withdrawn. Empty for other outcomes."""
    seconds: float | None
    """Seconds since its rollout began, or None if that is not known."""


@dataclass(frozen=True, slots=True)
class Reverted:
    """A version was rejected, and an earlier one serves in its place."""

    stage: str
    """``rollout`` if it was rejected before it went live, otherwise ``watch``."""
    side: str
    reason: str


@dataclass(frozen=True, slots=True)
class Followed:
    """An alias or stage in the registry moved, and the version that it names now is serving."""

    approval: str
    """``Manual`` if a person had to approve, otherwise ``Automatic``."""
    seconds: float
    """Seconds since the registry's first answer with that version."""


RolloutTransition = Started | Ended | Reverted | Followed


def find_transitions(world: World, after: Object) -> Iterator[RolloutTransition]:
    """The transitions between the status of ``world`` and ``after``, which is about to replace it.

    After a lost status, only a start counts: the rebuilt parts of ``after`` did not happen just now.
    """
    then, now = read_status(world.status, world.name), read_status(after, world.name)
    if _has_begun(then.candidate, now.candidate):
        yield Started()
    if not world.status:
        return
    if rejection := _find_new_rejection(then, now):
        yield from _find_rejection_transitions(then, now, rejection)
    elif now.serving and _went_live(then.serving, now.serving):
        yield Ended("live", "", _elapsed(then.candidate, now.serving.since))
        if then.serving and (seconds := _since_the_move(then.serving, now.serving, after)) is not None:
            yield Followed(world.spec.gates.approval.mode, seconds)
    elif ended := _find_abandoned(then.candidate, now.candidate):
        yield ended


def _has_begun(then: Candidate | None, now: Candidate | None) -> bool:
    if now is None or now.phase is not Phase.APPLYING:
        return False
    return not (then and then.phase.in_flight and then.revision == now.revision)


def _find_rejection_transitions(
    then: RolloutState, now: RolloutState, rejection: Rejection
) -> Iterator[RolloutTransition]:
    was_live = then.serving is not None and then.serving.revision == rejection.revision
    if not was_live:
        yield Ended("rejected", rejection.reason, _elapsed(then.candidate, rejection.at))
    # with revert.policy Never, the failed candidate stays
    left = now.candidate is not None and now.candidate.phase is Phase.FAILED
    if now.serving and now.serving.revision != rejection.revision and not left:
        yield Reverted("watch" if was_live else "rollout", rejection.side.value, rejection.reason)


def _find_abandoned(then: Candidate | None, now: Candidate | None) -> Ended | None:
    """The end of a candidate that is neither live nor rejected."""
    if then is None or not then.phase.in_flight:
        return None
    if now is None or now.revision != then.revision:
        return Ended("cancelled", "", None)
    return Ended("withdrawn", now.reason, None) if now.phase is Phase.WITHDRAWN else None


def _went_live(then: Serving | None, now: Serving) -> bool:
    return then is None or (then.revision, then.since) != (now.revision, now.since)


def _since_the_move(then: Serving, now: Serving, after: Object) -> float | None:
    """Seconds since the registry's answer with the live version. None if it did not go live by a move."""
    answer = part(after, "resolved")
    if then.version == now.version or answer.get("version") != now.version:
        return None
    moved = read_time(answer.get("at"))
    # an answer from before the earlier version went live is not a move: a commit or a person chose this version
    if moved is None or not then.since <= moved <= now.since:
        return None
    return (now.since - moved).total_seconds()


def _find_new_rejection(then: RolloutState, now: RolloutState) -> Rejection | None:
    newest = next(iter(now.rejected), None)
    return newest if newest not in then.rejected else None


def _elapsed(candidate: Candidate | None, until: datetime) -> float | None:
    return max(0.0, (until - candidate.since).total_seconds()) if candidate else None

"""What came of rollouts, read off two statuses that follow each other; for the metrics. Pure.

A status is written in one place and only when it differs, so each end of a rollout stands between exactly two of them,
also when the operator was restarted in the middle of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from model_operator.domain.objects import Object, newest, part, read_time
from model_operator.domain.rollout import Phase
from model_operator.domain.world import World

Status = Object


@dataclass(frozen=True, slots=True)
class Started:
    """A candidate got its Deployment."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A rollout came to an end."""

    outcome: str
    """``live``, ``rejected``, ``withdrawn`` or ``cancelled``."""
    reason: str
    """Why it was rejected or withdrawn; empty otherwise."""
    seconds: float | None
    """Since its rollout began; None where that is not known."""


@dataclass(frozen=True, slots=True)
class Reverted:
    """A version was rejected, and an earlier one serves in its place."""

    stage: str
    """``rollout`` when it was not live yet, ``watch`` when it was."""
    side: str
    reason: str


@dataclass(frozen=True, slots=True)
class Followed:
    """A reference of the registry had moved, and the version that it moved to serves now."""

    approval: str
    """Whether a person had to agree: ``Manual``, or ``Automatic``."""
    seconds: float
    """Since the registry first named the version to us."""


RolloutTransition = Started | Ended | Reverted | Followed


def find_transitions(world: World, after: Status) -> Iterator[RolloutTransition]:
    """What happened between the status of ``world`` and ``after``, which is about to take its place.

    A lost status tells of nothing but a start: what is rebuilt from memory did not happen just now.
    """
    before = world.status
    if _has_begun(before, after):
        yield Started()
    if not before:
        return
    if rejection := _new_rejection(before, after):
        yield from _find_rejection_transitions(before, after, rejection)
    elif _live(before, after):
        yield Ended("live", "", _elapsed(part(before, "candidate"), _time(after, "serving", "since")))
        if (seconds := _since_the_move(before, after)) is not None:
            yield Followed(
                world.parsed_spec.gates.approval.mode if world.parsed_spec else "Automatic", seconds
            )
    elif ended := _find_abandoned(before, after):
        yield ended


def _has_begun(before: Status, after: Status) -> bool:
    then, now = part(before, "candidate"), part(after, "candidate")
    return now.get("phase") == Phase.APPLYING and not (
        _under_way(then) and then.get("revision") == now.get("revision")
    )


def _find_rejection_transitions(
    before: Status, after: Status, rejection: Status
) -> Iterator[RolloutTransition]:
    side, reason = str(rejection.get("side", "")), str(rejection.get("reason", ""))
    was_live = part(before, "serving").get("revision") == rejection.get("revision")
    serves = part(after, "serving").get("revision", rejection.get("revision"))
    if not was_live:
        seconds = _elapsed(part(before, "candidate"), read_time(rejection.get("at")))
        yield Ended("rejected", reason, seconds)
    # with revert.policy Never it is left in place
    left = part(after, "candidate").get("phase") == Phase.FAILED
    if serves != rejection.get("revision") and not left:
        yield Reverted("watch" if was_live else "rollout", side, reason)


def _find_abandoned(before: Status, after: Status) -> Ended | None:
    """The candidate that is under way no longer, neither live nor rejected."""
    then, now = part(before, "candidate"), part(after, "candidate")
    if not _under_way(then):
        return None
    if now.get("revision") == then.get("revision"):
        if now.get("phase") == Phase.WITHDRAWN:
            return Ended("withdrawn", str(now.get("reason", "")), None)
        return None
    return Ended("cancelled", "", None)


def _live(before: Status, after: Status) -> bool:
    then, now = part(before, "serving"), part(after, "serving")
    return bool(now) and (then.get("revision"), then.get("since")) != (now.get("revision"), now.get("since"))


def _since_the_move(before: Status, after: Status) -> float | None:
    """Seconds from the answer that named the version which is live now; None when no move brought it."""
    then, now, answer = part(before, "serving"), part(after, "serving"), part(after, "resolved")
    version = now.get("version")
    if not then or then.get("version") == version or answer.get("version") != version:
        return None
    moved, since, served = (read_time(at) for at in (answer.get("at"), now.get("since"), then.get("since")))
    # an answer that is older than what served before is no move: a commit or a person brought this version
    if moved is None or since is None or served is None or not served <= moved <= since:
        return None
    return (since - moved).total_seconds()


def _new_rejection(before: Status, after: Status) -> Status | None:
    latest = newest(after, "rejected")
    known = before.get("rejected")
    seen = known if isinstance(known, list) else []
    return latest if latest and latest not in seen else None


def _under_way(candidate: Status) -> bool:
    phase = candidate.get("phase")
    return phase in set(Phase) and Phase(phase).in_flight


def _elapsed(candidate: Status, until: datetime | None) -> float | None:
    since = read_time(candidate.get("since"))
    return max(0.0, (until - since).total_seconds()) if since and until else None


def _time(status: Status, where: str, name: str) -> datetime | None:
    return read_time(part(status, where).get(name))

"""What a strategy is: how a candidate takes over from the version that serves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from model_operator.api.spec import ModelDeploymentSpec
from model_operator.domain.rollout import Candidate
from model_operator.domain.world import World


@dataclass(frozen=True, slots=True)
class Hold:
    """Why a candidate that is ready does not take over yet. What serves goes on serving meanwhile."""

    reason: str
    """One word, for the status."""
    message: str
    until: datetime | None = None
    """When to look again; None where time alone changes nothing."""


def _never(_world: World, _candidate: Candidate) -> Hold | None:
    return None


@dataclass(frozen=True, slots=True)
class Strategy:
    """How a candidate takes over. The rules of the spec are its row in api/choices.py.

    Sizes, the Service and the way back are common to all and follow from the tracks (tracks.py). A first version,
    beside which nothing serves, is started in the same way by all.
    """

    name: str
    """As ``spec.rollout.strategy`` and ``status.plan`` call it."""
    beside: bool
    """Whether a candidate comes up on the other track, which is kept for it, or replaces pods on the one that serves.
    """
    extra_pods: Callable[[ModelDeploymentSpec, int], int]
    """How many pods run at most above the number that serve."""
    describe: Callable[[ModelDeploymentSpec, int], str]
    """What the rollout does to that number of pods, as a sentence for ``status.plan``."""
    hold: Callable[[World, Candidate], Hold | None] = _never
    """What a candidate waits for whose pods are all ready and which is approved; None: it goes live now.

    Asked at each look. A candidate that is held is in phase ReadyForTraffic, with the hold's reason, and ``until`` is
    its deadline.
    """

"""The type of a strategy: how a candidate takes over from the serving revision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from model_operator.api.spec import ModelDeploymentSpec
from model_operator.domain.rollout import Candidate
from model_operator.domain.world import World


@dataclass(frozen=True, slots=True)
class Hold:
    """The reason why a ready candidate does not go live yet. The serving revision keeps serving meanwhile."""

    reason: str
    """One word, for the status."""
    message: str
    until: datetime | None = None
    """When to check again. None if time alone changes nothing."""


def _never(_world: World, _candidate: Candidate) -> Hold | None:
    return None


@dataclass(frozen=True, slots=True)
class Strategy:
    """How a candidate takes over. Its rules for the spec are its row in api/choices.py.

    Sizes, the Service and reverts are common to all strategies and follow from the tracks (tracks.py). All strategies
    start a first version in the same way.
    """

    name: str
    """The value in ``spec.rollout.strategy`` and ``status.plan``."""
    beside: bool
    """True: a candidate starts on the other track. False: it replaces pods on the serving track."""
    extra_pods: Callable[[ModelDeploymentSpec, int], int]
    """The number of extra pods during a rollout at most, from the spec and the number of serving pods."""
    describe: Callable[[ModelDeploymentSpec, int], str]
    """A sentence for ``status.plan`` about the rollout of that number of pods."""
    hold: Callable[[World, Candidate], Hold | None] = _never
    """Why an approved candidate with all pods ready does not go live now. None: it does.

    It is evaluated at each reconcile. A held candidate is in phase ReadyForTraffic with the hold's reason, and
    ``until`` is its deadline.
    """

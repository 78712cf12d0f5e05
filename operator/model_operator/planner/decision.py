"""The decision that each step of the plan takes and returns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from model_operator.api.choices import RUNTIMES
from model_operator.api.spec import ModelDeploymentSpec
from model_operator.domain.plan import Event
from model_operator.domain.registry import FactsWanted
from model_operator.domain.revision import Revision
from model_operator.domain.rollout import Departed, Phase, RolloutState, Serving
from model_operator.domain.world import World
from model_operator.planner.children.ownership import Ownership
from model_operator.planner.gates import GateReport, GateResult
from model_operator.planner.health import Failure, Judgement
from model_operator.planner.state import HISTORY_SHOWN

FIRST_RETRY = timedelta(seconds=60)
LONGEST_RETRY = timedelta(hours=1)
ATTEMPTS = 3
"""Attempts of a version whose failure may have been an accident."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The next state of the rollout, and the findings that led to it."""

    state: RolloutState
    revisions: Sequence[Revision] = ()
    """The kept revisions, including a new one of this plan."""
    ownership: Ownership = field(default_factory=Ownership)
    judgement: Judgement | None = None
    events: Sequence[Event] = ()
    problem: Failure | None = None
    """Why the target can't be started at all."""
    desired: Revision | None = None
    """The desired revision, or None while it is not known."""
    interim: Revision | None = None
    """The serving version with the new pod settings, for a commit while the desired revision may not start.

    None if that is not needed.
    """
    held: bool = False
    """Whether a person's request to revert sets the desired revision, and not the registry."""
    answers: Mapping[str, str] = field(default_factory=dict)
    """The requests that this plan handles, with their values."""
    watched: str = ""
    """The revision whose requests are counted, or empty."""
    trouble: Failure | None = None
    """A problem of the serving revision that does not count against it."""
    look_at: datetime | None = None
    """When a present problem of the serving revision becomes a failure if it lasts."""
    admission: GateReport | None = None
    """The gates' results for the desired revision. None if no gate was checked."""
    facts: Sequence[FactsWanted] = ()
    """The facts that the gates need."""

    @property
    def is_served(self) -> bool:
        """Whether the desired revision is the serving one."""
        return bool(self.desired and self.state.serving and self.desired.name == self.state.serving.revision)

    @property
    def turned_away(self) -> GateResult | None:
        """The gate that keeps the desired revision from starting."""
        return (self.admission.refusal or self.admission.pending) if self.admission else None

    def revision(self, name: str) -> Revision | None:
        """The kept revision of that name."""
        return next((r for r in self.revisions if r.name == name), None)

    def with_state(self, state: RolloutState, *events: Event) -> Decision:
        """The same decision with another state, and more events."""
        return replace(self, state=state, events=(*self.events, *events))

    def with_answer(self, request: str, value: str) -> Decision:
        """The same decision with a person's request handled."""
        return replace(self, answers={**self.answers, request: value})


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the plan."""

    decide: Callable[[World, Decision], Decision]
    """Takes the decision so far and returns the next one."""
    moments: Callable[[World, Decision], Iterable[datetime]] = lambda world, decision: ()
    """The moments at which time alone can change the decision of this step.

    It takes the decision of all steps together, because a later step may have ended a wait of an earlier one. Past
    moments are ignored: they wait for something other than time.
    """


def without_rejection(decision: Decision, revision: str) -> RolloutState:
    """The state without the rejection of that revision."""
    rejected = tuple(r for r in decision.state.rejected if r.revision != revision)
    return replace(decision.state, rejected=rejected)


def retry_now(world: World, state: RolloutState) -> RolloutState:
    """The state in which a withdrawn or failed candidate may start again as soon as possible."""
    candidate = state.candidate
    if candidate is None or candidate.phase not in (Phase.WITHDRAWN, Phase.FAILED):
        return state
    return replace(state, candidate=replace(candidate, retry_at=world.now))


def append_history(state: RolloutState, until: datetime, reason: str, message: str) -> Sequence[Departed]:
    """The history with the serving revision as its newest entry."""
    serving = state.serving
    if serving is None:
        return state.history
    departed = Departed(
        serving.revision, serving.version, serving.alias, serving.since, until, reason, message
    )
    return (departed, *state.history)[:HISTORY_SHOWN]


def without_watch_window(serving: Serving | None) -> Serving | None:
    """``serving`` during another rollout. Its watch window starts over if that rollout does not succeed."""
    return replace(serving, watch_ends=None) if serving else None


def retry_delay(attempts: int) -> timedelta:
    """The delay after that many attempts. It doubles each time, from FIRST_RETRY to LONGEST_RETRY."""
    delay: timedelta = min(FIRST_RETRY * 2 ** min(attempts - 1, 10), LONGEST_RETRY)
    return delay


def describe_self_test(spec: ModelDeploymentSpec | None, result: str) -> str:
    """The result of the self-test of ready pods, by the mode in ``spec`` and the pods' own ``result``."""
    if spec is None or not RUNTIMES[spec.server.runtime].our_script:
        return ""
    if spec.self_test.mode == "LoadOnly":
        return "LoadOnly"
    if spec.self_test.payload is not None:
        return "Passed"
    return result


def costs_a_serving_pod(world: World, state: RolloutState, track: str) -> bool:
    """Whether each attempt on ``track`` removes a serving pod: it is the serving track, and there is no surge."""
    if state.serving is None or track != state.serving.track:
        return False
    return world.spec.rollout.max_surge in (0, "0%")


def rollout_phrase(version: str, before: Serving | None) -> tuple[str, str]:
    """The version of the rollout and the one that it replaces, as parts of a sentence."""
    if before is None:
        return f"version {version}", ""
    if before.version == version:
        return f"version {version} with the changed spec", ""
    return f"version {version}", f" in place of version {before.version}"


def left_track(world: World, serving: Serving) -> str:
    """The track that still gets the requests although another one is the serving track, or an empty string."""
    pointed = world.track(world.service_track)
    return pointed.name if pointed.name != serving.track and pointed.exists else ""

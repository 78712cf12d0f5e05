"""One decision, as it is handed from step to step of the plan."""

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
"""How often a version is tried whose failure may have been an accident."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The rollout's state as it will be, and what was found out on the way there."""

    state: RolloutState
    revisions: Sequence[Revision] = ()
    """The kept revisions, with the one that this plan makes."""
    ownership: Ownership = field(default_factory=Ownership)
    judgement: Judgement | None = None
    events: Sequence[Event] = ()
    problem: Failure | None = None
    """Why the target can't even be started."""
    desired: Revision | None = None
    """None while it is not known which revision is wanted."""
    interim: Revision | None = None
    """What brings a commit into force while the desired revision may not start; None while that is not needed."""
    held: bool = False
    """Whether a person's request to revert says what is wanted, and not the registry."""
    answers: Mapping[str, str] = field(default_factory=dict)
    """The requests that this plan answers."""
    watched: str = ""
    """The revision whose requests are worth counting."""
    trouble: Failure | None = None
    """What is wrong with what serves and not held against it."""
    look_at: datetime | None = None
    """When what is wrong with it becomes a failure if it lasts."""
    admission: GateReport | None = None
    """What the gates said of the desired revision; None when there was nothing to ask."""
    facts: Sequence[FactsWanted] = ()
    """What the gates have to know."""

    @property
    def is_served(self) -> bool:
        """Whether the desired revision is the one that serves."""
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
        """The same decision with a person's request answered."""
        return replace(self, answers={**self.answers, request: value})


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the plan."""

    decide: Callable[[World, Decision], Decision]
    """Takes the decision so far and gives it on."""
    moments: Callable[[World, Decision], Iterable[datetime]] = lambda world, decision: ()
    """When time alone can change what this step decides. It is asked with what all steps decided together: a later
    one may have ended what an earlier one waits for. A moment that is over waits for something else than time."""


def without_rejection(decision: Decision, revision: str) -> RolloutState:
    """The state without the rejection of that revision."""
    rejected = tuple(r for r in decision.state.rejected if r.revision != revision)
    return replace(decision.state, rejected=rejected)


def retry_now(world: World, state: RolloutState) -> RolloutState:
    """The state in which a candidate that was given up may start again, now or as soon as it can."""
    candidate = state.candidate
    if candidate is None or candidate.phase not in (Phase.WITHDRAWN, Phase.FAILED):
        return state
    return replace(state, candidate=replace(candidate, retry_at=world.now))


def append_history(state: RolloutState, until: datetime, reason: str, message: str) -> Sequence[Departed]:
    """The history, with what serves now as its newest entry."""
    serving = state.serving
    if serving is None:
        return state.history
    departed = Departed(
        serving.revision, serving.version, serving.alias, serving.since, until, reason, message
    )
    return (departed, *state.history)[:HISTORY_SHOWN]


def without_watch_window(serving: Serving | None) -> Serving | None:
    """What serves while another rollout is under way: the watch window begins anew when that leads nowhere."""
    return replace(serving, watch_ends=None) if serving else None


def retry_delay(attempts: int) -> timedelta:
    """How long to wait after that many attempts: twice as long each time."""
    delay: timedelta = min(FIRST_RETRY * 2 ** min(attempts - 1, 10), LONGEST_RETRY)
    return delay


def describe_self_test(spec: ModelDeploymentSpec | None, words: str) -> str:
    """How the self-test of pods that are ready went: what ``spec`` asked of them, and their own ``words`` for it."""
    if spec is None or not RUNTIMES[spec.server.runtime].our_script:
        return ""
    if spec.self_test.mode == "LoadOnly":
        return "LoadOnly"
    if spec.self_test.payload is not None:
        return "Passed"
    return words


def costs_a_serving_pod(world: World, state: RolloutState, track: str) -> bool:
    """Whether each try on ``track`` takes a serving pod away: there is no surge, and it is the one that serves."""
    if state.serving is None or track != state.serving.track:
        return False
    return world.spec.rollout.max_surge in (0, "0%")


def rollout_phrase(version: str, before: Serving | None) -> tuple[str, str]:
    """What is rolled out, and in place of what, in words."""
    if before is None:
        return f"version {version}", ""
    if before.version == version:
        return f"version {version} with the changed spec", ""
    return f"version {version}", f" in place of version {before.version}"


def left_track(world: World, serving: Serving) -> str:
    """The track that requests still go to though another one serves from now on; empty when there is none."""
    pointed = world.track(world.service_track)
    return pointed.name if pointed.name != serving.track and pointed.exists else ""

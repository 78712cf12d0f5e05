"""How far one decision has come, as it is handed from step to step of the plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from model_operator.api.spec import ModelDeploymentSpec
from model_operator.domain.objects import selected_track
from model_operator.domain.plan import Announce
from model_operator.domain.registry import FactsWanted
from model_operator.domain.revision import Revision
from model_operator.domain.rollout import Memory, Past, Phase, Serving
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
class Course:
    """The memory as it will be, and what is worth telling."""

    memory: Memory
    revisions: Sequence[Revision]
    """The kept revisions, with the one that this plan makes."""
    judgement: Judgement | None = None
    news: Sequence[Announce] = ()
    problem: Failure | None = None
    """Why the wish can't even be started."""
    wished: Revision | None = None
    stand_in: Revision | None = None
    """What brings a commit into force while the wanted revision may not start; None while that is not needed."""
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
    """What the gates said of the revision that is wanted; None when there was nothing to ask."""
    facts: Sequence[FactsWanted] = ()
    """What the gates have to know."""

    def revision(self, name: str) -> Revision | None:
        """The kept revision of that name."""
        return next((r for r in self.revisions if r.name == name), None)

    def remembering(self, memory: Memory, *news: Announce) -> Course:
        """The same course with another memory, and more to tell."""
        return replace(self, memory=memory, news=(*self.news, *news))

    def answering(self, request: str, value: str) -> Course:
        """The same course with a person's request answered."""
        return replace(self, answers={**self.answers, request: value})


def without_blame(course: Course, revision: str) -> Memory:
    """The memory without the rejection of that revision."""
    rejected = tuple(r for r in course.memory.rejected if r.revision != revision)
    return replace(course.memory, rejected=rejected)


def due_at_once(world: World, memory: Memory) -> Memory:
    """The memory in which a candidate that was given up may start again, now or as soon as it can."""
    candidate = memory.candidate
    if candidate is None or candidate.phase not in (Phase.WITHDRAWN, Phase.FAILED):
        return memory
    return replace(memory, candidate=replace(candidate, retry_at=world.now))


def ended(memory: Memory, until: datetime, reason: str, message: str) -> Sequence[Past]:
    """The history, with what serves now as its newest entry."""
    serving = memory.serving
    if serving is None:
        return memory.history
    past = Past(serving.revision, serving.version, serving.alias, serving.since, until, reason, message)
    return (past, *memory.history)[:HISTORY_SHOWN]


def without_watch(serving: Serving | None) -> Serving | None:
    """What serves while another rollout is under way: the watch begins anew when that leads nowhere."""
    return replace(serving, watch_ends=None) if serving else None


def retry_delay(attempts: int) -> timedelta:
    """How long to wait after that many attempts: twice as long each time."""
    delay: timedelta = min(FIRST_RETRY * 2 ** min(attempts - 1, 10), LONGEST_RETRY)
    return delay


def self_tested(spec: ModelDeploymentSpec | None, words: str) -> str:
    """How the self-test of pods that are ready went: what ``spec`` asked of them, and their own ``words`` for it."""
    if spec is None or spec.server.runtime != "MLflow":
        return ""
    if spec.self_test.mode == "LoadOnly":
        return "LoadOnly"
    if spec.self_test.payload is not None:
        return "Passed"
    return words


def costs_a_serving_pod(world: World, memory: Memory, track: str) -> bool:
    """Whether each try on ``track`` takes a serving pod away: there is no surge, and it is the one that serves."""
    if memory.serving is None or world.spec is None or track != memory.serving.track:
        return False
    return world.spec.rollout.max_surge in (0, "0%")


def told(version: str, before: Serving | None) -> tuple[str, str]:
    """What is rolled out, and in place of what, in words."""
    if before is None:
        return f"version {version}", ""
    if before.version == version:
        return f"version {version} with the changed spec", ""
    return f"version {version}", f" in place of version {before.version}"


@dataclass(frozen=True, slots=True)
class Situation:
    """What the planner found out and decided, as far as the report needs it."""

    memory: Memory
    ownership: Ownership = field(default_factory=Ownership)
    judgement: Judgement | None = None
    wished: Revision | None = None
    """None while it is not known which revision is wanted."""
    problem: Failure | None = None
    revisions: Sequence[Revision] = ()
    answers: Mapping[str, str] = field(default_factory=dict)
    """The requests that this plan answers."""
    held: bool = False
    """Whether a person holds a revision."""
    trouble: Failure | None = None
    """What is wrong with what serves and not held against it."""
    admission: GateReport | None = None
    """What the gates said of the revision that is wanted; None when there was nothing to ask."""
    stand_in: Revision | None = None
    """What brings a commit into force while the wanted revision may not start; None while that is not needed."""

    @property
    def turned_away(self) -> GateResult | None:
        """The gate that keeps the wanted revision from starting."""
        return (self.admission.refusal or self.admission.pending) if self.admission else None


def suspended(world: World) -> bool:
    return world.spec is not None and world.spec.suspend


def left_track(world: World, serving: Serving) -> str:
    """The track that requests still go to though another one serves from now on; empty when there is none."""
    pointed = selected_track(world.children.service)
    return pointed if pointed != serving.track and world.deployment(pointed or " ") is not None else ""

"""What the planner found out and decided, as far as the report needs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from model_operator.domain.rollout import Memory, Serving, selected_track
from model_operator.domain.world import Revision, World
from model_operator.planner.children.actions import Ownership
from model_operator.planner.gates import GateReport, GateResult
from model_operator.planner.health import Failure, Judgement


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

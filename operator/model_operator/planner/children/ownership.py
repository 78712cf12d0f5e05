"""The owners of the child objects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from model_operator.api import names
from model_operator.domain.objects import Child
from model_operator.domain.world import World


@dataclass(frozen=True, slots=True)
class Ownership:
    """The objects with our labels that this ModelDeployment does not own, as texts such as ``Deployment churn``."""

    conflicts: Sequence[str] = ()
    """Controlled by another object. The operator never touches them."""
    going_away: Sequence[str] = ()
    """Children of an earlier ModelDeployment of this name, which the garbage collector will remove."""


def ownership_of(world: World) -> Ownership:
    """Finds the children with another controller. An orphan, without any controller, is ours to adopt."""
    conflicts, going_away = [], []
    for child in _children(world):
        controller = child.controller
        if controller is None or controller.uid == world.uid:
            continue
        label = f"{child.kind} {child.name}"
        if controller.kind == names.KIND and controller.name == world.name:
            going_away.append(label)
        else:
            conflicts.append(f"{label} (controlled by {controller.kind} {controller.name})")
    return Ownership(tuple(conflicts), tuple(going_away))


def _children(world: World) -> Iterable[Child]:
    children = world.children
    single = (
        *children.deployments.values(),
        children.service,
        children.autoscaler,
        children.disruption_budget,
    )
    yield from (child for child in single if child is not None)
    yield from children.config_maps
    yield from children.revision_objects

"""Whose the child objects are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from model_operator.api import names
from model_operator.domain.objects import Object, metadata
from model_operator.domain.world import World


@dataclass(frozen=True, slots=True)
class Ownership:
    """Whose the objects are that carry our labels; texts such as ``Deployment churn``."""

    conflicts: Sequence[str] = ()
    """Controlled by something else: never touched."""
    going_away: Sequence[str] = ()
    """Children of an earlier ModelDeployment of this name, which the garbage collector will remove."""


def ownership_of(world: World) -> Ownership:
    """Tells the children's owners apart. An orphan (no controller at all) counts as ours: it is adopted."""
    conflicts, going_away = [], []
    for obj in _objects(world):
        controller = controller_of(obj)
        if not controller or controller.get("uid") == world.uid:
            continue
        label = f"{obj.get('kind', 'object')} {metadata(obj).get('name', '')}"
        if controller.get("kind") == names.KIND and controller.get("name") == world.name:
            going_away.append(label)
        else:
            conflicts.append(f"{label} (controlled by {controller.get('kind')} {controller.get('name')})")
    return Ownership(tuple(conflicts), tuple(going_away))


def _objects(world: World) -> Iterable[Object]:
    children = world.children
    single = (
        *children.deployments.values(),
        children.service,
        children.autoscaler,
        children.disruption_budget,
    )
    yield from (obj for obj in single if obj is not None)
    yield from children.config_maps
    yield from children.revision_objects


def controller_of(obj: Object) -> Mapping[str, Any]:
    """The reference to its controller; empty for an orphan."""
    references = metadata(obj).get("ownerReferences")
    found = references if isinstance(references, list) else []
    return next((r for r in found if isinstance(r, Mapping) and r.get("controller")), {})

"""The writes to one child object. Each is bound to the object as it was read."""

from __future__ import annotations

from collections.abc import Iterator

from model_operator.domain.objects import Child, Kind, Object, ObjectRef
from model_operator.domain.plan import Action, Adopt, Apply, Create, Delete
from model_operator.domain.world import World
from model_operator.planner.annotations import read_adoptions
from model_operator.planner.manifests import Owner, differences, is_admitted, name_of


def create(world: World, kind: Kind, body: Object) -> Create:
    """Creates the object, or takes over an existing one if the annotation adopt names it."""
    ref = world.ref(kind, name_of(body))
    return Create(ref, body, adopt=ref.kubectl_name in read_adoptions(world))


def apply(world: World, body: Object, live: Child, *, moves: bool) -> Apply | None:
    """The apply of ``body``. None if ``live`` matches it, differs only by admission, or is being deleted.

    ``moves``: the write moves requests, a revision or an autoscaler. Without it, the write only repairs drift.
    """
    found = [] if live.leaving else differences(body, live.raw)
    if not found or is_admitted(body, live.raw, found):
        return None
    return Apply(_ref(world, live), body, live.uid, live.resource_version, repair=not moves, drift=found)


def create_or_apply(
    world: World, kind: Kind, body: Object, live: Child | None, *, moves: bool = False
) -> Iterator[Action]:
    """The write that makes the child match ``body``. None if it does."""
    if live is None:
        yield create(world, kind, body)
    elif applied := apply(world, body, live, moves=moves):
        yield applied


def adopt(world: World, live: Child) -> Adopt:
    """Makes this ModelDeployment the controller of an orphan."""
    owner = Owner(world.namespace, world.name, world.uid).reference()
    return Adopt(_ref(world, live), live.uid, owner)


def delete(world: World, live: Child) -> Delete:
    """Deletes the object if it is still as it was read."""
    return Delete(_ref(world, live), live.uid, live.resource_version)


def _ref(world: World, live: Child) -> ObjectRef:
    return ObjectRef(live.kind, world.namespace, live.name)

"""The writes to one child object. Each is bound to the object that was seen."""

from __future__ import annotations

from collections.abc import Iterator

from model_operator.domain.objects import Child, Kind, Object, ObjectRef
from model_operator.domain.plan import Action, Adopt, Apply, Create, Delete
from model_operator.domain.world import World
from model_operator.planner.annotations import read_adoptions
from model_operator.planner.manifests import Owner, differs, name_of


def create(world: World, kind: Kind, body: Object) -> Create:
    """Creates it, or takes it over where a person allows that."""
    ref = world.ref(kind, name_of(body))
    return Create(ref, body, adopt=ref.kubectl_name in read_adoptions(world))


def apply(world: World, body: Object, live: Child, *, moves: bool) -> Apply | None:
    """Makes it what the body says, where it is not; one that is being deleted is left alone.

    ``moves``: it moves requests, a revision or an autoscaler, and does not only put back what somebody changed.
    """
    if live.leaving or not differs(body, live.raw):
        return None
    return Apply(_ref(world, live), body, live.uid, live.resource_version, repair=not moves)


def create_or_apply(
    world: World, kind: Kind, body: Object, live: Child | None, *, moves: bool = False
) -> Iterator[Action]:
    """What makes the child of that kind say what the body says; nothing where it does."""
    if live is None:
        yield create(world, kind, body)
    elif applied := apply(world, body, live, moves=moves):
        yield applied


def adopt(world: World, live: Child) -> Adopt:
    """Makes this ModelDeployment the controller of an orphan."""
    owner = Owner(world.namespace, world.name, world.uid).reference()
    return Adopt(_ref(world, live), live.uid, owner)


def delete(world: World, live: Child) -> Delete:
    """Deletes it as it was seen."""
    return Delete(_ref(world, live), live.uid, live.resource_version)


def _ref(world: World, live: Child) -> ObjectRef:
    return ObjectRef(live.kind, world.namespace, live.name)

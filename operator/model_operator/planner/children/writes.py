"""The writes to one child object. Each is bound to the object that was seen."""

from __future__ import annotations

from collections.abc import Iterator

from model_operator.domain.objects import Kind, Object, ObjectRef, leaving, metadata, resource_version
from model_operator.domain.plan import Action, Adopt, Apply, Create, Delete
from model_operator.domain.world import World
from model_operator.planner.annotations import read_adoptions
from model_operator.planner.manifests import Owner, differs


def create(world: World, ref: ObjectRef, body: Object) -> Create:
    """Creates it, or takes it over where a person allows that."""
    return Create(ref, body, adopt=str(ref).replace(" ", "/") in read_adoptions(world))


def child(
    world: World, kind: Kind, body: Object, live: Object | None, *, moves: bool = False
) -> Iterator[Action]:
    """``moves``: it moves requests or an autoscaler, and does not only put back what somebody changed."""
    meta = metadata(live or {})
    if live is None:
        yield create(world, world.ref(kind, str(metadata(body)["name"])), body)
    elif not leaving(live) and differs(body, live):
        ref = world.ref(kind, str(meta["name"]))
        yield Apply(ref, body, str(meta["uid"]), resource_version(live), repair=not moves)


def adopt(world: World, kind: Kind, obj: Object) -> Adopt:
    """Makes this ModelDeployment the controller of an orphan."""
    meta = metadata(obj)
    owner = Owner(world.namespace, world.name, world.uid).reference()
    return Adopt(world.ref(kind, str(meta["name"])), str(meta["uid"]), owner)


def delete(world: World, kind: Kind, live: Object) -> Delete:
    """Deletes it as it was seen."""
    meta = metadata(live)
    return Delete(world.ref(kind, str(meta["name"])), str(meta["uid"]), resource_version(live))


def resource_versions(world: World) -> dict[str, str]:
    """The resourceVersions of the kept revisions, by the names of their objects."""
    return {str(metadata(obj)["name"]): resource_version(obj) for obj in world.children.revision_objects}

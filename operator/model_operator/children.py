"""The child objects: whose they are, and the actions that make them what the active revision asks for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from model_operator.api import names
from model_operator.api.spec import ModelDeploymentSpec
from model_operator.manifests import (
    Owner,
    autoscaler,
    controller_revision,
    deployment,
    differs,
    disruption_budget,
    initial_replicas,
    scripts_config_map,
    service,
)
from model_operator.memory import Memory, applied_revision
from model_operator.world import (
    Action,
    Adopt,
    Apply,
    Create,
    Delete,
    Kind,
    Object,
    RecordVerdict,
    Revision,
    Scale,
    Verdict,
    VerdictState,
    World,
)


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
        controller = _controller(obj)
        if not controller or controller.get("uid") == world.uid:
            continue
        label = f"{obj.get('kind', 'object')} {_metadata(obj).get('name', '')}"
        if controller.get("kind") == names.KIND and controller.get("name") == world.name:
            going_away.append(label)
        else:
            conflicts.append(f"{label} (controlled by {controller.get('kind')} {controller.get('name')})")
    return Ownership(tuple(conflicts), tuple(going_away))


def child_actions(
    world: World, memory: Memory, revisions: Sequence[Revision], wished: Revision | None = None
) -> tuple[Action, ...]:
    """The writes that are still missing, in the order in which they must happen.

    ``revisions`` are the kept ones and the one that this plan makes; ``wished`` is the one that is wanted, None
    while that is not known. Empty when everything is as it should be.
    A revert needs nothing special here: the active revision is the serving one again, and its kept template
    differs from what the Deployment carries.
    """
    if world.spec is None:
        return ()
    named = {r.name: r for r in revisions}
    # a candidate that was announced but never kept can't be carried; then what serves is kept in order
    active = named.get(memory.active) or named.get(memory.serving.revision if memory.serving else "")
    # verdicts come first: a revert must be remembered before the first write that carries it out
    return (
        *_verdicts(world, memory),
        *_carried(world, world.spec, active),
        *_no_longer_needed(world, memory, revisions, wished),
    )


def _carried(world: World, spec: ModelDeploymentSpec, active: Revision | None) -> Iterator[Action]:
    """What brings the children to ``active``."""
    if active is not None:
        owner = Owner(world.namespace, world.name, world.uid)
        yield from _revision_objects(world, owner, active)
        hpa = autoscaler(owner, spec)
        live_hpa = world.children.autoscaler
        if hpa is None and live_hpa is not None and not _leaving(live_hpa):
            # before the scale below, or the autoscaler would undo it
            yield Delete(world.ref(Kind.AUTOSCALER), str(_metadata(live_hpa)["uid"]))
        yield from _deployment(world, owner, spec, active)
        yield from _child(world, Kind.SERVICE, service(owner, spec), world.children.service)
        budget = disruption_budget(owner, spec)
        yield from _child(world, Kind.DISRUPTION_BUDGET, budget, world.children.disruption_budget)
        if hpa is not None:
            yield from _child(world, Kind.AUTOSCALER, hpa, live_hpa)
        yield from _adoptions(world)


def _revision_objects(world: World, owner: Owner, active: Revision) -> Iterator[Action]:
    if not any(_metadata(c).get("name") == active.config_map for c in world.children.config_maps):
        body = scripts_config_map(owner, world.defaults.scripts)
        # an older revision's scripts that somebody deleted can't be made again from today's code
        if _metadata(body)["name"] == active.config_map:
            yield Create(world.ref(Kind.CONFIG_MAP, active.config_map), body)
    if not any(r.name == active.name for r in world.children.revisions):
        body = controller_revision(owner, active)
        yield Create(world.ref(Kind.REVISION, str(_metadata(body)["name"])), body)


def _deployment(world: World, owner: Owner, spec: ModelDeploymentSpec, active: Revision) -> Iterator[Action]:
    body = deployment(owner, spec, active)
    live = world.children.deployment
    ref = world.ref(Kind.DEPLOYMENT)
    if live is None:
        yield Create(ref, {**body, "spec": {**body["spec"], "replicas": _replicas_at_creation(world, spec)}})
        return
    if _leaving(live):
        return
    metadata = _metadata(live)
    if differs(body, live):
        # a new template changes what serves, so a stale actor must get a conflict instead
        moves = applied_revision(live) != active.name
        version = str(metadata.get("resourceVersion", "")) if moves else ""
        yield Apply(ref, body, str(metadata["uid"]), version)
    wanted = spec.replicas
    if spec.autoscaling is None and wanted is not None and _spec(live).get("replicas") != wanted:
        yield Scale(ref, wanted)
    if spec.autoscaling is not None and _spec(live).get("replicas") == 0:
        # an autoscaler leaves a Deployment alone that stands at 0
        yield Scale(ref, initial_replicas(spec))


def _replicas_at_creation(world: World, spec: ModelDeploymentSpec) -> int:
    """A Deployment that was deleted comes back at the size that its autoscaler had reached."""
    start = initial_replicas(spec)
    reached = world.status.get("replicas")
    if spec.autoscaling is None or not isinstance(reached, int):
        return start
    return max(start, min(reached, spec.autoscaling.max_replicas))


def _child(world: World, kind: Kind, body: Object, live: Object | None) -> Iterator[Action]:
    ref = world.ref(kind)
    if live is None:
        yield Create(ref, body)
    elif not _leaving(live) and differs(body, live):
        yield Apply(ref, body, str(_metadata(live)["uid"]))


def _adoptions(world: World) -> Iterator[Action]:
    """Orphans of the kinds that are never applied again get their owner back."""
    for obj in world.children.config_maps:
        if not _controller(obj) and not _leaving(obj):
            yield _adopt(world, Kind.CONFIG_MAP, obj)
    for obj in world.children.revision_objects:
        if not _controller(obj) and not _leaving(obj):
            yield _adopt(world, Kind.REVISION, obj)


def _adopt(world: World, kind: Kind, obj: Object) -> Adopt:
    metadata = _metadata(obj)
    owner = Owner(world.namespace, world.name, world.uid).reference()
    return Adopt(world.ref(kind, str(metadata["name"])), str(metadata["uid"]), owner)


# --- verdicts --------------------------------------------------------------------------------------


def _verdicts(world: World, memory: Memory) -> Iterator[RecordVerdict]:
    """What the memory holds and the kept revisions do not say yet."""
    for revision in world.children.revisions:
        wanted = _verdict(memory, revision.name)
        kept = revision.verdict
        if wanted is None and (kept is None or kept.state is not VerdictState.REJECTED):
            continue  # that it served once stays true
        if wanted and kept and (kept.state, kept.at, kept.reason) == (wanted.state, wanted.at, wanted.reason):
            continue
        yield RecordVerdict(world.ref(Kind.REVISION, f"{world.name}-{revision.name}"), wanted)


def _verdict(memory: Memory, revision: str) -> Verdict | None:
    if memory.serving and memory.serving.revision == revision:
        return Verdict(VerdictState.LIVE, memory.serving.since)
    if found := memory.rejection_of(revision):
        return Verdict(
            VerdictState.REJECTED, found.at, found.side, found.reason, found.message, found.attempts
        )
    return None


# --- tidying up ------------------------------------------------------------------------------------


def _no_longer_needed(
    world: World, memory: Memory, revisions: Sequence[Revision], wished: Revision | None
) -> Iterator[Delete]:
    """Revisions over the limit, and scripts that nothing mounts."""
    if world.spec is None or wished is None:
        return  # the verdict on the present wish must outlive the status, and which that is is not known
    needed = {wished.name, applied_revision(world.children.deployment)}
    needed |= {r.revision for r in memory.rejected[:1]}
    needed |= {memory.serving.revision} if memory.serving else set()
    needed |= {memory.candidate.revision} if memory.candidate else set()
    by_age = sorted(revisions, key=lambda r: r.number, reverse=True)
    recent = {r.name for r in by_age[: world.spec.revert.history_limit]}
    kept = [r for r in revisions if r.name in needed | recent]
    kept_names = {r.name for r in kept}
    for revision in world.children.revisions:
        if revision.name not in kept_names:
            yield Delete(world.ref(Kind.REVISION, f"{world.name}-{revision.name}"), revision.uid)
    mounted = {r.config_map for r in kept} | _mounted(world.children.deployment)
    for obj in world.children.config_maps:
        metadata = _metadata(obj)
        if metadata["name"] not in mounted and not _leaving(obj):
            yield Delete(world.ref(Kind.CONFIG_MAP, str(metadata["name"])), str(metadata["uid"]))


def _mounted(deployment: Object | None) -> set[str]:
    """ConfigMaps that the Deployment's pods mount, even where the revision can't be read."""
    volumes = _part(_part(_spec(deployment or {}), "template"), "spec").get("volumes")
    found = volumes if isinstance(volumes, list) else []
    return {str(_part(v, "configMap").get("name")) for v in found if isinstance(v, Mapping)}


# --- reading objects -------------------------------------------------------------------------------


def _objects(world: World) -> Iterable[Object]:
    children = world.children
    single = (children.deployment, children.service, children.autoscaler, children.disruption_budget)
    yield from (obj for obj in single if obj is not None)
    yield from children.config_maps
    yield from children.revision_objects


def _controller(obj: Object) -> Mapping[str, Any]:
    references = _metadata(obj).get("ownerReferences")
    found = references if isinstance(references, list) else []
    return next((r for r in found if isinstance(r, Mapping) and r.get("controller")), {})


def _leaving(obj: Object) -> bool:
    return bool(_metadata(obj).get("deletionTimestamp"))


def _metadata(obj: Object) -> Mapping[str, Any]:
    return _part(obj, "metadata")


def _spec(obj: Object) -> Mapping[str, Any]:
    return _part(obj, "spec")


def _part(obj: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = obj.get(name)
    return value if isinstance(value, Mapping) else {}

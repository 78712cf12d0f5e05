"""The actions that make the child objects what the active revision asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from model_operator.api import names
from model_operator.api.spec import ModelDeploymentSpec
from model_operator.domain.objects import (
    Kind,
    applied_revision,
    leaving,
    metadata,
    part,
    resource_version,
    selected_track,
    spec,
)
from model_operator.domain.plan import Action, Apply, Create, RecordVerdict, Scale
from model_operator.domain.revision import Revision, Verdict, VerdictState
from model_operator.domain.rollout import Memory, Phase
from model_operator.domain.world import World
from model_operator.planner.children.cleanup import no_longer_needed
from model_operator.planner.children.ownership import controller_of
from model_operator.planner.children.writes import adopt, child, create, delete, resource_versions
from model_operator.planner.manifests import (
    Owner,
    autoscaler,
    controller_revision,
    deployment,
    differs,
    disruption_budget,
    initial_replicas,
    preview_service,
    scripts_config_map,
    service,
)
from model_operator.planner.strategy.tracks import (
    confirmed,
    idle_replicas,
    replicas_of,
    traffic_track,
    wanted_replicas,
)


def child_actions(
    world: World, memory: Memory, revisions: Sequence[Revision], wanted: Sequence[Revision] = ()
) -> tuple[Action, ...]:
    """The writes that are still missing, in the order in which they must happen.

    ``revisions`` are the kept ones and the one that this plan makes; ``wanted`` are the one that is wanted
    and what stands in for it, none while that is not known. Empty when everything is as it should be.
    A revert needs nothing special here: the serving revision is another one again, its kept template differs from
    what its track carries, and the Service follows when that track can take the load.
    """
    if world.spec is None:
        return ()
    named = {r.name: r for r in revisions}
    # a candidate that was announced but never kept can't be carried
    carried = {track: named[name] for track, name in memory.carried().items() if name in named}
    if memory.serving and memory.serving.track not in carried and memory.serving.revision in named:
        carried[memory.serving.track] = named[memory.serving.revision]
    # verdicts come first: a revert must be remembered before the first write that carries it out
    return (
        *_verdicts(world, memory),
        *(_tended(world, world.spec, memory, carried) if carried else ()),
        *_rejected_unseen(world, memory, wanted),
        *no_longer_needed(world, memory, revisions, wanted),
    )


def _tended(
    world: World, spec: ModelDeploymentSpec, memory: Memory, carried: Mapping[str, Revision]
) -> Iterator[Action]:
    """What brings the children to the revisions that the tracks should carry, and traffic to the right track."""
    owner = Owner(world.namespace, world.name, world.uid)
    for revision in carried.values():
        yield from _revision_objects(world, owner, revision)
    track = traffic_track(world, memory)
    # the autoscaler and the budget stay where the requests are until the endpoints have moved
    settled = track if not track or confirmed(world, track) else _scaled_track(world) or track
    hpa = autoscaler(owner, spec, settled or world.name)
    live_hpa = world.children.autoscaler
    if hpa is None and live_hpa is not None and not leaving(live_hpa):
        # before the scale below, or the autoscaler would undo it
        yield delete(world, Kind.AUTOSCALER, live_hpa)
    for name, revision in carried.items():
        in_traffic = name in (track, selected_track(world.children.service)) or memory.serving is None
        body = deployment(owner, spec, revision, name, in_traffic=in_traffic)
        yield from _deployment(
            world, memory, body, moves=applied_revision(world.deployment(name)) != revision.name
        )
    if track:
        live = world.children.service
        moves = live is not None and selected_track(live) != track
        yield from child(world, Kind.SERVICE, service(owner, spec, track), live, moves=moves)
    yield from _preview(world, owner, spec, memory)
    budget = disruption_budget(owner, spec, settled or world.name)
    yield from child(world, Kind.DISRUPTION_BUDGET, budget, world.children.disruption_budget)
    if hpa is not None and track:
        moves = live_hpa is not None and _scaled_track(world) != settled
        yield from child(world, Kind.AUTOSCALER, hpa, live_hpa, moves=moves)
    yield from _idle(world, spec, memory, carried)
    yield from _adoptions(world)


def _scaled_track(world: World) -> str:
    """The track that the autoscaler or, without one, the budget is about; empty when its Deployment is gone."""
    reference = part(spec(world.children.autoscaler or {}), "scaleTargetRef")
    labels = part(part(spec(world.children.disruption_budget or {}), "selector"), "matchLabels")
    track = str(reference.get("name") or labels.get(names.LABEL_TRACK) or "")
    return track if world.deployment(track or " ") is not None else ""


def _preview(world: World, owner: Owner, spec: ModelDeploymentSpec, memory: Memory) -> Iterator[Action]:
    """The Service that shows a candidate to those who have to agree to it."""
    live, candidate = world.children.preview, memory.candidate
    if candidate is not None and candidate.phase is Phase.READY:
        yield from child(world, Kind.SERVICE, preview_service(owner, spec, candidate.track), live)
    elif live is not None and not leaving(live):
        yield delete(world, Kind.SERVICE, live)


def _idle(
    world: World, spec: ModelDeploymentSpec, memory: Memory, carried: Mapping[str, Revision]
) -> Iterator[Action]:
    """Tracks that neither serve nor carry a candidate keep what a revert needs, and then nothing."""
    if memory.serving is None or not confirmed(world, memory.serving.track):
        return  # requests may still go there
    for track, live in world.children.deployments.items():
        # the revision that serves may be kept no longer, and so not be among what is carried
        if track in carried or track == memory.serving.track or leaving(live):
            continue
        if not controller_of(live):
            yield adopt(world, Kind.DEPLOYMENT, live)
        wanted = idle_replicas(world, memory, track)
        if replicas_of(live) != wanted:
            yield Scale(world.ref(Kind.DEPLOYMENT, track), wanted, resource_version(live))
        elif not wanted and spec.rollout.strategy != "BlueGreen":
            yield delete(world, Kind.DEPLOYMENT, live)


def _revision_objects(world: World, owner: Owner, active: Revision) -> Iterator[Action]:
    if not any(metadata(c).get("name") == active.config_map for c in world.children.config_maps):
        body = scripts_config_map(owner, world.defaults.scripts)
        # an older revision's scripts that somebody deleted can't be made again from today's code
        if metadata(body)["name"] == active.config_map:
            yield Create(world.ref(Kind.CONFIG_MAP, active.config_map), body)
    if not any(r.name == active.name for r in world.children.revisions):
        body = controller_revision(owner, active)
        yield Create(world.ref(Kind.REVISION, str(metadata(body)["name"])), body)


def _deployment(world: World, memory: Memory, body: Mapping[str, Any], *, moves: bool) -> Iterator[Action]:
    """A track's Deployment: its body, and its size where that is ours to say."""
    track = str(metadata(body)["name"])
    ref, live, spec = world.ref(Kind.DEPLOYMENT, track), world.deployment(track), world.spec
    wanted = wanted_replicas(world, memory.serving)
    if live is None:
        yield create(world, ref, {**body, "spec": {**body["spec"], "replicas": wanted}})
        return
    if leaving(live):
        return
    meta, applied = metadata(live), bool(differs(body, live))
    if applied:
        yield Apply(ref, body, str(meta["uid"]), resource_version(live), repair=not moves)
    if spec is None:
        return
    # the apply would have been refused, and nothing after it tried
    version = "" if applied else resource_version(live)
    followed = selected_track(world.children.service) or track
    if spec.autoscaling is not None and track == followed:
        # an autoscaler leaves a Deployment alone that stands at 0: so does a person who put it there
        if replicas_of(live) == 0 and world.children.autoscaler is None:
            yield Scale(ref, initial_replicas(spec), version)
    elif spec.replicas is not None:
        if replicas_of(live) != wanted:
            yield Scale(ref, wanted, version)
    elif track != followed and replicas_of(live) < wanted:
        # what is to take over has to have the size of what it takes over from
        yield Scale(ref, wanted, version)


def _adoptions(world: World) -> Iterator[Action]:
    """Orphans of the kinds that are never applied again get their owner back."""
    for obj in world.children.config_maps:
        if not controller_of(obj) and not leaving(obj):
            yield adopt(world, Kind.CONFIG_MAP, obj)
    for obj in world.children.revision_objects:
        if not controller_of(obj) and not leaving(obj):
            yield adopt(world, Kind.REVISION, obj)


# --- verdicts --------------------------------------------------------------------------------------


def _verdicts(world: World, memory: Memory) -> Iterator[RecordVerdict]:
    """What the memory holds and the kept revisions do not say yet."""
    versions = resource_versions(world)
    for revision in world.children.revisions:
        wanted = _verdict(memory, revision.name)
        kept = revision.verdict
        if wanted is None and (kept is None or kept.state is not VerdictState.REJECTED):
            continue  # that it served once stays true
        if wanted and kept and _same_verdict(kept, wanted):
            continue
        ref = world.ref(Kind.REVISION, f"{world.name}-{revision.name}")
        yield RecordVerdict(ref, wanted, versions.get(ref.name, ""))


def _same_verdict(a: Verdict, b: Verdict) -> bool:
    return (a.state, a.at, a.reason, a.settled) == (b.state, b.at, b.reason, b.settled)


def _verdict(memory: Memory, revision: str) -> Verdict | None:
    if memory.serving and memory.serving.revision == revision:
        return Verdict(VerdictState.LIVE, memory.serving.since, settled=memory.serving.settled)
    if found := memory.rejection_of(revision):
        return Verdict(
            VerdictState.REJECTED,
            found.at,
            found.side,
            found.reason,
            found.message,
            found.attempts,
            served=found.served,
        )
    return None


def _rejected_unseen(world: World, memory: Memory, wanted: Sequence[Revision]) -> Iterator[Create]:
    """A revision that shares the verdict on its version is kept, too, though no track ever carried it."""
    owner, kept = Owner(world.namespace, world.name, world.uid), {r.name for r in world.children.revisions}
    for revision in wanted:
        if revision.name not in kept and memory.rejection_of(revision.name):
            body = controller_revision(owner, revision)
            yield Create(world.ref(Kind.REVISION, str(metadata(body)["name"])), body)

"""The actions that make the child objects what the active revision asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from model_operator.api import names
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
from model_operator.domain.rollout import Phase, RolloutState
from model_operator.domain.world import World
from model_operator.planner.children.cleanup import delete_unneeded
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
from model_operator.planner.state import verdict_on
from model_operator.planner.strategy.strategies import chosen_strategy
from model_operator.planner.strategy.tracks import (
    desired_replicas,
    idle_replicas,
    is_confirmed,
    replicas_of,
    traffic_track,
    warm_until,
)

REFUSAL_RETRY = timedelta(seconds=30)


def child_actions(
    world: World, state: RolloutState, revisions: Sequence[Revision], desired: Sequence[Revision] = ()
) -> tuple[Action, ...]:
    """The writes that are still missing, in the order in which they must happen.

    ``revisions`` are the kept ones and the one that this plan makes; ``desired`` are the one that is wanted
    and what stands in for it, none while that is not known. Empty when everything is as it should be.
    A revert needs nothing special here: the serving revision is another one again, its kept template differs from
    what its track carries, and the Service follows when that track can take the load.
    """
    named = {r.name: r for r in revisions}
    # a candidate that was in the status but never kept can't be carried
    carried = {track: named[name] for track, name in state.carried().items() if name in named}
    if state.serving and state.serving.track not in carried and state.serving.revision in named:
        carried[state.serving.track] = named[state.serving.revision]
    # verdicts come first: a revert must be remembered before the first write that carries it out
    return (
        *_verdicts(world, state),
        *(_tend(world, state, carried) if carried else ()),
        *_rejected_unseen(world, state, desired),
        *delete_unneeded(world, state, revisions, desired),
    )


def child_moments(world: World, state: RolloutState) -> Iterator[datetime]:
    """When time alone makes other writes necessary."""
    if state.serving and len(world.children.deployments) > 1:
        yield warm_until(world.spec, state.serving)
    if world.refused_writes:
        yield world.now + REFUSAL_RETRY


def _tend(world: World, state: RolloutState, carried: Mapping[str, Revision]) -> Iterator[Action]:
    """What brings the children to the revisions that the tracks should carry, and traffic to the right track."""
    owner, spec = Owner(world.namespace, world.name, world.uid), world.spec
    for revision in carried.values():
        yield from _revision_objects(world, owner, revision)
    track = traffic_track(world, state)
    # the autoscaler and the budget stay where the requests are until the endpoints have moved
    settled = track if not track or is_confirmed(world, track) else _scaled_track(world) or track
    hpa = autoscaler(owner, spec, settled or world.name)
    live_hpa = world.children.autoscaler
    if hpa is None and live_hpa is not None and not leaving(live_hpa):
        # before the scale below, or the autoscaler would undo it
        yield delete(world, Kind.AUTOSCALER, live_hpa)
    for name, revision in carried.items():
        in_traffic = name in (track, selected_track(world.children.service)) or state.serving is None
        body = deployment(owner, spec, revision, name, in_traffic=in_traffic)
        yield from _deployment(
            world, state, body, moves=applied_revision(world.deployment(name)) != revision.name
        )
    if track:
        live = world.children.service
        moves = live is not None and selected_track(live) != track
        yield from child(world, Kind.SERVICE, service(owner, spec, track), live, moves=moves)
    yield from _preview(world, owner, state)
    budget = disruption_budget(owner, spec, settled or world.name)
    yield from child(world, Kind.DISRUPTION_BUDGET, budget, world.children.disruption_budget)
    if hpa is not None and track:
        moves = live_hpa is not None and _scaled_track(world) != settled
        yield from child(world, Kind.AUTOSCALER, hpa, live_hpa, moves=moves)
    yield from _idle(world, state, carried)
    yield from _adoptions(world)


def _scaled_track(world: World) -> str:
    """The track that the autoscaler or, without one, the budget is about; empty when its Deployment is gone."""
    reference = part(spec(world.children.autoscaler or {}), "scaleTargetRef")
    labels = part(part(spec(world.children.disruption_budget or {}), "selector"), "matchLabels")
    track = str(reference.get("name") or labels.get(names.LABEL_TRACK) or "")
    return track if world.deployment(track or " ") is not None else ""


def _preview(world: World, owner: Owner, state: RolloutState) -> Iterator[Action]:
    """The Service that shows a candidate to those who have to agree to it."""
    live, candidate = world.children.preview, state.candidate
    if candidate is not None and candidate.phase is Phase.READY:
        yield from child(world, Kind.SERVICE, preview_service(owner, world.spec, candidate.track), live)
    elif live is not None and not leaving(live):
        yield delete(world, Kind.SERVICE, live)


def _idle(world: World, state: RolloutState, carried: Mapping[str, Revision]) -> Iterator[Action]:
    """Tracks that neither serve nor carry a candidate keep what a revert needs, and then nothing."""
    if state.serving is None or not is_confirmed(world, state.serving.track):
        return  # requests may still go there
    for track, live in world.children.deployments.items():
        # the revision that serves may be kept no longer, and so not be among what is carried
        if track in carried or track == state.serving.track or leaving(live):
            continue
        if not controller_of(live):
            yield adopt(world, Kind.DEPLOYMENT, live)
        desired = idle_replicas(world, state, track)
        if replicas_of(live) != desired:
            yield Scale(world.ref(Kind.DEPLOYMENT, track), desired, resource_version(live))
        elif not desired and not chosen_strategy(world.spec).beside:
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


def _deployment(
    world: World, state: RolloutState, body: Mapping[str, Any], *, moves: bool
) -> Iterator[Action]:
    """A track's Deployment: its body, and its size where that is ours to say."""
    track = str(metadata(body)["name"])
    ref, live, spec = world.ref(Kind.DEPLOYMENT, track), world.deployment(track), world.spec
    desired = desired_replicas(world, state.serving)
    if live is None:
        yield create(world, ref, {**body, "spec": {**body["spec"], "replicas": desired}})
        return
    if leaving(live):
        return
    meta, applied = metadata(live), bool(differs(body, live))
    if applied:
        yield Apply(ref, body, str(meta["uid"]), resource_version(live), repair=not moves)
    # the apply would have been refused, and nothing after it tried
    version = "" if applied else resource_version(live)
    followed = selected_track(world.children.service) or track
    if spec.autoscaling is not None and track == followed:
        # an autoscaler leaves a Deployment alone that stands at 0: so does a person who put it there
        if replicas_of(live) == 0 and world.children.autoscaler is None:
            yield Scale(ref, initial_replicas(spec), version)
    elif spec.replicas is not None:
        if replicas_of(live) != desired:
            yield Scale(ref, desired, version)
    elif track != followed and replicas_of(live) < desired:
        # what is to take over has to have the size of what it takes over from
        yield Scale(ref, desired, version)


def _adoptions(world: World) -> Iterator[Action]:
    """Orphans of the kinds that are never applied again get their owner back."""
    for obj in world.children.config_maps:
        if not controller_of(obj) and not leaving(obj):
            yield adopt(world, Kind.CONFIG_MAP, obj)
    for obj in world.children.revision_objects:
        if not controller_of(obj) and not leaving(obj):
            yield adopt(world, Kind.REVISION, obj)


# --- verdicts --------------------------------------------------------------------------------------


def _verdicts(world: World, state: RolloutState) -> Iterator[RecordVerdict]:
    """What the state holds and the kept revisions do not say yet."""
    versions = resource_versions(world)
    for revision in world.children.revisions:
        desired = verdict_on(state, revision.name)
        kept = revision.verdict
        if desired is None and (kept is None or kept.state is not VerdictState.REJECTED):
            continue  # that it served once stays true
        if desired and kept and _same_verdict(kept, desired):
            continue
        ref = world.ref(Kind.REVISION, f"{world.name}-{revision.name}")
        yield RecordVerdict(ref, desired, versions.get(ref.name, ""))


def _same_verdict(a: Verdict, b: Verdict) -> bool:
    return (a.state, a.at, a.reason, a.settled) == (b.state, b.at, b.reason, b.settled)


def _rejected_unseen(world: World, state: RolloutState, desired: Sequence[Revision]) -> Iterator[Create]:
    """A revision that shares the verdict on its version is kept, too, though no track ever carried it."""
    owner, kept = Owner(world.namespace, world.name, world.uid), {r.name for r in world.children.revisions}
    for revision in desired:
        if revision.name not in kept and state.rejection_of(revision.name):
            body = controller_revision(owner, revision)
            yield Create(world.ref(Kind.REVISION, str(metadata(body)["name"])), body)

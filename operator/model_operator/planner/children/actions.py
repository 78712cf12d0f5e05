"""The actions that bring the child objects to the state of the rollout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from model_operator.domain.objects import Deployment, Kind, Object
from model_operator.domain.plan import Action, Create, RecordVerdict, Scale
from model_operator.domain.revision import Revision, Verdict, VerdictState
from model_operator.domain.rollout import Phase, RolloutState
from model_operator.domain.world import World
from model_operator.planner.children.cleanup import delete_unneeded
from model_operator.planner.children.writes import adopt, apply, create, create_or_apply, delete
from model_operator.planner.manifests import (
    Owner,
    autoscaler,
    called,
    controller_revision,
    deployment,
    disruption_budget,
    initial_replicas,
    name_of,
    preview_service,
    scripts_config_map,
    service,
    with_replicas,
)
from model_operator.planner.state import verdict_on
from model_operator.planner.strategy.strategies import chosen_strategy
from model_operator.planner.strategy.tracks import (
    deployment_name,
    desired_replicas,
    idle_replicas,
    is_confirmed,
    preview_name,
    traffic_track,
    warm_until,
)

REFUSAL_RETRY = timedelta(seconds=30)


def child_actions(
    world: World, state: RolloutState, revisions: Sequence[Revision], desired: Sequence[Revision] = ()
) -> tuple[Action, ...]:
    """The writes that are still missing, in their order. Empty if nothing has to change.

    ``revisions`` are the kept ones and the one that this plan renders. ``desired`` are the desired revision and the
    interim one, and empty while they are unknown.
    A revert needs no special case here: the serving revision changed, so its kept template differs from the one on its
    track, and the Service follows when that track can take the load.
    """
    named = {r.name: r for r in revisions}
    # a candidate in the status whose revision was never kept has no template to run
    carried = {track: named[name] for track, name in state.carried().items() if name in named}
    if state.serving and state.serving.track not in carried and state.serving.revision in named:
        carried[state.serving.track] = named[state.serving.revision]
    # verdicts come first: a crash between a revert's writes must not lose the reason for it
    return (
        *_verdicts(world, state),
        *(_reconcile(world, state, carried) if carried else ()),
        *_rejected_unseen(world, state, desired),
        *delete_unneeded(world, state, revisions, desired),
    )


def child_moments(world: World, state: RolloutState) -> Iterator[datetime]:
    """When time alone changes the writes: the end of warmSeconds, and the retry of a refused write."""
    if state.serving and len(world.children.deployments) > 1:
        yield warm_until(world.spec, state.serving)
    if world.refused_writes:
        yield world.now + REFUSAL_RETRY


def _reconcile(world: World, state: RolloutState, carried: Mapping[str, Revision]) -> Iterator[Action]:
    """The writes that make each track run its revision and the Service select the right track."""
    owner, spec = Owner(world.namespace, world.name, world.uid), world.spec
    for revision in carried.values():
        yield from _revision_objects(world, owner, revision)
    track = traffic_track(world, state)
    # the autoscaler and the budget stay where the requests are until the endpoints have moved
    settled = track if not track or is_confirmed(world, track) else _scaled_track(world) or track
    scaled = settled or world.name
    hpa, live_hpa = autoscaler(owner, spec, scaled, deployment_name(world, scaled)), world.children.autoscaler
    if hpa is None and live_hpa is not None and not live_hpa.leaving:
        # before the scale below, or the autoscaler would revert it
        yield delete(world, live_hpa)
    for name, revision in carried.items():
        in_traffic = name in (track, world.service_track) or state.serving is None
        body = called(
            deployment(owner, spec, revision, name, in_traffic=in_traffic), deployment_name(world, name)
        )
        moves = world.track(name).revision != revision.name
        yield from _deployment(world, state, name, body, moves=moves)
    if track:
        live, body = world.children.service, service(owner, spec, track)
        moves = live is not None and live.track != track
        yield from create_or_apply(world, Kind.SERVICE, body, live, moves=moves)
    yield from _preview(world, owner, state)
    budget = disruption_budget(owner, spec, settled or world.name)
    yield from create_or_apply(world, Kind.DISRUPTION_BUDGET, budget, world.children.disruption_budget)
    if hpa is not None and track:
        moves = live_hpa is not None and _scaled_track(world) != settled
        yield from create_or_apply(world, Kind.AUTOSCALER, hpa, live_hpa, moves=moves)
    yield from _idle(world, state, carried)
    yield from _adoptions(world)


def _scaled_track(world: World) -> str:
    """The track of the autoscaler or, without one, of the disruption budget. Empty if its Deployment is gone."""
    scaler, budget = world.children.autoscaler, world.children.disruption_budget
    deployments = world.children.deployments
    if scaler and scaler.track:
        return next((track for track, live in deployments.items() if live.name == scaler.track), "")
    return budget.track if budget and budget.track in deployments else ""


def _preview(world: World, owner: Owner, state: RolloutState) -> Iterator[Action]:
    """The writes of the Service for testing a candidate before its approval."""
    live, candidate = world.children.preview, state.candidate
    if candidate is not None and candidate.phase is Phase.READY:
        body = called(preview_service(owner, world.spec, candidate.track), preview_name(world))
        if live is not None and live.name != name_of(body):
            # another ModelDeployment needs the name for its own Service
            yield from () if live.leaving else (delete(world, live),)
            live = None
        yield from create_or_apply(world, Kind.SERVICE, body, live)
    elif live is not None and not live.leaving:
        yield delete(world, live)


def _idle(world: World, state: RolloutState, carried: Mapping[str, Revision]) -> Iterator[Action]:
    """The writes for idle tracks: the size that a revert needs, later 0 or a deletion."""
    if state.serving is None or not is_confirmed(world, state.serving.track):
        return  # requests may still go there
    for track, live in world.children.deployments.items():
        # the ControllerRevision of the serving revision may be gone, so carried may lack its track
        if track in carried or track == state.serving.track or live.leaving:
            continue
        if live.controller is None:
            yield adopt(world, live)
        desired = idle_replicas(world, state, track)
        if live.replicas != desired:
            yield Scale(world.ref(Kind.DEPLOYMENT, live.name), desired, live.resource_version)
        elif not desired and not chosen_strategy(world.spec).beside:
            yield delete(world, live)


def _revision_objects(world: World, owner: Owner, active: Revision) -> Iterator[Action]:
    if not any(scripts.name == active.config_map for scripts in world.children.config_maps):
        body = scripts_config_map(owner, world.defaults.scripts)
        # an older revision's deleted scripts can't be created again from today's code
        if name_of(body) == active.config_map:
            yield Create(world.ref(Kind.CONFIG_MAP, active.config_map), body)
    if not any(r.name == active.name for r in world.children.revisions):
        yield _keep(world, owner, active)


def _keep(world: World, owner: Owner, revision: Revision) -> Create:
    body = controller_revision(owner, revision)
    return Create(world.ref(Kind.REVISION, name_of(body)), body)


def _deployment(
    world: World, state: RolloutState, track: str, body: Object, *, moves: bool
) -> Iterator[Action]:
    """The writes of a track's Deployment: its body, and its size if the operator sets it."""
    live, desired = world.track(track).deployment, desired_replicas(world, state.serving)
    if live is None:
        yield create(world, Kind.DEPLOYMENT, with_replicas(body, desired))
        return
    applied = apply(world, body, live, moves=moves)
    if applied:
        yield applied
    size = None if live.leaving else _new_size(world, track, live, desired)
    if size is not None:
        # the apply changes resourceVersion: a scale that names the old one would be a conflict
        version = "" if applied else live.resource_version
        yield Scale(world.ref(Kind.DEPLOYMENT, name_of(body)), size, version)


def _new_size(world: World, track: str, live: Deployment, desired: int) -> int | None:
    """The size to set on a track. None if it has that size, or if an autoscaler or a person sets it."""
    spec, followed = world.spec, world.service_track or track
    if spec.autoscaling is not None and track == followed:
        # an autoscaler ignores a Deployment with 0 replicas, so a new one can't start it. With an autoscaler there,
        # a person scaled it to 0 and it stays
        asleep = live.replicas == 0 and world.children.autoscaler is None
        return initial_replicas(spec) if asleep else None
    if spec.replicas is not None:
        return desired if live.replicas != desired else None
    # the track that takes over needs the size of the one that serves
    return desired if track != followed and live.replicas < desired else None


def _adoptions(world: World) -> Iterator[Action]:
    """The owner references for orphans of the kinds that are never applied again."""
    for live in (*world.children.config_maps, *world.children.revision_objects):
        if live.controller is None and not live.leaving:
            yield adopt(world, live)


# --- verdicts --------------------------------------------------------------------------------------


def _verdicts(world: World, state: RolloutState) -> Iterator[RecordVerdict]:
    """The verdicts of the state that the kept revisions do not have yet."""
    for revision in world.children.revisions:
        desired = verdict_on(state, revision.name)
        kept = revision.verdict
        if desired is None and (kept is None or kept.state is not VerdictState.REJECTED):
            continue  # a revision that was live keeps that record
        if desired and kept and _same_verdict(kept, desired):
            continue
        ref = world.ref(Kind.REVISION, f"{world.name}-{revision.name}")
        yield RecordVerdict(ref, desired, revision.resource_version)


def _same_verdict(a: Verdict, b: Verdict) -> bool:
    return (a.state, a.at, a.reason, a.settled) == (b.state, b.at, b.reason, b.settled)


def _rejected_unseen(world: World, state: RolloutState, desired: Sequence[Revision]) -> Iterator[Create]:
    """Keeps a desired revision that inherited the verdict on its version, even though no track ever ran it."""
    owner, kept = Owner(world.namespace, world.name, world.uid), {r.name for r in world.children.revisions}
    for revision in desired:
        if revision.name not in kept and state.rejection_of(revision.name):
            yield _keep(world, owner, revision)

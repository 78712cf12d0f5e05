"""The desired revision: found or rendered; and the one that a commit brings in where it may not start."""

from __future__ import annotations

from dataclasses import replace

from model_operator.domain.revision import Revision, Side, Target
from model_operator.domain.world import World
from model_operator.planner.annotations import read_request, read_unanswered
from model_operator.planner.decision import Decision, retry_now, without_rejection
from model_operator.planner.health import Failure
from model_operator.planner.manifests import revision_name, same_target, same_version
from model_operator.planner.revisions import make_startable, render
from model_operator.planner.steps.rejections import inherit_rejection
from model_operator.planner.target import build_target, digest_problem, find_held_revision


def find_desired(world: World, decision: Decision) -> Decision:
    """Finds the desired revision: held by a person, or named by the registry; rendered where it is new."""
    if read_request(world, "revert"):
        return _hold_revision(world, decision)
    version = world.resolution.version
    if not world.resolution.ok or version is None:
        return decision
    if problem := digest_problem(world.spec, version):
        return replace(decision, problem=problem)
    target = build_target(world, version)
    desired = _find_kept(decision, target)
    decision, restarted = _restart(world, decision, desired)
    if restarted:
        target, desired = restarted, decision.revision(revision_name(restarted))
    if desired is None:
        made = render(world, decision.revisions, target)
        if isinstance(made, Failure):
            return replace(decision, problem=made)
        desired = made
        decision = replace(decision, revisions=(*decision.revisions, desired))
    decision = _answer_retry(world, replace(decision, desired=desired))
    return _make_desired_startable(world, inherit_rejection(decision, desired))


def find_kept_desired(world: World, decision: Decision) -> Revision | None:
    """The kept revision that is wanted, where there is one; renders nothing."""
    if read_request(world, "revert"):
        return find_held_revision(decision.revisions, read_request(world, "revert"))
    version = world.resolution.version
    return _find_kept(decision, build_target(world, version)) if world.resolution.ok and version else None


def _hold_revision(world: World, decision: Decision) -> Decision:
    """A person holds a kept revision; this needs no registry. What it was rejected for is forgiven once."""
    value = read_request(world, "revert")
    found = find_held_revision(decision.revisions, value)
    if found is None:
        kept = ", ".join(r.name for r in reversed(decision.revisions)) or "none"
        text = f"the annotation model-operator.io/revert names {value}, which is none of the kept revisions: {kept}"
        return replace(decision, problem=Failure(Side.CONFIGURATION, "RevisionNotFound", text))
    decision = replace(decision, desired=found, held=True)
    if read_unanswered(world, "revert"):
        forgiven = retry_now(world, without_rejection(decision, found.name))
        decision = replace(decision, state=forgiven).with_answer("revert", value)
    return _make_desired_startable(world, decision)


def _make_desired_startable(world: World, decision: Decision) -> Decision:
    """A revision whose scripts are lost is rendered anew before it starts; what has started is left alone."""
    desired, state = decision.desired, decision.state
    candidate = state.candidate
    if desired is None or desired.name in state.carried().values() or state.rejection_of(desired.name):
        return decision
    tried = candidate is not None and candidate.revision == desired.name
    if candidate and tried and (candidate.retry_at is None or world.now < candidate.retry_at):
        return decision
    made = make_startable(world, decision.revisions, desired)
    if isinstance(made, Failure):
        return replace(decision, problem=made)
    added = () if decision.revision(made.name) else (made,)
    return replace(decision, desired=made, revisions=(*decision.revisions, *added))


def _answer_retry(world: World, decision: Decision) -> Decision:
    """A person asks by annotation: the version that is wanted is tried again, whatever it was rejected for."""
    value = read_unanswered(world, "retry")
    if decision.desired is None or not value:
        return decision
    for revision in decision.revisions:
        # else the verdict on an earlier shape of its pods would be carried over
        if same_version(revision.target, decision.desired.target):
            decision = replace(decision, state=without_rejection(decision, revision.name))
    return replace(decision, state=retry_now(world, decision.state)).with_answer("retry", value)


def _restart(world: World, decision: Decision, desired: Revision | None) -> tuple[Decision, Target | None]:
    """The target to render anew because a person asks for a restart; None when nobody does, or it was done.

    It is answered when the new revision is kept: an operator that dies before renders it again.
    """
    value = read_request(world, "restart")
    if not value or desired is None:
        return decision, None
    base = _find_restarted(world, decision, desired)
    kept = any(r.target.restart == value for r in decision.revisions)
    if kept:
        decision = decision.with_answer("restart", value)
    under_way = decision.revision(decision.state.candidate.revision) if decision.state.candidate else None
    if under_way and under_way.target.restart == value and same_target(under_way.target, base):
        return decision, under_way.target
    if kept or not read_unanswered(world, "restart"):
        return decision, None
    return decision, replace(base, restart=value)


def _find_restarted(world: World, decision: Decision, desired: Revision) -> Target:
    """What a restart is about: what is wanted, or what serves where that is rejected."""
    state = decision.state
    if state.serving is None or not state.rejection_of(desired.name):
        return desired.target
    serving = decision.revision(state.serving.revision)
    return _build_interim_target(world, decision, desired) or (serving.target if serving else desired.target)


def _find_kept(decision: Decision, target: Target) -> Revision | None:
    """The newest kept revision of the same target; a target is never rendered a second time unasked."""
    return next((r for r in reversed(decision.revisions) if same_target(r.target, target)), None)


# --- a commit that comes while the desired version may not start ------------------------------------------


def find_interim(world: World, decision: Decision) -> Decision:
    """Finds what brings a commit into force while the desired version may not start.

    That is the version that serves, with its pods shaped as the spec says now: ``decision.interim``. There is none
    where the spec itself names the version, since then all of the commit speaks of that version, nor where what
    serves has this shape already.
    """
    desired = decision.desired
    target = _build_interim_target(world, decision, desired) if desired else None
    serving = decision.revision(decision.state.serving.revision) if decision.state.serving else None
    if target is None or serving is None or same_target(target, serving.target):
        return decision
    found = _find_kept(decision, target)
    made = (
        make_startable(world, decision.revisions, found)
        if found
        else render(world, decision.revisions, target)
    )
    if isinstance(made, Failure):
        return decision
    added = () if decision.revision(made.name) else (made,)
    return replace(decision, interim=made, revisions=(*decision.revisions, *added))


def _build_interim_target(world: World, decision: Decision, desired: Revision) -> Target | None:
    """The target for the version that serves in the shape that the spec has now; None where that is not asked for."""
    serving = decision.revision(decision.state.serving.revision) if decision.state.serving else None
    if serving is None or decision.held:
        return None
    before, now = serving.target, desired.target
    if world.spec.model.reference().version is not None or same_version(before, now):
        return None
    if (before.registry_url, before.model) != (now.registry_url, now.model):
        return None
    return replace(before, pod_spec=now.pod_spec, restart="")

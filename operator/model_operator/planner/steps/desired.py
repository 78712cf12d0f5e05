"""Finds or renders the desired revision, and the interim one that applies a commit while that may not start."""

from __future__ import annotations

from dataclasses import replace

from model_operator.domain.revision import Revision, Side, Target
from model_operator.domain.world import World
from model_operator.planner.annotations import read_request, read_unanswered
from model_operator.planner.decision import Decision, retry_now, without_rejection
from model_operator.planner.health import Failure
from model_operator.planner.manifests import revision_name, same_target, same_text, same_version
from model_operator.planner.revisions import make_startable, render
from model_operator.planner.steps.rejections import inherit_rejection
from model_operator.planner.target import build_target, digest_problem, find_held_revision


def find_desired(world: World, decision: Decision) -> Decision:
    """Sets ``decision.desired``: the revision that a person holds, or the one that spec and alias ask for now.

    A new one is rendered. It stays None if the registry names no version, or with a ``decision.problem``, such as a
    missing image tag.
    """
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
    """The desired revision if it is kept already. Renders nothing."""
    if read_request(world, "revert"):
        return find_held_revision(decision.revisions, read_request(world, "revert"))
    version = world.resolution.version
    return _find_kept(decision, build_target(world, version)) if world.resolution.ok and version else None


def _hold_revision(world: World, decision: Decision) -> Decision:
    """The revision that the annotation revert names. It needs no registry.

    A new value of the annotation removes the verdict on that revision once.
    """
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
    """Renders a revision again whose scripts' ConfigMap is lost, before it starts. One that runs stays as it is."""
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
    """Removes the verdict on the desired version if the annotation retry has a new value."""
    value = read_unanswered(world, "retry")
    if decision.desired is None or not value:
        return decision
    for revision in decision.revisions:
        # else inherit_rejection would carry over the verdict on its earlier pod settings
        if same_version(revision.target, decision.desired.target):
            decision = replace(decision, state=without_rejection(decision, revision.name))
    return replace(decision, state=retry_now(world, decision.state)).with_answer("retry", value)


def _restart(world: World, decision: Decision, desired: Revision | None) -> tuple[Decision, Target | None]:
    """The target of the restart that the annotation restart requests. None if there is no request left to serve.

    The request is answered only after the new revision is kept. An operator that dies before that renders it again.
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
    """The target that a restart restarts: the desired one or, if that is rejected, the serving one."""
    state = decision.state
    if state.serving is None or not state.rejection_of(desired.name):
        return desired.target
    serving = decision.revision(state.serving.revision)
    return _build_interim_target(world, decision, desired) or (serving.target if serving else desired.target)


def _find_kept(decision: Decision, target: Target) -> Revision | None:
    """The newest kept revision of the same target. A target is rendered a second time only for a restart.

    One with the same text comes first: an older operator kept ``500m`` and ``0.5`` as two revisions, and the pods of
    either must not restart.
    """
    for alike in (same_text, same_target):
        found = next((r for r in reversed(decision.revisions) if alike(r.target, target)), None)
        if found:
            return found
    return None


# --- a commit that comes while the desired version may not start ------------------------------------------


def find_interim(world: World, decision: Decision) -> Decision:
    """Sets ``decision.interim``: the serving version with the pod settings of the new commit.

    It applies the commit while the desired version may not start. There is none if the spec pins a version, since
    the whole commit is then about that version, or if the serving revision has these pod settings already.
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
    """The target of the serving version with the spec's present pod settings. None if there is no need for it."""
    serving = decision.revision(decision.state.serving.revision) if decision.state.serving else None
    if serving is None or decision.held:
        return None
    before, now = serving.target, desired.target
    if world.spec.model.reference().version is not None or same_version(before, now):
        return None
    if (before.registry_url, before.model) != (now.registry_url, now.model):
        return None
    return replace(before, pod_spec=now.pod_spec, restart="")

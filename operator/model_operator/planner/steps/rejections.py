"""Verdicts across commits: a commit may fix the cause, or its revision inherits the verdict on the version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from model_operator.domain.revision import Revision, Side, VerdictState
from model_operator.domain.rollout import Rejection, RolloutState
from model_operator.domain.world import World
from model_operator.planner.decision import Decision, retry_now
from model_operator.planner.health import REASONS
from model_operator.planner.manifests import same_version
from model_operator.planner.revisions import field_of


def forgive_configuration_rejections(world: World, decision: Decision) -> Decision:
    """Removes the verdicts with side Configuration at each new commit.

    The commit may have fixed the cause, also outside of the pod settings.
    """
    if not _is_new_commit(world):
        return decision
    rejected = tuple(r for r in decision.state.rejected if r.side is not Side.CONFIGURATION)
    return decision.with_state(retry_now(world, replace(decision.state, rejected=rejected)))


def _is_new_commit(world: World) -> bool:
    """Whether this plan is the first for this generation of the spec. No if the status is lost."""
    seen = world.status.get("observedGeneration")
    return seen is not None and seen != world.generation


def inherit_rejection(decision: Decision, desired: Revision) -> Decision:
    """Copies the verdict on the same version to ``desired``, unless the commit may have fixed the cause.

    Without this, each commit would retry a version with bad files, or send live requests again to a version that
    failed on them.
    """
    state = decision.state
    candidate = state.candidate
    if state.serving is None or (candidate and candidate.revision == desired.name):
        return decision
    if desired.verdict or state.rejection_of(desired.name):
        return decision  # it has a verdict of its own
    kin = [r for r in decision.revisions if r.name != desired.name and same_version(r.target, desired.target)]
    if any(r.name == state.serving.revision for r in kin):
        return decision  # the version works, only some of its pod settings failed
    judged = [(at, number, r) for number, r in enumerate(kin) if (at := _judged_at(state, r))]
    if not judged:
        return decision
    *_, last = max(judged)
    rejection = state.rejection_of(last.name)
    if rejection is None or _may_be_fixed(rejection, last.target.pod_spec, desired.target.pod_spec):
        return decision
    rejected = (replace(rejection, revision=desired.name), *state.rejected)
    return replace(decision, state=replace(state, rejected=rejected))


def _judged_at(state: RolloutState, revision: Revision) -> datetime | None:
    """When the revision was rejected or, without a rejection, went live. None if neither happened."""
    if rejection := state.rejection_of(revision.name):
        return rejection.at
    verdict = revision.verdict
    return verdict.at if verdict and verdict.state is VerdictState.LIVE else None


def _may_be_fixed(rejection: Rejection, before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether the change between those pod settings may have removed the cause of the rejection."""
    known = REASONS.get(rejection.reason)
    if known is None or rejection.side is not Side.MODEL or rejection.retry_at:
        return True
    if known.of_files:
        return any(before.get(part) != now.get(part) for part in ("fetch", "registry"))
    # a version that failed on live requests would be tried on live requests again
    return not rejection.served or (
        known.fixed_by != "" and field_of(before, known.fixed_by) != field_of(now, known.fixed_by)
    )

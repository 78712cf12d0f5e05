"""Verdicts across commits: which one a commit may have fixed, and which one it inherits."""

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
    """A commit may have fixed what was the manifest's fault, also outside the part that shapes the pods."""
    if not _is_new_commit(world):
        return decision
    rejected = tuple(r for r in decision.state.rejected if r.side is not Side.CONFIGURATION)
    return decision.with_state(retry_now(world, replace(decision.state, rejected=rejected)))


def _is_new_commit(world: World) -> bool:
    """Whether this plan is the first to see the spec as it is now; a lost status tells nothing."""
    seen = world.status.get("observedGeneration")
    return seen is not None and seen != world.generation


def inherit_rejection(decision: Decision, desired: Revision) -> Decision:
    """A verdict on the version itself outlives a commit that can't have fixed what it was rejected for.

    Else each commit would try a version again that has the wrong files, or bring one back to live requests that
    failed there.
    """
    state = decision.state
    candidate = state.candidate
    if state.serving is None or (candidate and candidate.revision == desired.name):
        return decision
    if desired.verdict or state.rejection_of(desired.name):
        return decision  # it has a verdict of its own
    kin = [r for r in decision.revisions if r.name != desired.name and same_version(r.target, desired.target)]
    if any(r.name == state.serving.revision for r in kin):
        return decision  # the version is well; what failed was a shape of its pods
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
    """When it was rejected or, unless it was, went live; None when it never did."""
    if rejection := state.rejection_of(revision.name):
        return rejection.at
    verdict = revision.verdict
    return verdict.at if verdict and verdict.state is VerdictState.LIVE else None


def _may_be_fixed(rejection: Rejection, before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether a commit between those two shapes may have removed what the version was rejected for."""
    known = REASONS.get(rejection.reason)
    if known is None or rejection.side is not Side.MODEL or rejection.retry_at:
        return True
    if known.of_files:
        return any(before.get(part) != now.get(part) for part in ("fetch", "registry"))
    # each further try of what failed on live requests would be one on live requests
    return not rejection.served or (
        known.fixed_by != "" and field_of(before, known.fixed_by) != field_of(now, known.fixed_by)
    )

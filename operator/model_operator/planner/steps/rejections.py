"""Verdicts across commits: which one a commit may have fixed, and which one it inherits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from model_operator.domain.revision import Revision, Side, VerdictState
from model_operator.domain.rollout import Rejection
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
    last: tuple[datetime, Revision, Rejection | None] | None = None
    for revision in kin:
        if revision.name == state.serving.revision:
            return decision  # the version is well; what failed was a shape of its pods
        rejection = state.rejection_of(revision.name)
        lived = revision.verdict if revision.verdict and revision.verdict.state is VerdictState.LIVE else None
        at = rejection.at if rejection else lived.at if lived else None
        if at and (last is None or at >= last[0]):
            last = at, revision, rejection
    if (
        last is None
        or last[2] is None
        or _may_be_fixed(last[2], last[1].target.pod_spec, desired.target.pod_spec)
    ):
        return decision
    rejected = (replace(last[2], revision=desired.name), *state.rejected)
    return replace(decision, state=replace(state, rejected=rejected))


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

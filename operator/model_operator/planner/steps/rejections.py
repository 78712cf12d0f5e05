"""Verdicts across commits: which one a commit may have mended, and which one it inherits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from model_operator.domain.revision import Revision, Side, VerdictState
from model_operator.domain.rollout import Rejection
from model_operator.domain.world import World
from model_operator.planner.decision import Course, due_at_once
from model_operator.planner.health import FAULTS
from model_operator.planner.manifests import same_version
from model_operator.planner.revisions import field_of


def pardon(world: World, course: Course) -> Course:
    """A commit may have mended what was the manifest's fault, also outside the part that shapes the pods."""
    if not _committed(world):
        return course
    rejected = tuple(r for r in course.memory.rejected if r.side is not Side.CONFIGURATION)
    return course.remembering(due_at_once(world, replace(course.memory, rejected=rejected)))


def _committed(world: World) -> bool:
    """Whether this plan is the first to see the spec as it is now; a lost status tells nothing."""
    seen = world.status.get("observedGeneration")
    return seen is not None and seen != world.generation


def carry_verdict_over(course: Course, wished: Revision) -> Course:
    """A verdict on the version itself outlives a commit that can't have mended what it was rejected for.

    Else each commit would try a version again that has the wrong files, or bring one back to live requests that
    failed there.
    """
    memory = course.memory
    candidate = memory.candidate
    if memory.serving is None or (candidate and candidate.revision == wished.name):
        return course
    if wished.verdict or memory.rejection_of(wished.name):
        return course  # it has a verdict of its own
    kin = [r for r in course.revisions if r.name != wished.name and same_version(r.wish, wished.wish)]
    last: tuple[datetime, Revision, Rejection | None] | None = None
    for revision in kin:
        if revision.name == memory.serving.revision:
            return course  # the version is well; what failed was a shape of its pods
        rejection = memory.rejection_of(revision.name)
        lived = revision.verdict if revision.verdict and revision.verdict.state is VerdictState.LIVE else None
        at = rejection.at if rejection else lived.at if lived else None
        if at and (last is None or at >= last[0]):
            last = at, revision, rejection
    if last is None or last[2] is None or _may_be_mended(last[2], last[1].wish.shape, wished.wish.shape):
        return course
    rejected = (replace(last[2], revision=wished.name), *memory.rejected)
    return replace(course, memory=replace(memory, rejected=rejected))


def _may_be_mended(rejection: Rejection, before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether a commit between those two shapes may have removed what the version was rejected for."""
    known = FAULTS.get(rejection.reason)
    if known is None or rejection.side is not Side.MODEL or rejection.retry_at:
        return True
    if known.of_files:
        return any(before.get(part) != now.get(part) for part in ("fetch", "registry"))
    # each further try of what failed on live requests would be one on live requests
    return not rejection.served or (
        known.mended_by != "" and field_of(before, known.mended_by) != field_of(now, known.mended_by)
    )

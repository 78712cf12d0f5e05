"""The tags that tell the registry how a version fared here."""

from __future__ import annotations

from collections.abc import Sequence

from model_operator.domain.plan import VersionTag
from model_operator.domain.revision import Revision
from model_operator.domain.rollout import RolloutState
from model_operator.domain.world import World


def _same_registry(world: World, revision: Revision) -> bool:
    """Whether the version is one of the registry that is followed now: another's may be another model."""
    return revision.target.registry_url == world.resolution.registry_url


def registry_tags(
    world: World, state: RolloutState, revisions: Sequence[Revision], desired: Revision | None
) -> tuple[VersionTag, ...]:
    """What the registry's versions should say of this ModelDeployment, so that another cluster can go by it."""
    if world.spec.revert.tag_version == "Never":
        return ()
    tags = []
    kept = {r.name: r for r in revisions}
    serving = state.serving
    if serving and (revision := kept.get(serving.revision)) and _same_registry(world, revision):
        value = "Settled" if serving.settled else "Serving"
        tags.append(VersionTag(revision.target.model, revision.target.version, value))
    rejection = state.rejection_of(desired.name) if desired else None
    if desired and rejection and rejection.retry_at is None and _same_registry(world, desired):
        same = serving is not None and serving.version == desired.target.version
        if not same:  # a rejected shape of the version that serves says nothing about the version
            tags.append(
                VersionTag(desired.target.model, desired.target.version, f"Rejected: {rejection.reason}")
            )
    return tuple(tags)

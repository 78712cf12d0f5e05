"""The tags that tell the registry how a version fared here."""

from __future__ import annotations

from collections.abc import Sequence

from model_operator.domain.plan import VersionTag
from model_operator.domain.revision import Revision
from model_operator.domain.rollout import Memory
from model_operator.domain.world import World


def _same_registry(world: World, revision: Revision) -> bool:
    """Whether the version is one of the registry that is followed now: another's may be another model."""
    return revision.wish.registry_url == world.resolution.registry_url


def registry_tags(
    world: World, memory: Memory, revisions: Sequence[Revision], wished: Revision | None
) -> tuple[VersionTag, ...]:
    """What the registry's versions should say of this ModelDeployment, so that another cluster can go by it."""
    if world.spec is None or world.spec.revert.tag_version == "Never":
        return ()
    tags = []
    kept = {r.name: r for r in revisions}
    serving = memory.serving
    if serving and (revision := kept.get(serving.revision)) and _same_registry(world, revision):
        value = "Settled" if serving.settled else "Serving"
        tags.append(VersionTag(revision.wish.model, revision.wish.version, value))
    rejection = memory.rejection_of(wished.name) if wished else None
    if wished and rejection and rejection.retry_at is None and _same_registry(world, wished):
        same = serving is not None and serving.version == wished.wish.version
        if not same:  # a rejected shape of the version that serves says nothing about the version
            tags.append(VersionTag(wished.wish.model, wished.wish.version, f"Rejected: {rejection.reason}"))
    return tuple(tags)

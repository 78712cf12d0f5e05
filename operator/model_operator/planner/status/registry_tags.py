"""The tags that record in the registry the outcome of a version in this cluster."""

from __future__ import annotations

from collections.abc import Sequence

from model_operator.domain.plan import VersionTag
from model_operator.domain.revision import Revision
from model_operator.domain.rollout import RolloutState
from model_operator.domain.world import World


def _same_registry(world: World, revision: Revision) -> bool:
    """Whether the version is in the current registry. In another registry, that name may be another model."""
    return revision.target.registry_url == world.resolution.registry_url


def registry_tags(
    world: World, state: RolloutState, revisions: Sequence[Revision], desired: Revision | None
) -> tuple[VersionTag, ...]:
    """The tags that versions should have by this ModelDeployment. Other clusters can check them."""
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
        if not same:  # only the pod settings failed, since the same version is serving
            tags.append(
                VersionTag(desired.target.model, desired.target.version, f"Rejected: {rejection.reason}")
            )
    return tuple(tags)

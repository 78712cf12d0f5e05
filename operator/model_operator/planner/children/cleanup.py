"""Cleanup: revisions above ``revert.historyLimit``, and scripts that no pod mounts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from model_operator.domain.objects import Kind
from model_operator.domain.plan import Delete
from model_operator.domain.revision import Revision
from model_operator.domain.rollout import RolloutState, revert_target
from model_operator.domain.world import World
from model_operator.planner.children.writes import delete


def delete_unneeded(
    world: World, state: RolloutState, revisions: Sequence[Revision], desired: Sequence[Revision]
) -> Iterator[Delete]:
    """The deletions. None while the desired revision is unknown (``desired`` is empty)."""
    if not desired:
        return  # one of the revisions may hold the verdict on the present target, which must outlive the status
    needed = {*(r.name for r in desired), *(d.revision for d in world.children.deployments.values())}
    needed |= {r.revision for r in state.rejected[:1]}
    needed |= {state.serving.revision} if state.serving else set()
    needed |= {state.candidate.revision} if state.candidate else set()
    if earlier := revert_target(state, revisions):
        needed |= {earlier.name}
    by_age = sorted(revisions, key=lambda r: r.number, reverse=True)
    recent = {r.name for r in by_age[: world.spec.revert.history_limit]}
    kept = [r for r in revisions if r.name in needed | recent]
    kept_names = {r.name for r in kept}
    for revision in world.children.revisions:
        if revision.name not in kept_names:
            ref = world.ref(Kind.REVISION, f"{world.name}-{revision.name}")
            yield Delete(ref, revision.uid, revision.resource_version)
    mounted = {r.config_map for r in kept}
    for live in world.children.deployments.values():
        # also the mounts of a revision that can't be read
        mounted |= live.mounted
    for scripts in world.children.config_maps:
        if scripts.name not in mounted and not scripts.leaving:
            yield delete(world, scripts)

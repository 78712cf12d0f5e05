"""Renders a target as a revision: once, and again only on request, or if the scripts of its pods are lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from model_operator.api.spec import ModelDeploymentSpec
from model_operator.domain.revision import Revision, Side, Target
from model_operator.domain.world import World
from model_operator.planner.health import Failure
from model_operator.planner.manifests import (
    ImageProblem,
    Owner,
    TemplateInputs,
    name_of,
    pod_template,
    resolve_images,
    revision_name,
    same_version,
    scripts_config_map,
)


def read_pod_spec(target: Target) -> ModelDeploymentSpec | None:
    """The pod settings of ``target`` as a spec. None if this operator can't read them."""
    try:
        return ModelDeploymentSpec.model_validate(
            {"model": {"name": "any", "version": "1"}, **target.pod_spec}
        )
    except ValidationError:
        return None


def render(world: World, revisions: Sequence[Revision], target: Target) -> Revision | Failure:
    """Renders ``target`` as a new revision next to the kept ``revisions``. Its template never changes after that."""
    if world.credentials_error:
        return Failure(Side.CONFIGURATION, "CredentialsMissing", world.credentials_error)
    spec = read_pod_spec(target)
    if spec is None:
        return Failure(Side.CONFIGURATION, "InvalidSpec", "this operator can't read the stored spec")
    images = resolve_images(spec, world.defaults, _tags(world, revisions, target))
    if isinstance(images, ImageProblem):
        return Failure(Side.CONFIGURATION, images.reason, images.message)
    name, config_map = revision_name(target), _current_scripts(world)
    inputs = TemplateInputs(_owner(world), spec, target, name, images, config_map, world.pod_registry)
    number = max((r.number for r in revisions), default=0) + 1
    return Revision(name, number, target, images, pod_template(inputs), config_map)


def scripts_are_lost(world: World, revision: Revision) -> bool:
    """Whether the ConfigMap of its pods is missing and was made by another build, so it can't be recreated."""
    there = {scripts.name for scripts in world.children.config_maps}
    return revision.config_map not in there and revision.config_map != _current_scripts(world)


def make_startable(world: World, revisions: Sequence[Revision], revision: Revision) -> Revision | Failure:
    """The revision itself. If its scripts are lost, the same target rendered again with the current scripts."""
    if not scripts_are_lost(world, revision):
        return revision
    rerendered = replace(revision.target, restart=_current_scripts(world))
    kept = next((r for r in revisions if r.name == revision_name(rerendered)), None)
    return kept or render(world, revisions, rerendered)


def field_of(pod_spec: Mapping[str, Any], path: str) -> Any:
    """The value at a path such as ``server.resources`` of a raw spec, or None."""
    found: Any = pod_spec
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _tags(world: World, revisions: Sequence[Revision], target: Target) -> Mapping[str, str]:
    """The version's tags. If the registry does not name that version now, only the known tag of the image."""
    version = world.resolution.version
    if version and version.version == target.version:
        return version.tags
    tag = field_of(target.pod_spec, "server.imageFrom.tag")
    for revision in reversed(revisions):
        known = field_of(revision.target.pod_spec, "server.imageFrom.tag")
        if isinstance(tag, str) and tag == known and same_version(revision.target, target):
            return {tag: revision.images["server"]}
    return {}


def _current_scripts(world: World) -> str:
    return name_of(scripts_config_map(_owner(world), world.defaults.scripts))


def _owner(world: World) -> Owner:
    return Owner(world.namespace, world.name, world.uid)

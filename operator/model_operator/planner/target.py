"""The target, built from the registry's answer and the spec."""

from __future__ import annotations

import re
from collections.abc import Sequence

from model_operator.api.spec import ModelDeploymentSpec
from model_operator.domain.registry import ResolvedVersion
from model_operator.domain.revision import Revision, Side, Target, VerdictState
from model_operator.domain.world import World
from model_operator.planner.health import Failure
from model_operator.planner.manifests import extract_pod_spec

_DIGEST = re.compile(r"(sha256:)?[0-9a-f]{64}")


def build_target(world: World, version: ResolvedVersion) -> Target:
    """The exact version that the registry names, with the pod settings of the spec."""
    return Target(
        world.resolution.registry_url,
        version.model,
        version.version,
        version.run_id,
        version.source,
        _digest(world.spec, version),
        extract_pod_spec(world.spec_raw),
    )


def _digest(spec: ModelDeploymentSpec, version: ResolvedVersion) -> str:
    return version.tags.get(spec.gates.integrity.digest_tag, "").strip()


def digest_problem(spec: ModelDeploymentSpec, version: ResolvedVersion) -> Failure | None:
    """Why the version may not start: its digest is required and missing, or malformed."""
    integrity = spec.gates.integrity
    digest = _digest(spec, version)
    if not digest and integrity.required:
        text = (
            f"version {version.version} of {version.model} has no tag {integrity.digest_tag}, and "
            "spec.gates.integrity.required is true: tag it with the digest of its files"
        )
        return Failure(Side.CONFIGURATION, "DigestMissing", text)
    if digest and not _DIGEST.fullmatch(digest.lower()):
        text = (
            f"the tag {integrity.digest_tag} of version {version.version} is not a SHA-256 digest: it must be 64 "
            "hexadecimal digits, optionally with the prefix sha256:"
        )
        return Failure(Side.CONFIGURATION, "DigestMalformed", text)
    return None


def find_held_revision(revisions: Sequence[Revision], value: str) -> Revision | None:
    """The kept revision of that name, or else the newest of that version, preferably one that served."""
    if named := next((r for r in revisions if r.name == value), None):
        return named
    of_version = [r for r in revisions if r.target.version == value]
    lived = [r for r in of_version if r.verdict and r.verdict.state is VerdictState.LIVE]
    return max(lived or of_version, key=lambda r: r.number, default=None)

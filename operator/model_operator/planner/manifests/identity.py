"""Targets: the pod settings of a spec, the equality of two targets, and the name of a revision."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

from pydantic import ValidationError

from model_operator.api import names
from model_operator.api.spec import ModelDeploymentSpec
from model_operator.domain.revision import Target
from model_operator.planner.manifests.owner import short_hash
from model_operator.planner.manifests.quantity import parse_quantity

_SHAPING = ("fetch", "server", "pod", "selfTest")
# any valid reference, since only the pod settings of the parsed spec are compared
_SOME_MODEL = {"name": "any", "version": "1"}
_VERSION_DIGITS = 10


def extract_pod_spec(spec_raw: Mapping[str, Any]) -> dict[str, Any]:
    """The pod settings of a spec as they were written, without defaults.

    The name of the registry's entry is always included: two entries may have the same URL and different credentials
    for the pods.
    """
    registry = spec_raw.get("registry")
    name = registry.get("name") if isinstance(registry, Mapping) else None
    pod_spec = {key: deepcopy(spec_raw[key]) for key in _SHAPING if key in spec_raw}
    # a fraction without quotes is the same revision as its text. Whole numbers stay: they are part of old names
    _map_quantities(pod_spec, lambda value: str(value) if isinstance(value, float) else value)
    return {**pod_spec, "registry": {"name": name or names.DEFAULT_REGISTRY}}


def same_version(a: Target, b: Target) -> bool:
    """Whether two targets have the same files of the same version. Pod settings may differ."""
    exact_a = (a.registry_url, a.model, a.version, a.run_id, a.source, a.digest)
    return exact_a == (b.registry_url, b.model, b.version, b.run_id, b.source, b.digest)


def same_target(a: Target, b: Target) -> bool:
    """Whether two targets give the same pods with today's code.

    ``restart`` is ignored, since it only repeats a target. A default that is written out equals one that is left out,
    and ``500m`` equals ``0.5``. Pod settings that today's code can't parse, from an older or newer operator, are
    compared as they were written.
    """
    return _same(a, b, _with_exact_amounts)


def same_text(a: Target, b: Target) -> bool:
    """As ``same_target``, but ``500m`` and ``0.5`` differ, as they did in older operators."""
    return _same(a, b, _normalise)


def _same(a: Target, b: Target, normal: Callable[[Mapping[str, Any]], Any]) -> bool:
    if not same_version(a, b):
        return False
    # older operators did not store the name of the entry
    if (
        "registry" in a.pod_spec
        and "registry" in b.pod_spec
        and a.pod_spec["registry"] != b.pod_spec["registry"]
    ):
        return False
    return a.pod_spec == b.pod_spec or bool(normal(a.pod_spec) == normal(b.pod_spec))


def revision_name(target: Target) -> str:
    """A name such as ``v8-5d9f8a2b1c``: a valid label value of at most 22 characters."""
    digits = "".join(letter for letter in target.version if letter in "0123456789")[:_VERSION_DIGITS]
    return f"v{digits}-{short_hash(target_as_json(target))}"


def target_as_json(target: Target) -> dict[str, Any]:
    """The target as it is stored and hashed."""
    # absent if empty: the names of revisions that are older than the field must not change
    restart = {"restart": target.restart} if target.restart else {}
    return {
        "registryUrl": target.registry_url,
        "model": target.model,
        "version": target.version,
        "runId": target.run_id,
        "source": target.source,
        "digest": target.digest,
        "shape": deepcopy(dict(target.pod_spec)),
        **restart,
    }


def _normalise(pod_spec: Mapping[str, Any]) -> Any:
    try:
        spec = ModelDeploymentSpec.model_validate({"model": _SOME_MODEL, **extract_pod_spec(pod_spec)})
    except ValidationError:
        return pod_spec
    return spec.model_dump(mode="json", by_alias=True, include={"fetch", "server", "pod", "self_test"})


def _with_exact_amounts(pod_spec: Mapping[str, Any]) -> Any:
    found = deepcopy(_normalise(pod_spec))
    if isinstance(found, dict):
        _map_quantities(found, _exact)
    return found


def _map_quantities(pod_spec: dict[str, Any], changed: Callable[[Any], Any]) -> None:
    """Replaces each amount of the containers' resources, in place. Parts that are no objects are left alone."""
    for container in ("fetch", "server"):
        resources = _as_object(_as_object(pod_spec.get(container)).get("resources"))
        for part in ("requests", "limits"):
            amounts = _as_object(resources.get(part))
            amounts.update({name: changed(value) for name, value in amounts.items()})


def _exact(value: Any) -> Any:
    number = parse_quantity(value)
    return value if number is None else str(number)


def _as_object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}

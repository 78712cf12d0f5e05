"""Specs as the CRD's own schema allows them, and values that it must refuse."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

Json = dict[str, Any]
Path_ = tuple[str, ...]
ROOT = Path(__file__).parents[4]
_INT_OR_STRING = "x-kubernetes-int-or-string"
_UNKNOWN = "x-kubernetes-preserve-unknown-fields"
_WORD = st.from_regex(r"\A[a-z][a-z0-9]{0,8}\Z")
_QUANTITIES = st.sampled_from(["1", "250m", "0.5", "64Mi", "1Gi", "1e3", 2])


def spec_schema() -> Json:
    """The schema of ``spec`` in the committed CRD."""
    crd = yaml.safe_load((ROOT / "crds" / "modeldeployments.yaml").read_text(encoding="utf-8"))
    schema: Json = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return schema


_PROBE = st.sampled_from(
    [
        {"periodSeconds": 3},
        {"httpGet": {"path": "/ping", "port": 8080}, "failureThreshold": 7},
        {"periodSeconds": -3},
        {"nonsense": True},
    ]
)
# What the CRD passes on as it is. The last ones of each are for the API server's dry run to refuse.
_FRAGMENTS: dict[Path_, st.SearchStrategy[Any]] = {
    ("probes", "startup"): _PROBE,
    ("probes", "readiness"): _PROBE,
    ("probes", "liveness"): _PROBE,
    ("env", "[]"): st.one_of(
        st.builds(lambda n, v: {"name": n.upper(), "value": v}, _WORD, _WORD),
        st.just({"name": "A B=", "valueFrom": {}}),
    ),
    ("envFrom", "[]"): st.sampled_from([{"secretRef": {"name": "one", "optional": True}}, {"prefix": "="}]),
    ("volumes", "[]"): st.sampled_from(
        [{"name": "scratch", "emptyDir": {}}, {"name": "scratch", "emptyDir": {"sizeLimit": "a"}}]
    ),
    ("volumeMounts", "[]"): st.sampled_from(
        [{"name": "tmp", "mountPath": "/more"}, {"name": "nobody", "mountPath": "/nowhere"}]
    ),
    ("volume", "emptyDir"): st.sampled_from([{}, {"medium": "Memory"}, {"medium": 7}]),
    ("volume", "ephemeral"): st.just(
        {
            "volumeClaimTemplate": {
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
            }
        }
    ),
    ("pod", "securityContext"): st.sampled_from([{"fsGroup": 7}, {"fsGroup": "seven"}]),
    ("server", "securityContext"): st.sampled_from([{"runAsUser": 7}, {"runAsUser": -1}]),
    ("pod", "affinity"): st.sampled_from([{}, {"nodeAffinity": {"required": 1}}]),
    ("tolerations", "[]"): st.sampled_from([{"operator": "Exists"}, {"operator": "Never"}]),
    ("topologySpreadConstraints", "[]"): st.just(
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
    ),
    ("imagePullSecrets", "[]"): st.just({"name": "pull"}),
    ("metrics", "[]", "autoscaling"): st.just(
        {
            "type": "Resource",
            "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
        }
    ),
    ("autoscaling", "behavior"): st.sampled_from(
        [{"scaleDown": {"stabilizationWindowSeconds": 9}}, {"scaleDown": {"policies": [{"type": "x"}]}}]
    ),
    # classes and accounts that are not there would only have the pods refused
    ("pod", "priorityClassName"): st.just("system-cluster-critical"),
    ("pod", "serviceAccountName"): st.just("default"),
    ("pod", "runtimeClassName"): st.just(""),
    # bounds that allow thousands of pods, or days
    ("spec", "replicas"): st.integers(0, 2),
    ("autoscaling", "minReplicas"): st.just(1),
    ("autoscaling", "maxReplicas"): st.integers(1, 2),
    ("rollout", "warmReplicas"): st.integers(0, 2),
    ("rollout", "warmSeconds"): st.just(0),
    ("rollout", "watchSeconds"): st.sampled_from([0, 1, 604800]),
    ("rollout", "maxSurge"): st.sampled_from([0, 1, "100%", "0%"]),
    ("rollout", "maxUnavailable"): st.sampled_from([0, 1, "25%", "0%"]),
    ("model", "version"): st.integers(1, 3),
    ("approval", "approved"): st.sampled_from(["", 1, "2"]),
    ("[]", "approved"): st.integers(1, 3),
    ("gates", "maxModelBytes"): st.sampled_from([1, "5Gi"]),
}
_LEFT_OUT = {"model", "registry", "suspend", "replicas", "autoscaling"}
"""Set by `specs` itself, or of no use where nothing is to stand still."""


def specs() -> st.SearchStrategy[Json]:
    """Specs without ``model`` that the schema allows; a part of them the API server's rules or dry run refuse."""
    schema = spec_schema()
    sections = {k: v for k, v in schema["properties"].items() if k not in _LEFT_OUT}
    size = st.one_of(
        st.builds(lambda n: {"replicas": n}, _FRAGMENTS["spec", "replicas"]),
        st.builds(
            lambda a: {"autoscaling": {**a, "maxReplicas": 2}},
            _value(schema["properties"]["autoscaling"], ("spec", "autoscaling")),
        ),
    )
    chosen = st.lists(st.sampled_from(sorted(sections)), max_size=4, unique=True)
    body = chosen.flatmap(
        lambda names: st.fixed_dictionaries({n: _value(sections[n], ("spec", n)) for n in names})
    )
    return st.builds(lambda size, body: {**body, **size}, size, body)


def _value(schema: Json, path: Path_) -> st.SearchStrategy[Any]:
    for known in (path[-2:], (*path[-2:], path[-3] if len(path) > 2 else "")):
        if known in _FRAGMENTS:
            return _FRAGMENTS[known]
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema.get(_INT_OR_STRING):
        return _QUANTITIES
    match schema.get("type"):
        case "boolean":
            return st.booleans()
        case "integer":
            low, high = schema.get("minimum", 0), schema.get("maximum", 2**31 - 1)
            return st.one_of(st.sampled_from([low, high]), st.integers(low, min(high, low + 100)))
        case "number":
            return st.sampled_from([0, 0.5, 1])
        case "array":
            return st.lists(_value(schema["items"], (*path, "[]")), max_size=2, unique_by=str)
        case "object" if "properties" in schema:
            return _object(schema, path)
        case "object" if isinstance(schema.get("additionalProperties"), dict):
            values = _value(schema["additionalProperties"], (*path, "{}"))
            keys = st.sampled_from(["cpu", "memory"]) if path[-2:-1] == ("resources",) else _WORD
            return st.dictionaries(keys, values, max_size=2)
        case "string" if path[-1] == "path":
            return st.builds(lambda word: f"/{word}", _WORD)
        case "string":
            return _WORD
        case _:
            return st.just({})


def _object(schema: Json, path: Path_) -> st.SearchStrategy[Json]:
    properties = schema["properties"]
    required = [name for name in schema.get("required", []) if name in properties]
    optional = sorted(set(properties) - set(required))
    chosen = st.lists(st.sampled_from(optional), max_size=3, unique=True) if optional else st.just([])
    return chosen.flatmap(
        lambda names: st.fixed_dictionaries(
            {n: _value(properties[n], (*path, n)) for n in [*required, *names]}
        )
    )


def walks(count: int) -> list[tuple[Json, Json]]:
    """So many pairs of specs, always the same ones."""
    found: list[tuple[Json, Json]] = []

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(specs(), specs())
    def collect(one: Json, other: Json) -> None:
        found.append((one, other))

    collect()
    return found


def impossible() -> Iterator[tuple[str, Json]]:
    """For every field with a bound or an enumeration: its path, and a spec with a value beyond it."""
    yield from _impossible(spec_schema(), ())


def _impossible(schema: Json, path: Path_) -> Iterator[tuple[str, Json]]:
    bad: list[Any] = []
    if "enum" in schema:
        bad.append("Nonsense")
    if schema.get("type") == "integer":
        bad += [schema[k] + step for k, step in (("minimum", -1), ("maximum", 1)) if k in schema]
        bad.append("seven")
    if schema.get("type") == "string" and "maxLength" in schema:
        bad += ["x" * (schema["maxLength"] + 1), 7]
    if schema.get("type") == "boolean":
        bad.append("perhaps")
    if schema.get("type") == "array":
        bad.append({})
    if schema.get("type") == "object":
        bad.append([])
    for value in bad:
        if path:
            yield f"spec.{'.'.join(path)}", _nested(path, value)
    for name, inner in schema.get("properties", {}).items():
        yield from _impossible(inner, (*path, name))


def _nested(path: Path_, value: Any) -> Json:
    for name in reversed(path):
        value = {name: value}
    return dict(value)

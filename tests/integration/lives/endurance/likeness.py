"""What is left of an object when everything is taken away that differs from one life to the next.

Two lives that went the same way leave equal remains: the same objects with the same content, made equally often.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

Json = dict[str, Any]
Remains = dict[str, list[Any]]
"""By kind."""

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_VOLATILE = frozenset(
    {
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "time",
        "clusterIP",
        "clusterIPs",
        "generateName",
        "hostIP",
        "hostIPs",
        "podIP",
        "podIPs",
        "addresses",
        "startTime",
        "pod-template-hash",
        # a namesake's ReplicaSet was not gone yet: the Deployment controller takes another hash
        "collisionCount",
        # nobody listens at the pods' addresses, which is told after a minute
        "errorsNotJudged",
        "errorsNotJudgedSince",
        # a hash of what we applied, names and uids included
        "model-operator.io/body",
    }
)
_SERVERS_OWN = ("endpoints.kubernetes.io/", "endpointslice.kubernetes.io/", "kubectl.kubernetes.io/")
_RANDOM_NAMES = ("Pod", "ReplicaSet", "EndpointSlice", "Event")
OPERATOR = "model-operator"


def remains(objects: Mapping[str, Sequence[Json]], names: Mapping[str, str]) -> Remains:
    """What stays of the objects of one ModelDeployment, by kind.

    ``names`` are words that stand for others, such as the ModelDeployment's own name for that of all.
    """
    return {kind: _sorted([remainder(kind, o, names) for o in found]) for kind, found in objects.items()}


def remainder(kind: str, obj: Json, names: Mapping[str, str]) -> Json:
    """What stays of one object."""
    kept = _strip(obj)
    if kind == "HorizontalPodAutoscaler":
        kept.pop("status", None)  # its controller looks every 15 s
    metadata = kept.get("metadata", {})
    if kind in _RANDOM_NAMES:
        metadata.pop("name", None)
    # who owns which field belongs to the end state; when it was written does not
    metadata["managedFields"] = _sorted(
        [
            m
            for m in metadata.get("managedFields", [])
            if m.get("manager") == OPERATOR and m.get("subresource") != "status"
        ]
    )
    for condition in (status := kept.get("status") or {}).get("conditions", []):
        condition.pop("lastUpdateTime", None)
    if "conditions" in status:
        status["conditions"] = _sorted(status["conditions"])
    text = json.dumps(kept, sort_keys=True)
    for word in sorted(names, key=len, reverse=True):
        text = text.replace(word, names[word])
    return dict(json.loads(text))


def differences(left: Any, right: Any, path: str = "") -> list[str]:
    """Where two remains differ, one line each."""
    if isinstance(left, dict) and isinstance(right, dict):
        keys = sorted({*left, *right})
        return [d for k in keys for d in differences(left.get(k), right.get(k), f"{path}.{k}")]
    if isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        pairs = enumerate(zip(left, right, strict=True))
        return [d for i, (a, b) in pairs for d in differences(a, b, f"{path}[{i}]")]
    return [] if left == right else [f"{path}: {_short(left)} became {_short(right)}"]


def _short(value: Any) -> str:
    text = json.dumps(value, sort_keys=True)
    return text if len(text) <= 600 else f"{text[:600]}…"


def _strip(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            k: _strip(v) for k, v in value.items() if k not in _VOLATILE and not k.startswith(_SERVERS_OWN)
        }
    if isinstance(value, list):
        return [_strip(item) for item in value]
    if isinstance(value, str):
        return _TIME.sub("TIME", value)
    return value


def _sorted(items: list[Any]) -> list[Any]:
    return sorted(items, key=lambda item: json.dumps(item, sort_keys=True))

"""The parts of an object that the cache keeps between two reconciles, and the names for its lookup.

Unlike the views, these functions run on each object of a watch. The objects come from the API server, so their
metadata exists and has the right type.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from model_operator.api.names import (
    ANNOTATION_RUNTIME,
    LABEL_DEPLOYMENT,
    LABEL_MANAGED_BY,
    MANAGED_BY,
    RESERVED_VOLUMES,
)
from model_operator.domain.objects.fields import Object
from model_operator.domain.objects.kinds import Key, Kind, ObjectRef

SLIMMED = frozenset(
    {Kind.POD, Kind.ENDPOINT_SLICE, Kind.AUTOSCALER, Kind.DISRUPTION_BUDGET, Kind.CONFIG_MAP},
)
"""The kinds whose changes count only if they change the kept part. An autoscaler, for example, writes its metrics four
times a minute."""


def ref_of(kind: Kind, body: Object) -> ObjectRef:
    """The reference to the object of a body."""
    metadata = body["metadata"]
    return ObjectRef(kind, str(metadata.get("namespace", "")), str(metadata["name"]))


def uid_of(body: Object) -> str:
    """The uid of a body. Empty if it has none yet."""
    return str(body["metadata"].get("uid", ""))


def resource_version_of(body: Object) -> str:
    """The resourceVersion of a body. Empty if it has none."""
    return str(body["metadata"].get("resourceVersion", ""))


def with_resource_version(body: Object, resource_version: str) -> dict[str, Any]:
    """The body with that resourceVersion, or without one if that is empty."""
    metadata = {key: value for key, value in body["metadata"].items() if key != "resourceVersion"}
    if resource_version:
        metadata["resourceVersion"] = resource_version
    return {**body, "metadata": metadata}


def owner_of(kind: Kind, body: Object) -> Key | None:
    """The key of the ModelDeployment that an object belongs to: itself, or the one in its label. None if not ours."""
    metadata = body.get("metadata") or {}
    namespace = str(metadata.get("namespace", ""))
    if kind is Kind.MODEL_DEPLOYMENT:
        return (namespace, str(metadata.get("name", "")))
    labels = metadata.get("labels") or {}
    name = labels.get(LABEL_DEPLOYMENT)
    return (namespace, str(name)) if name and labels.get(LABEL_MANAGED_BY) == MANAGED_BY else None


def project(kind: Kind, body: Object) -> Object:
    """The kept part of an object: all fields that its view reads.

    Pods keep the fields for verdicts, EndpointSlices the names and readiness of their pods, autoscalers whether they
    are at their maximum and why they can't work. Disruption budgets lose the status, ConfigMaps all but the metadata,
    and other kinds only managedFields.
    """
    if kind is Kind.POD:
        return _slim_pod(body)
    if kind is Kind.ENDPOINT_SLICE:
        return _slim_endpoint_slice(body)
    metadata = {key: value for key, value in body["metadata"].items() if key != "managedFields"}
    if kind is Kind.CONFIG_MAP:
        # the scripts never change under one name, and they are most of a ModelDeployment's memory
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
    slim = {**body, "metadata": metadata}
    if kind is Kind.DISRUPTION_BUDGET:
        slim.pop("status", None)
    if kind is Kind.AUTOSCALER:
        slim["status"] = _slim_autoscaler_status(body.get("status") or {})
    return slim


def _slim_autoscaler_status(status: Object) -> Object:
    conditions = []
    for one in status.get("conditions") or []:
        # all other messages may change with each size
        why = one.get("type") in ("AbleToScale", "ScalingActive") and one.get("status") == "False"
        more = ("message", "lastTransitionTime") if why else ()
        conditions.append(_pick(one, ("type", "status", "reason", *more)))
    return _pick(status, ("currentReplicas",)) | {"conditions": conditions}


_POD_METADATA = (
    "name",
    "namespace",
    "uid",
    "labels",
    "creationTimestamp",
    "deletionTimestamp",
    "resourceVersion",
)
_POD_STATUS = ("phase", "reason", "message", "startTime", "conditions", "podIP")
_CONTAINER_STATUS = (
    "name",
    "ready",
    "started",
    "restartCount",
    "state",
    "lastState",
    "image",
    "imageID",
)
_CONTAINER = ("name", "restartPolicy", "ports")


def _is_judged(volume: Object) -> bool:
    """Whether a pod waits for the volume longer than for the operator's own ones."""
    return volume.get("name") not in RESERVED_VOLUMES or "ephemeral" in volume


def _slim_pod(body: Object) -> Object:
    spec, status = body.get("spec") or {}, body.get("status") or {}
    slim_spec: dict[str, Any] = _pick(spec, ("nodeName",))
    if added := [one for one in spec.get("volumes") or [] if _is_judged(one)]:
        slim_spec["volumes"] = added
    slim_status: dict[str, Any] = _pick(status, _POD_STATUS)
    for containers in ("containers", "initContainers"):
        slim_spec[containers] = [
            _pick(container, _CONTAINER)
            | {"resources": _pick(container.get("resources") or {}, ("requests",))}
            for container in spec.get(containers) or []
        ]
    for statuses in ("containerStatuses", "initContainerStatuses"):
        slim_status[statuses] = [_pick(entry, _CONTAINER_STATUS) for entry in status.get(statuses) or []]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": _pick(body["metadata"], _POD_METADATA)
        # the runtime decides on the meaning of exit codes
        | {"annotations": _pick(body["metadata"].get("annotations") or {}, (ANNOTATION_RUNTIME,))},
        "spec": slim_spec,
        "status": slim_status,
    }


_SLICE_METADATA = ("name", "namespace", "uid", "labels", "deletionTimestamp", "resourceVersion")
_ENDPOINT = ("addresses", "conditions")
_TARGET = ("kind", "name", "uid")


def _slim_endpoint_slice(body: Object) -> Object:
    endpoints = [
        _pick(endpoint, _ENDPOINT) | {"targetRef": _pick(endpoint.get("targetRef") or {}, _TARGET)}
        for endpoint in body.get("endpoints") or []
    ]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": _pick(body["metadata"], _SLICE_METADATA),
        # their order has no meaning and changes by itself
        "endpoints": sorted(endpoints, key=lambda endpoint: endpoint.get("addresses") or []),
    }


def _pick(mapping: Object, keys: Iterable[str]) -> dict[str, Any]:
    return {key: mapping[key] for key in keys if key in mapping}

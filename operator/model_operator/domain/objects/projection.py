"""What is kept of an object between two reconciles, and by which names it is found again.

Unlike the views, all this is read of each object that a watch shows. These objects come from the API server, so their
metadata is there and of its type.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from model_operator.api.names import ANNOTATION_RUNTIME, LABEL_DEPLOYMENT, LABEL_MANAGED_BY, MANAGED_BY
from model_operator.domain.objects.fields import Object
from model_operator.domain.objects.kinds import Key, Kind, ObjectRef

SLIMMED = frozenset(
    {Kind.POD, Kind.ENDPOINT_SLICE, Kind.AUTOSCALER, Kind.DISRUPTION_BUDGET, Kind.CONFIG_MAP},
)
"""Of these, a change is no news unless it changes what is kept: an autoscaler tells its metrics four times a minute."""


def ref_of(kind: Kind, body: Object) -> ObjectRef:
    """The object that a body is of."""
    metadata = body["metadata"]
    return ObjectRef(kind, str(metadata.get("namespace", "")), str(metadata["name"]))


def uid_of(body: Object) -> str:
    """The uid of the object that a body is of; empty when it has none yet."""
    return str(body["metadata"].get("uid", ""))


def resource_version_of(body: Object) -> str:
    """The state of the object that a body shows; empty when it does not say."""
    return str(body["metadata"].get("resourceVersion", ""))


def with_resource_version(body: Object, resource_version: str) -> dict[str, Any]:
    """The body as it was at that resourceVersion; without one when that is empty."""
    metadata = {key: value for key, value in body["metadata"].items() if key != "resourceVersion"}
    if resource_version:
        metadata["resourceVersion"] = resource_version
    return {**body, "metadata": metadata}


def owner_of(kind: Kind, body: Object) -> Key | None:
    """The key that an object belongs to: its own, or that of its label; None when it is not ours."""
    metadata = body.get("metadata") or {}
    namespace = str(metadata.get("namespace", ""))
    if kind is Kind.MODEL_DEPLOYMENT:
        return (namespace, str(metadata.get("name", "")))
    labels = metadata.get("labels") or {}
    name = labels.get(LABEL_DEPLOYMENT)
    return (namespace, str(name)) if name and labels.get(LABEL_MANAGED_BY) == MANAGED_BY else None


def project(kind: Kind, body: Object) -> Object:
    """What is kept of an object: all that its view is read from.

    Of pods that is the little that verdicts need, of EndpointSlices which pods are in them and whether these are ready,
    of autoscalers whether they are at their end, of disruption budgets no status, of ConfigMaps only the metadata, of
    others all but managedFields.
    """
    if kind is Kind.POD:
        return _slim_pod(body)
    if kind is Kind.ENDPOINT_SLICE:
        return _slim_endpoint_slice(body)
    metadata = {key: value for key, value in body["metadata"].items() if key != "managedFields"}
    if kind is Kind.CONFIG_MAP:
        # the scripts in there never change under one name, and are most of what a ModelDeployment weighs
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
    slim = {**body, "metadata": metadata}
    if kind is Kind.DISRUPTION_BUDGET:
        slim.pop("status", None)
    if kind is Kind.AUTOSCALER:
        slim["status"] = _slim_autoscaler_status(body.get("status") or {})
    return slim


def _slim_autoscaler_status(status: Object) -> Object:
    conditions = [_pick(one, ("type", "status", "reason")) for one in status.get("conditions") or []]
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


def _slim_pod(body: Object) -> Object:
    spec, status = body.get("spec") or {}, body.get("status") or {}
    slim_spec: dict[str, Any] = _pick(spec, ("nodeName",))
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
        # which runtime it is says whose the exit codes are
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
        # their order says nothing and changes by itself
        "endpoints": sorted(endpoints, key=lambda endpoint: endpoint.get("addresses") or []),
    }


def _pick(mapping: Object, keys: Iterable[str]) -> dict[str, Any]:
    return {key: mapping[key] for key in keys if key in mapping}

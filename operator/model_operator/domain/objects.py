"""Objects of the cluster, and their readers. Any field may be missing or of another type than it should be."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from model_operator.api import names
from model_operator.api.choices import DEFAULT_RUNTIME, RUNTIMES

Key = tuple[str, str]
"""Namespace and name of a ModelDeployment."""
Object = Mapping[str, Any]
"""A Kubernetes object (or a part of one) as the JSON that the API server speaks. Read, never changed."""


class Kind(StrEnum):
    """The kinds of object that the operator touches."""

    MODEL_DEPLOYMENT = "ModelDeployment"
    DEPLOYMENT = "Deployment"
    SERVICE = "Service"
    AUTOSCALER = "HorizontalPodAutoscaler"
    DISRUPTION_BUDGET = "PodDisruptionBudget"
    CONFIG_MAP = "ConfigMap"
    REVISION = "ControllerRevision"
    POD = "Pod"
    ENDPOINT_SLICE = "EndpointSlice"
    SECRET = "Secret"  # noqa: S105 - a kind, not a password
    EVENT = "Event"
    LEASE = "Lease"


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """One object in the cluster, by kind, namespace and name."""

    kind: Kind
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


FETCH = names.CONTAINER_FETCH
SERVER = names.CONTAINER_SERVER


def mapping(value: Any) -> Object:
    """The value where it is an object, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def objects(value: Any) -> list[Object]:
    """The objects of a list; what is no object counts as an empty one."""
    return [mapping(v) for v in value] if isinstance(value, list | tuple) else []


def text(value: Any) -> str:
    """The value where it is a text, else an empty one."""
    return value if isinstance(value, str) else ""


def count(value: Any) -> int:
    """The value where it is a count, else 0."""
    return value if isinstance(value, int) and value > 0 else 0


def metadata(obj: Object) -> Object:
    """The object's metadata."""
    return mapping(obj.get("metadata"))


def spec(obj: Object) -> Object:
    """The object's spec."""
    return mapping(obj.get("spec"))


def status(obj: Object) -> Object:
    """The object's status."""
    return mapping(obj.get("status"))


def condition(obj: Object, kind: str) -> Object:
    """The object's condition of that type; empty when it has none."""
    return next((c for c in objects(status(obj).get("conditions")) if c.get("type") == kind), {})


def changed_at(found: Object) -> datetime | None:
    """When the condition took its present status."""
    return read_time(found.get("lastTransitionTime"))


def created_at(obj: Object) -> datetime | None:
    """When the object was created."""
    return read_time(metadata(obj).get("creationTimestamp"))


def revision_of(pod: Object) -> str:
    """The revision that the pod's label names."""
    return text(mapping(metadata(pod).get("labels")).get(names.LABEL_REVISION))


def runs_our_script(pod: Object) -> bool:
    """Whether the server is ours, so that its exit codes are."""
    annotations = mapping(metadata(pod).get("annotations"))
    runtime = RUNTIMES.get(str(annotations.get(names.ANNOTATION_RUNTIME, DEFAULT_RUNTIME)))
    return runtime is not None and runtime.our_script


def container(pod: Object, name: str) -> Object:
    """The status of that container; empty while it has none."""
    for field in ("initContainerStatuses", "containerStatuses"):
        for found in objects(status(pod).get(field)):
            if found.get("name") == name:
                return found
    return {}


def state(container_status: Object, name: str, of: str = "state") -> Object:
    """``running``, ``waiting`` or ``terminated`` of a container; ``of`` may be ``lastState``."""
    return mapping(mapping(container_status.get(of)).get(name))


def is_running(container_status: Object) -> bool:
    """Whether the container runs now."""
    return isinstance(mapping(container_status.get("state")).get("running"), Mapping)


def left_words(ended: Object) -> Object:
    """The JSON line that our scripts leave as their last words; empty for anything else."""
    try:
        return mapping(json.loads(text(ended.get("message"))))
    except (ValueError, RecursionError):
        return {}


def applied_revision(deployment: Object | None) -> str:
    """The revision that the Deployment's pod template names; empty when it names none."""
    if deployment is None:
        return ""
    template = part(part(deployment, "spec"), "template")
    return str(part(part(template, "metadata"), "labels").get(names.LABEL_REVISION, ""))


def rfc3339(moment: datetime) -> str:
    """``moment`` as the API server writes times: UTC, whole seconds, ``Z``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_time(text: object) -> datetime | None:
    """The time in UTC that an RFC 3339 text means, None for anything else."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    # at the ends of the calendar, sums of times would overflow
    return moment.astimezone(UTC) if moment.tzinfo and 1900 < moment.year < 9000 else None


def selected_track(service: Object | None) -> str:
    """The track that a Service sends its requests to; empty when there is none."""
    selector = part(part(service or {}, "spec"), "selector")
    return str(selector.get(names.LABEL_TRACK, ""))


def newest(status: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The first entry of a list of the status that is kept newest first; empty when there is none."""
    found = status.get(name)
    first = found[0] if isinstance(found, list) and found else {}
    return first if isinstance(first, Mapping) else {}


def part(raw: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The object under that name; empty when there is none."""
    value = raw.get(name)
    return value if isinstance(value, Mapping) else {}


def leaving(obj: Object) -> bool:
    """Whether it is being deleted."""
    return bool(metadata(obj).get("deletionTimestamp"))


def resource_version(obj: Object) -> str:
    """What every write to an object is bound to, so that a stale actor gets a conflict instead of its way."""
    return str(metadata(obj).get("resourceVersion", ""))

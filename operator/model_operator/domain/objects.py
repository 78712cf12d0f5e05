"""Reading objects of the cluster, where any field may be missing or of another type than it should be."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from model_operator.api import names
from model_operator.domain.rollout import read_time
from model_operator.domain.world import Object

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
    return str(annotations.get(names.ANNOTATION_RUNTIME, "MLflow")) == "MLflow"


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

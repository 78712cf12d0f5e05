"""The common fields of all children, and the view of the kinds that need no others."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from model_operator.api import names
from model_operator.domain.objects.fields import Object, metadata, objects, part, text
from model_operator.domain.objects.kinds import Kind


@dataclass(frozen=True, slots=True)
class Controller:
    """The owner that controls an object."""

    kind: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """An object of the cluster: its identity, its owner, and the resourceVersion at which it was read."""

    kind: Kind
    name: str
    uid: str
    resource_version: str
    """Every write to the object is bound to it, so that a write from stale data is a conflict."""
    leaving: bool
    """Whether it is being deleted."""
    controller: Controller | None
    """None for an orphan."""
    labelled_for: str
    """The ModelDeployment in its labels. Empty if the labels are not those of a child."""
    raw: Object = field(repr=False)
    """The JSON that it was read from, for the comparison with the body to apply."""


def read_child(kind: Kind, raw: Object) -> Child:
    """The view of an object of that kind."""
    return Child(**child_fields(kind, raw))


def child_fields(kind: Kind, raw: Object) -> dict[str, Any]:
    """The arguments for a ``Child``."""
    meta = metadata(raw)
    return {
        "kind": kind,
        "name": str(meta.get("name", "")),
        "uid": str(meta.get("uid", "")),
        "resource_version": str(meta.get("resourceVersion", "")),
        "leaving": is_leaving(meta),
        "controller": _read_controller(meta),
        "labelled_for": _read_labels(part(meta, "labels")),
        "raw": raw,
    }


def is_leaving(meta: Object) -> bool:
    """Whether the object with that metadata is being deleted."""
    return bool(meta.get("deletionTimestamp"))


def _read_labels(labels: Object) -> str:
    managed = labels.get(names.LABEL_MANAGED_BY) == names.MANAGED_BY
    return text(labels.get(names.LABEL_DEPLOYMENT)) if managed else ""


def _read_controller(meta: Object) -> Controller | None:
    for reference in objects(meta.get("ownerReferences")):
        if reference.get("controller"):
            return Controller(
                text(reference.get("kind")), text(reference.get("name")), text(reference.get("uid"))
            )
    return None

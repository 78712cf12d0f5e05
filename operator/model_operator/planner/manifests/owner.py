"""What every child object carries: name, labels, owner reference, and a mark of the applied body."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from model_operator.api import names

ANNOTATION_BODY = f"{names.GROUP}/body"
"""A hash of the applied body. A field of ours that we want no longer can't be seen in a live object; the
changed hash is seen, and the apply that follows drops the field."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The ModelDeployment that the children belong to."""

    namespace: str
    name: str
    uid: str

    def reference(self) -> dict[str, Any]:
        """The owner reference that makes the garbage collector remove a child with its ModelDeployment."""
        return {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "name": self.name,
            "uid": self.uid,
            # without blockOwnerDeletion: some clusters allow it only to those who may finalize the owner
            "controller": True,
        }


def canonical_json(value: Any) -> str:
    """The same text for the same JSON value, whatever the order of keys it was written in."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def short_hash(value: Any) -> str:
    """Ten hex digits that stand for a JSON value in a name."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:10]


def child_labels(owner: Owner) -> dict[str, str]:
    """The labels by which the operator finds its children; also on every pod."""
    return {
        names.LABEL_MANAGED_BY: names.MANAGED_BY,
        names.LABEL_APP_NAME: names.APP_NAME,
        names.LABEL_APP_INSTANCE: owner.name,
        names.LABEL_DEPLOYMENT: owner.name,
    }


def track_selector(owner: Owner, track: str | None = None) -> dict[str, str]:
    """The selector of Deployment, Service and PodDisruptionBudget; immutable in a Deployment.

    ``track`` is the name of the track's Deployment; None is the first track, named like the owner.
    """
    return {names.LABEL_DEPLOYMENT: owner.name, names.LABEL_TRACK: track or owner.name}


def child_metadata(
    owner: Owner,
    name: str,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Metadata of a child; ``labels`` come beside those that every child has."""
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": owner.namespace,
        "labels": {**(labels or {}), **child_labels(owner)},
        "ownerReferences": [owner.reference()],
    }
    if annotations:
        metadata["annotations"] = dict(annotations)
    return metadata


def name_of(body: Mapping[str, Any]) -> str:
    """The name of the object that a body is for."""
    return str(body["metadata"]["name"])


def marked(body: dict[str, Any]) -> dict[str, Any]:
    """The body with the hash of itself in ``ANNOTATION_BODY``."""
    annotations = {**body["metadata"].get("annotations", {}), ANNOTATION_BODY: short_hash(body)}
    return {**body, "metadata": {**body["metadata"], "annotations": annotations}}

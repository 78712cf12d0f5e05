"""The metadata of every child object: name, labels, owner reference, and a hash of the applied body."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from model_operator.api import names

ANNOTATION_BODY = f"{names.GROUP}/body"
"""A hash of the applied body. It makes the removal of a field visible: the live object still has the field, but the
hash differs, and the apply drops the field."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The ModelDeployment that owns the children."""

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
            # no blockOwnerDeletion: some clusters require the right to set finalizers on the owner for it
            "controller": True,
        }


def canonical_json(value: Any) -> str:
    """The same text for equal JSON values, independent of the order of keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def short_hash(value: Any) -> str:
    """Ten hex digits of a JSON value's hash, for names."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:10]


def spare_name(owner: str, name: str) -> str:
    """The other name of a child of the ModelDeployment ``owner``, for a ``name`` that is taken.

    It depends only on the two names, so the operator finds the child again after a restart or a restore.
    """
    return f"{name}-{short_hash([owner, name])}"


def called(body: dict[str, Any], name: str) -> dict[str, Any]:
    """The body of a child under another name."""
    return {**body, "metadata": {**body["metadata"], "name": name}}


def child_labels(owner: Owner) -> dict[str, str]:
    """The labels by which the operator finds its children. Pods have them too."""
    return {
        names.LABEL_MANAGED_BY: names.MANAGED_BY,
        names.LABEL_APP_NAME: names.APP_NAME,
        names.LABEL_APP_INSTANCE: owner.name,
        names.LABEL_DEPLOYMENT: owner.name,
    }


def track_selector(owner: Owner, track: str | None = None) -> dict[str, str]:
    """The selector of Deployment, Service and PodDisruptionBudget. It is immutable in a Deployment.

    ``track`` is the name of the track's Deployment. None is the first track, which has the owner's name.
    """
    return {names.LABEL_DEPLOYMENT: owner.name, names.LABEL_TRACK: track or owner.name}


def child_metadata(
    owner: Owner,
    name: str,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The metadata of a child. ``labels`` are added to those that every child has."""
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
    """The ``metadata.name`` of a body."""
    return str(body["metadata"]["name"])


def marked(body: dict[str, Any]) -> dict[str, Any]:
    """The body with its own hash in ``ANNOTATION_BODY``."""
    annotations = {**body["metadata"].get("annotations", {}), ANNOTATION_BODY: short_hash(body)}
    return {**body, "metadata": {**body["metadata"], "annotations": annotations}}

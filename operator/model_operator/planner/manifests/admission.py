"""Changes that admission makes to the bodies that we apply: a mutating webhook, a policy, a cluster's autopilot.

The API server stores the changed body, and another apply would only give the same object. So the object in the answer
to our own apply or POST is the fixed point. Each child stores a hash of its difference from the body in an annotation.
While it has exactly this difference, there is nothing to repair, also for the next operator process and after the
policy is gone. Any other difference is drift.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from model_operator.api import names
from model_operator.planner.manifests.children import without_replicas
from model_operator.planner.manifests.drift import Difference, differences
from model_operator.planner.manifests.owner import ANNOTATION_BODY, short_hash


def admission_patch(body: Mapping[str, Any], answer: Mapping[str, Any]) -> dict[str, Any] | None:
    """The merge patch that records the changes of admission, or None if there is nothing to record.

    ``body`` was applied or created, ``answer`` is the object that the API server returned. A stored revision and its
    scripts are never compared with a body again, so nothing is recorded for them.
    """
    if ANNOTATION_BODY not in ((body.get("metadata") or {}).get("annotations") or {}):
        return None
    found = differences(without_replicas(body), answer)
    if not found or is_admitted(body, answer, found):
        return None
    return {"metadata": {"annotations": {names.ANNOTATION_ADMITTED: _digest(body, found)}}}


def is_admitted(body: Mapping[str, Any], live: Mapping[str, Any], found: Sequence[Difference]) -> bool:
    """Whether the differences ``found`` of ``live`` from ``body`` are those that admission made."""
    annotations = (live.get("metadata") or {}).get("annotations")
    recorded = annotations.get(names.ANNOTATION_ADMITTED) if isinstance(annotations, Mapping) else None
    return bool(recorded) and recorded == _digest(body, found)


def _digest(body: Mapping[str, Any], found: Sequence[Difference]) -> str:
    """Covers the body too: the same difference from another body may be a field that has to go."""
    mark = body["metadata"]["annotations"][ANNOTATION_BODY]
    return short_hash([mark, sorted(([path, value] for path, value in found), key=lambda pair: str(pair[0]))])

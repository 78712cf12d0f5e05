"""What a node, or whoever clears it, did to a pod. None of it says anything about a model."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from model_operator.domain.objects import (
    Object,
    changed_at,
    condition,
    created_at,
    metadata,
    objects,
    read_time,
    status,
    text,
)
from model_operator.planner.health.reasons import Failure, failure, shorten

_LOST = frozenset({"NodeLost", "Shutdown", "NodeShutdown", "Terminated"})
_PUT_OUT = frozenset({"Evicted", "Preempting", "NodeAffinity", "UnexpectedAdmissionError"})
_REFUSED = "OutOf"
"""OutOfcpu, OutOfmemory, OutOfnvidia.com/gpu: the node had less room than the scheduler thought."""
_LOST_BY = frozenset({"DeletionByTaintManager", "DeletionByPodGC"})
"""Reasons of the condition DisruptionTarget for pods whose node does not answer, or is no more."""
_DETAIL = 300


@dataclass(frozen=True, slots=True)
class Displacement:
    """A pod that its node lost or put out."""

    trouble: Failure
    since: datetime | None
    gone: bool
    """Whether the pod is over, so that its ReplicaSet has another one made."""


def displacement(pod: Object) -> Displacement | None:
    """What was done to the pod; None for one that only its own containers, or a rollout, can have stopped."""
    gone = bool(metadata(pod).get("deletionTimestamp")) or status(pod).get("phase") in ("Failed", "Succeeded")
    reason = text(status(pod).get("reason"))
    disruption = condition(pod, "DisruptionTarget")
    readiness = condition(pod, "Ready")
    if disruption.get("status") == "True":
        name = text(disruption.get("reason"))
        kind = "NodeLost" if name in _LOST_BY or reason in _LOST else "Evicted"
        said, since = _quote(name, disruption), changed_at(disruption)
    elif reason in _LOST or status(pod).get("phase") == "Unknown":
        kind, said, since = "NodeLost", _quote(reason, status(pod)), changed_at(readiness)
    elif reason in _PUT_OUT or reason.startswith(_REFUSED):
        kind, said, since = "Evicted", _quote(reason, status(pod)), changed_at(readiness)
    elif status(pod).get("phase") in ("Failed", "Succeeded"):
        # with restartPolicy Always no container can bring this about
        kind, said, since = "Evicted", _quote(reason, status(pod)), changed_at(readiness)
    elif _unheard_of(pod, readiness):
        kind, said, since = "NodeLost", "its kubelet is not heard of", changed_at(readiness)
    else:
        return None
    what = "the pod's node went away" if kind == "NodeLost" else "the pod was put out by its node"
    trouble = failure(kind, f"{what} ({said})" if said else what)
    return Displacement(trouble, since or read_time(status(pod).get("startTime")) or created_at(pod), gone)


def _unheard_of(pod: Object, readiness: Object) -> bool:
    """The node controller turns Ready to False for the pods of a silent node, and touches nothing else of them."""
    if readiness.get("status") != "False" or readiness.get("reason") == "ReadinessGatesNotReady":
        return False
    containers = objects(status(pod).get("containerStatuses"))
    return bool(containers) and all(c.get("ready") is True for c in containers)


def _quote(reason: str, source: Object) -> str:
    detail = text(source.get("message")).strip()
    return shorten(": ".join(part for part in (reason, detail) if part), _DETAIL)

"""Evictions and lost nodes: reasons for the end of a pod that are not the model's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from model_operator.domain.objects import Condition, Pod
from model_operator.planner.health.reasons import Failure, failure, shorten

_LOST = frozenset({"NodeLost", "Shutdown", "NodeShutdown", "Terminated"})
_EVICTED = frozenset({"Evicted", "Preempting", "NodeAffinity", "UnexpectedAdmissionError"})
_REFUSED = "OutOf"
"""OutOfcpu, OutOfmemory, OutOfnvidia.com/gpu: the node had less room than the scheduler had counted on."""
_LOST_BY = frozenset({"DeletionByTaintManager", "DeletionByPodGC"})
"""Reasons of the condition DisruptionTarget for pods whose node does not respond or was removed."""
_DETAIL = 300


@dataclass(frozen=True, slots=True)
class Displacement:
    """An eviction of a pod, or the loss of its node."""

    trouble: Failure
    since: datetime | None
    gone: bool
    """Whether the pod has ended or is being deleted, so its ReplicaSet creates another one."""


def displacement(pod: Pod) -> Displacement | None:
    """The displacement of the pod. None if only its own containers or a rollout can have stopped it."""
    disruption, readiness = pod.condition("DisruptionTarget"), pod.condition("Ready")
    over = pod.phase in ("Failed", "Succeeded")
    if disruption.is_true:
        kind = "NodeLost" if disruption.reason in _LOST_BY or pod.reason in _LOST else "Evicted"
        detail, since = _quote(disruption), disruption.since
    elif pod.reason in _LOST or pod.phase == "Unknown":
        kind, detail, since = "NodeLost", _quote(pod), readiness.since
    elif over or pod.reason in _EVICTED or pod.reason.startswith(_REFUSED):
        # with restartPolicy Always, no container can end its pod
        kind, detail, since = "Evicted", _quote(pod), readiness.since
    elif _is_silent(pod, readiness):
        kind, detail, since = "NodeLost", "its kubelet does not report", readiness.since
    else:
        return None
    what = "the pod's node went away" if kind == "NodeLost" else "the pod was evicted or refused"
    trouble = failure(kind, f"{what} ({detail})" if detail else what)
    return Displacement(trouble, since or pod.started or pod.created, gone=pod.leaving or over)


def _is_silent(pod: Pod, readiness: Condition) -> bool:
    """Whether the pod's node does not report.

    The node controller then sets Ready to False and changes nothing else of the pod.
    """
    return readiness.is_false and readiness.reason != "ReadinessGatesNotReady" and pod.containers_ready


def _quote(source: Condition | Pod) -> str:
    parts = (source.reason, source.message.strip())
    return shorten(": ".join(part for part in parts if part), _DETAIL)

"""Evictions and lost nodes: reasons for the end of a pod that are not the model's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from model_operator.domain.objects import Condition, Pod
from model_operator.planner.health.reasons import Failure, failure, shorten

REFUSED = "OutOf"
"""OutOfcpu, OutOfmemory, OutOfnvidia.com/gpu: the node had less room than the scheduler had counted on."""
POD_REASONS: Mapping[str, str] = {
    **dict.fromkeys(("NodeLost", "Shutdown", "NodeShutdown", "Terminated"), "NodeLost"),
    **dict.fromkeys(("Evicted", "Preempting"), "Evicted"),
    **dict.fromkeys(
        (
            "NodeAffinity",
            "NodeName",
            "NodePorts",
            "NodeUnschedulable",
            "TaintToleration",
            "UnexpectedAdmissionError",
            "UnexpectedPredicateFailureType",
            "UnknownReason",
            "InvalidNodeInfo",
            "TopologyAffinityError",
            "EmptyPodSharedPoolError",
            "VolumeAttachmentLimitExceeded",
            "DeadlineExceeded",
        ),
        "Evicted",
    ),
    **dict.fromkeys(
        (
            "AppArmor",
            "SysctlForbidden",
            "PodOSNotSupported",
            "PodOSSelectorNodeLabelDoesNotMatch",
            "InitContainerRestartPolicyForbidden",
            "SupplementalGroupsPolicyNotSupported",
            "PodLevelResourcesNotSupported",
            "PodFeatureUnsupported",
        ),
        "PodRefusedByNode",
    ),
}
"""Reasons that the kubelet and the node controller give to a whole pod (status.reason), and the meaning of each.

They are those of pkg/kubelet: lifecycle, eviction, nodeshutdown, preemption, sysctl, cm/admission, cm/topologymanager,
volumemanager and active_deadline.go, and of the scheduler's plug-ins that the kubelet applies once more.
"""
_LOST_BY = frozenset({"DeletionByTaintManager", "DeletionByPodGC"})
"""Reasons of the condition DisruptionTarget for pods whose node does not respond or was removed."""
_BY_THE_KUBELET = frozenset({"ReadinessGatesNotReady", "ContainersNotReady"})
"""Reasons of Ready that only a kubelet gives. A sidecar among the init containers may be the one that is not ready."""
_HAPPENED = {
    "NodeLost": "the pod's node went away",
    "Evicted": "the pod was evicted or refused",
    "PodRefusedByNode": "the node does not support a setting of the pod",
}
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
    reason = "Evicted" if pod.reason.startswith(REFUSED) else POD_REASONS.get(pod.reason, "")
    if disruption.is_true:
        kind = "NodeLost" if disruption.reason in _LOST_BY or reason == "NodeLost" else "Evicted"
        detail, since = _quote(disruption), disruption.since
    elif reason == "NodeLost" or pod.phase == "Unknown":
        kind, detail, since = "NodeLost", _quote(pod), readiness.since
    elif over or reason:
        # with restartPolicy Always, no container can end its pod
        kind, detail, since = reason or "Evicted", _quote(pod), readiness.since
    elif _is_silent(pod, readiness):
        kind, detail, since = "NodeLost", "its kubelet does not report", readiness.since
    else:
        return None
    happened = _HAPPENED[kind]
    trouble = failure(kind, f"{happened} ({detail})" if detail else happened)
    return Displacement(trouble, since or pod.started or pod.created, gone=pod.leaving or over)


def _is_silent(pod: Pod, readiness: Condition) -> bool:
    """Whether the pod's node does not report.

    The node controller then sets Ready to False and changes nothing else of the pod.
    """
    return readiness.is_false and readiness.reason not in _BY_THE_KUBELET and pod.containers_ready


def _quote(source: Condition | Pod) -> str:
    parts = (source.reason, source.message.strip())
    return shorten(": ".join(part for part in parts if part), _DETAIL)

"""Obstacles of a pod that are in none of the operator's own containers: volumes, network, and what others added to it.

An admission webhook may add init containers, sidecars and readiness gates. Nobody who writes a ModelDeployment can
repair them, so they are of side Environment.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from model_operator.domain.objects import Pod
from model_operator.planner.health.container_problems import describe_foreign
from model_operator.planner.health.container_reports import PROGRESS
from model_operator.planner.health.reasons import Failure, failure, shorten

VOLUME_GRACE = timedelta(seconds=300)
"""Longer than a network plug-in needs. Mounting a Secret or ConfigMap takes less than a second."""
PREPARE_GRACE = timedelta(seconds=60)
"""Attaching a disk and setting up a network are not reported as a trouble for so long."""
_DETAIL = 400


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Something in the way of a pod, in words, and the failure that it is at the deadline."""

    text: str
    failure: Failure
    evident: bool = False
    """Whether it is a trouble now. Otherwise it may be a normal part of a start."""
    lasts: timedelta | None = None
    """How long it may last, if that is less than the limit of the phase."""
    evident_in: timedelta | None = None
    """The time after which it is a trouble, if time alone decides that."""


def sandbox_obstacle(pod: Pod, waits: timedelta) -> Obstacle | None:
    """The obstacle of a pod whose node has not prepared it for ``waits``: its volumes or its network.

    The kubelet mounts all volumes, then has the network set up, and then sets PodReadyToStartContainers to True
    (pkg/kubelet/kubelet.go, status/generate.go). Only events name the volume, and the operator has no right to read
    them. So its kinds decide: a Secret or ConfigMap that exists is mounted at once, a disk may take minutes.
    """
    prepared = pod.condition("PodReadyToStartContainers")
    # a kubelet before Kubernetes 1.29 does not set the condition, but a prepared pod has an address
    if prepared.is_true or (not prepared.is_false and pod.ip):
        return None
    fetch = pod.fetch
    if fetch.running or fetch.end or fetch.last_end or fetch.waiting_for not in PROGRESS:
        return None
    text = "the node has not mounted the pod's volumes and set up its network"
    if added := [*pod.volumes.files, *pod.volumes.disks]:
        text = shorten(f"{text}. The pod mounts: {', '.join(added)}", _DETAIL)
    found, lasts = failure("PodNotPrepared", text), None
    if pod.volumes.files and not pod.volumes.disks:
        found, lasts = failure("VolumesNotMounted", text), VOLUME_GRACE
    left = PREPARE_GRACE - waits
    if left > timedelta(0):
        return Obstacle("", found, lasts=lasts, evident_in=left)
    return Obstacle(text, found, evident=True, lasts=lasts)


def init_obstacle(pod: Pod) -> Obstacle | None:
    """The obstacle of a pod whose own init container is not to blame: another one that fails or does not end."""
    for other in (*pod.others, *pod.sidecars):
        if problem := describe_foreign(other):
            text = f"the init container {other.name}, which the operator has not added, {problem}"
            return Obstacle(text, failure("InitContainerFailed", text), evident=True)
    if pod.fetch.running:
        return None
    for other in pod.others:
        if other.running:
            text = f"the init container {other.name}, which the operator has not added, has not ended"
            return Obstacle(text, failure("InitContainerFailed", text))
    return None


def start_obstacle(pod: Pod) -> Obstacle | None:
    """The obstacle of a pod that is not ready although its server is: a sidecar or a readiness gate."""
    if pod.server.ready is not True:
        return None
    for other in pod.sidecars:
        if problem := describe_foreign(other):
            text = f"the server is ready, and the container {other.name}, which the operator has not added, {problem}"
            return Obstacle(text, failure("SidecarNotReady", text), evident=True)
    if waiting := [other.name for other in pod.sidecars if other.ready is False]:
        names = ", ".join(waiting)
        text = f"the server is ready, and {names} is not. The operator has not added this container"
        return Obstacle(text, failure("SidecarNotReady", text))
    readiness = pod.condition("Ready")
    if readiness.reason == "ReadinessGatesNotReady":
        text = f"the server is ready, and a readiness gate of the pod is not: {readiness.message}"
        return Obstacle(text, failure("ReadinessGateNotReady", text))
    return None

"""The Deployment and what stands around it: Service, HorizontalPodAutoscaler, PodDisruptionBudget."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from model_operator.api import names
from model_operator.api.spec import ModelDeploymentSpec
from model_operator.manifests.owner import Owner, child_metadata, marked, track_selector
from model_operator.manifests.pods import PORT_NAME
from model_operator.world import Revision

ANNOTATION_REVISION = names.LABEL_REVISION
"""On the Deployment: the name of the revision whose template it has."""

DEFAULT_CPU_UTILIZATION = 70

# An old pod may go only when the new one's endpoint has had time to reach the nodes; also catches a server
# that dies right after its first answer. Each step of a rollout waits as long, so it is short.
_MIN_READY_SECONDS = 3
# our revisions are the history; ReplicaSets are kept for a look back by kubectl
_REVISION_HISTORY = 2
_AFTER_OUR_DEADLINES_SECONDS = 60


def deployment(owner: Owner, spec: ModelDeploymentSpec, revision: Revision) -> dict[str, Any]:
    """The Deployment of the ModelDeployment's one track, running ``revision``'s template as it was rendered.

    Without ``spec.replicas``: they go through the scale subresource (an apply that once held the field and
    drops it would reset it to 1). A POST of this body starts with one replica unless the caller adds them.
    """
    rollout = spec.rollout
    body: dict[str, Any] = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": child_metadata(
            owner,
            owner.name,
            labels=track_selector(owner),
            annotations={ANNOTATION_REVISION: revision.name},
        ),
        "spec": {
            "selector": {"matchLabels": track_selector(owner)},
            "template": deepcopy(dict(revision.template)),
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": rollout.max_surge, "maxUnavailable": rollout.max_unavailable},
            },
            "minReadySeconds": _MIN_READY_SECONDS,
            "revisionHistoryLimit": _REVISION_HISTORY,
            # the operator's own deadlines judge, per pod and phase; this one only must not come before them
            "progressDeadlineSeconds": rollout.scheduling_seconds
            + rollout.fetch_seconds
            + rollout.startup_seconds
            + _AFTER_OUR_DEADLINES_SECONDS,
        },
    }
    return marked(body)


def initial_replicas(spec: ModelDeploymentSpec) -> int:
    """How many pods a Deployment starts with when it is created."""
    if spec.replicas is not None:
        return spec.replicas
    return spec.autoscaling.min_replicas if spec.autoscaling else 1


def service(owner: Owner, spec: ModelDeploymentSpec) -> dict[str, Any]:
    """The Service in front of the serving track."""
    body = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": child_metadata(
            owner, owner.name, labels=track_selector(owner), annotations=spec.service.annotations
        ),
        "spec": {
            "type": spec.service.type,
            "selector": track_selector(owner),
            # by name: old and new pods may listen on different ports during a rollout
            "ports": [
                {"name": PORT_NAME, "port": spec.service.port, "targetPort": PORT_NAME, "protocol": "TCP"}
            ],
        },
    }
    return marked(body)


def autoscaler(owner: Owner, spec: ModelDeploymentSpec) -> dict[str, Any] | None:
    """The HorizontalPodAutoscaler, or None where the spec has no ``autoscaling``."""
    scaling = spec.autoscaling
    if scaling is None:
        return None
    metrics: list[dict[str, Any]] = []
    cpu = scaling.target_cpu_utilization_percentage
    if cpu is None and not scaling.metrics:
        cpu = DEFAULT_CPU_UTILIZATION
    if cpu is not None:
        target = {"type": "Utilization", "averageUtilization": cpu}
        metrics.append({"type": "Resource", "resource": {"name": "cpu", "target": target}})
    wanted: dict[str, Any] = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": owner.name},
        "minReplicas": scaling.min_replicas,
        "maxReplicas": scaling.max_replicas,
        "metrics": [*metrics, *deepcopy(scaling.metrics)],
    }
    if scaling.behavior:
        wanted["behavior"] = deepcopy(scaling.behavior)
    body = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": child_metadata(owner, owner.name, labels=track_selector(owner)),
        "spec": wanted,
    }
    return marked(body)


def disruption_budget(owner: Owner, spec: ModelDeploymentSpec) -> dict[str, Any]:
    """The PodDisruptionBudget: a drain takes one pod at a time and never waits for a sick one."""
    body = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": child_metadata(owner, owner.name, labels=track_selector(owner)),
        "spec": {
            "selector": {"matchLabels": track_selector(owner)},
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }
    return marked(body)

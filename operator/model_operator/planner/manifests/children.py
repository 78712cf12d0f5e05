"""The Deployment and the objects around it: Service, HorizontalPodAutoscaler, PodDisruptionBudget."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from model_operator.api import names
from model_operator.api.spec import ModelDeploymentSpec
from model_operator.domain.revision import Revision
from model_operator.planner.manifests.owner import Owner, child_metadata, marked, track_selector
from model_operator.planner.manifests.pods import PORT_NAME

ANNOTATION_REVISION = names.LABEL_REVISION
"""On the Deployment: the name of the revision whose template it has."""

DEFAULT_CPU_UTILIZATION = 70

# Gives a new pod's endpoint time to reach the nodes before an old pod stops, and catches a server that dies right
# after its first answer. Each step of a rollout waits that long, so it is short.
_MIN_READY_SECONDS = 3
# our revisions are the history, ReplicaSets are kept only for kubectl
_REVISION_HISTORY = 2
_AFTER_OUR_DEADLINES_SECONDS = 60
# of a track without requests
_NOBODY_NOTICES: dict[str, int | str] = {"maxSurge": 0, "maxUnavailable": "100%"}


def deployment(
    owner: Owner,
    spec: ModelDeploymentSpec,
    revision: Revision,
    track: str | None = None,
    *,
    in_traffic: bool = True,
) -> dict[str, Any]:
    """The Deployment of a track, with the stored template of ``revision`` under the track's label.

    ``track`` is the Deployment's name, None for the first track. A track that is not ``in_traffic`` replaces all its
    pods at once, without a surge. The body has no ``spec.replicas``, because an apply that owned the field and drops
    it would reset it to 1. The operator sets the size through the scale subresource. A POST of this body starts with
    one replica unless the caller adds them (``with_replicas``).
    """
    rollout = spec.rollout
    rolling = {"maxSurge": rollout.max_surge, "maxUnavailable": rollout.max_unavailable}
    body: dict[str, Any] = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": child_metadata(
            owner,
            track or owner.name,
            labels=track_selector(owner, track),
            annotations={ANNOTATION_REVISION: revision.name},
        ),
        "spec": {
            "selector": {"matchLabels": track_selector(owner, track)},
            "template": _template(owner, revision, track),
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": rolling if in_traffic else dict(_NOBODY_NOTICES),
            },
            "minReadySeconds": _MIN_READY_SECONDS,
            "revisionHistoryLimit": _REVISION_HISTORY,
            # the operator judges by its own deadlines per pod and phase, and this one must not come before them
            "progressDeadlineSeconds": rollout.scheduling_seconds
            + rollout.fetch_seconds
            + rollout.startup_seconds
            + _AFTER_OUR_DEADLINES_SECONDS,
        },
    }
    return marked(body)


def _template(owner: Owner, revision: Revision, track: str | None) -> dict[str, Any]:
    template: dict[str, Any] = _copied(revision.template)
    if track and track != owner.name:  # it was rendered with the label of the first track
        template["metadata"]["labels"][names.LABEL_TRACK] = track
    return template


def _copied(value: Any) -> Any:
    """A copy of a JSON value. Each reconcile copies a whole template, for which deepcopy is slow."""
    if isinstance(value, dict):
        return {key: _copied(part) for key, part in value.items()}
    return [_copied(part) for part in value] if isinstance(value, list) else value


def initial_replicas(spec: ModelDeploymentSpec) -> int:
    """The number of pods of a Deployment when it is created."""
    if spec.replicas is not None:
        return spec.replicas
    return spec.autoscaling.min_replicas if spec.autoscaling else 1


def with_replicas(body: Mapping[str, Any], replicas: int) -> dict[str, Any]:
    """The body of a Deployment to be created, at that size."""
    return {**body, "spec": {**body["spec"], "replicas": replicas}}


def without_replicas(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The body without a size, to be applied to a Deployment that has one."""
    spec = {key: value for key, value in (body.get("spec") or {}).items() if key != "replicas"}
    return {**body, "spec": spec} if spec else body


def patch_over(found: Mapping[str, Any], body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The merge patch that turns the object ``found`` into ``body`` and removes the old keys of its selector.

    A selector merged from both would select no pod until the next apply.
    """
    spec, before = body.get("spec") or {}, (found.get("spec") or {}).get("selector") or {}
    if "selector" not in spec:
        return body
    return {**body, "spec": {**spec, "selector": {**dict.fromkeys(before), **spec["selector"]}}}


def service(owner: Owner, spec: ModelDeploymentSpec, track: str | None = None) -> dict[str, Any]:
    """The Service in front of the serving track. ``track`` None is the first track."""
    body = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": child_metadata(
            owner, owner.name, labels=track_selector(owner, track), annotations=spec.service.annotations
        ),
        "spec": _service_spec(owner, spec, track, spec.service.type),
    }
    return marked(body)


def preview_service(owner: Owner, spec: ModelDeploymentSpec, track: str) -> dict[str, Any]:
    """The Service for testing a candidate on ``track`` before it gets traffic.

    It is a ClusterIP without the annotations of the spec. Those could expose it to the internet, or take over the
    address of the real Service.
    """
    body = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": child_metadata(owner, owner.name + names.PREVIEW_SUFFIX),
        "spec": _service_spec(owner, spec, track, "ClusterIP"),
    }
    return marked(body)


def _service_spec(owner: Owner, spec: ModelDeploymentSpec, track: str | None, kind: str) -> dict[str, Any]:
    return {
        "type": kind,
        "selector": track_selector(owner, track),
        # by name: old and new pods may listen on different ports during a rollout
        "ports": [{"name": PORT_NAME, "port": spec.service.port, "targetPort": PORT_NAME, "protocol": "TCP"}],
    }


def autoscaler(
    owner: Owner, spec: ModelDeploymentSpec, track: str | None = None, deployment_name: str = ""
) -> dict[str, Any] | None:
    """The HorizontalPodAutoscaler of ``track``'s Deployment, or None where the spec has no ``autoscaling``.

    ``deployment_name`` is the name of that Deployment if it is not that of the track.
    """
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
        "scaleTargetRef": {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "name": deployment_name or track or owner.name,
        },
        "minReplicas": scaling.min_replicas,
        "maxReplicas": scaling.max_replicas,
        "metrics": [*metrics, *deepcopy(scaling.metrics)],
    }
    if scaling.behavior:
        wanted["behavior"] = deepcopy(scaling.behavior)
    body = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": child_metadata(owner, owner.name, labels=track_selector(owner, track)),
        "spec": wanted,
    }
    return marked(body)


def disruption_budget(owner: Owner, spec: ModelDeploymentSpec, track: str | None = None) -> dict[str, Any]:
    """The PodDisruptionBudget of a track: a drain evicts one pod at a time and never waits for an unready one."""
    body = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": child_metadata(owner, owner.name, labels=track_selector(owner, track)),
        "spec": {
            "selector": {"matchLabels": track_selector(owner, track)},
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }
    return marked(body)

"""What the cache keeps of an object is enough for its view."""

from __future__ import annotations

from typing import Any

from model_operator.api import names
from model_operator.domain.objects import Kind, read_autoscaler, read_child, read_endpoint_slice, read_pod
from model_operator.domain.objects.projection import project

Json = dict[str, Any]

LABELS = {
    names.LABEL_MANAGED_BY: names.MANAGED_BY,
    names.LABEL_DEPLOYMENT: "churn",
    names.LABEL_TRACK: "churn",
    names.LABEL_REVISION: "v3-0123456789",
}
META = {"name": "churn", "namespace": "crm", "uid": "7", "resourceVersion": "99", "labels": LABELS}
MANAGED = {"managedFields": [{"manager": "kubelet", "fieldsV1": {"f:status": {}}}]}
AT = "2026-11-30T10:00:00Z"

POD: Json = {
    "metadata": {
        **META,
        **MANAGED,
        "creationTimestamp": AT,
        "deletionTimestamp": AT,
        "annotations": {names.ANNOTATION_RUNTIME: "Custom", "others": "x"},
    },
    "spec": {
        "nodeName": "node-1",
        "containers": [
            {
                "name": "server",
                "image": "server:1",
                "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "4"}},
                "ports": [{"name": "http", "containerPort": 8080}],
            }
        ],
        "initContainers": [
            {"name": "fetch", "resources": {"requests": {"memory": "1Gi"}}},
            {"name": "istio-proxy", "restartPolicy": "Always"},
        ],
        "volumes": [{"name": "tls", "secret": {"secretName": "churn-tls"}}, {"name": "tmp", "emptyDir": {}}],
    },
    "status": {
        "phase": "Running",
        "reason": "Evicted",
        "message": "low on memory",
        "startTime": AT,
        "podIP": "10.0.0.7",
        "hostIP": "10.1.0.1",
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": AT, "lastProbeTime": None}],
        "containerStatuses": [
            {
                "name": "server",
                "image": "server:1",
                "ready": True,
                "restartCount": 2,
                "state": {"running": {"startedAt": AT}},
                "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled", "finishedAt": AT}},
                "volumeMounts": [{"name": "model"}],
            }
        ],
        "initContainerStatuses": [
            {"name": "fetch", "state": {"terminated": {"exitCode": 0, "message": '{"inputExample": true}'}}}
        ],
    },
}


def test_of_a_pod_all_is_kept_that_its_view_shows() -> None:
    kept = project(Kind.POD, POD)
    assert read_pod(kept) == read_pod(POD)
    assert "managedFields" not in kept["metadata"]
    assert "hostIP" not in kept["status"]


def test_of_an_autoscaler_it_is_kept_whether_it_is_at_its_end() -> None:
    limited = {"type": "ScalingLimited", "status": "True", "reason": "TooManyReplicas", "message": "x" * 300}
    raw = {
        "metadata": META | MANAGED,
        "spec": {"maxReplicas": 5, "scaleTargetRef": {"name": "churn"}},
        "status": {"currentReplicas": 5, "conditions": [limited], "currentMetrics": [{"type": "Resource"}]},
    }
    kept = project(Kind.AUTOSCALER, raw)
    assert (read_autoscaler(kept).track, read_autoscaler(kept).at_maximum) == ("churn", True)
    assert "currentMetrics" not in kept["status"]


def test_of_an_endpoint_slice_the_ready_pods_are_kept() -> None:
    endpoints = [
        {"addresses": ["10.0.0.8"], "conditions": {"ready": True}, "targetRef": {"kind": "Pod", "name": "b"}},
        {
            "addresses": ["10.0.0.7"],
            "conditions": {"ready": False},
            "targetRef": {"kind": "Pod", "name": "a"},
        },
        {"addresses": ["10.0.0.9"], "conditions": {}, "targetRef": {"kind": "Pod", "name": "c"}},
    ]
    labels = LABELS | {"kubernetes.io/service-name": "churn"}
    raw = {"metadata": META | {"labels": labels}, "endpoints": endpoints, "ports": [{"port": 8080}]}
    kept = read_endpoint_slice(project(Kind.ENDPOINT_SLICE, raw))
    assert (kept.service, sorted(kept.ready)) == ("churn", ["b", "c"])


def test_of_scripts_it_is_kept_whose_they_are_and_not_what_they_say() -> None:
    raw = {"metadata": META | MANAGED, "data": {"serve.py": "print()"}}
    kept = project(Kind.CONFIG_MAP, raw)
    assert "data" not in kept
    assert read_child(Kind.CONFIG_MAP, kept).labelled_for == "churn"

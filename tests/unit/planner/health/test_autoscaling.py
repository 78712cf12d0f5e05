"""Autoscalers that can't work, with the conditions as Kubernetes writes them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.unit.planner.health.pod_objects import NOW, Json

from model_operator.domain.objects import Kind, read_autoscaler, rfc3339
from model_operator.domain.objects.projection import project
from model_operator.planner.health.autoscaling import IDLE_PATIENCE, find_idle_autoscaler

COMPUTE = "the HPA was unable to compute the replica count: failed to get cpu utilization: "
FETCH = COMPUTE + "unable to get metrics for resource cpu: "
API = (
    FETCH
    + "unable to fetch metrics from resource metrics API: the server could not find the requested resource "
)


def autoscaler(kind: str, status: str, reason: str, message: str = "") -> Json:
    condition = {"type": kind, "status": status, "reason": reason, "message": message}
    able = {"type": "AbleToScale", "status": "True", "reason": "SucceededGetScale"}
    since = rfc3339(NOW - timedelta(minutes=1))
    conditions = [condition | {"lastTransitionTime": since}, able | {"lastTransitionTime": since}]
    return {
        "metadata": {"name": "churn", "namespace": "crm"},
        "spec": {"maxReplicas": 5, "scaleTargetRef": {"name": "churn"}},
        "status": {"currentReplicas": 1, "conditions": conditions},
    }


@pytest.mark.parametrize(
    ("reason", "message", "told"),
    [
        (
            "FailedGetResourceMetric",
            COMPUTE + "missing request for cpu in container server of Pod churn-7d-x2",
            "container server has no cpu request. Set server.resources.requests.cpu",
        ),
        (
            "FailedGetResourceMetric",
            COMPUTE + "missing request for cpu in container istio-proxy of Pod churn-7d-x2",
            "Set the cpu request of container istio-proxy",
        ),
        ("FailedGetResourceMetric", API + "(get pods.metrics.k8s.io)", "Install metrics-server"),
        ("FailedGetResourceMetric", FETCH + "no metrics returned from resource metrics API", "Check metrics-server"),
        ("FailedGetExternalMetric", "anything", "(FailedGetExternalMetric). Check its conditions"),
    ],
)  # fmt: skip
def test_an_autoscaler_that_can_not_compute_a_size(reason: str, message: str, told: str) -> None:
    kept = project(Kind.AUTOSCALER, autoscaler("ScalingActive", "False", reason, message))
    found = find_idle_autoscaler(read_autoscaler(kept))
    assert found is not None
    assert told in found.message
    assert "churn-7d-x2" not in found.message, "it would change the status with each pod"
    assert found.report_at == NOW - timedelta(minutes=1) + IDLE_PATIENCE


def test_an_autoscaler_that_can_not_scale() -> None:
    found = find_idle_autoscaler(read_autoscaler(autoscaler("AbleToScale", "False", "FailedGetScale")))
    assert found is not None
    assert "FailedGetScale" in found.message


@pytest.mark.parametrize(
    ("status", "reason"),
    [("True", "ValidMetricFound"), ("False", "ScalingDisabled"), ("Unknown", "Whatever")],
)
def test_an_autoscaler_without_a_fault(status: str, reason: str) -> None:
    assert find_idle_autoscaler(read_autoscaler(autoscaler("ScalingActive", status, reason))) is None


def test_no_autoscaler_has_no_fault() -> None:
    assert find_idle_autoscaler(None) is None

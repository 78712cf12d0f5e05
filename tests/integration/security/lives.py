"""A whole life of a ModelDeployment, in which the operator has to do everything that it ever does."""

from __future__ import annotations

import base64
from typing import Any

from tests.integration.lives.bench import Bench
from tests.integration.lives.kubelet import Script

LOAD_FAILED = Script(50, '{"reason": "LoadFailed", "message": "ValueError: the pickle is broken"}')


def pods_secret(name: str, **values: str) -> dict[str, Any]:
    """A Secret with these values."""
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}


def live(bench: Bench, model: str, secret: dict[str, Any]) -> None:
    """Credentials come late, versions come, fail and are taken back, people ask, others interfere.

    Returns when the operator is at rest; one ModelDeployment is left, and its pods serve.
    """
    bench.kubelet.scripts[(model, "3")] = LOAD_FAILED
    spec = {
        "model": {"name": model, "alias": "champion"},
        "replicas": 2,
        "revert": {"historyLimit": 1},
        "rollout": {"watchSeconds": 1},
    }
    bench.create("churn", spec)
    bench.until_condition("churn", "Current", "False", "CredentialsMissing")
    bench.post("Secret", secret)
    bench.until_settled("churn", 1)
    _versions(bench, model)
    _interference(bench)
    _sizes(bench)
    _shapes(bench)
    _blue_and_green(bench, model)
    _orphans(bench)
    _a_service_of_somebody_else(bench, model)
    _what_nothing_mounts(bench)


def _versions(bench: Bench, model: str) -> None:
    bench.alias(model, "champion", 3)
    bench.until_condition("churn", "Current", "False", "VersionRejected")
    bench.annotate("churn", retry="once-more")
    bench.until("the request is answered", lambda: bench.status("churn").get("handledRequests"))
    bench.until_condition("churn", "Current", "False", "VersionRejected")
    for version in (2, 1, 2):
        bench.alias(model, "champion", version)
        bench.until_settled("churn", version)


def _interference(bench: Bench) -> None:
    for kind in ("Service", "PodDisruptionBudget", "Deployment"):
        found = bench.get(kind, "churn")
        assert found
        bench.delete(kind, "churn")
        uid = found["metadata"]["uid"]
        bench.until(f"the {kind} is back", lambda: _uid(bench, kind) not in ("", uid))  # noqa: B023
    bench.until_condition("churn", "Ready", "True", "Serving")
    elsewhere = {"spec": {"selector": {"model-operator.io/track": "elsewhere"}}}
    bench.patch("Service", "churn", elsewhere)
    bench.until("the Service is as it was", lambda: bench.traffic("churn") == "churn")
    shaken = {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 30}}}}
    bench.patch("Deployment", "churn", shaken)
    bench.until("the Deployment is as it was", lambda: _grace(bench) == 60)
    bench.patch("PodDisruptionBudget", "churn", {"spec": {"maxUnavailable": 2}})
    bench.until("the budget is as it was", lambda: _spec(bench, "PodDisruptionBudget")["maxUnavailable"] == 1)
    bench.until_condition("churn", "Ready", "True", "Serving")


def _sizes(bench: Bench) -> None:
    bench.patch("ModelDeployment", "churn", {"spec": {"replicas": 3}})
    bench.until("three pods", lambda: bench.size("churn") == 3)
    autoscaling = {"minReplicas": 1, "maxReplicas": 3}
    bench.patch("ModelDeployment", "churn", {"spec": {"replicas": None, "autoscaling": autoscaling}})
    bench.until("an autoscaler", lambda: bench.get("HorizontalPodAutoscaler", "churn"))
    bench.patch("HorizontalPodAutoscaler", "churn", {"spec": {"maxReplicas": 9}})
    bench.until("it is as it was", lambda: _spec(bench, "HorizontalPodAutoscaler")["maxReplicas"] == 3)
    bench.patch("ModelDeployment", "churn", {"spec": {"replicas": 1, "autoscaling": None}})
    bench.until("it is gone", lambda: bench.get("HorizontalPodAutoscaler", "churn") is None)
    bench.until_condition("churn", "Ready", "True", "Serving")


def _shapes(bench: Bench) -> None:
    """More revisions than are kept."""
    for number in ("one", "two", "three", "four"):
        bench.patch("ModelDeployment", "churn", {"spec": {"pod": {"labels": {"shape": number}}}})
        bench.until_observed("churn")
        bench.until_settled("churn", 2)


def _blue_and_green(bench: Bench, model: str) -> None:
    approval = {"mode": "Manual", "at": "BeforeTraffic", "approved": "2"}
    rollout = {"strategy": "BlueGreen", "watchSeconds": 1, "warmSeconds": 1}
    bench.patch("ModelDeployment", "churn", {"spec": {"rollout": rollout, "gates": {"approval": approval}}})
    bench.until_observed("churn")
    bench.alias(model, "champion", 1)
    bench.until("the candidate can be tried", lambda: bench.get("Service", "churn-candidate"))
    bench.patch("ModelDeployment", "churn", {"spec": {"gates": {"approval": {"approved": "1"}}}})
    bench.until_settled("churn", 1)
    bench.until("its Service is gone", lambda: bench.get("Service", "churn-candidate") is None)
    bench.patch(
        "ModelDeployment", "churn", {"spec": {"rollout": {"strategy": "RollingUpdate"}, "gates": None}}
    )
    bench.until("one track is left", lambda: len(bench.items("Deployment")) == 1)
    bench.until_condition("churn", "Ready", "True", "Serving")


def _orphans(bench: Bench) -> None:
    found = bench.get("ModelDeployment", "churn")
    assert found
    bench.until_at_rest("churn")
    bench.delete("ModelDeployment", "churn", propagation="Orphan")
    bench.until("it is gone", lambda: bench.get("ModelDeployment", "churn") is None)
    pods = bench.pod_uids()
    bench.create("churn", found["spec"])
    bench.until_condition("churn", "Current", "True", "Serving")
    assert bench.pod_uids() == pods, "adopted without a restart"


def _a_service_of_somebody_else(bench: Bench, model: str) -> None:
    metadata = {"name": "taken", "labels": {"app": "somebody"}}
    service = {"metadata": metadata, "spec": {"selector": {"app": "somebody"}, "ports": [{"port": 80}]}}
    bench.post("Service", service)
    bench.create("taken", {"model": {"name": model, "version": "2"}})
    bench.until_condition("taken", "Ready", "False", "NameConflict")
    bench.annotate("taken", adopt="Service/taken")
    bench.until_serving("taken", 2)
    bench.delete("ModelDeployment", "taken")


def _what_nothing_mounts(bench: Bench) -> None:
    """Scripts as an older operator made them, which no revision names any more."""
    (scripts, *_) = [
        it for it in bench.items("ConfigMap") if it["metadata"]["name"].startswith("churn-scripts-")
    ]
    metadata = {key: scripts["metadata"][key] for key in ("labels", "ownerReferences")}
    bench.post("ConfigMap", {"metadata": metadata | {"name": "churn-scripts-0000000000"}, "data": {}})
    bench.until("they are gone", lambda: bench.get("ConfigMap", "churn-scripts-0000000000") is None)
    bench.until_at_rest("churn")


def _spec(bench: Bench, kind: str) -> dict[str, Any]:
    found = bench.get(kind, "churn")
    assert found
    return dict(found["spec"])


def _uid(bench: Bench, kind: str) -> str:
    found = bench.get(kind, "churn")
    return str(found["metadata"]["uid"]) if found else ""


def _grace(bench: Bench) -> int:
    return int(_spec(bench, "Deployment")["template"]["spec"]["terminationGracePeriodSeconds"])

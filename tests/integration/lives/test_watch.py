"""The watch window on a real API server: pods that crash, metrics that can't be read, an autoscaler without metrics."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.integration.lives.bench import Bench
from tests.integration.lives.kubelet import TIME

Json = dict[str, Any]
WATCH = 15
RUN = 5
"""Seconds after its start at which a server of version 2 exits."""


def followed(model: str, **spec: Any) -> Json:
    return {"model": {"name": model, "alias": "champion"}, **spec}


def crash(bench: Bench, restarts: int) -> None:
    """The server of each pod exits with code 7 now, and is ready again at once."""
    moment = datetime.now(UTC)
    now, began = moment.strftime(TIME), (moment - timedelta(seconds=RUN)).strftime(TIME)
    ended = {"exitCode": 7, "reason": "Error", "startedAt": began, "finishedAt": now}
    for pod in bench.items("Pod"):
        status = pod["status"]
        (server,) = status["containerStatuses"]
        server |= {
            "restartCount": restarts,
            "lastState": {"terminated": ended},
            "state": {"running": {"startedAt": now}},
        }
        for condition in status["conditions"]:
            if condition["type"] == "Ready":
                condition["lastTransitionTime"] = now
        changes = {"containerStatuses": [server], "conditions": status["conditions"]}
        bench.patch("Pod", pod["metadata"]["name"], {"status": changes}, "/status")


def test_pods_that_crashed_once_each_do_not_settle_and_the_second_crash_reverts(
    bench: Bench, model: str
) -> None:
    bench.create("churn", followed(model, replicas=2, rollout={"watchSeconds": 1}))
    bench.until_settled("churn", 1)
    bench.patch("ModelDeployment", "churn", {"spec": {"rollout": {"watchSeconds": WATCH}}})
    bench.alias(model, "champion", 2)
    bench.until_serving("churn", 2)
    ends = bench.until("it is watched", lambda: bench.status("churn")["serving"].get("watchEnds"))
    bench.until("one version is left", lambda: len(bench.items("Pod")) == 2)
    crash(bench, 1)
    bench.until_condition("churn", "Ready", "True", "ServerExited")
    longer = bench.status("churn")["serving"]["watchEnds"]
    assert longer > ends
    bench.until_event("churn", "ServerExited")
    over = datetime.fromisoformat(ends)
    bench.until("the first end has passed", lambda: datetime.now(UTC) > over + timedelta(seconds=2))
    assert bench.status("churn")["serving"]["settled"] is False
    crash(bench, 2)
    status = bench.until("it is reverted", lambda: bench.status("churn").get("rejected"))
    assert (status[0]["version"], status[0]["reason"], status[0]["served"]) == ("2", "CrashLoop", True)
    bench.until("version 1 serves", lambda: bench.behind("churn") == {"1"})
    assert len(bench.until_event("churn", "Reverted")) == 1


def make_it_idle_for_long(bench: Bench, name: str) -> None:
    """Waits until Kubernetes says that the autoscaler has no metrics, and dates that ten minutes back."""

    def idle() -> list[Json]:
        scaler = bench.get("HorizontalPodAutoscaler", name) or {}
        found = (scaler.get("status") or {}).get("conditions") or []
        active = [c for c in found if c["type"] == "ScalingActive" and c["status"] == "False"]
        return found if active else []

    conditions = bench.until("the autoscaler has no metrics", idle, 120)
    earlier = (datetime.now(UTC) - timedelta(minutes=10)).strftime(TIME)
    dated = [{**c, "lastTransitionTime": earlier} for c in conditions]
    bench.patch("HorizontalPodAutoscaler", name, {"status": {"conditions": dated}}, "/status")
    bench.until_condition(name, "Ready", "True", "ScalingInactive")


def test_an_autoscaler_without_metrics_and_errors_that_nobody_counts_are_reported(
    bench: Bench, model: str
) -> None:
    # nobody listens at the pods' addresses, and this API server has no metrics API
    autoscaling = {"minReplicas": 1, "maxReplicas": 2, "targetCPUUtilizationPercentage": 70}
    bench.create("churn", followed(model, autoscaling=autoscaling))
    bench.until_serving("churn", 1)
    make_it_idle_for_long(bench, "churn")
    message = next(c for c in bench.status("churn")["conditions"] if c["type"] == "Ready")["message"]
    assert "its autoscaler can't work (FailedGetResourceMetric)" in message
    since = bench.until("5xx", lambda: bench.status("churn")["serving"].get("errorsNotJudgedSince"), 120)
    serving = bench.status("churn")["serving"]
    assert serving["since"] <= since
    assert serving["errorsNotJudged"].startswith("the metrics of its pods can't be read (")
    assert len(bench.until_event("churn", "ErrorsNotJudged")) == 1
    assert len(bench.until_event("churn", "ScalingInactive")) == 1

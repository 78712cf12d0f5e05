"""A real Prometheus scrapes the operator while a rollout, a rejection and a revert happen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster.network import free_ports
from tests.integration.lives.bench import Bench
from tests.monitoring.dashboard import ALERTS, queries
from tests.monitoring.prometheus import Prometheus, Target, scraping, without_patience
from tests.monitoring.scene import Scene, requests, serving_pod

pytestmark = pytest.mark.usefixtures("own_operator")

WINDOW = "20s"


@pytest.fixture
def operator_port(bench: Bench) -> int:
    """Where the operator shows its metrics."""
    (port,) = free_ports(1)
    bench.operator.configure(metricsPort=port)
    bench.restart_operator()
    return port


@pytest.fixture
def prometheus(bench: Bench, operator_port: int, tmp_path: Path) -> Iterator[Prometheus]:
    """Scrapes the operator, and a serving pod that gets requests of which each tenth fails."""
    (port,) = free_ports(1)
    labels = {"namespace": bench.namespace, "modeldeployment": "churn", "revision": "v2-abc"}
    targets = [Target(operator_port), Target(port, labels)]
    with (
        serving_pod(tmp_path / "pod", port, "churn") as pod,
        scraping(tmp_path / "prometheus", targets, without_patience(ALERTS, tmp_path)) as prometheus,
        requests(pod, 0.05, lambda number: number % 10 == 0),
    ):
        bench.until("both are scraped", lambda: prometheus.scrapes(2))
        yield prometheus


def firing(prometheus: Prometheus) -> set[tuple[str, str]]:
    """Name and ModelDeployment of what fires."""
    return {
        (name, alert["labels"].get("modeldeployment", ""))
        for name, rule in prometheus.rules().items()
        for alert in rule["alerts"]
        if alert["state"] == "firing"
    }


def test_every_query_of_the_dashboard_has_data_and_the_alerts_fire_for_what_happened(
    bench: Bench, prometheus: Prometheus
) -> None:
    scene = Scene(bench)
    scene.open()
    bench.until("nothing is wrong yet", lambda: not firing(prometheus) - {("ModelServingErrors", "churn")})
    scene.roll_out()
    scene.take_back()
    scene.reject()
    scene.run_out_of_room()

    expected = {
        ("ModelReverted", "fraud"),
        ("ModelVersionRejected", "fraud"),
        ("ModelVersionRejected", "churn"),
        ("ModelServingErrors", "churn"),
    }
    bench.until(f"{expected} fire", lambda: firing(prometheus) == expected)
    assert {rule["health"] for rule in prometheus.rules().values()} == {"ok"}

    def silent() -> list[str]:
        return [
            f"{a.panel}: {a.expression}" for a in queries(WINDOW) if not has_data(prometheus, a.expression)
        ]

    bench.until("every query has data", lambda: not silent())
    for what, number in (
        ("rollouts_started_total", 7),
        ('rollouts_total{outcome="live"}', 5),
        ('rollouts_total{outcome="rejected", reason="LoadFailed"}', 1),
        ("reverts_total", 2),
        ('reverts_total{stage="rollout", side="Model", reason="LoadFailed"}', 1),
        ('reverts_total{stage="watch", side="Model", reason="OutOfMemory"}', 1),
        ('alias_move_to_serving_seconds_count{approval="Automatic"}', 2),
    ):
        assert counted(prometheus, what) == number, what


def test_the_series_of_a_deleted_model_deployment_are_gone(
    bench: Bench, operator_port: int, tmp_path: Path
) -> None:
    mine = '{modeldeployment="price", __name__=~"model_operator_.*"}'
    with scraping(tmp_path / "prometheus", [Target(operator_port)], ALERTS) as prometheus:
        Scene(bench).open()
        bench.until("it is told of", lambda: prometheus.query(mine))
        bench.delete("ModelDeployment", "price")
        bench.until("it is forgotten", lambda: not prometheus.query(mine))
        assert prometheus.query(mine.replace("price", "churn"))


def has_data(prometheus: Prometheus, expression: str) -> bool:
    """Whether there is a series with a number in it."""
    return any(series["value"][1] != "NaN" for series in prometheus.query(expression))


def counted(prometheus: Prometheus, what: str) -> float:
    """The sum of all series of that metric."""
    found = prometheus.query(f"sum(model_operator_{what})")
    return float(found[0]["value"][1]) if found else 0.0

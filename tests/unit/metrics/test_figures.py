"""The operator's own HTTP server: figures, health, readiness."""

import asyncio
import re
import socket
from pathlib import Path
from queue import Queue
from threading import Event, Thread

import httpx
import pytest
from prometheus_client.metrics import MetricWrapperBase
from tests.cluster.process import wait_until

from model_operator.metrics import Metrics, Probes, serve
from model_operator.metrics.description import MetricDescription
from model_operator.planner.status.transitions import Ended, Followed, Reverted, Started

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "metrics.md"


async def ask(port: int, path: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.get(f"http://127.0.0.1:{port}{path}", timeout=10)


async def test_figures_are_shown_in_the_format_of_prometheus() -> None:
    metrics = Metrics()
    metrics.observe_queue_wait(0.2)
    metrics.observe_api_request("apply", "Deployment", 200, 0.02)
    metrics.gauge("queue_depth", lambda: 3)
    with metrics.time_reconcile():
        pass
    with pytest.raises(RuntimeError), metrics.time_reconcile():
        raise RuntimeError
    async with serve(metrics, Probes(str, str), 0, "127.0.0.1") as port:
        answer = await ask(port, "/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain")
    for line in (
        'model_operator_reconcile_seconds_count{result="ok"} 1.0',
        'model_operator_reconcile_seconds_count{result="error"} 1.0',
        "model_operator_queue_depth 3.0",
        "model_operator_queue_wait_seconds_count 1.0",
        'model_operator_api_request_seconds_count{code="200",kind="Deployment",verb="apply"} 1.0',
    ):
        assert line in answer.text.splitlines()
    assert "process_resident_memory_bytes" in answer.text


async def test_health_and_readiness_answer_ok_or_with_what_is_wrong() -> None:
    trouble = {"/healthz": "", "/readyz": "the first lists are not complete"}
    async with serve(
        Metrics(), Probes(lambda: trouble["/healthz"], lambda: trouble["/readyz"]), 0, "127.0.0.1"
    ) as port:
        assert [(await ask(port, path)).status_code for path in trouble] == [200, 503]
        assert (await ask(port, "/readyz")).text == "the first lists are not complete\n"
        trouble["/readyz"] = ""
        trouble["/healthz"] = "a reconcile is stuck for 130 s"
        assert [(await ask(port, path)).status_code for path in trouble] == [503, 200]


async def test_a_replica_that_stands_by_is_ready_and_says_so() -> None:
    async with serve(Metrics(), Probes(str, str, lambda: "ok: standing by"), 0, "127.0.0.1") as port:
        answers = [await ask(port, path) for path in ("/healthz", "/readyz")]
    assert [(answer.status_code, answer.text) for answer in answers] == [
        (200, "ok\n"),
        (200, "ok: standing by\n"),
    ]


def test_while_the_event_loop_is_blocked_there_is_no_answer_and_afterwards_there_is() -> None:
    bound: Queue[int] = Queue()
    block, unblock, over = Event(), Event(), Event()

    async def operator() -> None:
        async with serve(Metrics(), Probes(str, str), 0, "127.0.0.1") as port:
            bound.put(port)
            await asyncio.to_thread(block.wait, 30)
            assert unblock.wait(30)  # the loop stands still
            await asyncio.to_thread(over.wait, 30)

    thread = Thread(target=lambda: asyncio.run(operator()))
    thread.start()
    try:
        health = f"http://127.0.0.1:{bound.get(timeout=30)}/healthz"
        block.set()

        def silent() -> bool:
            try:
                return not httpx.get(health, timeout=1, trust_env=False)
            except httpx.ReadTimeout:
                return True

        assert wait_until(silent, 30)
        unblock.set()
        assert httpx.get(health, timeout=30, trust_env=False).text == "ok\n"
    finally:
        for event in (block, unblock, over):
            event.set()
        thread.join()


async def test_nothing_else_is_served() -> None:
    async with serve(Metrics(), Probes(str, str), 0, "127.0.0.1") as port:
        assert (await ask(port, "/")).status_code == 404


async def test_a_port_that_is_taken_is_an_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            async with serve(Metrics(), Probes(str, str), taken.getsockname()[1], "127.0.0.1"):
                raise AssertionError("the port was taken")


def documented() -> list[tuple[str, ...]]:
    rows = re.findall(r"^\| (`model_operator_.*) \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    return [tuple(cell.strip() for cell in row.split("|")) for row in rows]


def as_a_row(metric: MetricDescription) -> tuple[str, ...]:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return f"`{metric.name}`", metric.type, labels, metric.meaning


def test_the_page_of_metrics_has_what_is_registered_word_by_word() -> None:
    assert sorted(documented()) == sorted(map(as_a_row, Metrics().descriptions))


def test_what_is_described_is_what_prometheus_gets() -> None:
    metrics = Metrics()
    families = {
        family.name + ("_total" if family.type == "counter" else ""): (family.type, family.documentation)
        for family in metrics.registry.collect()
        if family.name.startswith("model_operator_")
    }
    assert families == {d.name: (d.type, d.meaning) for d in metrics.descriptions}
    labels = {d.name.removesuffix("_total"): d.labels for d in metrics.descriptions}
    registered = [c for c in metrics.registry._collector_to_names if isinstance(c, MetricWrapperBase)]
    assert registered
    for collector in registered:
        assert labels[collector._name] == collector._labelnames


@pytest.mark.parametrize("metric", Metrics().descriptions, ids=lambda metric: metric.name)
def test_names_and_units_follow_the_conventions_of_prometheus(metric: MetricDescription) -> None:
    assert re.fullmatch(r"model_operator_[a-z_]+", metric.name)
    assert metric.name.endswith("_total") == (metric.type == "counter")
    assert metric.type != "histogram" or metric.name.endswith("_seconds")
    # base units only
    assert not re.search(r"_(ms|milliseconds|minutes|hours|percent|mb|kb)(_|$)", metric.name)
    assert "timestamp" not in metric.name or metric.name.endswith("_timestamp_seconds")
    assert metric.meaning.endswith(".")


async def test_what_came_of_rollouts_is_counted() -> None:
    metrics = Metrics()
    for outcome in (
        Started(),
        Ended("live", "", 42),
        Ended("withdrawn", "InsufficientCapacity", None),
        Reverted("watch", "Model", "OutOfMemory"),
        Followed("Automatic", 57),
    ):
        metrics.count_transition(outcome)
    lines = (await metrics.render()).decode().splitlines()
    for line in (
        "model_operator_rollouts_started_total 1.0",
        'model_operator_rollouts_total{outcome="live",reason=""} 1.0',
        'model_operator_rollouts_total{outcome="withdrawn",reason="InsufficientCapacity"} 1.0',
        'model_operator_rollout_seconds_sum{outcome="live"} 42.0',
        'model_operator_reverts_total{reason="OutOfMemory",side="Model",stage="watch"} 1.0',
        'model_operator_alias_move_to_serving_seconds_bucket{approval="Automatic",le="60.0"} 1.0',
        'model_operator_alias_move_to_serving_seconds_bucket{approval="Automatic",le="30.0"} 0.0',
    ):
        assert line in lines

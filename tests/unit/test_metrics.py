"""The operator's own HTTP server: figures, health, readiness."""

import socket

import httpx
import pytest

from model_operator.metrics import Metrics, serving


async def ask(port: int, path: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.get(f"http://127.0.0.1:{port}{path}", timeout=10)


async def test_figures_are_shown_in_the_format_of_prometheus() -> None:
    metrics = Metrics()
    metrics.waited(0.2)
    metrics.called("apply", "Deployment", 200, 0.02)
    metrics.gauge("queue_depth", "Keys that wait.", lambda: 3)
    with metrics.reconciling():
        pass
    with pytest.raises(RuntimeError), metrics.reconciling():
        raise RuntimeError
    async with serving(metrics, 0, healthy=str, ready=str, host="127.0.0.1") as port:
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
    async with serving(
        Metrics(), 0, healthy=lambda: trouble["/healthz"], ready=lambda: trouble["/readyz"], host="127.0.0.1"
    ) as port:
        assert [(await ask(port, path)).status_code for path in trouble] == [200, 503]
        assert (await ask(port, "/readyz")).text == "the first lists are not complete\n"
        trouble["/readyz"] = ""
        trouble["/healthz"] = "a reconcile is stuck for 130 s"
        assert [(await ask(port, path)).status_code for path in trouble] == [503, 200]


async def test_nothing_else_is_served() -> None:
    async with serving(Metrics(), 0, healthy=str, ready=str, host="127.0.0.1") as port:
        assert (await ask(port, "/")).status_code == 404


async def test_a_port_that_is_taken_is_an_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            async with serving(Metrics(), taken.getsockname()[1], healthy=str, ready=str, host="127.0.0.1"):
                raise AssertionError("the port was taken")

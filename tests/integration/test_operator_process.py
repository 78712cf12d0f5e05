"""The operator as a process against a real API server: it starts, observes, stays silent and stops."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from tests.cluster.api import ApiClient

from model_operator import settings
from model_operator.app.process import Process
from model_operator.controller import watches

START_SECONDS = 120
RESOURCES = "/apis/model-operator.io/v1alpha1/namespaces/{}/modeldeployments"


class Operator:
    """A running operator; its registry is a port where nobody listens."""

    def __init__(self, directory: Path, kubeconfig: Path, namespaces: list[str], port: int) -> None:
        self.port = port
        config = directory / "config.yaml"
        config.write_text(
            f"registries: {{default: {{url: 'http://127.0.0.1:{_free_port()}'}}}}\n"
            f"watchNamespaces: {namespaces}\nmetricsPort: {port}\nlogLevel: DEBUG\n"
        )
        self._log = directory / "operator.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "model_operator", "--config", str(config)],
                env={**os.environ, "KUBECONFIG": str(kubeconfig)},
                stdout=log,
                stderr=log,
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def answer(self, path: str) -> tuple[int, str]:
        """Status and text of the operator's own server; (0, '') while there is none."""
        try:
            answer = httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=5, trust_env=False)
        except httpx.TransportError:
            return 0, ""
        return answer.status_code, answer.text

    def metric(self, name: str, *without: str) -> float:
        """The sum of all samples of a metric, without those whose labels have one of these texts."""
        lines = self.answer("/metrics")[1].splitlines()
        samples = [line for line in lines if line.startswith(f"model_operator_{name}")]
        return sum(
            float(line.rsplit(" ", 1)[1]) for line in samples if not any(text in line for text in without)
        )

    def writes(self) -> float:
        """How many writing requests went to the API server."""
        return self.metric("api_request_seconds_count", 'verb="get"', 'verb="list"')


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], object], operator: Operator) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        assert operator.process.poll() is None, operator.log
        assert time.monotonic() < deadline, operator.log
        time.sleep(0.1)


@pytest.fixture
def operator(tmp_path: Path, control_plane: Path, namespace: str) -> Iterator[Operator]:
    operator = Operator(tmp_path, control_plane, [namespace], _free_port())
    try:
        until(lambda: operator.answer("/readyz")[0] == 200, operator)
        yield operator
    finally:
        operator.process.kill()
        operator.process.wait()


def create(api: ApiClient, namespace: str, name: str) -> dict[str, Any]:
    body = {
        "apiVersion": "model-operator.io/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": name},
        "spec": {"model": {"uri": "models:/churn@champion"}},
    }
    created = api.http.post(RESOURCES.format(namespace), json=body)
    assert created.status_code == 201, created.text
    result: dict[str, Any] = created.json()
    return result


def current(api: ApiClient, namespace: str, name: str) -> dict[str, Any]:
    answer: dict[str, Any] = api.http.get(f"{RESOURCES.format(namespace)}/{name}").json()
    return answer


def test_a_model_deployment_gets_a_status_and_the_operator_then_writes_nothing(
    operator: Operator, api: ApiClient, namespace: str
) -> None:
    create(api, namespace, "churn")
    until(lambda: "Unreachable" in str(current(api, namespace, "churn").get("status")), operator)
    until(lambda: "model_operator_queue_depth 0.0" in operator.answer("/metrics")[1], operator)
    until(lambda: operator.metric("in_work") == 0, operator)
    before, writes, looks = (
        current(api, namespace, "churn"),
        operator.writes(),
        operator.metric("reconcile_seconds_count"),
    )
    api.http.patch(
        f"{RESOURCES.format(namespace)}/churn",
        json={"metadata": {"annotations": {"example.com/touched": "yes"}}},
        headers={"Content-Type": "application/merge-patch+json"},
    )
    until(lambda: operator.metric("reconcile_seconds_count") > looks, operator)
    after = current(api, namespace, "churn")
    assert after["status"] == before["status"]
    assert operator.writes() == writes
    assert operator.metric("registry_request_seconds_count", 'outcome="ok"') > 0
    assert operator.answer("/healthz") == (200, "ok\n")
    assert "finalizers" not in after["metadata"]
    assert after["metadata"]["annotations"] == {"example.com/touched": "yes"}


def test_sigterm_ends_it_with_success_and_a_log_of_one_line_per_message(operator: Operator) -> None:
    operator.process.send_signal(signal.SIGTERM)
    assert operator.process.wait(timeout=30) == 0, operator.log
    lines = operator.log.splitlines()
    # the watches, cut off in the middle of their start, may still have a word after it
    assert [line for line in lines if 'msg="stopping' in line], operator.log
    assert all(line.startswith("time=") and " level=" in line and " msg=" in line for line in lines), (
        operator.log
    )
    assert "Traceback" not in operator.log


def test_without_an_api_server_it_fails_and_says_so(tmp_path: Path, control_plane: Path) -> None:
    elsewhere = tmp_path / "kubeconfig"
    config = yaml.safe_load(control_plane.read_text())
    config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{_free_port()}"
    elsewhere.write_text(yaml.safe_dump(config))
    operator = Operator(tmp_path, elsewhere, [], _free_port())
    try:
        assert operator.process.wait(timeout=START_SECONDS) == 1
    finally:
        operator.process.kill()
        operator.process.wait()
    assert "cannot start: the API server gave no answer" in operator.log


async def test_a_part_that_dies_takes_the_process_along_with_an_error(
    control_plane: Path, namespace: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def die(*_: object, **__: object) -> None:
        raise RuntimeError("the watch is gone")

    monkeypatch.setenv("KUBECONFIG", str(control_plane))
    monkeypatch.setattr(watches, "watch", die)
    configured = settings.parse(
        f"registries: {{default: {{url: 'http://127.0.0.1:{_free_port()}'}}}}\n"
        f"watchNamespaces: [{namespace}]\nmetricsPort: 0\n",
        "config.yaml",
    )
    assert await Process(configured).run() == 1
    assert "watches ended" in caplog.text
    assert "the watch is gone" in caplog.text

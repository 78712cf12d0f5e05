"""`python -m tests.monitoring.picture FILE.png`: the dashboard's panels, with the results of a real Prometheus.

It runs a real API server, a real registry, the operator as a process, three models with rollouts and failures, and one
real serving pod. It takes about five minutes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.cluster.api import ApiClient
from tests.cluster.control_plane import ControlPlane
from tests.cluster.network import free_ports
from tests.cluster.reporting import say
from tests.integration.conftest import install_crd
from tests.integration.lives.bench import Bench
from tests.integration.lives.kubelet import ScriptedKubelet
from tests.integration.lives.operator_process import OperatorProcess
from tests.mlflow_env import ensure_python
from tests.mlflow_server import MlflowServer
from tests.monitoring.dashboard import ALERTS, filled_in, panels
from tests.monitoring.prometheus import Prometheus, Target, scraping
from tests.monitoring.scene import Scene, requests, serving_pod

NAMESPACE = "crm"
WINDOW = "20s"
STEP_SECONDS = 2
CALM_SECONDS = 25
"""The pause between two events of the scene, so that the lines have a shape."""


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.monitoring.picture", description=__doc__)
    parser.add_argument("file", type=Path, help="the PNG to write")
    file: Path = parser.parse_args().file
    with tempfile.TemporaryDirectory() as directory:
        answers = Path(directory) / "answers.json"
        answers.write_text(json.dumps(_play(Path(directory))))
        draw = [str(ensure_python()), str(Path(__file__).with_name("draw.py")), str(answers), str(file)]
        subprocess.run(draw, check=True, timeout=300)
    say(f"{file}: {file.stat().st_size / 1024:.0f} KiB")
    return 0


def _play(directory: Path) -> list[dict[str, Any]]:
    """Plays the scene, then runs every query of every panel."""
    operator_port, server_port = free_ports(2)
    labels = {"namespace": NAMESPACE, "modeldeployment": "churn", "revision": "v2"}
    targets = [Target(operator_port), Target(server_port, labels)]
    with ExitStack() as stack:
        bench = stack.enter_context(_bench(directory, operator_port))
        pod = stack.enter_context(serving_pod(directory / "pod", server_port, "churn"))
        prometheus = stack.enter_context(
            scraping(directory / "prometheus", targets, ALERTS, every_seconds=STEP_SECONDS)
        )
        bench.until("both are scraped", lambda: prometheus.scrapes(2))
        began = time.time()
        # some requests fail for a while in the middle
        stack.enter_context(requests(pod, 0.02, lambda number: 1000 < number < 3000 and number % 25 == 0))
        scene = Scene(bench, suffix="")
        for happens in (scene.open, scene.roll_out, scene.run_out_of_room, scene.take_back, scene.reject):
            say(f"{time.time() - began:.0f} s: {happens.__doc__}")
            happens()
            time.sleep(CALM_SECONDS)
        return [_answered(prometheus, panel, began) for panel in panels(headings=True)]


@contextmanager
def _bench(directory: Path, port: int) -> Iterator[Bench]:
    plane = ControlPlane.start(directory / "control-plane", controllers=True)
    registry = MlflowServer.start(directory / "mlflow")
    try:
        with ApiClient(plane.kubeconfig) as api:
            install_crd(api)
            api.http.post("/api/v1/namespaces", json={"metadata": {"name": NAMESPACE}}).raise_for_status()
            kubelet = ScriptedKubelet(plane.kubeconfig)
            kubelet.start()
            settings = {
                "registries": {"default": {"url": registry.url}},
                "pollSeconds": 1,
                "watchNamespaces": [NAMESPACE],
                "metricsPort": port,
            }
            home = directory / "operator"
            home.mkdir()
            operator = OperatorProcess(home, plane.kubeconfig, settings)
            operator.log_in(registry.username, registry.password)
            operator.start()
            try:
                yield Bench(api, NAMESPACE, registry, kubelet, operator)
            finally:
                operator.stop()
                kubelet.stop()
    finally:
        registry.stop()
        plane.stop()


def _answered(prometheus: Prometheus, panel: dict[str, Any], began: float) -> dict[str, Any]:
    """The panel with the series that its queries have."""
    found = []
    for target in panel.get("targets", []):
        expression = filled_in(target["expr"], WINDOW)
        if target["instant"]:
            series = prometheus.query(expression)
        else:
            series = prometheus.query_range(expression, began, time.time(), STEP_SECONDS)
        found.append({"legend": target["legendFormat"], "series": series})
    return {**panel, "answers": found, "began": began, "seconds": time.time() - began}


if __name__ == "__main__":
    sys.exit(main())

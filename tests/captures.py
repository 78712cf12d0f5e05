"""The captures of ``kubectl model`` in the README: `python -m tests.captures` makes them anew.

A real API server with its controllers, a real MLflow server and the operator as it runs in a cluster; the pods' status
is scripted, since there is no node. What the README shows is what the program printed, on 80 columns.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.cluster.api import ApiClient
from tests.cluster.binaries import ensure
from tests.cluster.control_plane import ControlPlane
from tests.integration.conftest import install_crd
from tests.integration.lives.bench import Bench
from tests.integration.lives.kubelet import Script, ScriptedKubelet
from tests.integration.lives.operator_process import OperatorProcess
from tests.mlflow_server import MlflowServer

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- captures:begin -->\n", "<!-- captures:end -->\n"
NAMESPACE = "crm"
PATIENCE_SECONDS = 300
BROKEN = Script(
    50, '{"reason": "LoadFailed", "message": "the model can\'t be loaded: ValueError: the pickle is broken"}'
)
SPEC: dict[str, Any] = {
    "model": {"name": "churn", "alias": "champion"},
    "replicas": 2,
    "rollout": {"strategy": "BlueGreen"},
    "server": {"resources": {"requests": {"cpu": "250m", "memory": "512Mi"}}},
}


@contextmanager
def _bench(directory: Path) -> Iterator[Bench]:
    with ExitStack() as stack:
        plane = ControlPlane.start(directory / "plane", controllers=True)
        stack.callback(plane.stop)
        api = stack.enter_context(ApiClient(plane.kubeconfig))
        install_crd(api)
        api.http.post("/api/v1/namespaces", json={"metadata": {"name": NAMESPACE}}).raise_for_status()
        registry = MlflowServer.start(directory / "mlflow")
        stack.callback(registry.stop)
        kubelet = ScriptedKubelet(plane.kubeconfig)
        kubelet.start()
        stack.callback(kubelet.stop)
        settings = {
            "registries": {"default": {"url": registry.url}},
            "pollSeconds": 1,
            "watchNamespaces": [NAMESPACE],
            "metricsPort": 0,
        }
        (directory / "operator").mkdir()
        operator = OperatorProcess(directory / "operator", plane.kubeconfig, settings)
        operator.log_in(registry.username, registry.password)
        operator.start()
        stack.callback(operator.stop)
        os.environ["KUBECONFIG"] = str(plane.kubeconfig)
        yield Bench(api, NAMESPACE, registry, kubelet, operator)


def _capture(*words: str) -> str:
    """The command and what it printed, as a block of Markdown."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = ["model", *words, "-n", NAMESPACE]
    printed = subprocess.run(
        [str(ensure("kubectl")["kubectl"]), *command],
        capture_output=True,
        text=True,
        env=os.environ | {"PATH": path, "COLUMNS": "80", "LC_ALL": "C.UTF-8"},
        check=True,
    ).stdout
    lines = "\n".join(line.rstrip() for line in printed.splitlines())
    return f"```text\n$ kubectl {' '.join(command)}\n{lines}\n```\n"


def _captures(bench: Bench) -> Iterator[str]:
    def until(reason: str) -> None:
        bench.until(reason, lambda: bench.condition("churn", "Current")[1] == reason, PATIENCE_SECONDS)

    bench.register("churn")
    bench.alias("churn", "champion", 1)
    bench.create("churn", SPEC)
    until("Serving")
    bench.kubelet.scripts["churn", "2"] = Script(stuck=True)
    bench.alias("churn", "champion", 2)
    until("InsufficientCapacity")
    yield "In mid-rollout, with a node that has no room yet:\n\n" + _capture("status", "churn")
    bench.kubelet.scripts["churn", "2"] = BROKEN
    until("VersionRejected")
    yield "After the new version could not be loaded, and was taken back:\n\n" + _capture("status", "churn")


def main() -> None:
    """Writes the captures between the README's marks."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        for part in ("plane", "mlflow"):
            (root / part).mkdir()
        with _bench(root) as bench:
            text = "\n".join(_captures(bench))
    readme = README.read_text(encoding="utf-8")
    written = re.sub(f"{BEGIN}.*{END}", lambda _: BEGIN + text + END, readme, flags=re.DOTALL)
    README.write_text(written, encoding="utf-8")


if __name__ == "__main__":
    main()

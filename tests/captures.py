"""Makes the captures of a terminal in the pages: `python -m tests.captures`.

It starts a real API server with its controllers, a real MLflow server, and the operator as it runs in a cluster. The
pods' status is scripted, since there is no node. The pages show exactly the output of the program, on 80 columns.
"""

from __future__ import annotations

import os
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

ROOT = Path(__file__).parents[1]
PAGES = {
    "rejected": "README.md",
    "first": "docs/start/first-hour.md",
    "get": "docs/start/first-hour.md",
    "revert": "docs/start/first-hour.md",
    "history": "docs/start/first-hour.md",
    "rollout": "docs/reference/kubectl-model.md",
}
"""The page of each capture, which has the capture's marks."""
BEGIN, END = "<!-- capture {}:begin -->\n", "<!-- capture {}:end -->\n"
NAMESPACE = "crm"
PATIENCE_SECONDS = 300
BROKEN = Script(
    50, '{"reason": "LoadFailed", "message": "the model can\'t be loaded: ValueError: the pickle is broken"}'
)
UNREADABLE = Script(
    50,
    '{"reason": "LoadFailed", "message": "the model can\'t be loaded: RuntimeError: the weights can\'t be read"}',
)
"""The error that version 3 of docs/start/first-hour.md raises."""
MANIFEST: dict[str, Any] = {"model": {"name": "churn", "alias": "champion"}}
SPEC: dict[str, Any] = {
    "model": {"name": "churn", "alias": "champion"},
    "replicas": 2,
    "rollout": {"strategy": "BlueGreen"},
    # the versions have no files, and the gate would warn that it can't read their signatures
    "gates": {"signature": "Ignore"},
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
    command = [*words, "-n", NAMESPACE]
    printed = subprocess.run(
        [str(ensure("kubectl")["kubectl"]), *command],
        capture_output=True,
        text=True,
        env=os.environ | {"PATH": path, "COLUMNS": "80", "LC_ALL": "C.UTF-8"},
        check=True,
    ).stdout
    lines = "\n".join(line.rstrip() for line in printed.splitlines())
    return f"```text\n$ kubectl {' '.join(command)}\n{lines}\n```\n"


def _captures(bench: Bench) -> Iterator[tuple[str, str]]:
    """Each capture with its name. Two ModelDeployments named churn have one life each, one after the other."""
    bench.register("churn")
    yield from _bad_version(bench)
    bench.delete("ModelDeployment", "churn")
    bench.until("its pods are gone", lambda: not bench.items("Pod"), PATIENCE_SECONDS)
    bench.kubelet.scripts.clear()
    yield from _first_hour(bench)


def _current(bench: Bench, reason: str, version: str) -> None:
    """Waits until Current has the reason, while that version serves."""

    def reached() -> bool:
        serving = bench.status("churn").get("serving") or {}
        return bench.condition("churn", "Current")[1] == reason and serving.get("version") == version

    bench.until(f"{reason}, version {version} serves", reached, PATIENCE_SECONDS)


def _bad_version(bench: Bench) -> Iterator[tuple[str, str]]:
    """Version 2 waits for room, and then can't be loaded. Version 1 serves."""
    bench.alias("churn", "champion", 1)
    bench.create("churn", SPEC)
    _current(bench, "Serving", "1")
    bench.kubelet.scripts["churn", "2"] = Script(stuck=True)
    bench.alias("churn", "champion", 2)
    _current(bench, "InsufficientCapacity", "1")
    yield "rollout", _capture("model", "status", "churn")
    bench.kubelet.scripts["churn", "2"] = BROKEN
    _current(bench, "VersionRejected", "1")
    yield "rejected", _capture("model", "status", "churn")


def _first_hour(bench: Bench) -> Iterator[tuple[str, str]]:
    """The tutorial docs/start/first-hour.md: versions 1 and 2 serve, version 3 is rejected, back to version 1."""
    bench.alias("churn", "champion", 1)
    bench.kubelet.scripts["churn", "3"] = UNREADABLE
    bench.create("churn", MANIFEST)
    _current(bench, "Serving", "1")
    yield "first", _capture("model", "status", "churn")
    bench.alias("churn", "champion", 2)
    _current(bench, "Serving", "2")
    bench.alias("churn", "champion", 3)
    _current(bench, "VersionRejected", "2")
    yield "get", _capture("get", "mdep")
    yield "history", _capture("model", "history", "churn")
    yield "revert", _capture("model", "revert", "churn", "--to", "1", "--wait")


def replace_capture(page: str, name: str, capture: str) -> str:
    """The page with the capture between the marks of that name. Raises ValueError when it has none."""
    begin, end = BEGIN.format(name), END.format(name)
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"the page has no marks {begin.strip()} and {end.strip()}")
    return before + begin + capture + end + after


def main() -> None:
    """Writes each capture between its marks."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        for part in ("plane", "mlflow"):
            (root / part).mkdir()
        with _bench(root) as bench:
            captures = dict(_captures(bench))
    for name, path in PAGES.items():
        page = ROOT / path
        page.write_text(replace_capture(page.read_text("utf-8"), name, captures[name]), "utf-8")


if __name__ == "__main__":
    main()

"""The operator as a process of its own between a real API server and a real MLflow server.

There is no node, so a ``ScriptedKubelet`` gives the pods their status, as the model version's ``Script`` says.
Everything else is real: the Deployment controller makes the pods, the garbage collector removes them.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import yaml
from tests.cluster.api import ApiClient
from tests.mlflow_server import MlflowServer

MERGE = {"Content-Type": "application/merge-patch+json"}
MODELDEPLOYMENTS = "/apis/model-operator.io/v1alpha1/namespaces/{}/modeldeployments"
PLURALS = {
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "ControllerRevision": "/apis/apps/v1/namespaces/{}/controllerrevisions",
    "Service": "/api/v1/namespaces/{}/services",
    "ConfigMap": "/api/v1/namespaces/{}/configmaps",
    "Pod": "/api/v1/namespaces/{}/pods",
    "Secret": "/api/v1/namespaces/{}/secrets",
    "Event": "/api/v1/namespaces/{}/events",
    "HorizontalPodAutoscaler": "/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/{}/poddisruptionbudgets",
    "ModelDeployment": MODELDEPLOYMENTS,
}
PATIENCE_SECONDS = 60


@dataclass(frozen=True)
class Script:
    """What becomes of the pods of a model version."""

    exit_code: int | None = None
    """With it the server container ends so; without it the pod becomes ready."""
    message: str = ""
    stuck: bool = False
    """The pod gets no node."""


class ScriptedKubelet(threading.Thread):
    """Gives every pod of the control plane its status, a few times a second."""

    def __init__(self, kubeconfig: Path) -> None:
        super().__init__(daemon=True, name="scripted-kubelet")
        self._kubeconfig = kubeconfig
        self._over = threading.Event()
        self._done: set[tuple[str, bool]] = set()
        self.scripts: dict[tuple[str, str], Script] = {}
        """By model name and version; others are good."""
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            with ApiClient(self._kubeconfig) as api:
                while not self._over.wait(0.2):
                    with contextlib.suppress(httpx.TransportError):
                        self._round(api)
        except Exception as error:
            self.failure = error

    def stop(self) -> None:
        """Ends the thread; raises what it failed with."""
        self._over.set()
        self.join()
        if self.failure:
            raise self.failure

    def _round(self, api: ApiClient) -> None:
        found = api.get("/api/v1/pods")
        for pod in found["items"] if found else []:
            metadata = pod["metadata"]
            annotations = metadata.get("annotations", {})
            model = (
                annotations.get("model-operator.io/model", ""),
                annotations.get("model-operator.io/version", ""),
            )
            script = self.scripts.get(model, Script())
            mark = (metadata["uid"], script.stuck)
            if not model[1] or metadata.get("deletionTimestamp") or mark in self._done:
                continue
            path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/status"
            answer = api.http.patch(path, json={"status": _pod_status(script)}, headers=MERGE)
            if answer.status_code not in (404, 409):
                answer.raise_for_status()
            self._done.add(mark)


def _pod_status(script: Script) -> dict[str, Any]:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def condition(kind: str, true: bool, **more: str) -> dict[str, Any]:
        return {"type": kind, "status": "True" if true else "False", "lastTransitionTime": now, **more}

    if script.stuck:
        why = {"reason": "Unschedulable", "message": "0/1 nodes are available: 1 Insufficient cpu."}
        return {"phase": "Pending", "conditions": [condition("PodScheduled", False, **why)]}
    ready = script.exit_code is None
    fetched = {"exitCode": 0, "message": json.dumps({"reason": "Fetched", "inputExample": True})}
    ended = {"exitCode": script.exit_code, "reason": "Error", "message": script.message}
    running = {"running": {"startedAt": now}}
    server = running if ready else {"terminated": ended}
    static = {"image": "server", "imageID": "", "restartCount": 0}
    return {
        "phase": "Running",
        "conditions": [
            condition("PodScheduled", True),
            condition("Initialized", True),
            condition("ContainersReady", ready),
            condition("Ready", ready),
        ],
        "initContainerStatuses": [
            {"name": "fetch", "ready": True, "state": {"terminated": fetched}, **static},
        ],
        "containerStatuses": [
            {"name": "server", "ready": ready, "started": ready, "state": server, **static}
        ],
    }


class OperatorProcess:
    """``python -m model_operator`` against the control plane."""

    def __init__(self, directory: Path, kubeconfig: Path, settings: dict[str, Any]) -> None:
        self.log = directory / "operator.log"
        self._config = directory / "config.yaml"
        self._config.write_text(yaml.safe_dump(settings))
        self._environment = os.environ | {"KUBECONFIG": str(kubeconfig)}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it; a no-op while it runs."""
        if self._process is None:
            with self.log.open("ab") as output:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "model_operator", "--config", str(self._config)],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=self._environment,
                )

    def kill(self) -> None:
        """SIGKILL: no last words."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, as Kubernetes does it; raises when it does not end well."""
        # a process that has not got to its signal handlers yet ends by the signal itself
        if self._process is not None and (code := self._end(signal.SIGTERM)) not in (0, -signal.SIGTERM):
            raise AssertionError(f"the operator ended with {code}:\n{self.words()}")

    def words(self) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text().splitlines()[-40:]) if self.log.exists() else ""

    def _end(self, number: signal.Signals) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(number)
        try:
            return process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()


@dataclass
class Bench:
    """What a test works with: one namespace of the cluster, the registry, the kubelet, the operator."""

    api: ApiClient
    namespace: str
    mlflow: MlflowServer
    kubelet: ScriptedKubelet
    operator: OperatorProcess
    models: list[str] = field(default_factory=list)

    # --- registry ---------------------------------------------------------------------------------

    def register(self, model: str, versions: int = 3) -> None:
        """A registered model with so many versions, without files: no pod will ever fetch them."""
        with self.mlflow.api() as api:
            api.post("registered-models/create", json={"name": model})
            for number in range(1, versions + 1):
                source = f"s3://nowhere/{model}/{number}"
                api.post("model-versions/create", json={"name": model, "source": source})

    def alias(self, model: str, alias: str, version: int) -> None:
        """Sets the alias."""
        with self.mlflow.api() as api:
            body = {"name": model, "alias": alias, "version": str(version)}
            api.post("registered-models/alias", json=body)

    # --- cluster ----------------------------------------------------------------------------------

    def create(self, name: str, spec: dict[str, Any], **metadata: Any) -> dict[str, Any]:
        """Creates a ModelDeployment."""
        body = {
            "apiVersion": "model-operator.io/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": name, **metadata},
            "spec": spec,
        }
        return self.post("ModelDeployment", body)

    def post(self, kind: str, body: dict[str, Any]) -> dict[str, Any]:
        """POSTs an object. Raises AssertionError with the server's words."""
        answer = self.api.http.post(PLURALS[kind].format(self.namespace), json=body)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def patch(self, kind: str, name: str, body: dict[str, Any], subresource: str = "") -> dict[str, Any]:
        """Merge-patches an object, as somebody else than the operator."""
        path = f"{PLURALS[kind].format(self.namespace)}/{name}{subresource}"
        answer = self.api.http.patch(path, json=body, headers=MERGE, params={"fieldManager": "somebody"})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def delete(self, kind: str, name: str, propagation: str = "Background") -> None:
        """Deletes an object, as somebody else than the operator."""
        path = f"{PLURALS[kind].format(self.namespace)}/{name}"
        answer = self.api.http.delete(path, params={"propagationPolicy": propagation})
        assert answer.status_code in (200, 202), answer.text

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        """The object; None when there is none."""
        return self.api.get(f"{PLURALS[kind].format(self.namespace)}/{name}")

    def items(self, kind: str) -> list[dict[str, Any]]:
        """All objects of that kind in the namespace."""
        found = self.api.get(PLURALS[kind].format(self.namespace))
        return list(found["items"]) if found else []

    def status(self, name: str) -> dict[str, Any]:
        """The ModelDeployment's status; empty before the first."""
        found = self.get("ModelDeployment", name)
        return dict(found.get("status") or {}) if found else {}

    def condition(self, name: str, kind: str) -> tuple[str, str]:
        """Status and reason of a condition; ("", "") when it is absent."""
        for condition in self.status(name).get("conditions", []):
            if condition["type"] == kind:
                return condition["status"], condition["reason"]
        return "", ""

    # --- waiting ----------------------------------------------------------------------------------

    def until(self, what: str, true: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> Any:
        """Waits until ``true()`` is truthy and returns it. Raises AssertionError that tells what was seen."""
        deadline = time.monotonic() + seconds
        while True:
            if found := true():
                return found
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {seconds} s: {what}\n{self._seen()}")
            time.sleep(0.1)

    def until_serving(self, name: str, version: int) -> dict[str, Any]:
        """Waits until that version is wanted and serves; returns the status."""

        def serves() -> dict[str, Any] | None:
            status = self.status(name)
            current = self.condition(name, "Current")[0] == "True"
            return status if current and status.get("serving", {}).get("version") == str(version) else None

        found: dict[str, Any] = self.until(f"{name} serves version {version}", serves)
        return found

    def until_at_rest(self, name: str) -> None:
        """Waits until the operator has nothing left to write: a verdict follows the status that tells of it."""

        def at_rest() -> bool:
            if self.condition(name, "Reconciling") != ("", ""):
                return False
            serving = self.status(name).get("serving", {}).get("revision")
            kept = self.get("ControllerRevision", f"{name}-{serving}")
            return "model-operator.io/verdict" in (kept or {}).get("metadata", {}).get("annotations", {})

        self.until(f"{name} is at rest", at_rest)

    def until_condition(self, name: str, kind: str, status: str, reason: str) -> None:
        """Waits for a condition."""
        self.until(
            f"{name} is {kind}={status} ({reason})", lambda: self.condition(name, kind) == (status, reason)
        )

    @contextlib.contextmanager
    def nothing_is_written(self, seconds: float) -> Iterator[None]:
        """Runs the block, waits so long, and checks that nobody wrote to any object of the namespace."""
        before = self._versions()
        yield
        time.sleep(seconds)
        after = self._versions()
        assert after == before, {k: (before.get(k), v) for k, v in after.items() if before.get(k) != v}

    def _versions(self) -> dict[tuple[str, str], str]:
        kinds = [kind for kind in PLURALS if kind != "Event"]
        return {
            (kind, o["metadata"]["name"]): o["metadata"]["resourceVersion"]
            for kind in kinds
            for o in self.items(kind)
        }

    def _seen(self) -> str:
        statuses = {o["metadata"]["name"]: o.get("status") for o in self.items("ModelDeployment")}
        events = [f"{e['reason']}: {e['message']}" for e in self.items("Event")]
        told = "\n".join(events[-15:])
        return f"{yaml.safe_dump(statuses)}\nevents:\n{told}\noperator:\n{self.operator.words()}"

"""The operator as a process of its own between a real API server and a real MLflow server.

There is no node, so a ``ScriptedKubelet`` gives the pods their status, as the model version's ``Script`` says.
Everything else is real: the Deployment controller makes the pods, the garbage collector removes them.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml
from tests.cluster.api import ApiClient
from tests.integration.lives.kubelet import MERGE, ScriptedKubelet
from tests.integration.lives.operator_process import OperatorProcess
from tests.integration.lives.shared_operator import SharedOperator
from tests.mlflow_server import MlflowServer

MODELDEPLOYMENTS = "/apis/model-operator.io/v1alpha1/namespaces/{}/modeldeployments"
PLURALS = {
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "ReplicaSet": "/apis/apps/v1/namespaces/{}/replicasets",
    "ControllerRevision": "/apis/apps/v1/namespaces/{}/controllerrevisions",
    "Service": "/api/v1/namespaces/{}/services",
    "ConfigMap": "/api/v1/namespaces/{}/configmaps",
    "Pod": "/api/v1/namespaces/{}/pods",
    "Secret": "/api/v1/namespaces/{}/secrets",
    "EndpointSlice": "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices",
    "Event": "/api/v1/namespaces/{}/events",
    "HorizontalPodAutoscaler": "/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/{}/poddisruptionbudgets",
    "ModelDeployment": MODELDEPLOYMENTS,
}
SETS = ("Deployment", "ReplicaSet")
PATIENCE_SECONDS = 60


@dataclass
class Bench:
    """What a test works with: one namespace of the cluster, the registry, the kubelet, the operator."""

    api: ApiClient
    namespace: str
    mlflow: MlflowServer
    kubelet: ScriptedKubelet
    operator: OperatorProcess | SharedOperator
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

    def tags(self, model: str, version: int) -> dict[str, str]:
        """The tags of a model version."""
        with self.mlflow.api() as api:
            found = api.get("model-versions/get", params={"name": model, "version": str(version)}).json()
        return {tag["key"]: tag["value"] for tag in found["model_version"].get("tags", [])}

    @contextlib.contextmanager
    def silent_registry(self) -> Iterator[None]:
        """The registry answers nothing while the block runs."""
        os.killpg(self.mlflow.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self.mlflow.pid, signal.SIGCONT)

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

    def annotate(self, name: str, **requests: str | None) -> None:
        """A person's requests, by their short names; None takes one away."""
        annotations = {f"model-operator.io/{request}": value for request, value in requests.items()}
        self.patch("ModelDeployment", name, {"metadata": {"annotations": annotations}})

    def traffic(self, service: str) -> str:
        """The track that a Service selects; empty when there is no such Service."""
        found = self.get("Service", service)
        return str(found["spec"]["selector"]["model-operator.io/track"]) if found else ""

    def size(self, track: str) -> int | None:
        """How many pods a track should have; None when it has no Deployment."""
        found = self.get("Deployment", track)
        return int(found["spec"]["replicas"]) if found else None

    def behind(self, service: str) -> set[str]:
        """The model versions whose ready pods are behind a Service, as its EndpointSlices say."""
        versions = {
            pod["metadata"]["name"]: pod["metadata"]["annotations"].get("model-operator.io/version", "")
            for pod in self.items("Pod")
        }
        return {
            versions.get(endpoint["targetRef"]["name"], "")
            for part in self.items("EndpointSlice")
            if part["metadata"]["labels"]["kubernetes.io/service-name"] == service
            for endpoint in part.get("endpoints") or []
            if endpoint["conditions"]["ready"]
        }

    def pod_uids(self) -> set[str]:
        """The uids of all pods of the namespace."""
        return {str(pod["metadata"]["uid"]) for pod in self.items("Pod")}

    def generation(self, track: str) -> int:
        """How often the spec of a track's Deployment was changed."""
        found = self.get("Deployment", track)
        assert found
        return int(found["metadata"]["generation"])

    def events(self, name: str, reason: str) -> list[str]:
        """The messages of the events with that reason, of a ModelDeployment; one for each time it was told."""
        return [
            event["message"]
            for event in self.items("Event")
            if event["involvedObject"]["name"] == name and event["reason"] == reason
            for _ in range(event.get("count") or 1)
        ]

    def until_event(self, name: str, reason: str) -> list[str]:
        """Waits for an event with that reason and returns the messages; a status is written before its events."""
        messages: list[str] = self.until(f"the event {reason}", lambda: self.events(name, reason))
        return messages

    def pods_made(self, track: str) -> int:
        """How many pods the ReplicaSets of a track have made so far."""
        sets = {
            found["metadata"]["name"]
            for found in self.items("ReplicaSet")
            if found["metadata"]["labels"]["model-operator.io/track"] == track
        }
        return sum(
            event.get("count") or 1
            for event in self.items("Event")
            if event["reason"] == "SuccessfulCreate" and event["involvedObject"]["name"] in sets
        )

    # --- waiting ----------------------------------------------------------------------------------

    def until(
        self, what: str, true: Callable[[], Any], seconds: float = PATIENCE_SECONDS, every: float = 0.1
    ) -> Any:
        """Waits until ``true()``, asked every so many seconds, is truthy and returns it.

        Raises AssertionError that tells what was seen.
        """
        deadline = time.monotonic() + seconds
        while True:
            if found := true():
                return found
            if time.monotonic() > deadline:
                node = self.kubelet.failure or self.kubelet.trouble or "had no trouble"
                raise AssertionError(f"not within {seconds} s: {what}; the kubelet: {node}\n{self._seen()}")
            time.sleep(every)

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

    def until_settled(self, name: str, version: int) -> dict[str, Any]:
        """Waits until that version serves and has outlived its watch; returns the status."""

        def settled() -> dict[str, Any] | None:
            serving = self.status(name).get("serving", {})
            return serving if serving.get("version") == str(version) and serving.get("settled") else None

        self.until(f"version {version} of {name} has settled", settled)
        return self.until_serving(name, version)

    def until_observed(self, name: str) -> None:
        """Waits until the status speaks of the spec as it is now."""

        def observed() -> bool:
            found = self.get("ModelDeployment", name)
            assert found
            return bool(found.get("status", {}).get("observedGeneration") == found["metadata"]["generation"])

        self.until(f"the spec of {name} is seen", observed)

    def until_a_later_second(self) -> None:
        """Waits until the API's clock, which counts whole seconds, shows another one."""
        now = int(time.time())
        self.until("the next second", lambda: int(time.time()) > now + 1)

    def until_condition(self, name: str, kind: str, status: str, reason: str) -> None:
        """Waits for a condition."""
        self.until(
            f"{name} is {kind}={status} ({reason})", lambda: self.condition(name, kind) == (status, reason)
        )

    def restart_operator(self) -> None:
        """Kills the operator if it runs, starts it, and waits until it is at work."""
        before = self.operator.starts()
        self.operator.kill()
        self.operator.start()
        self.until("the operator is at work", lambda: self.operator.starts() > before)

    @contextlib.contextmanager
    def nothing_is_written(self, seconds: float) -> Iterator[None]:
        """Runs the block, waits so long, and checks that nobody wrote to any object of the namespace.

        What Kubernetes' own controllers still have to count is waited for beforehand.
        """
        self.until("the controllers have counted the pods", self.is_counted)
        before = self._objects()
        yield
        time.sleep(seconds)
        after = self._objects()
        assert _versions(after) == _versions(before), _told_apart(before, after)

    def until_quiet(self, seconds: float = 2.0) -> None:
        """Waits until nobody has written for so long: an operator that has just started has yet to ask the registry."""
        self.until_still("nobody writes", self.versions, seconds)

    def until_still(
        self,
        what: str,
        value: Callable[[], Any],
        seconds: float,
        patience: float = PATIENCE_SECONDS,
        every: float = 0.1,
    ) -> None:
        """Waits until ``value()`` has been the same for so long."""
        seen, since = value(), time.monotonic()

        def still() -> bool:
            nonlocal seen, since
            if (now := value()) != seen:
                seen, since = now, time.monotonic()
            return time.monotonic() - since > seconds

        self.until(what, still, patience, every)

    def versions(self) -> dict[str, str]:
        """The resourceVersion of every object but events."""
        return _versions(self._objects())

    def is_counted(self) -> bool:
        """Whether Kubernetes' controllers have counted all pods, and removed those that are to go."""
        if any(pod["metadata"].get("deletionTimestamp") for pod in self.items("Pod")):
            return False
        counted = [(o["spec"], o.get("status", {})) for kind in SETS for o in self.items(kind)]
        return all(
            status.get("replicas", 0) == spec.get("replicas", 1) and not status.get("terminatingReplicas")
            for spec, status in counted
        )

    def _objects(self) -> dict[str, dict[str, Any]]:
        kinds = [kind for kind in PLURALS if kind != "Event"]
        return {f"{kind} {o['metadata']['name']}": o for kind in kinds for o in self.items(kind)}

    def _seen(self) -> str:
        statuses = {o["metadata"]["name"]: o.get("status") for o in self.items("ModelDeployment")}
        events = [f"{e['reason']}: {e['message']}" for e in self.items("Event")]
        told = "\n".join(events[-15:])
        return f"{yaml.safe_dump(statuses)}\nevents:\n{told}\noperator:\n{self.operator.words_about(self.namespace)}"


def _versions(objects: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {name: found["metadata"]["resourceVersion"] for name, found in objects.items()}


def _told_apart(before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]]) -> str:
    """What was written, as a diff in YAML."""
    return "".join(
        "\n".join(
            difflib.unified_diff(*(_lines(objects.get(name)) for objects in (before, after)), name, name)
        )
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    )


def _lines(found: dict[str, Any] | None) -> list[str]:
    return yaml.safe_dump(found, allow_unicode=True).splitlines() if found else []

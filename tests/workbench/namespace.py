"""One namespace of the cluster as a test sees it: change objects, read them, wait for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.cluster.api import ApiClient
from tests.workbench.objects import CHILDREN, path

MERGE = {"Content-Type": "application/merge-patch+json"}
PATIENCE_SECONDS = 120
LABEL_DEPLOYMENT = "model-operator.io/deployment"
ANNOTATION_VERSION = "model-operator.io/version"

Object = dict[str, Any]


@dataclass
class Namespace:
    """A namespace with ModelDeployments in it. ``explain`` tells what is to be seen when a wait fails."""

    api: ApiClient
    name: str
    explain: Callable[[], str] = field(default=str, repr=False)

    # changing

    def post(self, kind: str, body: Object) -> Object:
        """Creates an object. Raises AssertionError with the server's words."""
        answer = self.api.http.post(path(kind, self.name), json=body)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def create(self, name: str, spec: Object) -> Object:
        """Creates a ModelDeployment."""
        return self.post(
            "ModelDeployment",
            {
                "apiVersion": "model-operator.io/v1alpha1",
                "kind": "ModelDeployment",
                "metadata": {"name": name},
                "spec": spec,
            },
        )

    def patch(self, kind: str, name: str, body: Object, subresource: str = "") -> Object:
        """Merge-patches an object, as somebody else than the operator."""
        answer = self.api.http.patch(
            path(kind, self.name, name, subresource),
            json=body,
            headers=MERGE,
            params={"fieldManager": "somebody"},
        )
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def commit(self, name: str, spec: Object) -> None:
        """Merge-patches a ModelDeployment's spec."""
        self.patch("ModelDeployment", name, {"spec": spec})

    def ask(self, name: str, request: str, value: str | None) -> None:
        """Sets a person's request (retry, restart, revert, adopt) at a ModelDeployment, or takes it back."""
        annotation = {f"model-operator.io/{request}": value}
        self.patch("ModelDeployment", name, {"metadata": {"annotations": annotation}})

    def evict(self, pod: str, *, only_try: bool = False) -> int:
        """Asks for the eviction of a pod as ``kubectl drain`` does; the answer's status, 429 for a budget's no."""
        body: Object = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": self.name},
        }
        if only_try:
            body["deleteOptions"] = {"dryRun": ["All"]}
        return self.api.http.post(path("Pod", self.name, pod, "eviction"), json=body).status_code

    def delete(self, kind: str, name: str, **options: Any) -> None:
        """Deletes an object, as somebody else than the operator."""
        body = {"propagationPolicy": "Background", **options}
        answer = self.api.http.request("DELETE", path(kind, self.name, name), json=body)
        assert answer.status_code in (200, 202), answer.text

    # reading

    def get(self, kind: str, name: str) -> Object | None:
        """The object; None when there is none."""
        return self.api.get(path(kind, self.name, name))

    def items(self, kind: str, labels: str = "") -> list[Object]:
        """All objects of that kind, or those with these labels."""
        answer = self.api.http.get(path(kind, self.name), params={"labelSelector": labels} if labels else {})
        return list(answer.raise_for_status().json()["items"])

    def pods(self, name: str) -> list[Object]:
        """The serving pods of a ModelDeployment, those that are going away left out."""
        found = self.items("Pod", f"{LABEL_DEPLOYMENT}={name}")
        return [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]

    def pod_versions(self, name: str) -> list[str]:
        """The model version of each serving pod."""
        return sorted(pod["metadata"]["annotations"][ANNOTATION_VERSION] for pod in self.pods(name))

    def through(
        self, kind: str, name: str, port: int, where: str, body: Object | None = None
    ) -> httpx.Response:
        """The answer of a Pod or Service to a GET, or to a POST of ``body``, by way of the API server."""
        url = f"{path(kind, self.name, f'{name}:{port}', 'proxy')}{where}"
        if body is None:
            return self.api.http.get(url)
        return self.api.http.post(url, json=body)

    def status(self, name: str) -> Object:
        """The ModelDeployment's status; empty before the first."""
        found = self.get("ModelDeployment", name)
        return dict(found.get("status") or {}) if found else {}

    def condition(self, name: str, kind: str) -> Object:
        """A condition; empty when it is absent."""
        conditions = self.status(name).get("conditions", [])
        return next((dict(c) for c in conditions if c["type"] == kind), {})

    def events(self, name: str) -> list[tuple[str, str]]:
        """Reason and message of the ModelDeployment's events."""
        return [
            (event["reason"], event["message"])
            for event in self.items("Event")
            if (event["involvedObject"]["kind"], event["involvedObject"]["name"]) == ("ModelDeployment", name)
        ]

    def resource_versions(self, name: str = "") -> dict[tuple[str, str], str]:
        """The resourceVersion of a ModelDeployment and of all that it may own; of all of them without a name."""
        return {
            (kind, found["metadata"]["name"]): found["metadata"]["resourceVersion"]
            for kind in ("ModelDeployment", *CHILDREN, "Pod")
            for found in self.items(kind)
            if not name or name in (found["metadata"]["name"], _owner(found))
        }

    def _drains(self, name: str) -> bool:
        """Whether a pod of a ModelDeployment, or of any without a name, is still going away."""
        labels = f"{LABEL_DEPLOYMENT}={name}" if name else LABEL_DEPLOYMENT
        return any(pod["metadata"].get("deletionTimestamp") for pod in self.items("Pod", labels)) or any(
            found.get("status", {}).get("terminatingReplicas") for found in self.items("Deployment", labels)
        )

    # waiting

    def until(self, what: str, true: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> Any:
        """Waits until ``true()`` is truthy and returns it. Raises AssertionError that tells what was seen."""
        deadline = time.monotonic() + seconds
        while True:
            if found := true():
                return found
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {seconds:g} s: {what}\n{self.explain()}")
            time.sleep(0.3)

    def until_serving(self, name: str, version: str, seconds: float = PATIENCE_SECONDS) -> Object:
        """Waits until that version is wanted and serves; returns the status."""

        def serves() -> Object | None:
            status = self.status(name)
            current = {c["type"]: c["status"] for c in status.get("conditions", [])}.get("Current")
            right = status.get("serving", {}).get("version") == version
            return status if right and current == "True" else None

        return dict(self.until(f"{name} serves version {version}", serves, seconds))

    def until_condition(
        self, name: str, kind: str, status: str, reason: str, seconds: float = PATIENCE_SECONDS
    ) -> Object:
        """Waits for a condition and returns it."""

        def found() -> Object | None:
            condition = self.condition(name, kind)
            return (
                condition if (condition.get("status"), condition.get("reason")) == (status, reason) else None
            )

        return dict(self.until(f"{name} has {kind}={status} ({reason})", found, seconds))

    def until_rejected(self, name: str, version: str, seconds: float = PATIENCE_SECONDS) -> Object:
        """Waits until the newest rejection is of that version and is in force; returns the rejection."""

        def found() -> Object | None:
            rejected = self.status(name).get("rejected", [])
            in_force = self.condition(name, "Current").get("reason") == "VersionRejected"
            return rejected[0] if in_force and rejected and rejected[0]["version"] == version else None

        return dict(self.until(f"{name} has rejected version {version}", found, seconds))

    def until_at_rest(self, name: str) -> None:
        """Waits until nothing is being brought about: the status is written first, what follows from it after."""

        def rests() -> bool:
            before = self.resource_versions(name)
            time.sleep(2)
            return self.condition(name, "Reconciling") == {} and self.resource_versions(name) == before

        self.until(f"{name} is at rest", rests)

    def until_version_serves(self, name: str, version: str, seconds: float = PATIENCE_SECONDS) -> Object:
        """Waits until that version serves, wanted or not; returns the status."""

        def serves() -> Object | None:
            status = self.status(name)
            return status if status.get("serving", {}).get("version") == version else None

        return dict(self.until(f"version {version} serves in {name}", serves, seconds))

    @contextmanager
    def nothing_is_written(self, seconds: float, name: str = "") -> Iterator[None]:
        """Runs the block, waits so long, and checks that nobody wrote to that ModelDeployment (or to any).

        A pod that drains is waited for beforehand: Kubernetes still writes to it, and counts it in its Deployment.
        """
        self.until("the pods that go away are gone and counted", lambda: not self._drains(name))
        before = self.resource_versions(name)
        yield
        time.sleep(seconds)
        after = self.resource_versions(name)
        changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
        assert not changed, f"written: {sorted(changed)}\n{self.explain()}"


def _owner(found: Object) -> str:
    """The ModelDeployment whose label the object carries."""
    return str(found["metadata"].get("labels", {}).get(LABEL_DEPLOYMENT, ""))

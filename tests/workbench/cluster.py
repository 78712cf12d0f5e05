"""The cluster with our images, the operator in it by Helm, and the registry beside it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.cluster.api import ApiClient
from tests.cluster.binaries import ensure
from tests.cluster.provider import ClusterProvider, select
from tests.cluster.safety import assert_ours
from tests.images import build
from tests.images.contents import server_contents
from tests.mlflow_server import MlflowServer
from tests.workbench.diagnosis import diagnosis, operator_log, pod_line
from tests.workbench.namespace import Namespace
from tests.workbench.objects import path

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "model-operator"
RELEASE = "model-operator"
SERVER_IMAGE = "model-operator.io/server:dev"
SYSTEM_NAMESPACE = "model-operator"
"""Of the operator. The demo and the end-to-end tests share it, so that there are never two operators at once."""
OURS = {"app.kubernetes.io/managed-by": "model-operator-tests"}
POD_SECRET = "registry-reader"
STRANGER_SECRET = "registry-stranger"
ASTRAY, STRANGER = "astray", "stranger"
"""Entries of the same registry that pods can't reach, or that refuses them."""
HELM_SECONDS = 180
GONE_SECONDS = 120


class WorkbenchError(RuntimeError):
    """Something around the operator can't be had; the message says what."""


@dataclass
class Workbench:
    """A cluster that may be changed, with our images. Make it with ``open``."""

    provider: ClusterProvider
    api: ApiClient
    archives: Mapping[str, Path]
    _programs: dict[str, Path] = field(default_factory=dict)

    @classmethod
    def open(cls, provider: ClusterProvider, archives: Mapping[str, Path]) -> Workbench:
        """The workbench on a running cluster. Raises ForeignClusterError for a cluster that is not ours."""
        assert_ours(provider.kubeconfig)
        return cls(provider, ApiClient(provider.kubeconfig, timeout_seconds=20), archives)

    @property
    def kubeconfig(self) -> Path:
        return self.provider.kubeconfig

    def close(self) -> None:
        """Closes connections; the cluster stays."""
        self.api.http.close()

    # programs

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        """The output of kubectl. Raises WorkbenchError with its last words."""
        return self._run("kubectl", *arguments, given=given)

    def helm(self, *arguments: str) -> str:
        """The output of helm. Raises WorkbenchError with its last words."""
        return self._run("helm", *arguments, seconds=HELM_SECONDS + 30)

    def _run(self, name: str, *arguments: str, given: str | None = None, seconds: float = 60) -> str:
        if name not in self._programs:
            self._programs |= ensure(name)
        environment = {**os.environ, "KUBECONFIG": str(self.kubeconfig), "NO_PROXY": "*", "no_proxy": "*"}
        shown = f"{name} {' '.join(arguments[:4])}"
        try:
            done = subprocess.run(
                [self._programs[name], *arguments],
                env=environment,
                input=given,
                stdin=subprocess.DEVNULL if given is None else None,
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise WorkbenchError(f"{shown} ... did not end within {seconds:g} s") from error
        if done.returncode != 0:
            raise WorkbenchError(f"{shown} ... ended with {done.returncode}:\n{done.stderr[-3000:]}")
        return done.stdout

    # the operator

    def install_operator(self, registry: MlflowServer, poll_seconds: int = 2) -> None:
        """Installs (or changes) the operator by Helm and waits until it is ready. Raises WorkbenchError."""
        entry = {
            "url": registry.url,
            "credentials": {"username": registry.username, "password": registry.password},
            "podCredentials": {"secret": POD_SECRET},
        }
        values = {
            "registries": {
                "default": entry,
                ASTRAY: {**entry, "podUrl": "http://127.0.0.1:1"},
                STRANGER: {**entry, "podCredentials": {"secret": STRANGER_SECRET}},
            },
            "image": {"tag": "dev"},
            "images": {"server": SERVER_IMAGE, "contents": {SERVER_IMAGE: server_contents()}},
            "pollSeconds": poll_seconds,
            # the tag stays when the image changes
            "podAnnotations": {
                "model-operator.io/archive": self.archives["model-operator.io/operator:dev"].stem
            },
        }
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory, "values.yaml")
            file.touch(mode=0o600)
            file.write_text(yaml.safe_dump(values))
            try:
                self.helm(
                    "upgrade",
                    "--install",
                    RELEASE,
                    str(CHART),
                    f"--namespace={SYSTEM_NAMESPACE}",
                    "--create-namespace",
                    f"--values={file}",
                    "--wait",
                    f"--timeout={HELM_SECONDS}s",
                )
            except WorkbenchError as error:
                raise WorkbenchError(f"{error}\n{self._operator_seen()}") from error

    def uninstall_operator(self) -> None:
        """Removes the release; the CRD stays, as its policy says. Harmless when there is none."""
        self.helm("uninstall", RELEASE, f"--namespace={SYSTEM_NAMESPACE}", "--ignore-not-found", "--wait")

    def operator_settings(self) -> dict[str, Any]:
        """The configuration file of the installed operator. Raises WorkbenchError when there is none."""
        found = self.api.get(path("ConfigMap", SYSTEM_NAMESPACE, RELEASE))
        if found is None:
            raise WorkbenchError("the operator's ConfigMap is not there")
        return dict(yaml.safe_load(found["data"]["config.yaml"]))

    def operator_pods(self) -> list[dict[str, Any]]:
        """The operator's pods, those that are going away left out."""
        found = self.api.get(path("Pod", SYSTEM_NAMESPACE))
        return (
            [pod for pod in found["items"] if not pod["metadata"].get("deletionTimestamp")] if found else []
        )

    def operator_memory(self) -> float:
        """The operator's resident memory in MiB, as it tells itself. Raises httpx.HTTPError."""
        service = f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/services/{RELEASE}-metrics:metrics/proxy/metrics"
        answer = self.api.http.get(service).raise_for_status()
        for line in answer.text.splitlines():
            if line.startswith("process_resident_memory_bytes "):
                return float(line.split()[1]) / 2**20
        raise WorkbenchError("the operator's metrics don't tell its memory")

    def scale_operator(self, replicas: int) -> None:
        """Sets the size of the operator's Deployment and waits for it. Raises WorkbenchError."""
        deployment = f"deployment/{RELEASE}"
        self.kubectl("-n", SYSTEM_NAMESPACE, "scale", deployment, f"--replicas={replicas}")
        self.wait(
            f"{replicas} operator pods",
            lambda: len(self.operator_pods()) == replicas and all(map(_ready, self.operator_pods())),
        )

    def kill_operator(self) -> None:
        """SIGKILLs the operator's pod: no last words. Its successor comes by itself."""
        for pod in self.operator_pods():
            self.api.http.request(
                "DELETE",
                path("Pod", SYSTEM_NAMESPACE, pod["metadata"]["name"]),
                json={"gracePeriodSeconds": 0},
            ).raise_for_status()

    def replace_operator(self) -> None:
        """Kills the operator's pod and waits until another one is ready. Raises WorkbenchError."""
        before = {pod["metadata"]["uid"] for pod in self.operator_pods()}
        self.kill_operator()

        def replaced() -> bool:
            pods = self.operator_pods()
            return any(_ready(pod) and pod["metadata"]["uid"] not in before for pod in pods)

        self.wait("another operator is ready", replaced)

    def wait(self, what: str, true: Callable[[], Any], seconds: float = 120) -> None:
        """Waits until ``true()`` is truthy. Raises WorkbenchError that tells what the operator says."""
        deadline = time.monotonic() + seconds
        while not true():
            if time.monotonic() > deadline:
                raise WorkbenchError(f"not within {seconds:g} s: {what}\n{self._operator_seen()}")
            time.sleep(0.3)

    def _operator_seen(self) -> str:
        with contextlib.suppress(httpx.HTTPError):
            pods = "\n".join(map(pod_line, self.operator_pods()))
            return f"--- the operator's pods\n{pods}\n--- its log\n{operator_log(self.api, SYSTEM_NAMESPACE)}"
        return "(the operator's pods can't be read)"

    # the node

    def offer(self, resource: str, number: int) -> None:
        """Has the node offer so many of an extended resource, as a device plugin would. Raises WorkbenchError."""
        (node,) = self.api.http.get("/api/v1/nodes").raise_for_status().json()["items"]
        self.api.http.patch(
            f"/api/v1/nodes/{node['metadata']['name']}/status",
            json={"status": {"capacity": {resource: str(number)}}},
            headers={"Content-Type": "application/merge-patch+json"},
        ).raise_for_status()

        def offers() -> bool:
            (found,) = self.api.http.get("/api/v1/nodes").raise_for_status().json()["items"]
            return bool(found["status"]["allocatable"].get(resource) == str(number))

        self.wait(f"the node offers {number} {resource}", offers)

    # namespaces

    def make_namespace(self, name: str, registry: MlflowServer | None) -> Namespace:
        """A new namespace; with a registry also the Secret that its pods need. Raises httpx.HTTPError."""
        body = {"metadata": {"name": name, "labels": OURS}}
        self.api.http.post("/api/v1/namespaces", json=body).raise_for_status()
        namespace = Namespace(self.api, name, lambda: diagnosis(self.api, name, SYSTEM_NAMESPACE))
        if registry:
            make_pod_secret(namespace, registry)
        return namespace

    def remove_namespace(self, name: str) -> None:
        """Asks for the end of a namespace; does not wait for it. Harmless when there is none."""
        # with pods that take their time to end the namespace controller takes half a minute
        for kind in ("ModelDeployment", "Deployment", "ReplicaSet", "Pod"):
            options = {"propagationPolicy": "Background", "gracePeriodSeconds": 0}
            self.api.http.request("DELETE", path(kind, name), json=options)
        self.api.http.delete(f"/api/v1/namespaces/{name}")

    def remove_namespaces(self) -> None:
        """Removes all namespaces that tests or demos made, and waits until they are gone."""
        for name in self._namespaces():
            self.remove_namespace(name)
        self.wait("the namespaces of earlier runs are gone", lambda: not self._namespaces(), GONE_SECONDS)

    def _namespaces(self) -> list[str]:
        selector = ",".join(f"{key}={value}" for key, value in OURS.items())
        answer = self.api.http.get("/api/v1/namespaces", params={"labelSelector": selector})
        return [found["metadata"]["name"] for found in answer.raise_for_status().json()["items"]]

    @contextlib.contextmanager
    def namespace(self, name: str, registry: MlflowServer | None) -> Iterator[Namespace]:
        """A namespace for the time of the block."""
        namespace = self.make_namespace(name, registry)
        try:
            yield namespace
        finally:
            self.remove_namespace(name)


def make_pod_secret(namespace: Namespace, registry: MlflowServer, name: str = POD_SECRET) -> None:
    """The Secret with which the pods of the namespace fetch from the registry."""
    data = {"username": registry.username, "password": registry.password}
    namespace.post("Secret", {"metadata": {"name": name}, "type": "Opaque", "stringData": data})


def start_cluster() -> ClusterProvider:
    """The cluster of this checkout, running. Raises ClusterError."""
    provider = select()
    provider.up()
    return provider


def load_images(provider: ClusterProvider) -> dict[str, Path]:
    """Builds what changed, gives it to the cluster; returns the archives by image name. Raises RuntimeError."""
    archives = build()
    for archive in archives.values():
        provider.load_image(archive)
    return archives


def _ready(pod: dict[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

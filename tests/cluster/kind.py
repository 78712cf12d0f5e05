"""kind, on machines where a Docker engine answers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.cluster import marker, versions
from tests.cluster.api import ApiClient, KubeconfigError, load_context
from tests.cluster.binaries import ensure
from tests.cluster.images import write_static_image
from tests.cluster.process import wait_until
from tests.cluster.provider import REPOSITORY, STATE, ClusterError, ClusterStatus, cluster_id
from tests.cluster.reporting import say, step

METRICS_IMAGE = f"model-operator.io/metrics-server:{versions.METRICS_SERVER}"
CREATE_SECONDS = 900
READY_SECONDS = 180


class Kind:
    """The provider for machines with Docker."""

    name = "kind"
    programs: tuple[str, ...] = ("kind", "kubectl", "metrics-server")

    def __init__(self, directory: Path = STATE) -> None:
        self.directory = directory
        self.id = cluster_id(directory)
        self.cluster = f"model-operator-{self.id}"

    @property
    def kubeconfig(self) -> Path:
        return self.directory / "kubeconfig"

    @property
    def host_address(self) -> str:
        """The gateway of kind's network; on Docker Desktop a name that leads to the host."""
        if "Docker Desktop" in self._docker("info", "--format", "{{.OperatingSystem}}"):
            return "host.docker.internal"
        configurations = json.loads(
            self._docker("network", "inspect", "kind", "--format", "{{json .IPAM.Config}}")
        )
        gateways = [c["Gateway"] for c in configurations if "Gateway" in c and ":" not in c["Gateway"]]
        if not gateways:
            raise ClusterError("kind's Docker network has no IPv4 gateway: pods can't reach this machine")
        return str(gateways[0])

    def preflight(self) -> None:
        """Docker has answered already."""

    def install_packages(self) -> None:
        """Docker brings all of it."""

    def exists(self) -> bool:
        return (self.directory / "kind").exists()

    def up(self) -> None:
        status = self.status()
        if status.healthy:
            say(f"The cluster is running: {status.server}")
            return
        programs = ensure(*self.programs)
        # a broken one, or one that a killed command left half made
        if self.cluster in self._kind(programs["kind"], "get", "clusters").split():
            self._kind(programs["kind"], "delete", "cluster", "--name", self.cluster)
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "kind").write_text(self.cluster + "\n")
        with step("kind create cluster (the first time Docker fetches the node's image)"):
            arguments = ["--name", self.cluster, "--config", str(REPOSITORY / "kind-config.yaml")]
            arguments += ["--kubeconfig", str(self.kubeconfig), "--wait", f"{READY_SECONDS}s"]
            # set only when the machine has its own copy of the image under another name
            image = os.environ.get("KIND_NODE_IMAGE")
            self._kind(
                programs["kind"], "create", "cluster", *arguments, *(["--image", image] if image else [])
            )
        with step("metrics-server"):
            self._install_metrics_server(programs["metrics-server"])
        with ApiClient(self.kubeconfig) as api:
            api.apply(marker.manifest(self.id, self.name, self._server()))
        say(f"The cluster is ready: {self._server()} (KUBECONFIG={self.kubeconfig})")

    def down(self) -> None:
        if self.exists() or self.leftovers():
            with step("removing the kind cluster"):
                self._kind(ensure("kind")["kind"], "delete", "cluster", "--name", self.cluster)
        else:
            say("There is no cluster.")
        shutil.rmtree(self.directory, ignore_errors=True)

    def status(self) -> ClusterStatus:
        if not self.exists():
            return ClusterStatus(self.name, running=False, healthy=False)
        faults = []
        try:
            server = self._server()
            with ApiClient(self.kubeconfig) as api:
                if not api.ready():
                    faults = ["the API server is not ready"]
                elif api.get(f"/api/v1/namespaces/{marker.NAMESPACE}/configmaps/{marker.NAME}") is None:
                    faults = ["it was not completed"]
        except (KubeconfigError, httpx.HTTPError) as error:
            return ClusterStatus(self.name, running=False, healthy=False, faults=[str(error)])
        return ClusterStatus(self.name, running=True, healthy=not faults, server=server, faults=faults)

    def load_image(self, archive: Path) -> None:
        with step(f"loading {archive.name}"):
            self._kind(ensure("kind")["kind"], "load", "image-archive", str(archive), "--name", self.cluster)

    @contextmanager
    def silence(self) -> Iterator[None]:
        node = f"{self.cluster}-control-plane"
        self._docker("exec", node, "systemctl", "kill", "--signal=STOP", "kubelet")
        try:
            yield
        finally:
            self._docker("exec", node, "systemctl", "kill", "--signal=CONT", "kubelet")

    def leftovers(self) -> list[str]:
        if self.status().running:
            return []
        label = f"label=io.x-k8s.kind.cluster={self.cluster}"
        containers = self._docker("ps", "--all", "--filter", label, "--format", "{{.Names}}").split()
        return [f"container {name}" for name in containers]

    def _server(self) -> str:
        return str(load_context(self.kubeconfig)[1]["server"])

    def _kind(self, kind: Path, *arguments: str) -> str:
        return _run([str(kind), *arguments])

    def _docker(self, *arguments: str) -> str:
        return _run(["docker", *arguments])

    def _install_metrics_server(self, program: Path) -> None:
        with tempfile.TemporaryDirectory() as home:
            self.load_image(write_static_image(Path(home, "metrics-server.tar"), METRICS_IMAGE, program))
        with ApiClient(self.kubeconfig) as api:
            for manifest in _metrics_manifests():
                api.apply(manifest)

            def available() -> bool:
                path = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io"
                conditions = (api.get(path) or {}).get("status", {}).get("conditions", [])
                return any(c["type"] == "Available" and c["status"] == "True" for c in conditions)

            if not wait_until(available, READY_SECONDS):
                raise ClusterError("metrics-server is not available; see its pod in namespace kube-system")


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=CREATE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"`{' '.join(command)}` has not ended after {CREATE_SECONDS} s") from error
    except OSError as error:
        raise ClusterError(f"`{command[0]}` can't be run: {error}") from error
    if done.returncode != 0:
        raise ClusterError(f"`{' '.join(command)}` failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def _metrics_manifests() -> list[dict[str, object]]:
    name, namespace = "metrics-server", "kube-system"
    labels = {"k8s-app": name}
    subjects = [{"kind": "ServiceAccount", "name": name, "namespace": namespace}]

    def rbac(kind: str, own_name: str, role_kind: str, role: str) -> dict[str, object]:
        metadata = {"name": own_name} | ({"namespace": namespace} if kind == "RoleBinding" else {})
        return {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": kind,
            "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role_kind, "name": role},
            "subjects": subjects,
        }

    container = {
        "name": name,
        "image": METRICS_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "args": [
            "--cert-dir=/tmp",
            "--secure-port=10250",
            "--kubelet-preferred-address-types=InternalIP",
            # kind's kubelets sign their own certificates
            "--kubelet-insecure-tls",
            "--metric-resolution=10s",
            "--kubelet-request-timeout=5s",
        ],
        "ports": [{"containerPort": 10250, "name": "https"}],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "https", "scheme": "HTTPS"}},
        "resources": {"requests": {"cpu": "50m", "memory": "100Mi"}},
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "system:metrics-server"},
            "rules": [
                {"apiGroups": [""], "resources": ["nodes/metrics"], "verbs": ["get"]},
                {"apiGroups": [""], "resources": ["pods", "nodes"], "verbs": ["get", "list", "watch"]},
            ],
        },
        rbac("ClusterRoleBinding", "system:metrics-server", "ClusterRole", "system:metrics-server"),
        rbac("ClusterRoleBinding", "metrics-server:delegator", "ClusterRole", "system:auth-delegator"),
        rbac(
            "RoleBinding", "metrics-server-auth-reader", "Role", "extension-apiserver-authentication-reader"
        ),
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "namespace": namespace, "labels": labels},
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {
                        "serviceAccountName": name,
                        "containers": [container],
                        "volumes": [{"name": "tmp", "emptyDir": {}}],
                    },
                },
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": namespace, "labels": labels},
            "spec": {"selector": labels, "ports": [{"name": "https", "port": 443, "targetPort": "https"}]},
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": "v1beta1.metrics.k8s.io"},
            "spec": {
                "group": "metrics.k8s.io",
                "version": "v1beta1",
                "service": {"name": name, "namespace": namespace},
                "insecureSkipTLSVerify": True,
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
            },
        },
    ]

"""A single real Kubernetes node on a Linux machine without Docker and without a registry."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import httpx

from tests.cluster import marker, remains
from tests.cluster.api import ApiClient, KubeconfigError
from tests.cluster.binaries import BinaryUnavailableError, cache_directory, ensure
from tests.cluster.configuration import NODE_NAME, NodePlan
from tests.cluster.locks import locked
from tests.cluster.namespaces import NodeNamespaces, NodeSetupError, forget_mount_points
from tests.cluster.network import NoFreeSubnetError, Subnets, choose_subnets, used_networks
from tests.cluster.node import NodeStart, import_image, overlay_works
from tests.cluster.packages import (
    ETCD_PACKAGES,
    IMAGE_PACKAGES,
    NODE_PACKAGES,
    PackagesMissingError,
    ensure_packages,
    find_program,
    missing_packages,
)
from tests.cluster.process import ProcessDiedError, ProcessIdentity
from tests.cluster.provider import STATE, ClusterError, ClusterStatus, cluster_id
from tests.cluster.reporting import say, step

CLUSTER_PROGRAMS = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "coredns",
    "metrics-server",
    "kubectl",
    "pause",
)


_EXPECTED = (
    BinaryUnavailableError,
    NodeSetupError,
    PackagesMissingError,
    ProcessDiedError,
    TimeoutError,
    OSError,
    httpx.HTTPError,
)


class BareNode:
    """The provider for machines without Docker; needs root."""

    name = "bare"
    programs: tuple[str, ...] = CLUSTER_PROGRAMS

    def __init__(self, directory: Path = STATE) -> None:
        self.directory = directory
        self.id = cluster_id(directory)

    # what is where

    @property
    def kubeconfig(self) -> Path:
        return self.directory / "kubeconfig"

    @property
    def logs(self) -> Path:
        return self.directory / "logs"

    @property
    def _state_file(self) -> Path:
        return self.directory / "cluster.json"

    @property
    def host_address(self) -> str:
        state = self._state()
        if state is None:
            raise ClusterError("there is no cluster: `make cluster` makes one")
        return str(Subnets(IPv4Network(state["subnet"])).host)

    def exists(self) -> bool:
        return self._state() is not None

    def _state(self) -> dict[str, Any] | None:
        try:
            state = json.loads(self._state_file.read_text())
        except (OSError, ValueError):
            return None
        # a directory that came with a copy of another checkout is not ours
        ours = isinstance(state, dict) and state.get("provider") == self.name and state.get("id") == self.id
        return state if ours else None

    # up

    def preflight(self) -> None:
        self._require_root()

    def install_packages(self) -> None:
        ensure_packages({**NODE_PACKAGES, **ETCD_PACKAGES, **IMAGE_PACKAGES}, cache_directory() / "apt.log")

    def up(self) -> None:
        self._require_root()
        with self._locked():
            status = self.status()
            if status.healthy:
                say(f"The cluster is running: {status.server}")
                return
            if status.running:
                say("The cluster is not healthy and is made anew: " + "; ".join(status.faults))
            self._clear()
            try:
                self._create()
            except _EXPECTED as error:
                self._clear(keep_logs=True)
                raise ClusterError(f"{error}\nThe logs are in {self.logs}.") from error
            except BaseException:
                self._clear(keep_logs=True)
                raise

    def _create(self) -> None:
        self.logs.mkdir(parents=True, exist_ok=True)
        self.install_packages()
        programs = ensure("etcd", *self.programs)
        say("Starting a Kubernetes node:")
        plan = self._plan()
        node = NodeStart(plan, programs, self.logs)
        with step("namespaces and network"):
            node.make_namespaces()
        self._save(plan, node)
        with step("etcd and kube-apiserver"):
            node.start_api(self.kubeconfig)
        with step("containerd"):
            node.start_containerd()
        with step("controllers, kubelet, kube-proxy, DNS and metrics"):
            node.start_node_parts()
        self._save(plan, node)
        with ApiClient(self.kubeconfig) as api:
            with step("the node becomes ready"):
                node.wait("the node is not ready", lambda: _node_ready(api))
            with step("DNS and metrics answer"):
                node.wait("the metrics API is not available", lambda: _metrics_available(api))
            node.wait("CoreDNS is not ready", node.dns_ready)
            node.wait("the controllers have not made the service accounts", lambda: _accounts_made(api))
            # last, because it says that the cluster is complete
            api.apply(marker.manifest(self.id, self.name, plan.url))
        say(f"The cluster is ready: {plan.url} (KUBECONFIG={self.kubeconfig})")

    def _plan(self) -> NodePlan:
        try:
            subnets = choose_subnets(used_networks())
        except NoFreeSubnetError as error:
            raise ClusterError(str(error)) from error
        plugins = find_program("/usr/lib/cni/ptp") or find_program("/opt/cni/bin/ptp")
        assert plugins is not None, "ensure_packages has seen it"
        overlay = overlay_works(self.directory)
        if not overlay:
            say("  overlay mounts do not work here: images are copied instead (slower, more disk)")
        return NodePlan(
            cluster_id=self.id,
            directory=self.directory.resolve(),
            subnets=subnets,
            snapshotter="overlayfs" if overlay else "native",
            cni_plugins=plugins.parent,
        )

    def _save(self, plan: NodePlan, node: NodeStart) -> None:
        assert node.namespaces is not None
        state = {
            "provider": self.name,
            "id": self.id,
            "subnet": str(plan.subnets.whole),
            "snapshotter": plan.snapshotter,
            "cniPlugins": str(plan.cni_plugins),
            "holder": asdict(node.namespaces.holder),
            "daemons": {daemon.name: asdict(daemon.identity) for daemon in node.daemons},
        }
        unfinished = self._state_file.with_suffix(".new")
        unfinished.write_text(json.dumps(state, indent=2) + "\n")
        unfinished.replace(self._state_file)

    # down

    def down(self) -> None:
        self._require_root()
        if not self.directory.exists() and not self.leftovers():
            say("There is no cluster.")
            return
        with self._locked(), step("removing the cluster"):
            self._clear()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _clear(self, keep_logs: bool = False) -> None:
        """Ends this checkout's node, running or dead, and removes all that it left."""
        resisting = remains.clear(self.id, self.directory.resolve())
        if resisting:
            raise ClusterError("Can't remove what a former cluster left:\n" + "\n".join(resisting))
        if not remains.Remains.find(None).processes:
            forget_mount_points()
        for entry in self.directory.iterdir() if self.directory.exists() else []:
            if entry.name == "lock" or (keep_logs and entry == self.logs):
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    # while it runs

    def status(self) -> ClusterStatus:
        state = self._state()
        if state is None:
            return ClusterStatus(self.name, running=False, healthy=False)
        faults = [
            f"{name} is not running"
            for name, identity in state["daemons"].items()
            if not ProcessIdentity(**identity).alive()
        ]
        running = ProcessIdentity(**state["holder"]).alive()
        if not running:
            faults = ["the node's processes have ended (killed, or the machine was restarted)"]
        server = NodePlan(self.id, self.directory, Subnets(IPv4Network(state["subnet"])), "", Path()).url
        if not faults:
            faults = self._ask_for_faults()
        return ClusterStatus(self.name, running, healthy=not faults, server=server, faults=faults)

    def _ask_for_faults(self) -> list[str]:
        try:
            with ApiClient(self.kubeconfig) as api:
                if not api.ready():
                    return ["the API server is not ready"]
                if not _node_ready(api):
                    return ["the node is not ready"]
                if api.get(f"/api/v1/namespaces/{marker.NAMESPACE}/configmaps/{marker.NAME}") is None:
                    return ["it was not completed"]
        except (KubeconfigError, OSError, httpx.HTTPError) as error:
            return [str(error)]
        return []

    def load_image(self, archive: Path) -> None:
        state = self._state()
        if state is None or not ProcessIdentity(**state["holder"]).alive():
            raise ClusterError("there is no running cluster: `make cluster` makes one")
        stat = archive.stat()
        print_of_archive = [stat.st_size, stat.st_mtime_ns]
        record = self.directory / "images.json"
        with self._locked():
            loaded = json.loads(record.read_text()) if record.exists() else {}
            if loaded.get(str(archive.resolve())) == print_of_archive:
                return
            plan = NodePlan(
                self.id,
                self.directory.resolve(),
                Subnets(IPv4Network(state["subnet"])),
                state["snapshotter"],
                Path(state["cniPlugins"]),
            )
            with step(f"loading {archive.name}"):
                try:
                    import_image(NodeNamespaces(plan, ProcessIdentity(**state["holder"])), archive)
                except (NodeSetupError, OSError, subprocess.TimeoutExpired) as error:
                    raise ClusterError(f"{archive} could not be loaded: {error}") from error
            record.write_text(json.dumps({**loaded, str(archive.resolve()): print_of_archive}) + "\n")

    @contextmanager
    def silence(self) -> Iterator[None]:
        state = self._state()
        kubelet = ProcessIdentity(**state["daemons"]["kubelet"]) if state else None
        if kubelet is None or not kubelet.alive():
            raise ClusterError("there is no running kubelet: `make cluster` makes one")
        # what the daemon runs in the node's namespaces is in its process group
        os.killpg(kubelet.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(kubelet.pid, signal.SIGCONT)

    def leftovers(self) -> list[str]:
        if self.status().running:
            return []
        return remains.Remains.find(self.id, self.directory.resolve()).describe()

    # guards

    def _require_root(self) -> None:
        if os.geteuid() != 0:
            missing = missing_packages({**NODE_PACKAGES, **ETCD_PACKAGES})
            need = f" It would also install: {', '.join(missing)}." if missing else ""
            raise ClusterError(
                "The bare node needs root (containers, namespaces and routes): run this as root, or start a "
                "Docker engine, then kind is used." + need
            )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with locked(self.directory / "lock", "Another command works on this cluster, waiting for it ..."):
            yield


def _node_ready(api: ApiClient) -> bool:
    node = api.get(f"/api/v1/nodes/{NODE_NAME}")
    conditions = (node or {}).get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _metrics_available(api: ApiClient) -> bool:
    service = api.get("/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io")
    conditions = (service or {}).get("status", {}).get("conditions", [])
    return any(c["type"] == "Available" and c["status"] == "True" for c in conditions)


def _accounts_made(api: ApiClient) -> bool:
    paths = [f"/api/v1/namespaces/{name}/serviceaccounts/default" for name in ("default", "kube-system")]
    return all(api.get(path) is not None for path in paths)

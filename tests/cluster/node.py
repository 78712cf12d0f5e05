"""One start of the bare node, from nothing to all of its processes running."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import httpx

from tests.cluster import addons, components, configuration, remains
from tests.cluster.api import ApiClient
from tests.cluster.configuration import NODE_NAME, NodePlan
from tests.cluster.images import PAUSE_IMAGE, write_static_image
from tests.cluster.namespaces import NodeNamespaces, NodeSetupError
from tests.cluster.packages import find_program
from tests.cluster.process import Daemon, log_tail, wait_until

READY_SECONDS = 180
IMPORT_SECONDS = 600


class NodeStart:
    """One start of a node, from nothing to all processes running."""

    def __init__(self, plan: NodePlan, programs: dict[str, Path], logs: Path) -> None:
        self.plan = plan
        self.programs = programs
        self.logs = logs
        self.daemons: list[Daemon] = []
        self.namespaces: NodeNamespaces | None = None
        self.identities = components.Identities.create(
            plan.pki,
            plan.url,
            f"model-operator-{plan.cluster_id}",
            [str(plan.subnets.node), str(plan.subnets.services[1])],
        )

    def make_namespaces(self) -> None:
        for root in remains.cgroup_roots():
            make_cgroup(root, self.plan.cgroup)
        self.namespaces = NodeNamespaces.create(
            self.plan, self.programs["pause"], self.logs / "namespaces.log"
        )

    def _start(self, name: str, command: list[str]) -> None:
        assert self.namespaces is not None
        self.daemons.append(self.namespaces.start(name, command, self.logs / f"{name}.log"))

    def start_api(self, kubeconfig: Path) -> None:
        plan, node = self.plan, self.plan.subnets.node
        data = plan.directory / "etcd"
        data.mkdir(mode=0o700)
        etcd_url = "http://127.0.0.1:2379"
        self._start("etcd", components.etcd(self.programs["etcd"], data, etcd_url, "http://127.0.0.1:2380"))
        api_plan = components.ApiServerPlan(
            bind_address=str(node),
            port=configuration.API_PORT,
            etcd_url=etcd_url,
            service_cidr=str(plan.subnets.services),
            identities=self.identities,
            has_node=True,
            has_controllers=True,
        )
        self._start("kube-apiserver", components.kube_apiserver(self.programs["kube-apiserver"], api_plan))
        self.identities.kubeconfig("admin", ["system:masters"], kubeconfig)
        with ApiClient(kubeconfig) as api:
            self.wait("kube-apiserver is not ready", api.ready)
            for manifest in addons.manifests(plan, self.identities.authority.certificate):
                api.apply(manifest)

    def start_containerd(self) -> None:
        plan = self.plan
        (plan.configuration / "cni").mkdir(parents=True)
        (plan.configuration / "cni" / "10-model-operator.conflist").write_text(configuration.cni(plan))
        config = plan.configuration / "containerd.toml"
        config.write_text(configuration.containerd(plan))
        containerd = find_program("containerd")
        self._start("containerd", [str(containerd), "--config", str(config), "--log-level", "warn"])
        assert self.namespaces is not None
        namespaces = self.namespaces
        self.wait("containerd does not answer", lambda: _succeeds(lambda: ctr(namespaces, "version")))
        archive = write_static_image(plan.directory / "pause.tar", PAUSE_IMAGE, self.programs["pause"])
        import_image(namespaces, archive)
        archive.unlink()

    def start_node_parts(self) -> None:
        plan, ids, etc = self.plan, self.identities, self.plan.configuration
        node = str(plan.subnets.node)
        self._start(
            "kube-controller-manager",
            components.kube_controller_manager(
                self.programs["kube-controller-manager"],
                ids,
                pod_cidr=str(plan.subnets.pods),
                secure_port=10257,
            ),
        )
        self._start("kube-scheduler", components.kube_scheduler(self.programs["kube-scheduler"], ids))
        (etc / "resolv.conf").write_text(f"nameserver {plan.subnets.node}\n")
        ids.authority.issue("kubelet-server", f"system:node:{NODE_NAME}", addresses=[node, NODE_NAME])
        kubelet_config = etc / "kubelet.json"
        kubelet_config.write_text(json.dumps(configuration.kubelet(plan), indent=2))
        kubelet_user = ids.kubeconfig(f"system:node:{NODE_NAME}", ["system:nodes"])
        self._start(
            "kubelet",
            [
                str(self.programs["kubelet"]),
                f"--config={kubelet_config}",
                f"--kubeconfig={kubelet_user}",
                f"--hostname-override={NODE_NAME}",
                f"--node-ip={node}",
            ],
        )
        proxy_config = etc / "kube-proxy.json"
        proxy_user = ids.kubeconfig("system:kube-proxy")
        proxy_config.write_text(json.dumps(configuration.kube_proxy(plan, proxy_user), indent=2))
        self._start("kube-proxy", [str(self.programs["kube-proxy"]), f"--config={proxy_config}"])
        self._start_addons()

    def _start_addons(self) -> None:
        plan, ids = self.plan, self.identities
        corefile = plan.configuration / "Corefile"
        corefile.write_text(configuration.corefile(plan, ids.kubeconfig("coredns", ["system:masters"])))
        self._start("coredns", [str(self.programs["coredns"]), "-conf", str(corefile)])
        server = ids.authority.issue(
            "metrics-server-server", "metrics-server", addresses=["metrics-server.kube-system.svc"]
        )
        user = ids.kubeconfig("metrics-server", ["system:masters"])
        self._start(
            "metrics-server",
            [
                str(self.programs["metrics-server"]),
                f"--kubeconfig={user}",
                f"--authentication-kubeconfig={user}",
                f"--authorization-kubeconfig={user}",
                f"--bind-address={plan.subnets.node}",
                f"--secure-port={configuration.METRICS_PORT}",
                f"--tls-cert-file={server.certificate}",
                f"--tls-private-key-file={server.key}",
                f"--kubelet-certificate-authority={ids.authority.certificate}",
                "--kubelet-preferred-address-types=InternalIP",
                "--metric-resolution=10s",
                "--kubelet-request-timeout=5s",
            ],
        )

    def dns_ready(self) -> bool:
        address = f"http://{self.plan.subnets.node}:{configuration.COREDNS_READY_PORT}/ready"
        return httpx.get(address, timeout=5, trust_env=False).status_code == 200

    def wait(self, complaint: str, condition: Callable[[], bool]) -> None:
        """Raises TimeoutError with the complaint, or ProcessDiedError as soon as a part has ended."""

        def checked() -> bool:
            for daemon in self.daemons:
                daemon.check()
            try:
                return condition()
            except httpx.HTTPError:
                return False

        if not wait_until(checked, READY_SECONDS):
            logs = "\n".join(f"{d.log}:\n{log_tail(d.log, 5)}" for d in self.daemons)
            raise TimeoutError(f"{complaint} after {READY_SECONDS} s\n{logs}")


def _succeeds(action: Callable[[], object]) -> bool:
    try:
        action()
    except NodeSetupError:
        return False
    return True


def ctr(namespaces: NodeNamespaces, *arguments: str, stdin: Path | None = None) -> str:
    command = [str(find_program("ctr")), "--address", str(configuration.CONTAINERD_SOCKET)]
    return namespaces.run([*command, "--namespace", "k8s.io", *arguments], stdin, IMPORT_SECONDS)


def import_image(namespaces: NodeNamespaces, archive: Path) -> None:
    """Puts the images of a docker or OCI archive into the node's containerd. Raises NodeSetupError."""
    # through stdin, because the archive may stand where the node's own mounts cover it
    ctr(namespaces, "images", "import", "--snapshotter", namespaces.plan.snapshotter, "-", stdin=archive)


def make_cgroup(root: Path, name: str) -> None:
    """Makes the node's cgroup in one hierarchy, able to hold the kubelet's cgroups."""
    cgroup = root / name
    cgroup.mkdir(exist_ok=True)
    controllers = cgroup / "cgroup.controllers"
    if controllers.exists():
        for place in (root, cgroup):
            wanted = " ".join(f"+{c}" for c in (place / "cgroup.controllers").read_text().split())
            if wanted:
                (place / "cgroup.subtree_control").write_text(wanted)
    # version 1 gives a new cpuset no processors and no memory
    for name_of_list in ("cpuset.cpus", "cpuset.mems"):
        own, above = cgroup / name_of_list, root / name_of_list
        if not controllers.exists() and own.exists() and above.exists() and not own.read_text().strip():
            own.write_text(above.read_text())


def overlay_works(directory: Path) -> bool:
    """Whether overlay mounts work on the disk of that directory."""
    with tempfile.TemporaryDirectory(dir=directory) as home:
        for name in ("lower", "upper", "work", "merged"):
            Path(home, name).mkdir()
        options = f"lowerdir={home}/lower,upperdir={home}/upper,workdir={home}/work"
        # in a mount namespace of its own: nothing to undo
        probe = ["unshare", "--mount", "--propagation", "private", "mount", "-t", "overlay", "overlay"]
        done = subprocess.run(
            [*probe, "-o", options, f"{home}/merged"], capture_output=True, timeout=20, check=False
        )
        return done.returncode == 0

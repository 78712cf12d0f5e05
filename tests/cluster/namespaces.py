"""The node's own world: a process, mount and network namespace, held by one process.

Everything that the node starts lives in there. When the holder dies, the kernel ends every process in it,
containers included, and with the last one all mounts, interfaces, routes and packet filter rules are gone.
Outside remain only the cgroups, and the host's end of the link until the kernel has taken it down.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.configuration import HOME, HOST_TUNABLES, NodePlan
from tests.cluster.process import Daemon, ProcessIdentity, log_tail, wait_until

MARK = "MODEL_OPERATOR_TEST_CLUSTER"
"""Environment variable that every process of the node carries, with the cluster's id."""

SETUP_SECONDS = 30
# Written to by programs that know no other place. The node covers them with its own; the host needs them only
# as empty mount points.
_CNI_CACHE = Path("/var/lib/cni")
_KUBELET_HOME = Path("/var/lib/kubelet")
_MOUNT_POINTS = (_CNI_CACHE, _KUBELET_HOME)


class NodeSetupError(RuntimeError):
    """The machine did not let us make the node's namespaces."""


def _setup_script(plan: NodePlan, pause: Path) -> str:
    tunables = "\n".join(
        f"[ ! -e /proc/sys/{name} ] || {{ echo {value} >{HOME}/tunables/{name.replace('/', '.')}; "
        f"mount --bind {HOME}/tunables/{name.replace('/', '.')} /proc/sys/{name}; }}"
        for name, value in HOST_TUNABLES.items()
    )
    return f"""\
set -eu
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p {HOME} /run/lock
mount --bind "$NODE_DIRECTORY" {HOME}
mount -t tmpfs -o mode=755 tmpfs /var/log
mount -t tmpfs -o mode=755 tmpfs {_CNI_CACHE}
mkdir -p {HOME}/tunables {HOME}/kubelet
mount --bind {HOME}/kubelet {_KUBELET_HOME}
{tunables}
ip link set lo up
echo 1 >/proc/sys/net/ipv4/ip_forward
touch {HOME}/holder-ready
exec "$PAUSE_PROGRAM"
"""


@dataclass
class NodeNamespaces:
    """The namespaces of one running node."""

    plan: NodePlan
    holder: ProcessIdentity

    @classmethod
    def create(cls, plan: NodePlan, pause: Path, log: Path) -> NodeNamespaces:
        """Makes the namespaces and the link between host and node. Raises NodeSetupError."""
        for point in _MOUNT_POINTS:
            point.mkdir(parents=True, exist_ok=True)
        ready = plan.directory / "holder-ready"
        ready.unlink(missing_ok=True)
        environment = {
            MARK: plan.cluster_id,
            "NODE_DIRECTORY": str(plan.directory),
            "PAUSE_PROGRAM": str(pause),
        }
        command = ["unshare", "--mount", "--net", "--ipc", "--uts", "--pid", "--fork", "--kill-child"]
        command += ["--mount-proc", "--propagation", "private"]
        unshare = Daemon.start(
            "namespaces", [*command, "--", "sh", "-c", _setup_script(plan, pause)], log, environment
        )

        def prepared() -> bool:
            unshare.check()
            return ready.exists()

        if not wait_until(prepared, SETUP_SECONDS, every=0.05):
            raise NodeSetupError(f"the node's namespaces are not ready:\n{log_tail(log)}")
        ready.unlink()
        children = (
            Path(f"/proc/{unshare.identity.pid}/task/{unshare.identity.pid}/children").read_text().split()
        )
        namespaces = cls(plan, ProcessIdentity.of(int(children[0])))
        namespaces._connect()
        return namespaces

    def enter(self, command: Sequence[str | Path]) -> list[str]:
        """The command line that runs that command inside the node."""
        target = ["--target", str(self.holder.pid), "--mount", "--net", "--ipc", "--uts", "--pid"]
        return ["nsenter", *target, "--", *(str(part) for part in command)]

    def run(self, command: Sequence[str | Path], stdin: Path | None = None, seconds: float = 60) -> str:
        """Runs a command inside the node; its output. Raises NodeSetupError with it when it fails."""
        with (stdin or Path(os.devnull)).open("rb") as source:
            done = subprocess.run(
                self.enter(command),
                stdin=source,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=seconds,
                check=False,
            )
        output = done.stdout.decode(errors="replace")
        if done.returncode != 0:
            raise NodeSetupError(f"`{' '.join(map(str, command))}` failed in the node:\n{output}")
        return output

    def start(self, name: str, command: Sequence[str | Path], log: Path) -> Daemon:
        return Daemon.start(name, self.enter(command), log, {MARK: self.plan.cluster_id})

    def _connect(self) -> None:
        subnets, interface = self.plan.subnets, self.plan.interface
        prefix = subnets.link_prefix
        pid = str(self.holder.pid)
        _host("link", "add", interface, "type", "veth", "peer", "name", "eth0", "netns", pid)
        _host("link", "set", interface, "alias", f"{MARK} {self.plan.cluster_id}")
        _host("address", "add", f"{subnets.host}/{prefix}", "dev", interface)
        _host("link", "set", interface, "up")
        self.run(["ip", "address", "add", f"{subnets.node}/{prefix}", "dev", "eth0"])
        self.run(["ip", "link", "set", "eth0", "up"])
        self.run(["ip", "route", "add", "default", "via", str(subnets.host)])
        # the host reaches pods and Services, so that tests need no port forwarding
        for network in (subnets.pods, subnets.services):
            _host("route", "add", str(network), "via", str(subnets.node), "dev", interface)
        # servers on the host see the node's address, to which the host knows the way
        rule = ["-s", str(subnets.pods), "-o", "eth0", "-j", "MASQUERADE"]
        self.run(["iptables", "-w", "-t", "nat", "-A", "POSTROUTING", *rule])


def _host(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, timeout=10, check=False)
    if done.returncode != 0:
        raise NodeSetupError(f"`ip {' '.join(arguments)}` failed: {done.stderr.strip()}")


def forget_mount_points() -> None:
    """Takes away the empty mount points of `create`. Another running node would lose its mounts."""
    for point in _MOUNT_POINTS:
        try:
            point.rmdir()
        except OSError:
            # holds something, so it is somebody else's
            continue

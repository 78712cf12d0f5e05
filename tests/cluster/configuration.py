"""The configuration files of the bare node's parts, as pure functions."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.components import CLUSTER_DOMAIN
from tests.cluster.images import PAUSE_IMAGE
from tests.cluster.network import Subnets

NODE_NAME = "model-operator-node"

# Inside the node's own mount namespace /run is empty and its own, so the usual places are free. What must be
# on disk stands under HOME, which is the cluster's directory: Unix sockets allow only short paths.
HOME = Path("/run/model-operator")
CONTAINERD_SOCKET = Path("/run/containerd/containerd.sock")

API_PORT = 6443
KUBELET_PORT = 10250
METRICS_PORT = 4443
COREDNS_READY_PORT = 8181

HOST_TUNABLES = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
"""What the kubelet would set on the whole machine; it is shown these values instead."""


@dataclass(frozen=True)
class NodePlan:
    """Where things are and which addresses they have."""

    cluster_id: str
    directory: Path
    subnets: Subnets
    snapshotter: str
    cni_plugins: Path

    @property
    def url(self) -> str:
        return f"https://{self.subnets.node}:{API_PORT}"

    @property
    def cgroup(self) -> str:
        return f"model-operator-{self.cluster_id}"

    @property
    def interface(self) -> str:
        """The host's end of the link to the node (a kernel name: 15 characters at most)."""
        return f"mo{self.cluster_id}"

    @property
    def pki(self) -> Path:
        return self.directory / "pki"

    @property
    def configuration(self) -> Path:
        return self.directory / "etc"


def containerd(plan: NodePlan) -> str:
    return f"""\
version = 2
root = "{HOME}/containerd"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.internal.v1.opt",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]

[grpc]
  address = "{CONTAINERD_SOCKET}"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  # without CAP_SYS_RESOURCE no process may lower its score, and every sandbox would fail
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true

[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "{plan.snapshotter}"
  default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "{plan.cni_plugins}"
  conf_dir = "{HOME}/etc/cni"
"""


def cni(plan: NodePlan) -> str:
    """Every pod hangs on a routed link of its own: Service addresses then work without br_netfilter."""
    plugin = {
        "type": "ptp",
        "ipam": {
            "type": "host-local",
            "dataDir": "/run/cni-addresses",
            "ranges": [[{"subnet": str(plan.subnets.pods)}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    return json.dumps({"cniVersion": "0.4.0", "name": "model-operator", "plugins": [plugin]}, indent=2)


def kubelet(plan: NodePlan) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": str(plan.subnets.node),
        "port": KUBELET_PORT,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(plan.pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(plan.pki / "kubelet-server.crt"),
        "tlsPrivateKeyFile": str(plan.pki / "kubelet-server.key"),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{plan.cgroup}",
        "failCgroupV1": False,
        "enforceNodeAllocatable": [],
        "clusterDNS": [str(plan.subnets.dns)],
        "clusterDomain": CLUSTER_DOMAIN,
        "resolvConf": str(plan.configuration / "resolv.conf"),
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "podLogsDir": f"{HOME}/pod-logs",
        "volumePluginDir": f"{HOME}/volume-plugins",
        "failSwapOn": False,
        "maxPods": 110,
        "oomScoreAdj": 0,
        # a full disk of a laptop is no reason to evict, and images can't be pulled again
        "evictionHard": {
            "memory.available": "0%",
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
            "imagefs.available": "0%",
            "imagefs.inodesFree": "0%",
        },
        "imageGCHighThresholdPercent": 100,
        "localStorageCapacityIsolation": False,
        "registerNode": True,
        "rotateCertificates": False,
        "logging": {"verbosity": 1},
    }


def kube_proxy(plan: NodePlan, kubeconfig: Path) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "clusterCIDR": str(plan.subnets.pods),
        "hostnameOverride": NODE_NAME,
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "oomScoreAdj": 0,
        # nothing of this machine's own connection tracking is changed
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
        "logging": {"verbosity": 1},
    }


def corefile(plan: NodePlan, kubeconfig: Path) -> str:
    """Names of the cluster; any other name does not exist, because the node has no way to the outside."""
    return f"""\
.:53 {{
  bind {plan.subnets.node}
  errors
  ready {plan.subnets.node}:{COREDNS_READY_PORT}
  kubernetes {CLUSTER_DOMAIN} in-addr.arpa {{
    kubeconfig {kubeconfig}
    pods insecure
    ttl 5
  }}
  template ANY ANY . {{
    rcode NXDOMAIN
  }}
}}
"""

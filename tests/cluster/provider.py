"""One interface over the kinds of clusters; everything above it is the same code."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from tests.cluster.api import load_context
from tests.cluster.binaries import ensure

REPOSITORY = Path(__file__).resolve().parents[2]
STATE = REPOSITORY / ".cluster"


class ClusterError(RuntimeError):
    """The cluster can't be made, used or removed; the message says what a person can do."""


@dataclass(frozen=True)
class ClusterStatus:
    """What `status` prints."""

    provider: str
    running: bool
    healthy: bool
    server: str = ""
    faults: list[str] = field(default_factory=list)


class ClusterProvider(Protocol):
    """A Kubernetes cluster of this checkout."""

    name: str
    programs: tuple[str, ...]
    """What `up` runs of the programs that have to be found or built."""

    def preflight(self) -> None:
        """Whether this machine and this user can have such a cluster. Raises ClusterError; changes nothing."""

    def install_packages(self) -> None:
        """Installs the system's packages that the cluster and the image builds need. Raises PackagesMissingError."""

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig; exists after `up`."""

    @property
    def host_address(self) -> str:
        """The address at which pods reach servers that run on this machine; known after `up`."""

    def up(self) -> None:
        """Makes the cluster, or finds the running one healthy. Raises ClusterError."""

    def down(self) -> None:
        """Removes the cluster and every trace of it. Harmless when there is none. Raises ClusterError."""

    def status(self) -> ClusterStatus: ...

    def load_image(self, archive: Path) -> None:
        """Makes the images of a docker or OCI archive usable by pods. Raises ClusterError."""

    def silence(self) -> AbstractContextManager[None]:
        """The node's kubelet says and does nothing for the time of the block; its pods run on. Raises ClusterError."""

    def leftovers(self) -> list[str]:
        """What is on this machine of a cluster that does not run (any more); one line per thing."""


def cluster_id(directory: Path = STATE) -> str:
    """Eight hexadecimal digits that stand for this checkout on this machine."""
    return hashlib.sha256(str(directory.resolve()).encode()).hexdigest()[:8]


def environment(provider: ClusterProvider) -> dict[str, str]:
    """Variables for programs that are to use the cluster: KUBECONFIG, kubectl and helm on PATH, no proxy.

    Builds kubectl and helm where they are missing. Raises binaries.BinaryUnavailableError.
    """
    directories = dict.fromkeys(str(path.parent) for path in ensure("kubectl", "helm").values())
    host = urlsplit(load_context(provider.kubeconfig)[1]["server"]).hostname or ""
    exempt = [os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or "", host, "127.0.0.1", "localhost"]
    no_proxy = ",".join(filter(None, exempt))
    return {
        "KUBECONFIG": str(provider.kubeconfig),
        "PATH": os.pathsep.join([*directories, os.environ.get("PATH", os.defpath)]),
        "NO_PROXY": no_proxy,
        "no_proxy": no_proxy,
    }


def docker_answers() -> bool:
    """Whether a Docker engine is there, not only its client."""
    if shutil.which("docker") is None:
        return False
    try:
        done = subprocess.run(
            ["docker", "info", "--format", "{{.ServerVersion}}"],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and bool(done.stdout.strip())


def select(name: str | None = None) -> ClusterProvider:
    """The provider of that name ("kind" or "bare"); without one the provider of the cluster that is already
    there, else kind where a Docker engine answers, else the bare node. Raises ClusterError for another name.
    """
    # here, because both of them import this module
    from tests.cluster.bare import BareNode
    from tests.cluster.kind import Kind

    if name is None:
        for existing in (BareNode(), Kind()):
            if existing.exists():
                return existing
        name = Kind.name if docker_answers() else BareNode.name
    if name == Kind.name:
        return Kind()
    if name == BareNode.name:
        return BareNode()
    raise ClusterError(f"no such provider: {name}; there are {BareNode.name} and {Kind.name}")

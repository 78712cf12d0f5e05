"""What each purpose needs, as jobs."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence

from rich.console import Console

from tests.cluster.binaries import cache_directory
from tests.cluster.provider import ClusterError, ClusterProvider, select
from tests.mlflow_env import MLSERVER, OLDEST, REQUIREMENTS
from tests.object_store import OBJECT_STORE
from tests.provision.run import JobFailedError, Jobs
from tests.provision.schedule import Job

PURPOSES = ("suites", "cluster")
SUITES_PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kubectl", "helm", "kstatus")
DEBIAN_PROGRAMS = ("prometheus", "promtool", "amtool")
LEAST_FREE_BYTES = 2_000_000_000


class ProvisionError(RuntimeError):
    """Something that is needed can't be had; the message says what a person can do."""


def _python(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", *arguments)


def suites() -> list[Job]:
    """What `make test` runs: a control plane, clients, Prometheus' tools, environments with MLflow and MLServer."""
    environments = [
        Job(f"Python environment {lock.stem}", _python("tests.mlflow_env", lock.name), 30)
        for lock in (REQUIREMENTS, OLDEST, OBJECT_STORE, MLSERVER)
    ]
    return [
        Job("Prometheus", _python("tests.cluster", "programs", *DEBIAN_PROGRAMS), 15),
        # after it, because both may refresh apt's package lists
        Job("etcd", _python("tests.cluster", "programs", "etcd"), 20, ("Prometheus",)),
        Job("Kubernetes programs", _python("tests.cluster", "programs", *SUITES_PROGRAMS), 280),
        *environments,
    ]


def cluster(provider: ClusterProvider) -> list[Job]:
    """What `make demo` and `make e2e` run on: a running cluster, both images, an environment with MLflow."""
    return [
        Job("Debian packages", _python("tests.cluster", "packages"), 30),
        Job("Kubernetes programs", _python("tests.cluster", "programs", *provider.programs, "helm"), 370),
        Job("MLflow", _python("tests.mlflow_env", REQUIREMENTS.name), 40),
        Job("images", _python("tests.images", "build"), 205, ("Debian packages",)),
        Job("cluster", _python("tests.cluster", "up"), 15, ("Debian packages", "Kubernetes programs")),
    ]


def provision(purpose: str, console: Console) -> None:
    """Makes what is missing for the purpose, one of PURPOSES. Raises ProvisionError; may be run again at any time."""
    try:
        if purpose == "cluster":
            provider = select()
            provider.preflight()
            jobs: Sequence[Job] = cluster(provider)
        else:
            jobs = suites()
        _assert_room()
        Jobs(jobs, console).run()
    except (ClusterError, JobFailedError) as error:
        raise ProvisionError(str(error)) from error


def _assert_room() -> None:
    home = cache_directory()
    home.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(home).free
    if free < LEAST_FREE_BYTES:
        raise ProvisionError(
            f"Only {free / 1e9:.1f} GB are free where {home} lies. A cold start needs about 12 GB. "
            "Free some space, or choose another place with XDG_CACHE_HOME, where Go keeps its build cache, too."
        )

"""An older operator is replaced by the present one while rollouts are under way: no pod is made for that.

The older one runs on this machine, by the package of its commit, with the configuration of the installed one. That is
scaled to nothing meanwhile, and takes over afterwards.
"""

from __future__ import annotations

import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pytest

from tests.cluster.network import free_ports
from tests.e2e.stage import GOOD, SLOW, Stage
from tests.integration.lives.operator_process import OperatorProcess
from tests.mlflow_server import MlflowServer
from tests.workbench import Namespace, Workbench

OLDER = "0876e2d6241349a73433577946531bd2c515dafa"
"""The last commit before the package got its present layout."""
NEWER_SETTINGS = {"resyncSeconds"}
"""Settings that it does not know."""
ROOT = Path(__file__).parents[2]
LABEL = "model-operator.io/deployment"
pytestmark = pytest.mark.commit(OLDER)
SETTLED, ROLLING, BLUE_GREEN = "settled", "rolling", "bluegreen"


@dataclass(frozen=True)
class Seen:
    """What an upgrade may not touch of a ModelDeployment."""

    pods: dict[str, str]
    """The version of each, by UID."""
    replica_sets: set[str]
    revisions: set[str]
    generations: dict[str, int]
    """Of the Deployments: a change of their spec raises it."""

    @classmethod
    def of(cls, cluster: Namespace, name: str) -> Seen:
        """The present state."""
        version = "model-operator.io/version"
        deployments = cluster.items("Deployment", f"{LABEL}={name}")
        return cls(
            {pod["metadata"]["uid"]: pod["metadata"]["annotations"][version] for pod in cluster.pods(name)},
            _names(cluster, "ReplicaSet", name),
            _names(cluster, "ControllerRevision", name),
            {found["metadata"]["name"]: found["metadata"]["generation"] for found in deployments},
        )

    def only(self, version: str) -> dict[str, str]:
        """The pods of that version."""
        return {uid: found for uid, found in self.pods.items() if found == version}


def _names(cluster: Namespace, kind: str, name: str) -> set[str]:
    return {found["metadata"]["name"] for found in cluster.items(kind, f"{LABEL}={name}")}


@pytest.fixture
def older_package(tmp_path: Path) -> Path:
    """The directory with the package of the older commit."""
    command = ["git", "-C", str(ROOT), "archive", OLDER, "operator/model_operator"]
    done = subprocess.run(command, capture_output=True, timeout=60, check=True)
    with tarfile.open(fileobj=BytesIO(done.stdout)) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "operator"


@pytest.fixture
def older_operator(
    operator: Workbench, registry: MlflowServer, older_package: Path, tmp_path: Path
) -> Iterator[OperatorProcess]:
    """The older operator, running in place of the installed one."""
    installed = operator.operator_settings()
    (port,) = free_ports(1)
    settings = {key: value for key, value in installed.items() if key not in NEWER_SETTINGS}
    settings |= {"registries": {"default": installed["registries"]["default"]}, "metricsPort": port}
    process = OperatorProcess(tmp_path, operator.kubeconfig, settings)
    process.log_in(registry.username, registry.password)
    process.run_from(older_package)
    operator.scale_operator(0)
    try:
        process.start()
        yield process
    finally:
        process.kill()
        operator.scale_operator(1)


def test_an_upgrade_in_mid_rollout_makes_no_pod(stage: Stage, older_operator: OperatorProcess) -> None:
    cluster = stage.cluster
    stage.create(SETTLED, rollout={"watchSeconds": 1})
    stage.create(ROLLING)
    stage.create(BLUE_GREEN, rollout={"strategy": "BlueGreen"})
    for name in (SETTLED, ROLLING, BLUE_GREEN):
        cluster.until_serving(name, GOOD)
    cluster.until("its watch window is over", lambda: cluster.status(SETTLED)["serving"].get("settled"))
    before = {name: Seen.of(cluster, name) for name in (SETTLED, ROLLING, BLUE_GREEN)}
    cluster.until_at_rest(SETTLED)
    at_rest = children_of(cluster, SETTLED)

    for name in (ROLLING, BLUE_GREEN):
        stage.alias(name, SLOW)
    for name in (ROLLING, BLUE_GREEN):
        cluster.until("the slow version loads", lambda name=name: SLOW in cluster.pod_versions(name))
    older_operator.stop()
    handed_over = {name: Seen.of(cluster, name) for name in (SETTLED, ROLLING, BLUE_GREEN)}
    for name in (ROLLING, BLUE_GREEN):
        assert cluster.status(name)["candidate"]["version"] == SLOW, "the rollout is still under way"
        assert handed_over[name].only(GOOD) == before[name].pods
    stage.bench.scale_operator(1)
    for name in (ROLLING, BLUE_GREEN):
        cluster.until_serving(name, SLOW)
    cluster.until("the last pod of version 1 has gone", lambda: cluster.pod_versions(ROLLING) == [SLOW])

    after = {name: Seen.of(cluster, name) for name in (SETTLED, ROLLING, BLUE_GREEN)}
    assert after[SETTLED] == before[SETTLED]
    assert children_of(cluster, SETTLED) == at_rest, "no child was written"
    assert after[ROLLING].pods == handed_over[ROLLING].only(SLOW)
    assert after[BLUE_GREEN].pods == handed_over[BLUE_GREEN].pods, "version 1 is still warm"
    for name in (ROLLING, BLUE_GREEN):
        assert after[name].replica_sets == handed_over[name].replica_sets
        assert after[name].revisions == handed_over[name].revisions
        # a green track's Deployment is applied once more when it goes live, with its template unchanged
        assert after[name].generations[name] == handed_over[name].generations[name]
    assert pods_made(cluster) == 5, "one of version 1 each, one of the slow version each"
    assert restarts(cluster) == 0
    for name in (ROLLING, BLUE_GREEN):
        begun = [text for reason, text in cluster.events(name) if reason == "RolloutStarted"]
        assert len([text for text in begun if f"version {SLOW}" in text]) == 1, "the rollout was begun twice"


def children_of(cluster: Namespace, name: str) -> dict[tuple[str, str], str]:
    """The resourceVersions of its objects without the ModelDeployment: a newer operator may word its status anew."""
    found = cluster.resource_versions(name)
    return {ref: version for ref, version in found.items() if ref[0] != "ModelDeployment"}


def pods_made(cluster: Namespace) -> int:
    """How many pods ReplicaSets have created in the namespace."""
    events = [event for event in cluster.items("Event") if event["reason"] == "SuccessfulCreate"]
    return sum(event.get("count") or 1 for event in events if event["involvedObject"]["kind"] == "ReplicaSet")


def restarts(cluster: Namespace) -> int:
    """How often containers of the namespace's pods were restarted."""
    statuses = (
        status
        for pod in cluster.items("Pod", LABEL)
        for part in ("initContainerStatuses", "containerStatuses")
        for status in pod["status"].get(part, [])
    )
    return sum(status["restartCount"] for status in statuses)

"""What is settled stays as it is, and the operator, which looks again and again, writes nothing."""

from __future__ import annotations

import json
import os
import socket
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.cluster.api import ApiClient
from tests.cluster.control_plane import WRITES_ONLY, ControlPlane
from tests.integration.conftest import install_crd
from tests.integration.lives.bench import Bench
from tests.integration.lives.endurance.whole_lives import LOAD_FAILED, condition
from tests.integration.lives.kubelet import ScriptedKubelet
from tests.integration.lives.operator_process import OperatorProcess
from tests.integration.lives.test_watch import make_it_idle_for_long
from tests.mlflow_server import MlflowServer

Json = dict[str, Any]
OBJECTS = int(os.environ.get("MODEL_OPERATOR_REST_OBJECTS", "40"))
SECONDS = float(os.environ.get("MODEL_OPERATOR_REST_SECONDS", "15"))
RESYNC_SECONDS = min(SECONDS / 2, 60.0)
PATIENCE_SECONDS = 600
WITH_PODS = 12
"""So many have a pod; the others have replicas: 0."""


@dataclass
class Rest:
    """A fleet, its operator, and the API server's own record of who asked for what."""

    bench: Bench
    audit_log: Path
    port: int

    def metric(self, name: str, label: str = "") -> float:
        """The sum of the samples of one of the operator's metrics."""
        text = httpx.get(f"http://127.0.0.1:{self.port}/metrics", timeout=30, trust_env=False).text
        samples = [line for line in text.splitlines() if line.startswith(f"model_operator_{name}")]
        return sum(float(line.rsplit(" ", 1)[1]) for line in samples if label in line)

    def looks(self) -> float:
        """How often a ModelDeployment was looked at so far."""
        return self.metric("reconcile_seconds_count")

    def polls(self) -> float:
        """How many answers the registry has given so far."""
        return self.metric("registry_request_seconds_count", 'outcome="ok"')

    def writes(self, start: int) -> list[str]:
        """The operator's writing requests in the audit log from that byte on."""
        found = []
        with self.audit_log.open("rb") as log:
            log.seek(start)
            for line in log:
                entry = json.loads(line)
                if entry.get("userAgent", "").startswith(("model-op", "kopf")):
                    found.append(f"{entry['verb']} {entry['requestURI']}")
        return found


@pytest.fixture
def rest(registry: MlflowServer, tmp_path: Path) -> Iterator[Rest]:
    """An operator on a control plane that writes an audit log; it lists everything again every few seconds."""
    policy = WRITES_ONLY.format(level="Metadata")
    plane = ControlPlane.start(tmp_path / "plane", controllers=True, audit=True, audit_policy=policy)
    assert plane.audit_log
    kubelet = ScriptedKubelet(plane.kubeconfig)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    settings = {
        "registries": {"default": {"url": registry.url}},
        "pollSeconds": 2,
        "maxConcurrentRollouts": 200,
        "metricsPort": port,
    }
    operator = OperatorProcess(tmp_path, plane.kubeconfig, settings)
    operator.log_in(registry.username, registry.password)
    operator.list_again_every(RESYNC_SECONDS)
    try:
        with ApiClient(plane.kubeconfig, timeout_seconds=60) as api:
            install_crd(api)
            kubelet.start()
            operator.start()
            yield Rest(Bench(api, "default", registry, kubelet, operator), plane.audit_log, port)
            operator.stop()
            kubelet.stop()
    finally:
        operator.kill()
        plane.stop()


def shapes(model: str, bad: str) -> Iterator[Json]:
    """Specs of every kind; a few have pods, one will reject its version, one has no version to resolve."""
    quick = {"watchSeconds": 1, "warmSeconds": 0}
    follows = {"name": model, "alias": "champion"}
    autoscaling = {"minReplicas": 1, "maxReplicas": 2, "targetCPUUtilizationPercentage": 70}
    yield {"model": {"name": bad, "alias": "champion"}, "replicas": 1, "rollout": quick}
    yield {"model": {"name": model, "alias": "nobody"}, "replicas": 1}
    yield {"model": follows, "autoscaling": autoscaling, "rollout": quick}
    for number in range(3, WITH_PODS):
        strategy = "BlueGreen" if number % 2 else "RollingUpdate"
        yield {"model": follows, "replicas": 1, "rollout": quick | {"strategy": strategy}}
    while True:
        yield {"model": {"uri": f"models:/{model}/2"}, "replicas": 0, "rollout": quick}
        yield {"model": follows, "replicas": 0, "rollout": quick}


def settled(found: Json) -> bool:
    """Whether nothing is under way: it serves beyond its watch, or says what keeps it from it."""
    status = found.get("status") or {}
    if condition(status, "Resolved") == ("False", "AliasNotFound"):
        return True
    # without pods nothing can be watched
    outlived = status.get("serving", {}).get("settled") or found["spec"].get("replicas") == 0
    return bool(outlived) and condition(status, "Reconciling") == ("", "") and "serving" in status


@pytest.mark.timeout(PATIENCE_SECONDS + SECONDS * 3 + 300)
def test_nothing_is_written_while_nothing_happens(rest: Rest) -> None:
    bench = rest.bench
    for model in ("steady", "flawed"):
        bench.register(name := f"{model}-{os.getpid()}")
        bench.alias(name, "champion", 1)
    steady, flawed = f"steady-{os.getpid()}", f"flawed-{os.getpid()}"
    bench.kubelet.scripts[(flawed, "2")] = LOAD_FAILED
    for number, spec in zip(range(OBJECTS), shapes(steady, flawed), strict=False):
        bench.create(f"churn-{number:04d}", spec)

    def all_settled() -> bool:
        return all(settled(found) for found in bench.items("ModelDeployment"))

    bench.until("all have settled", all_settled, PATIENCE_SECONDS, every=1)
    for model in (steady, flawed):
        bench.alias(model, "champion", 2)

    def all_followed() -> bool:
        found = bench.items("ModelDeployment")
        told = Counter(condition(o["status"], "Current") for o in found)
        rejected, unresolved = told["False", "VersionRejected"], told["False", "AliasNotFound"]
        return (rejected, unresolved, told["True", "Serving"]) == (1, 1, OBJECTS - 2) and all_settled()

    bench.until("all have followed", all_followed, PATIENCE_SECONDS, every=1)
    # no autoscaler can work here, which would be told in five minutes
    make_it_idle_for_long(bench, "churn-0002")
    # Kubernetes' own controllers have to come to rest as well
    bench.until_still("nobody writes", bench.versions, 5, PATIENCE_SECONDS, every=1)

    size, looks, polls, began = rest.audit_log.stat().st_size, rest.looks(), rest.polls(), time.monotonic()
    before = bench.versions()

    def rested() -> bool:
        looked_at_all = rest.looks() >= looks + OBJECTS
        return time.monotonic() - began > SECONDS and looked_at_all and rest.polls() >= polls + 2

    bench.until("everything was looked at again", rested, PATIENCE_SECONDS + SECONDS, every=1)
    assert rest.writes(size) == []
    after = bench.versions()
    assert after == before, {k: (before.get(k), v) for k, v in after.items() if before.get(k) != v}
    print(
        f"\n{OBJECTS} ModelDeployments at rest for {time.monotonic() - began:.0f} s: {rest.looks() - looks:.0f} looks, "
        f"{rest.polls() - polls:.0f} answers of the registry, no write, {len(after)} objects unchanged"
    )

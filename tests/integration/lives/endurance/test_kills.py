"""The operator is killed at its writes in every life, and the end is that of the life without a kill."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from tests.cluster.api import ApiClient
from tests.integration.lives.bench import Bench
from tests.integration.lives.endurance.kills import (
    Record,
    Scaffold,
    every_write,
    first_of_each_kind,
    owner,
)
from tests.integration.lives.endurance.whole_lives import LIVES, Life
from tests.integration.lives.endurance.write_gate import WriteGate
from tests.integration.lives.kubelet import ScriptedKubelet
from tests.integration.lives.operator_process import OperatorProcess
from tests.mlflow_server import MlflowServer
from tests.wire.kubeconfig import wire_before

ALL = os.environ.get("MODEL_OPERATOR_KILLS") == "all"
"""Before and after each write, and everybody twice; else after the first of each kind. Set by `make kills`."""
ASKED = os.environ.get("MODEL_OPERATOR_LIVES", "").split(",")
CHOSEN = [life for life in LIVES if life.name in ASKED] or LIVES


@pytest.fixture(scope="module")
def record(
    api: ApiClient,
    control_plane: Path,
    registry: MlflowServer,
    kubelet: ScriptedKubelet,
    tmp_path_factory: pytest.TempPathFactory,
) -> Record:
    """What was seen when every life was lived once undisturbed, and once for each of its writes with a kill."""
    namespace, home = "kills", tmp_path_factory.mktemp("kills")
    api.http.post("/api/v1/namespaces", json={"metadata": {"name": namespace}}).raise_for_status()
    settings = {
        "registries": {"default": {"url": registry.url, "requestsPerSecond": 1000}},
        "pollSeconds": 1,
        "maxConcurrentRollouts": 1000,
        "workers": 256,
        "watchNamespaces": [namespace],
        "metricsPort": 0,
    }
    began = time.monotonic()
    with (
        wire_before(control_plane, home) as (wire, kubeconfig),
        ApiClient(control_plane, timeout_seconds=60) as patient,
    ):
        operator = OperatorProcess(home, kubeconfig, settings)
        operator.log_in(registry.username, registry.password)
        operator.start()
        wire.faults = [gate := WriteGate(owner)]
        try:
            scaffold = Scaffold(Bench(patient, namespace, registry, kubelet, operator), gate, CHOSEN)
            seen = scaffold.run(every_write if ALL else first_of_each_kind, times=2 if ALL else 1)
        finally:
            operator.kill()
            api.http.delete(f"/api/v1/namespaces/{namespace}")
    kills = {life: len(found) for life, found in seen.kills.items()}
    print(f"\nkilled {sum(kills.values())} times in {time.monotonic() - began:.0f} s: {kills}")
    return seen


@pytest.mark.timeout(7200 if ALL else 1200)
@pytest.mark.parametrize("life", [pytest.param(life, id=life.sentence) for life in CHOSEN])
def test_killed_at_any_write_the_end_is_the_same_when(record: Record, life: Life) -> None:
    complaints = record.complaints.get(life.name, [])
    assert complaints == [], "\n".join(complaints)
    # status writes may fall together, so a few of the last points may not come
    killed = {stop for stop, _ in record.kills[life.name]}
    assert len(killed) > record.points[life.name] / 2


def test_what_is_deleted_while_no_operator_runs_leaves_nothing(record: Record) -> None:
    assert record.orphans == []


def test_no_operator_stumbled_over_what_another_had_left(record: Record) -> None:
    assert "Traceback" not in record.words, record.words[record.words.index("Traceback") - 2000 :][:6000]

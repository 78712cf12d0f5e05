"""A minute of everything at random; `make soak` does it for hours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster.api import ApiClient
from tests.integration.lives.bench import Bench
from tests.integration.lives.endurance.soak import Soak, operator_settings
from tests.integration.lives.kubelet import ScriptedKubelet
from tests.integration.lives.operator_process import OperatorProcess
from tests.mlflow_server import MlflowServer
from tests.wire.wire import Wire

SEED, SECONDS = 7, 60


@pytest.fixture
def soak(
    api: ApiClient,
    control_plane: Path,
    namespace: str,
    registry: MlflowServer,
    kubelet: ScriptedKubelet,
    wired: tuple[Wire, Path],
    tmp_path: Path,
) -> Iterator[Soak]:
    """A fleet behind a wire."""
    wire, kubeconfig = wired
    operator = OperatorProcess(tmp_path, kubeconfig, operator_settings(registry, namespace))
    operator.log_in(registry.username, registry.password)
    operator.start()
    try:
        yield Soak(Bench(api, namespace, registry, kubelet, operator), wire, SEED)
    finally:
        operator.kill()


@pytest.mark.timeout(900)
def test_whatever_happens_for_a_minute_every_promise_is_kept(soak: Soak) -> None:
    print(f"\n{soak.run(SECONDS)}")
    assert sum(soak.counts.values()) > 5

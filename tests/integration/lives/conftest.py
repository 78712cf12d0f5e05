"""One MLflow server and one scripted kubelet for all lives; an operator process for each test."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster.api import ApiClient
from tests.integration.lives.bench import Bench
from tests.integration.lives.kubelet import ScriptedKubelet
from tests.integration.lives.operator_process import OperatorProcess
from tests.mlflow_server import MlflowServer
from tests.mlflow_server.server import WEBHOOKS

HERE = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves the long forms out unless the marker is asked for by name."""
    if "full" in config.option.markexpr:
        return
    left_out = [i for i in items if i.path.is_relative_to(HERE) and i.get_closest_marker("full")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """A real MLflow server without models."""
    server = MlflowServer.start(tmp_path_factory.mktemp("mlflow"), environment=WEBHOOKS)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def kubelet(control_plane: Path) -> Iterator[ScriptedKubelet]:
    """Gives pods their status."""
    thread = ScriptedKubelet(control_plane)
    thread.start()
    yield thread
    thread.stop()


@pytest.fixture
def bench(
    api: ApiClient,
    control_plane: Path,
    namespace: str,
    registry: MlflowServer,
    kubelet: ScriptedKubelet,
    tmp_path: Path,
) -> Iterator[Bench]:
    """A running operator that watches the test's own namespace only."""
    settings = {
        "registries": {"default": {"url": registry.url}},
        "pollSeconds": 1,
        "maxConcurrentRollouts": 2,
        "watchNamespaces": [namespace],
        "metricsPort": 0,
    }
    operator = OperatorProcess(tmp_path, control_plane, settings)
    operator.log_in(registry.username, registry.password)
    operator.start()
    try:
        yield Bench(api, namespace, registry, kubelet, operator)
    finally:
        operator.stop()


@pytest.fixture
def model(bench: Bench) -> str:
    """A registered model with three versions; its alias champion is on version 1."""
    name = f"model-{secrets.token_hex(4)}"
    bench.register(name)
    bench.alias(name, "champion", 1)
    return name

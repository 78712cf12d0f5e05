"""One MLflow server, one scripted kubelet and one operator for all lives, but for those that want one of their own."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster.api import ApiClient
from tests.integration.lives.bench import Bench
from tests.integration.lives.kubelet import ScriptedKubelet
from tests.integration.lives.operator_process import OperatorProcess
from tests.integration.lives.shared_operator import STASH, SharedOperator
from tests.mlflow_server import MlflowServer, shared_servers

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
def registry() -> MlflowServer:
    """A real MLflow server."""
    return shared_servers.with_users()


@pytest.fixture(scope="session")
def kubelet(control_plane: Path) -> Iterator[ScriptedKubelet]:
    """Gives pods their status."""
    thread = ScriptedKubelet(control_plane)
    thread.start()
    yield thread
    thread.stop()


@pytest.fixture(scope="session")
def shared_operator(
    request: pytest.FixtureRequest,
    control_plane: Path,
    registry: MlflowServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[SharedOperator]:
    """An operator of all namespaces, with a slot for everybody. It rests during cases that don't take it."""
    settings = {
        "registries": {"default": {"url": registry.url}},
        "pollSeconds": 1,
        "maxConcurrentRollouts": 1000,
        "metricsPort": 0,
    }
    operator = SharedOperator(tmp_path_factory.mktemp("operator"), control_plane, settings)
    operator.log_in(registry.username, registry.password)
    request.config.stash[STASH] = operator
    yield operator
    operator.rest()


@pytest.fixture
def own_operator(
    control_plane: Path, namespace: str, registry: MlflowServer, tmp_path: Path
) -> Iterator[OperatorProcess]:
    """A running operator that watches the test's own namespace only.

    For cases that end it, configure it, count its slots, have its registry fall silent or read all of its log: they
    ask for it with ``usefixtures``, and their bench has it.
    """
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
    yield operator
    operator.stop()


@pytest.fixture
def shared_or_own(request: pytest.FixtureRequest) -> Iterator[OperatorProcess | SharedOperator]:
    """The operator that the case works with: its own one where it asks for that."""
    if "own_operator" in request.fixturenames:
        yield request.getfixturevalue("own_operator")
    else:
        shared: SharedOperator = request.getfixturevalue("shared_operator")
        shared.work()
        yield shared
        # whoever had it end by itself has found a fault
        shared.work()


@pytest.fixture
def bench(
    api: ApiClient,
    namespace: str,
    registry: MlflowServer,
    kubelet: ScriptedKubelet,
    shared_or_own: OperatorProcess | SharedOperator,
) -> Bench:
    """A running operator, and a namespace for this test alone."""
    return Bench(api, namespace, registry, kubelet, shared_or_own)


@pytest.fixture
def model(bench: Bench) -> str:
    """A registered model with three versions; its alias champion is on version 1."""
    name = f"model-{secrets.token_hex(4)}"
    bench.register(name)
    bench.alias(name, "champion", 1)
    return name

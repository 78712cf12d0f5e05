"""A control plane that records every request, an MLflow server and a scripted kubelet for the tests of security."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.api import ApiClient
from tests.cluster.control_plane import ControlPlane
from tests.integration.crd import install_crd
from tests.integration.lives.bench import Bench
from tests.integration.lives.kubelet import ScriptedKubelet
from tests.integration.lives.operator_process import OperatorProcess
from tests.integration.security.installation import Installation, make_namespace
from tests.mlflow_server import MlflowServer, shared_servers

POD_SECRET = "mlflow-reader"


@pytest.fixture(scope="session")
def recording_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane with an audit log."""
    plane = ControlPlane.start(tmp_path_factory.mktemp("plane"), controllers=True, audit=True)
    with ApiClient(plane.kubeconfig) as api:
        install_crd(api)
    yield plane
    plane.stop()


@pytest.fixture(scope="session")
def admin(recording_plane: ControlPlane) -> Iterator[ApiClient]:
    """A client with the administrator's rights there."""
    with ApiClient(recording_plane.kubeconfig) as client:
        yield client


@pytest.fixture(scope="session")
def guarded_registry() -> MlflowServer:
    """A real MLflow server with basic auth."""
    return shared_servers.with_users()


@pytest.fixture(scope="session")
def node(recording_plane: ControlPlane) -> Iterator[ScriptedKubelet]:
    """Gives pods their status."""
    thread = ScriptedKubelet(recording_plane.kubeconfig)
    thread.start()
    yield thread
    thread.stop()


@pytest.fixture
def serving_namespace(recording_plane: ControlPlane) -> str:
    """A namespace for serving pods; only restricted ones are admitted."""
    name = f"serving-{secrets.token_hex(4)}"
    make_namespace(recording_plane, name)
    return name


Guarded = Callable[..., tuple[Installation, Bench]]


@pytest.fixture
def guarded(
    recording_plane: ControlPlane,
    admin: ApiClient,
    guarded_registry: MlflowServer,
    node: ScriptedKubelet,
    serving_namespace: str,
    tmp_path: Path,
) -> Iterator[Guarded]:
    """Installs the chart with these values and runs the operator as its service account."""
    with ExitStack() as stack:

        def run(**values: Any) -> tuple[Installation, Bench]:
            registry = {
                "url": guarded_registry.url,
                "credentials": {
                    "username": guarded_registry.username,
                    "password": guarded_registry.password,
                },
                "podCredentials": {"secret": POD_SECRET},
            }
            given = {"registries": {"default": registry}, "pollSeconds": 1, "crd": {"install": False}}
            home = tmp_path / secrets.token_hex(4)
            home.mkdir()
            installation = Installation.make(recording_plane, home, given | values)
            stack.callback(installation.remove)
            settings = installation.settings(admin) | {"metricsPort": 0}
            operator = OperatorProcess(home, installation.kubeconfig(admin), settings)
            operator.log_in(**installation.credentials(admin))
            operator.start()
            stack.callback(operator.stop)
            return installation, Bench(admin, serving_namespace, guarded_registry, node, operator)

        yield run

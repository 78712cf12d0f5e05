"""One API server for the tests of the chart, and the real helm and kubectl."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from tests.cluster.api import ApiClient
from tests.cluster.binaries import ensure
from tests.cluster.control_plane import ControlPlane
from tests.cluster.process import wait_until
from tests.integration.chart.programs import CHART, CRD, NAMESPACE, Program, run


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """An API server of its own, since a CRD and cluster roles come and go in here."""
    plane = ControlPlane.start(tmp_path_factory.mktemp("plane"))
    yield plane
    plane.stop()


@pytest.fixture
def api(plane: ControlPlane) -> Iterator[httpx.Client]:
    """The API server, as its administrator."""
    with ApiClient(plane.kubeconfig) as client:
        yield client.http


@pytest.fixture
def helm(plane: ControlPlane, tmp_path: Path) -> Program:
    """Run the real helm in the release's namespace; its output."""
    program = ensure("helm")["helm"]
    return lambda *arguments: run(plane, tmp_path, program, *arguments, "--namespace", NAMESPACE)


@pytest.fixture
def kubectl(plane: ControlPlane, tmp_path: Path) -> Program:
    """Run the real kubectl; its output."""
    program = ensure("kubectl")["kubectl"]
    return lambda *arguments: run(plane, tmp_path, program, *arguments)


@pytest.fixture
def swept(helm: Program, api: httpx.Client) -> Iterator[None]:
    """Whatever a test installs is gone after it."""
    yield
    helm("uninstall", "model-operator", "--ignore-not-found")
    api.delete(CRD)
    # the server first deletes every ModelDeployment; until then no other test can install
    assert wait_until(lambda: api.get(CRD).status_code == 404, 30)


@pytest.fixture
def install(helm: Program, swept: None) -> Callable[..., str]:
    """Install the chart with these --set values; everything is gone afterwards."""

    def run(*sets: str) -> str:
        values = [argument for value in sets for argument in ("--set", value)]
        return helm("install", "model-operator", str(CHART), "--create-namespace", *values)

    return run

"""One real control plane for all tests of this directory: etcd, kube-apiserver, controllers, our CRD."""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.api import ApiClient
from tests.cluster.control_plane import ControlPlane
from tests.integration.crd import install_crd
from tests.integration.lives.shared_operator import STASH

HERE = Path(__file__).parent
GOODBYE_SECONDS = 20
LONG = tuple(
    HERE / "lives" / name for name in ("endurance", "test_wire.py", "test_many.py", "test_monitoring.py")
)
"""Folders and files whose cases take long; begun last, they would keep one of several workers busy alone."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long ones come first; those with the shared operator follow each other."""
    ours = [(number, item) for number, item in enumerate(items) if item.path.is_relative_to(HERE)]
    in_order = sorted((item for _, item in ours), key=_turn)
    for (number, _), item in zip(ours, in_order, strict=True):
        items[number] = item


def _turn(item: pytest.Item) -> int:
    if any(item.path.is_relative_to(path) for path in LONG):
        return 0
    return 1 if shares_its_operator(item) else 2


def shares_its_operator(item: pytest.Item) -> bool:
    """Whether the case takes the operator that others take, too."""
    fixtures = item.fixturenames if isinstance(item, pytest.Function) else ()
    return "shared_or_own" in fixtures and "own_operator" not in fixtures


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The administrator's kubeconfig of a control plane that has the CRD; no node, so no pod ever runs."""
    plane = ControlPlane.start(tmp_path_factory.mktemp("control-plane"), controllers=True)
    try:
        with ApiClient(plane.kubeconfig) as api:
            install_crd(api)
        yield plane.kubeconfig
    finally:
        plane.stop()


@pytest.fixture(scope="session")
def api(control_plane: Path) -> Iterator[ApiClient]:
    """A client with the administrator's rights."""
    with ApiClient(control_plane) as client:
        yield client


@pytest.fixture(autouse=True)
def undisturbed(request: pytest.FixtureRequest) -> None:
    """No operator is at work that the case did not ask for."""
    shared = request.config.stash.get(STASH, None)
    if shared and not shares_its_operator(request.node):
        shared.rest()


@pytest.fixture(autouse=True)
async def connections_have_said_goodbye() -> AsyncIterator[None]:
    """An event loop ends only after its TLS connections did.

    To close one is to wait for the server's own goodbye. On a busy machine that comes after the loop's end, and
    the forgotten socket then fails whichever test the garbage collector runs in.
    """
    yield
    deadline = time.monotonic() + GOODBYE_SECONDS
    while _tcp_sockets():
        assert time.monotonic() < deadline, "a connection to the API server stayed open"
        await asyncio.sleep(0.01)


def _tcp_sockets() -> list[int]:
    """The file descriptors of this test's loop that are connections (its own wake-up pipe is not one)."""
    selector = asyncio.get_running_loop()._selector  # type: ignore[attr-defined]  # nothing public lists them
    return [fd for fd in selector.get_map() if _is_tcp(fd)]


def _is_tcp(fd: int) -> bool:
    with socket.socket(fileno=fd) as sock:
        try:
            return sock.family in {socket.AF_INET, socket.AF_INET6}
        finally:
            sock.detach()


@pytest.fixture
def namespace(api: ApiClient) -> Iterator[str]:
    """A namespace of its own for one test, without ModelDeployments after it.

    It stays until the control plane goes: to delete one costs more than most tests.
    """
    name = f"test-{secrets.token_hex(4)}"
    body: dict[str, Any] = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    created = api.http.post("/api/v1/namespaces", json=body)
    assert created.status_code == 201, created.text
    yield name
    api.http.delete(f"/apis/model-operator.io/v1alpha1/namespaces/{name}/modeldeployments")

"""The client and the watches on a wire that breaks, before a real API server: what may pass is outlived.

Whole lives on such a wire are in ``lives/test_wire.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.wire import faults
from tests.wire.faults import Every, Next, changed, ends_after, error_event, refused
from tests.wire.kubeconfig import Listener, upstream
from tests.wire.wire import Exchange, Fault, Wire

from model_operator.controller import watches
from model_operator.controller.cache import Cache
from model_operator.controller.liveness import Liveness
from model_operator.controller.workqueue import Backoff
from model_operator.domain.objects import Kind, ObjectRef
from model_operator.kube import ApiError, KubeClient

SECONDS = 60
LABELS = {"app.kubernetes.io/managed-by": "model-operator", "model-operator.io/deployment": "churn"}


@pytest.fixture
async def somebody(control_plane: Path) -> AsyncIterator[KubeClient]:
    """A client with a wire of its own that never breaks."""
    client = await KubeClient.connect(kubeconfig=control_plane)
    yield client
    await client.close()


@pytest.fixture
def wire(control_plane: Path, tmp_path: Path) -> Iterator[tuple[Wire, Path]]:
    """A wire, and the kubeconfig of a client that comes by it."""
    server, tls = upstream(control_plane)
    listener = Listener(tmp_path / "pki")
    with Wire(server, tls, listener.tls) as wire:
        yield wire, listener.kubeconfig(tmp_path / "kubeconfig", wire.url)


@contextlib.asynccontextmanager
async def watching(
    kubeconfig: Path, cache: Cache, namespace: str, liveness: Liveness | None = None
) -> AsyncIterator[asyncio.Task[None]]:
    client = await KubeClient.connect(kubeconfig=kubeconfig)
    task = asyncio.create_task(
        watches.watch(client, cache, set().add, namespaces=[namespace], liveness=liveness)
    )
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await client.close()


def config_map(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": LABELS}}


def discovery(exchange: Exchange) -> bool:
    return not exchange.watch and not exchange.lists


async def test_a_list_whose_snapshot_is_gone_is_begun_anew_and_not_for_ever(
    wire: tuple[Wire, Path], namespace: str
) -> None:
    (broken, kubeconfig) = wire
    client = await KubeClient.connect(kubeconfig=kubeconfig)
    try:
        broken.faults = [Next(2, refused(410))]
        assert (await client.list(Kind.CONFIG_MAP, str, namespace=namespace)).resource_version
        broken.faults = [Every(1, refused(410))]
        with pytest.raises(ApiError, match="410"):
            await client.list(Kind.CONFIG_MAP, str, namespace=namespace)
    finally:
        await client.close()


ONE_WATCH = 1
ALL_WATCHES = 9
FAULTS: dict[str, Callable[[], Fault]] = {
    "discovery is cut short": lambda: Next(5, changed(faults.cut_short), discovery),
    "lists are cut short": lambda: Next(ALL_WATCHES, changed(faults.cut_short), faults.lists),
    "the snapshots of lists are gone": lambda: Next(ALL_WATCHES, refused(410), faults.lists),
    "a watch is refused as too old": lambda: Next(ONE_WATCH, refused(410), faults.watches),
    "the API server fails in the middle of a watch": lambda: Next(
        ONE_WATCH, changed(ends_after(0, error_event(500))), faults.watches
    ),
    "a watch tells nonsense": lambda: Next(
        ONE_WATCH, changed(ends_after(0, b"<html>bad gateway</html>")), faults.watches
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_the_watches_come_up_though(
    wire: tuple[Wire, Path], somebody: KubeClient, namespace: str, fault: str
) -> None:
    broken, kubeconfig = wire
    broken.faults = [FAULTS[fault]()]
    cache = Cache()
    before = asyncio.all_tasks()
    async with watching(kubeconfig, cache, namespace) as task, asyncio.timeout(SECONDS):
        # a fault of one watch may hit any: an object of each kind would tell, and so does another event of one kind
        for number in range(3):
            ref = ObjectRef(Kind.CONFIG_MAP, namespace, f"scripts-{number}")
            await somebody.create(ref, config_map(ref.name))
            while cache.get(ref) is None:
                assert not task.done(), task.exception()
                await asyncio.sleep(0.05)
        while not broken.broken:  # noqa: ASYNC110 - neither does the wire
            await asyncio.sleep(0.05)
    assert asyncio.all_tasks() <= before, "kopf was left running"


async def test_watches_that_begin_anew_have_the_gap_looked_at(
    wire: tuple[Wire, Path], namespace: str
) -> None:
    broken, kubeconfig = wire
    liveness = Liveness(lambda: 0.0)
    async with watching(kubeconfig, Cache(), namespace, liveness), asyncio.timeout(SECONDS):
        while broken.passed < ALL_WATCHES * 2:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        assert not liveness.relisted.is_set()
        # every one, since the cut may hit one that is just being told of the fault
        broken.faults = [Every(1, changed(ends_after(0, error_event(500))), faults.watches)]
        broken.cut()
        await liveness.relisted.wait()


async def test_watches_that_fail_again_and_again_are_lost_for_good(
    wire: tuple[Wire, Path], namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watches, "_RESTART_BACKOFF", Backoff(0.01, 0.01))
    broken, kubeconfig = wire
    broken.faults = [Every(1, changed(ends_after(0, error_event(500))), faults.watches)]
    async with watching(kubeconfig, Cache(), namespace) as task, asyncio.timeout(SECONDS):
        with pytest.raises(Exception, match="the wire says 500"):
            await task

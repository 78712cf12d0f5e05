"""A throw-away control plane with any number of ModelDeployments, whose pods become ready at once."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cluster.api import ApiClient
from tests.cluster.control_plane import WRITES_ONLY, ControlPlane
from tests.integration.conftest import install_crd
from tests.integration.lives.bench import MODELDEPLOYMENTS
from tests.integration.lives.kubelet import MERGE

from benchmarks.api_server import at_once, connected, events
from benchmarks.audited import Write, writes
from benchmarks.many_models import name
from benchmarks.ready_pods import make_pods_ready
from model_operator.domain.objects import Key

REHEARSAL: Key = ("rehearsal", name(0))
NAMESPACES = 10
PATIENCE_SECONDS = 3600.0
QUIET_SECONDS = 3.0
MANAGER = (
    # by default it may write 20 times a second, and everything would wait for that
    "--kube-api-qps=1000",
    "--kube-api-burst=1000",
    # there are no metrics, and it would look for them all the time
    "--controllers=-horizontal-pod-autoscaler-controller",
)


def namespace_of(number: int) -> str:
    """The namespace of the ModelDeployment of that number."""
    return f"team-{number % NAMESPACES}"


def manifest(key: Key, **spec: Any) -> dict[str, Any]:
    """A ModelDeployment that has every kind of child and follows the model of its own name."""
    wanted = {
        "model": {"name": key[1], "alias": "champion"},
        "autoscaling": {"minReplicas": 1, "maxReplicas": 4},
    }
    return {
        "apiVersion": "model-operator.io/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"namespace": key[0], "name": key[1]},
        "spec": wanted | spec,
    }


@dataclass
class PopulatedCluster:
    """A running one; see ``started``."""

    plane: ControlPlane
    api: ApiClient
    serving: set[Key] = field(default_factory=set)
    """Those whose status says that what is wanted serves."""
    _changed: threading.Condition = field(default_factory=threading.Condition)

    @classmethod
    @contextmanager
    def started(cls, directory: Path, bodies: bool = False) -> Iterator[PopulatedCluster]:
        """Start one, without any ModelDeployment; with ``bodies`` the audit log has what was written."""
        policy = WRITES_ONLY.format(level="Request" if bodies else "Metadata")
        with ExitStack() as stack:
            plane = ControlPlane.start(
                directory, controllers=True, audit=True, audit_policy=policy, manager_options=MANAGER
            )
            stack.callback(plane.stop)
            api = stack.enter_context(ApiClient(plane.kubeconfig, timeout_seconds=60))
            install_crd(api)
            cluster = cls(plane, api)
            stack.enter_context(_beside(make_pods_ready(plane.kubeconfig)))
            stack.enter_context(_beside(cluster._watch()))
            yield cluster

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.plane.kubeconfig

    @property
    def _log(self) -> Path:
        if self.plane.audit_log is None:
            raise RuntimeError("the control plane was started without an audit log")
        return self.plane.audit_log

    def create(self, keys: Sequence[Key], **spec: Any) -> dict[Key, str]:
        """Create ModelDeployments, with their namespaces; returns their uids."""
        for namespace in sorted({namespace for namespace, _ in keys}):
            answer = self.api.http.post("/api/v1/namespaces", json={"metadata": {"name": namespace}})
            if answer.status_code != 409:
                answer.raise_for_status()
        uids: dict[Key, str] = {}

        async def fill() -> None:
            async with connected(self.kubeconfig) as session:

                async def make(key: Key) -> None:
                    path = MODELDEPLOYMENTS.format(key[0])
                    async with session.post(path, json=manifest(key, **spec)) as made:
                        uids[key] = (await made.json())["metadata"]["uid"]

                await at_once(keys, make, 8)

        asyncio.run(fill())
        return uids

    def edit(self, key: Key, max_replicas: int) -> None:
        """Change a field that only the autoscaler shows."""
        path = f"{MODELDEPLOYMENTS.format(key[0])}/{key[1]}"
        body = {"spec": {"autoscaling": {"maxReplicas": max_replicas}}}
        self.api.http.patch(path, json=body, headers=MERGE).raise_for_status()

    def edit_all(self, keys: Sequence[Key], max_replicas: int) -> None:
        """Like ``edit``, for many at once."""
        body = {"spec": {"autoscaling": {"maxReplicas": max_replicas}}}

        async def change() -> None:
            async with connected(self.kubeconfig) as session:

                async def patch(key: Key) -> None:
                    path = f"{MODELDEPLOYMENTS.format(key[0])}/{key[1]}"
                    async with session.patch(path, json=body, headers=MERGE) as answer:
                        await answer.read()

                await at_once(keys, patch, 8)

        asyncio.run(change())

    def writes(self) -> list[Write]:
        """Everything that was written so far, by anybody."""
        return list(writes(self._log))

    def wait_until_serving(self, keys: set[Key]) -> None:
        """Wait until all of these serve. Raises TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(lambda: keys <= self.serving, PATIENCE_SECONDS):
                raise TimeoutError(f"{len(keys - self.serving)} of {len(keys)} do not serve")

    def wait_until_quiet(self) -> None:
        """Wait until nobody has written for a while. Raises TimeoutError."""
        deadline, size, since = time.monotonic() + PATIENCE_SECONDS, -1, time.monotonic()
        while (now := time.monotonic()) < since + QUIET_SECONDS:
            if now > deadline:
                raise TimeoutError("somebody writes on and on")
            if (seen := self._log.stat().st_size) != size:
                size, since = seen, now
            time.sleep(0.1)

    async def _watch(self) -> None:
        async with connected(self.kubeconfig) as session:
            async for event in events(session, MODELDEPLOYMENTS.replace("namespaces/{}/", "")):
                metadata, status = event["object"]["metadata"], event["object"].get("status") or {}
                current = [c for c in status.get("conditions", []) if c["type"] == "Current"]
                if current and current[0]["status"] == "True":
                    with self._changed:
                        self.serving.add((metadata["namespace"], metadata["name"]))
                        self._changed.notify_all()


@contextmanager
def _beside(work: Coroutine[Any, Any, None]) -> Iterator[None]:
    """Run that in an event loop and a thread of its own while the block runs."""
    ready: threading.Event = threading.Event()
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[None]]] = []

    async def run() -> None:
        task = asyncio.ensure_future(work)
        running.append((asyncio.get_running_loop(), task))
        ready.set()
        await asyncio.gather(task, return_exceptions=True)
        if not task.cancelled() and (failure := task.exception()):
            print(
                f"what makes the pods ready or watches has failed: {failure!r}", file=sys.stderr, flush=True
            )
            failures.append(failure)

    failures: list[BaseException] = []
    thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
    thread.start()
    ready.wait()
    try:
        yield
    finally:
        loop, task = running[0]
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
    if failures:
        raise failures[0]

"""The parts that live as long as the process, and its end.

A replica on standby runs fewer tasks than the leader, but both fill the cache, watch and serve HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from kubernetes.aio.config import ConfigException

from model_operator.api.names import CRD_NAME
from model_operator.app import election
from model_operator.app.election import Election, LeadershipLost
from model_operator.app.leader import LeaderTasks
from model_operator.controller import relist, watches
from model_operator.controller.cache import Cache, TimeWentBack
from model_operator.controller.liveness import Liveness
from model_operator.controller.workqueue import WorkQueue
from model_operator.domain.objects import Key, Kind, Object, ObjectRef
from model_operator.kube import ApiError, Forbidden, KubeClient, NotFound, RetryPolicy
from model_operator.metrics import Metrics, ModelDeployments, Probes, serve
from model_operator.settings import Settings

log = logging.getLogger(__name__)

DRAIN_SECONDS = 10.0
EXIT_FAILED = 1

_Tasks = list[asyncio.Task[None]]


class _WriteThrough:
    """Puts the answers to our writes into the cache and enqueues the changed objects, as after an event."""

    def __init__(self, cache: Cache, enqueue: Callable[[Key], object]) -> None:
        self._cache = cache
        self._enqueue = enqueue

    def put(self, kind: Kind, body: Object) -> None:
        for key in self._cache.put(kind, body):
            self._enqueue(key)

    def forget(self, ref: ObjectRef, uid: str | None = None) -> None:
        for key in self._cache.forget(ref, uid):
            self._enqueue(key)


def namespace_of(key: Key) -> str:
    """Returns the group of a key in the queue, which serves the namespaces in turn."""
    return key[0]


class Process:
    """One run of the operator."""

    def __init__(self, configured: Settings) -> None:
        self._settings = configured
        self._cache = Cache()
        self._metrics = Metrics(
            ModelDeployments(self._list_deployments, configured.metrics_max_model_deployments)
        )
        self._queue: WorkQueue[Key] = WorkQueue(
            on_wait=self._metrics.observe_queue_wait, group_of=namespace_of
        )
        self._liveness = Liveness(lambda: self._queue.longest_work_seconds)
        self._election: Election | None = None
        self._filled = False
        self._stop = asyncio.Event()
        gauge = self._metrics.gauge
        gauge("queue_depth", lambda: self._queue.depth)
        gauge("in_work", lambda: self._queue.in_work)
        gauge("cached_objects", lambda: len(self._cache))
        gauge("is_leader", lambda: self._leads())
        gauge("leader_transitions", lambda: self._election.transitions if self._election else 0)

    async def run(self) -> int:
        """Runs until a signal or the loss of a part, and returns the exit code."""
        self._take_signals()
        async with AsyncExitStack() as stack:
            try:
                kube = await KubeClient.connect(
                    observer=_WriteThrough(self._cache, self._queue.add),
                    on_call=self._count_call,
                    may_write=self._leads,
                )
                stack.push_async_callback(kube.close)
                if self._settings.leader_election.enabled:
                    self._election = await self._candidate(stack)
                probes = Probes(self._liveness.trouble, self._not_ready, self._role)
                await stack.enter_async_context(serve(self._metrics, probes, self._settings.metrics_port))
                if not await self._unless_stopped(self._fill(kube)):
                    return 0
                return await self._serve(kube)
            except (ApiError, ConfigException, OSError) as error:
                log.error("cannot start: %s", _with_remedy(error))
                return EXIT_FAILED

    async def _candidate(self, stack: AsyncExitStack) -> Election:
        terms = self._settings.leader_election
        kube = await KubeClient.connect(
            on_call=self._count_call,
            retry=RetryPolicy(attempts=1, attempt_timeout=terms.renew_seconds / 2),
        )
        stack.push_async_callback(kube.close)
        where = ObjectRef(Kind.LEASE, terms.namespace, terms.lease_name)
        return Election(kube, where, election.identity(), terms)

    async def _fill(self, kube: KubeClient) -> None:
        started = time.monotonic()
        for key in await relist.fill(kube, self._cache, self._settings.watch_namespaces):
            self._queue.add(key)
        self._filled = True
        took = time.monotonic() - started
        count = len(self._cache.model_deployments())
        log.info("%d ModelDeployments and %d objects in all, listed in %.1f s", count, len(self._cache), took)

    async def _serve(self, kube: KubeClient) -> int:
        """Keeps the cache warm, works while this replica leads, and returns the exit code."""
        watching = watches.watch(
            kube,
            self._cache,
            self._queue.add,
            namespaces=self._settings.watch_namespaces,
            started=self._take_signals,
            liveness=self._liveness,
            silence_seconds=self._settings.watch_silence_seconds,
        )
        tasks = [asyncio.create_task(watching, name="watches")]
        competing = None
        if self._election is not None:
            competing = asyncio.create_task(self._election.run(), name="election")
            tasks.append(competing)
        try:
            lost = await self._stand_by(kube, tasks)
            if lost is None:
                lost = await self._lead(kube, tasks)
            return EXIT_FAILED if lost else 0
        finally:
            if self._election is not None and competing is not None:
                # before all other tasks, because the next leader waits for the release
                competing.cancel()
                await asyncio.gather(competing, return_exceptions=True)
                await self._election.release()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _stand_by(self, kube: KubeClient, tasks: _Tasks) -> _Tasks | None:
        """Waits until this replica leads and returns None. If it has to exit first, returns the lost tasks."""
        if self._election is None:
            return None
        async with self._resync(kube) as resync:
            return await self._until_lost([*tasks, resync], self._election.elected)

    async def _lead(self, kube: KubeClient, tasks: _Tasks) -> _Tasks:
        """Works until the process has to exit, and returns the tasks that were lost."""
        leader_tasks = LeaderTasks(kube, self._cache, self._queue, self._settings, self._metrics)
        for key in self._cache.model_deployments():
            self._queue.add(key)
        # a new resync finds changes that were missed on standby as early as after a start
        async with self._resync(kube) as resync, leader_tasks.running() as parts:
            lost = await self._until_lost([*tasks, resync, *parts]) or []
            if not any(isinstance(_failure(task), LeadershipLost) for task in lost):
                await self._drain()
            return lost

    async def _until_lost(self, tasks: _Tasks, enough: asyncio.Event | None = None) -> _Tasks | None:
        """Waits for a stop signal or the end of a task, and returns the ended tasks. None: ``enough`` was set first."""
        waits = [asyncio.create_task(event.wait()) for event in (self._stop, enough) if event is not None]
        try:
            await asyncio.wait([*waits, *tasks], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        lost = [task for task in tasks if task.done()]
        for task in lost:
            _log_loss(task)
        return None if enough and enough.is_set() and not lost and not self._stop.is_set() else lost

    @asynccontextmanager
    async def _resync(self, kube: KubeClient) -> AsyncIterator[asyncio.Task[None]]:
        namespaces = self._settings.watch_namespaces
        listing = relist.resync(
            kube,
            self._cache,
            self._queue.add,
            self._queue.add_after,
            namespaces=namespaces,
            every_seconds=self._settings.resync_seconds,
            gap=self._liveness.relisted,
        )
        task = asyncio.create_task(listing, name="resync")
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _drain(self) -> None:
        """Takes no more work, and gives running reconciles DRAIN_SECONDS to end."""
        self._queue.shut_down()
        log.info("stopping, %d ModelDeployments are being reconciled", self._queue.in_work)
        try:
            await asyncio.wait_for(self._queue.drained(), DRAIN_SECONDS)
        except TimeoutError:
            log.warning("cancelled %d reconciles after %.0f s", self._queue.in_work, DRAIN_SECONDS)

    async def _unless_stopped(self, starting: Awaitable[None]) -> bool:
        """Waits for ``starting`` or for a stop signal. Returns False after a signal."""
        task, stop = asyncio.ensure_future(starting), asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait([task, stop], return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                await task
            return task.done()
        finally:
            task.cancel()
            stop.cancel()

    def _take_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)

    def _count_call(self, verb: str, kind: str, status: int, seconds: float) -> None:
        self._metrics.observe_api_request(verb, kind, status, seconds)
        if 200 <= status < 500:
            self._liveness.answered()

    def _list_deployments(self) -> Sequence[Object]:
        """Returns the ModelDeployments with series of this replica: none while another replica exports them."""
        return self._cache.of_kind(Kind.MODEL_DEPLOYMENT) if self._leads() else ()

    def _leads(self) -> bool:
        return self._election.leads if self._election else not self._settings.leader_election.enabled

    def _role(self) -> str:
        if self._election is None or self._leads():
            return "ok"
        return f"ok: standing by, {self._election.leader or 'nobody'} leads"

    def _not_ready(self) -> str:
        if self._stop.is_set():
            return "stopping"
        if not self._filled:
            return "the first lists are not complete"
        return (self._election.trouble if self._election else "") or self._liveness.trouble()


def _failure(task: asyncio.Task[None]) -> BaseException | None:
    return None if task.cancelled() else task.exception()


def _log_loss(task: asyncio.Task[None]) -> None:
    error = _failure(task)
    if isinstance(error, TimeWentBack | ApiError | LeadershipLost):
        log.error("%s ended: %s", task.get_name(), error)
    else:
        log.error("%s ended unexpectedly", task.get_name(), exc_info=error)


def _with_remedy(error: Exception) -> str:
    if isinstance(error, NotFound):
        return f"{error}: is the CRD {CRD_NAME} installed?"
    if isinstance(error, Forbidden):
        return f"{error}: give the operator's service account this right"
    if isinstance(error, ConfigException):
        return f"{error}: set KUBECONFIG, or run in a pod with a service account"
    return str(error)

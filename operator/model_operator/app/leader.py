"""The tasks of the leader only: reconciles, polls of the registries, tags of versions, webhooks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial

from model_operator.controller.cache import Cache
from model_operator.controller.pod_credentials import TenantObjects
from model_operator.controller.reconciler import Reconciler
from model_operator.controller.services import Services
from model_operator.controller.traffic import TrafficCounter
from model_operator.controller.workqueue import WorkQueue, work
from model_operator.domain.objects import Key
from model_operator.domain.registry import ResolutionReason
from model_operator.kube import ApiError, Conflict, KubeClient, Unavailable
from model_operator.metrics import Metrics
from model_operator.registry import (
    Access,
    ClientPool,
    FactsReader,
    RegistryClient,
    RegistryConfig,
    RegistryError,
    Resolver,
    TagWriter,
    TimedClient,
    connect,
    tag_prefix,
)
from model_operator.settings import Settings
from model_operator.webhooks import receive

log = logging.getLogger(__name__)


class LeaderTasks:
    """The parts of a leader, created when it becomes the leader."""

    def __init__(
        self,
        kube: KubeClient,
        cache: Cache,
        queue: WorkQueue[Key],
        configured: Settings,
        metrics: Metrics,
    ) -> None:
        self._kube = kube
        self._queue = queue
        self._settings = configured
        self._metrics = metrics
        inline = configured.inline_registries
        objects = TenantObjects(kube, inline.secret_names)
        clients = ClientPool(configured.registries, self._connect_registry, inline.allowed_urls, objects.read)
        self._resolver = Resolver(
            clients,
            configured.poll_seconds,
            queue.add,
            quiet_tags=tag_prefix(configured.cluster_name),
        )
        self._tag_writer = TagWriter(clients.entries(), configured.cluster_name)
        self._facts = FactsReader(clients, configured.poll_seconds, queue.add)
        metrics.gauge("tags_waiting", lambda: self._tag_writer.waiting)
        self._traffic = TrafficCounter(queue.add, metrics.count_scrape)
        services = Services(
            self._resolver, self._tag_writer, self._traffic, self._facts, queue.add, metrics.count_transition
        )
        self._reconciler = Reconciler(kube, cache, configured, services)
        self._reconciler.resume(cache.model_deployments())

    @asynccontextmanager
    async def running(self) -> AsyncIterator[list[asyncio.Task[None]]]:
        """Runs the parts and yields their tasks, which never end by themselves."""
        parts = {
            "registry polling": self._resolver.run(),
            "registry write-back": self._tag_writer.run(),
            "reading for the gates": self._facts.run(),
            "traffic counting": self._traffic.run(),
        }
        tasks = [
            asyncio.create_task(work(self._queue, self._reconcile, _report), name=f"worker {number}")
            for number in range(self._settings.workers)
        ]
        tasks += [asyncio.create_task(part, name=name) for name, part in parts.items()]
        try:
            async with self._webhooks():
                yield tasks
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _reconcile(self, key: Key) -> float | None:
        with self._metrics.time_reconcile():
            return await self._reconciler.reconcile(key)

    def _webhooks(self) -> AbstractAsyncContextManager[object]:
        configured = self._settings
        if not configured.webhooks.port:
            return nullcontext()
        return receive(
            configured.webhooks, configured.registries, self._resolver.hint, self._metrics.count_webhook
        )

    def _connect_registry(self, name: str, registry: RegistryConfig, access: Access | None) -> RegistryClient:
        observe = partial(self._metrics.observe_registry_request, name)
        return _LeadersClient(connect(name, registry, access), observe, self._kube.may_write)


class _LeadersClient(TimedClient):
    """A client that tags versions only while this replica leads."""

    def __init__(
        self,
        client: RegistryClient,
        observe: Callable[[str, str, float], None],
        may_write: Callable[[], bool],
    ) -> None:
        super().__init__(client, observe)
        self._may_write = may_write

    async def set_version_tag(self, name: str, version: str, key: str, value: str) -> None:
        """See RegistryClient."""
        if not self._may_write():
            raise RegistryError(ResolutionReason.UNREACHABLE, "not sent: this process does not lead")
        await super().set_version_tag(name, version, key, value)


def _report(key: Key, error: Exception, delay: float) -> None:
    where = f"namespace={key[0]} name={key[1]}"
    if isinstance(error, Unavailable | Conflict):
        log.warning("%s: retried in %.1f s: %s", where, delay, error)
    elif isinstance(error, ApiError):
        log.error("%s: retried in %.1f s: %s", where, delay, error)
    else:
        log.error("%s: a defect of the operator itself, retried in %.1f s", where, delay, exc_info=error)

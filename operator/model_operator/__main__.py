"""The operator's process: settings in, everything wired together, exit code out."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext
from functools import partial
from importlib.metadata import version
from pathlib import Path

from kubernetes.aio.config import ConfigException

from model_operator import handlers, settings
from model_operator.api.names import CRD_NAME
from model_operator.background import Background
from model_operator.cache import Cache, TimeWentBack
from model_operator.kube import ApiError, Conflict, Forbidden, KubeClient, NotFound, Unavailable
from model_operator.metrics import Metrics, ModelDeployments, serving
from model_operator.pod_registry import TenantObjects
from model_operator.reconciler import Reconciler
from model_operator.registry import (
    Access,
    Connections,
    FactsReader,
    RegistryClient,
    RegistryConfig,
    Resolver,
    TimedClient,
    WriteBack,
    connect,
    tag_prefix,
)
from model_operator.settings import Settings, SettingsError
from model_operator.traffic import TrafficCounter
from model_operator.webhooks import receiving
from model_operator.workqueue import WorkQueue, work
from model_operator.world import Key, Kind, Object, ObjectRef

log = logging.getLogger("model_operator")

STUCK_SECONDS = 120.0
"""A reconcile that takes longer will not come back; every call in it is bounded by far less."""
DRAIN_SECONDS = 10.0
EXIT_FAILED = 1
EXIT_MISCONFIGURED = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the operator until SIGTERM; returns the exit code.

    0: stopped as asked, or the configuration was only checked. 1: something that it cannot do without was
    lost; start it again. 2: the configuration is wrong.
    """
    options = _parser().parse_args(arguments)
    try:
        configured = settings.load(options.config)
    except SettingsError as error:
        print(f"model-operator: {error}", file=sys.stderr)
        return EXIT_MISCONFIGURED
    if options.check_config:
        names = ", ".join(sorted(configured.registries))
        print(f"{options.config}: ok; registries: {names}")
        return 0
    _log_to_stderr(configured.log_level)
    log.info("model-operator %s starts with %s", version("model-operator"), options.config)
    return asyncio.run(_Process(configured).run())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="model-operator",
        description="Make Kubernetes follow a model registry: watch ModelDeployments, resolve their models, "
        "roll versions out, go back when a version is sick.",
        epilog="The API server is found through KUBECONFIG, or else the pod's service account, or else "
        "~/.kube/config. Exit codes: 0 stopped by SIGTERM or SIGINT; 1 a connection that it needs was lost, "
        "start it again; 2 the configuration is wrong. /metrics, /healthz and /readyz are on metricsPort.",
    )
    default = Path(os.environ.get(settings.CONFIG_VARIABLE) or settings.DEFAULT_PATH)
    parser.add_argument(
        "--config",
        type=Path,
        default=default,
        metavar="FILE",
        help=f"the YAML configuration file; {settings.CONFIG_VARIABLE} names it too (now: {default})",
    )
    parser.add_argument("--check-config", action="store_true", help="check the configuration file, then exit")
    parser.add_argument("--version", action="version", version=f"model-operator {version('model-operator')}")
    return parser


class _WriteThrough:
    """Answers to our writes go into the cache; what changed is looked at again, as after any event."""

    def __init__(self, cache: Cache, enqueue: Callable[[Key], object]) -> None:
        self._cache = cache
        self._enqueue = enqueue

    def put(self, kind: Kind, body: Object) -> None:
        for key in self._cache.put(kind, body):
            self._enqueue(key)

    def forget(self, ref: ObjectRef, uid: str | None = None) -> None:
        for key in self._cache.forget(ref, uid):
            self._enqueue(key)


class _Process:
    """Everything that lives as long as the process, and how it ends."""

    def __init__(self, configured: Settings) -> None:
        self._settings = configured
        self._cache = Cache()
        self._metrics = Metrics(
            ModelDeployments(
                partial(self._cache.of_kind, Kind.MODEL_DEPLOYMENT), configured.metrics_max_model_deployments
            )
        )
        self._queue: WorkQueue[Key] = WorkQueue(on_wait=self._metrics.waited)
        self._filled = False
        self._stop = asyncio.Event()
        self._metrics.gauge("queue_depth", lambda: self._queue.depth)
        self._metrics.gauge("in_work", lambda: self._queue.in_work)
        self._metrics.gauge("cached_objects", lambda: len(self._cache))

    async def run(self) -> int:
        """Run until a signal or a loss; returns the exit code."""
        self._take_signals()
        async with AsyncExitStack() as stack:
            try:
                kube = await KubeClient.connect(
                    observer=_WriteThrough(self._cache, self._queue.add), on_call=self._metrics.called
                )
                stack.push_async_callback(kube.close)
                port = self._settings.metrics_port
                await stack.enter_async_context(
                    serving(self._metrics, port, healthy=self._trouble, ready=self._not_ready)
                )
                if not await self._unless_stopped(self._fill(kube)):
                    return 0
                return await self._work(kube)
            except (ApiError, ConfigException, OSError) as error:
                log.error("cannot start: %s", _with_remedy(error))
                return EXIT_FAILED

    async def _fill(self, kube: KubeClient) -> None:
        started = time.monotonic()
        for key in await handlers.fill(kube, self._cache, self._settings.watch_namespaces):
            self._queue.add(key)
        self._filled = True
        took = time.monotonic() - started
        count = len(self._cache.model_deployments())
        log.info("%d ModelDeployments and %d objects in all, listed in %.1f s", count, len(self._cache), took)

    async def _work(self, kube: KubeClient) -> int:
        configured = self._settings
        inline = configured.inline_registries
        objects = TenantObjects(kube, inline.secret_names)
        connections = Connections(
            configured.registries, self._connect_registry, inline.allowed_urls, objects.read
        )
        resolver = Resolver(
            configured.registries,
            configured.poll_seconds,
            self._queue.add,
            clients=connections,
            quiet_tags=tag_prefix(configured.cluster_name),
        )
        write_back = WriteBack(connections.entries(), configured.cluster_name)
        facts = FactsReader(connections, configured.poll_seconds, self._queue.add)
        self._metrics.gauge("tags_waiting", lambda: write_back.waiting)
        traffic = TrafficCounter(self._queue.add, self._metrics.scraped)
        background = Background(resolver, write_back, traffic, facts, self._metrics.happened)
        reconciler = Reconciler(kube, self._cache, configured, background)
        reconciler.resume(self._cache.model_deployments())

        async def reconcile(key: Key) -> float | None:
            with self._metrics.reconciling():
                return await reconciler.reconcile(key)

        namespaces = configured.watch_namespaces
        tasks: list[asyncio.Task[None]] = [
            asyncio.create_task(work(self._queue, reconcile, _report), name=f"worker {number}")
            for number in range(configured.workers)
        ]
        tasks.append(asyncio.create_task(resolver.run(), name="registry polling"))
        tasks.append(asyncio.create_task(write_back.run(), name="registry write-back"))
        tasks.append(asyncio.create_task(facts.run(), name="reading for the gates"))
        tasks.append(asyncio.create_task(traffic.run(), name="traffic counting"))
        relist = handlers.resync(
            kube, self._cache, self._queue.add, self._queue.add_after, namespaces=namespaces
        )
        tasks.append(asyncio.create_task(relist, name="resync"))
        stop = asyncio.create_task(self._stop.wait(), name="stop")
        watches = handlers.watch(
            kube, self._cache, self._queue.add, namespaces=namespaces, started=self._take_signals
        )
        tasks.append(asyncio.create_task(watches, name="watches"))
        try:
            async with self._webhooks(resolver):
                await asyncio.wait([stop, *tasks], return_when=asyncio.FIRST_COMPLETED)
            lost = [task for task in tasks if task.done()]
            for task in lost:
                _tell_loss(task)
            await self._drain()
        finally:
            stop.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(stop, *tasks, return_exceptions=True)
        return EXIT_FAILED if lost else 0

    def _webhooks(self, resolver: Resolver) -> AbstractAsyncContextManager[object]:
        configured = self._settings
        if not configured.webhooks.port:
            return nullcontext()
        return receiving(configured.webhooks, configured.registries, resolver.hint, self._metrics.notified)

    def _connect_registry(self, name: str, registry: RegistryConfig, access: Access | None) -> RegistryClient:
        return TimedClient(connect(name, registry, access), partial(self._metrics.asked, name))

    async def _drain(self) -> None:
        """Take no more work; give what is running time to come to its end."""
        self._queue.shut_down()
        log.info("stopping; %d ModelDeployments are in work", self._queue.in_work)
        try:
            await asyncio.wait_for(self._queue.drained(), DRAIN_SECONDS)
        except TimeoutError:
            log.warning("cut off %d reconciles after %.0f s", self._queue.in_work, DRAIN_SECONDS)

    async def _unless_stopped(self, starting: Awaitable[None]) -> bool:
        """Wait for that, but not past a signal to stop; False when there was one."""
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

    def _trouble(self) -> str:
        seconds = self._queue.longest_work_seconds
        return f"a reconcile is stuck for {seconds:.0f} s" if seconds > STUCK_SECONDS else ""

    def _not_ready(self) -> str:
        if self._stop.is_set():
            return "stopping"
        return self._trouble() if self._filled else "the first lists are not complete"


def _report(key: Key, error: Exception, delay: float) -> None:
    where = f"namespace={key[0]} name={key[1]}"
    if isinstance(error, Unavailable | Conflict):
        log.warning("%s: again in %.1f s: %s", where, delay, error)
    elif isinstance(error, ApiError):
        log.error("%s: again in %.1f s: %s", where, delay, error)
    else:
        log.error("%s: a fault of the operator itself; again in %.1f s", where, delay, exc_info=error)


def _tell_loss(task: asyncio.Task[None]) -> None:
    error = None if task.cancelled() else task.exception()
    if isinstance(error, TimeWentBack | ApiError):
        log.error("%s ended: %s", task.get_name(), error)
    else:
        log.error("%s ended, which they never should", task.get_name(), exc_info=error)


def _with_remedy(error: Exception) -> str:
    if isinstance(error, NotFound):
        return f"{error}; is the CRD {CRD_NAME} installed?"
    if isinstance(error, Forbidden):
        return f"{error}; give the operator's service account this right"
    if isinstance(error, ConfigException):
        return f"{error}; name a kubeconfig in KUBECONFIG, or run in a pod with a service account"
    return str(error)


class _OneLine(logging.Formatter):
    """``time=… level=… logger=… msg="…"``: one line per message, whatever is in it."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line; a traceback follows in ``error`` with its line breaks escaped."""
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        parts = [
            f"time={when}.{int(record.msecs):03d}Z",
            f"level={record.levelname.lower()}",
            f"logger={record.name.removeprefix('model_operator.')}",
            f"msg={json.dumps(record.getMessage(), ensure_ascii=False)}",
        ]
        if record.exc_info:
            parts.append(f"error={json.dumps(self.formatException(record.exc_info), ensure_ascii=False)}")
        return " ".join(parts)


def _log_to_stderr(level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("model_operator").setLevel(level)


if __name__ == "__main__":
    sys.exit(main())

"""What happens in the cluster becomes keys in the queue; nothing is decided or written here.

kopf pumps the watches: only ``on.event`` handlers, which need no finalizer and leave no annotation. What it lists
before a watch goes into the cache by the page, not by the handlers. Missed deletions bring no event, so lists of
our own run beside it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
import kopf
from kopf._core.reactor.inventory import ResourceMemories, ResourceMemory

from model_operator.controller.cache import CHILD_SELECTOR, WATCHED_KINDS, Cache
from model_operator.controller.liveness import Liveness
from model_operator.controller.workqueue import Backoff
from model_operator.domain.world import Key, Kind, Object
from model_operator.kube import ApiError, KubeClient
from model_operator.kube.resources import accepted, collection_path, group_and_plural, listed

log = logging.getLogger(__name__)

RESYNC_SECONDS = 600.0
_FIRST_RESYNC_SECONDS = 20.0
"""Soon after the start: what was deleted between our first lists and kopf's is not in either."""
_GAP_SECONDS = 5.0
_WATCHES_PAGE = 100
"""A page is held whole, and all kinds are listed at once."""
_STOP_SECONDS = 5.0
_NEW_BEGINNINGS = 6
"""In a row; then only a new process may help."""
_NEW_BEGINNING = Backoff(first=1.0, longest=30.0)
_STEADY_SECONDS = 60.0
"""Watches that went well for so long have not failed in a row."""
_WORDS = 500
_KOPF = Path(kopf.__file__).parent
_KIND_OF_PLURAL = {group_and_plural(kind)[-1]: kind for kind in WATCHED_KINDS}
"""By the last part of the path of a list or watch."""

Enqueue = Callable[[Key], object]


class _NothingStored(kopf.DiffBaseStorage):
    """kopf's default writes what it handled last into annotations, and copies every object to do so."""

    def build(self, **_: Any) -> Any:
        return {}

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        return None


class _NoProgress(kopf.ProgressStorage):
    """kopf's default keeps handlers' progress in annotations and in the status."""

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        return None

    def purge(self, **_: Any) -> None:
        return None

    def touch(self, **_: Any) -> None:
        return None

    def clear(self, *, essence: Any) -> Any:
        return essence


class _NoMemories(ResourceMemories):
    """kopf keeps a KiB for each object it has seen, for daemons and retries, of which we have none."""

    async def recall(
        self,
        raw_body: kopf.RawBody,
        *,
        memobase: Any | None = None,
        noticed_by_listing: bool = False,
        ephemeral: bool = False,
    ) -> ResourceMemory:
        """A blank one, whatever object it is for."""
        return ResourceMemory(noticed_by_listing=noticed_by_listing)


class _Backoffs:
    """Seconds between a watch's attempts: with jitter, never long, and enough of them for an outage of two minutes.

    Past the last one kopf gives the watch up, and all are begun anew.
    """

    def __len__(self) -> int:
        return 24

    def __iter__(self) -> Iterator[float]:
        for attempt in range(len(self)):
            yield random.uniform(0.5, 1.0) * min(10.0, 0.5 * 2.0**attempt)  # noqa: S311 - spreads load


def watch_settings(silence_seconds: float = 70.0) -> kopf.OperatorSettings:
    """kopf as a pump of events: it writes nothing, scans for nothing and posts nothing."""
    settings = kopf.OperatorSettings()
    settings.process.ultimate_exiting_timeout = None
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.persistence.diffbase_storage = _NothingStored()
    settings.persistence.progress_storage = _NoProgress()
    settings.watching.chunk_size = _WATCHES_PAGE
    settings.watching.inactivity_timeout = silence_seconds
    # each watch is asked for anew so often, where it left off: the answers are its signs of life
    settings.watching.server_timeout = 120
    settings.watching.connect_timeout = 10
    # before a list is begun anew; not all replicas and watches in step
    settings.watching.reconnect_backoff = random.uniform(0.5, 1.5)  # noqa: S311 - spreads load
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 10
    settings.networking.error_backoffs = _Backoffs()
    settings.queueing.idle_timeout = 0.2
    settings.queueing.worker_limit = None
    for kind in WATCHED_KINDS:
        if kind is not Kind.MODEL_DEPLOYMENT:
            settings.watching.label_selectors[group_and_plural(kind)] = CHILD_SELECTOR
    return settings


def watch_registry(
    kube: KubeClient, cache: Cache, enqueue: Enqueue, liveness: Liveness
) -> kopf.OperatorRegistry:
    """The handlers: put what was seen into the cache, enqueue the keys that it concerns.

    ``liveness`` is told the path of every list and watch that the API server answers well.
    """
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.AiohttpSession:
        connection = await kube.connection()
        access = kopf.ConnectionInfo(
            server=connection.server,
            ca_path=connection.ca_file,
            insecure=connection.insecure,
            token=connection.token,
            certificate_path=connection.certificate_file,
            private_key_path=connection.key_file,
        )
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=access.as_ssl_context()),
            headers=access.as_http_headers(),
            proxy=connection.proxy_url,
            trace_configs=[_telling(liveness), _asking_in_the_right_form()],
            middlewares=[_whole],
            response_class=_lists_taken_by(take),
        )
        return kopf.AiohttpSession(server=connection.server, aiohttp_session=session)

    def take(kind: Kind, item: Object, *, gone: bool = False) -> None:
        for key in (cache.remove if gone else cache.put)(kind, item):
            enqueue(key)

    def observe(kind: Kind) -> None:
        @kopf.on.event(*group_and_plural(kind), id=f"observe-{kind}", registry=registry)
        async def seen(event: kopf.RawEvent, **_: Any) -> None:
            take(kind, event["object"], gone=event["type"] == "DELETED")

    for kind in WATCHED_KINDS:
        observe(kind)
    return registry


def _asking_in_the_right_form() -> aiohttp.TraceConfig:
    async def begins(_session: object, _context: object, parameters: aiohttp.TraceRequestStartParams) -> None:
        if kind := _KIND_OF_PLURAL.get(parameters.url.name):
            parameters.headers["Accept"] = accepted(kind, single="watch" in parameters.url.query)

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(begins)
    return trace


def _lists_taken_by(take: Callable[[Kind, Object], None]) -> type[aiohttp.ClientResponse]:
    """What kopf lists goes to ``take``, page by page; kopf itself is told that nothing is there.

    It would start a task with a queue and a timer for each object: at a start tens of thousands, for what our own
    lists have brought just before. Its watches need no more of the list than where it ended.
    """

    class Answer(aiohttp.ClientResponse):
        async def json(self, **options: Any) -> Any:
            body = await super().json(**options)
            kind = _KIND_OF_PLURAL.get(self.url.name)
            if kind is None or not self.ok:
                return body
            async for item in listed(kind, body):
                take(kind, item)
            return {**body, "items": []}

    return Answer


def _telling(liveness: Liveness) -> aiohttp.TraceConfig:
    async def answered(_session: object, _context: object, parameters: aiohttp.TraceRequestEndParams) -> None:
        url = parameters.url
        if not parameters.response.ok:
            return
        if "watch" in url.query or "continue" in url.query:
            liveness.heard(url.path)
        else:
            liveness.listed(url.path)

    trace = aiohttp.TraceConfig()
    trace.on_request_end.append(answered)
    return trace


async def _whole(request: aiohttp.ClientRequest, ask: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Answers that are no watch count once they are there to their last byte, and in time.

    kopf asks again when a connection fails, but is lost for good when a body ends too early. It begins a list anew
    when a body ends too early, but is lost for good when the list's snapshot is gone (410).
    """
    response = await ask(request)
    if "watch" in request.url.query:
        return response
    try:
        await response.read()
    except aiohttp.ClientPayloadError as error:
        response.close()
        raise aiohttp.ClientConnectionError(f"the answer was cut short: {error}") from error
    if response.status == HTTPStatus.GONE:
        raise aiohttp.ClientPayloadError("the list's snapshot is gone")
    return response


async def watch(
    kube: KubeClient,
    cache: Cache,
    enqueue: Enqueue,
    *,
    namespaces: Sequence[str] = (),
    started: Callable[[], None] = lambda: None,
    liveness: Liveness | None = None,
    silence_seconds: float = 70.0,
) -> None:
    """Run kopf's watches; returns or raises when any of them is lost for good.

    What may pass (an answer that makes no sense, an API server that is out of order for minutes) is not lost for
    good: all watches are begun anew, a few times in a row with growing pauses.
    ``started`` is called once kopf's tasks exist, and after it has taken the process's signals for itself;
    ``liveness`` is told of every sign of life. A watch that is silent for so many seconds is asked for anew.
    """
    liveness = liveness or Liveness(lambda: 0.0)
    liveness.expect(collection_path(kind, space) for kind in WATCHED_KINDS for space in namespaces or (None,))
    failures = 0
    while True:
        began = time.monotonic()
        try:
            return await _watch_until_lost(
                watch_registry(kube, cache, enqueue, liveness), silence_seconds, namespaces, started
            )
        except Exception as error:
            failures = 1 if time.monotonic() - began > _STEADY_SECONDS else failures + 1
            if failures > _NEW_BEGINNINGS or not _may_pass(error):
                raise
            pause = _NEW_BEGINNING.after(failures)
            why = (str(error) or repr(error))[:_WORDS]
            log.warning("the watches broke off; beginning anew in %.1f s: %s", pause, why)
        await asyncio.sleep(pause)


async def _watch_until_lost(
    registry: kopf.OperatorRegistry,
    silence_seconds: float,
    namespaces: Sequence[str],
    started: Callable[[], None],
) -> None:
    """Let kopf watch until one of its tasks ends; it leaves nothing running."""
    tasks = await kopf.spawn_tasks(
        registry=registry,
        settings=watch_settings(silence_seconds),
        memories=_NoMemories(),
        standalone=True,
        clusterwide=not namespaces,
        namespaces=list(namespaces),
    )
    started()
    # not kopf.run_tasks: at its end that one cancels every task of the event loop that is younger than it
    try:
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            task.result()
    finally:
        # when one watch fails, kopf leaves the others running; and they end well only while their helpers live
        watchers = {task for task in asyncio.all_tasks() if task.get_name().startswith("watcher for ")}
        await _end(watchers.union(tasks))
        # when one request of its discovery fails, too
        await _end({task for task in asyncio.all_tasks() if _is_of_kopf(task)})


async def _end(tasks: set[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=_STOP_SECONDS)


def _is_of_kopf(task: asyncio.Task[Any]) -> bool:
    code = getattr(task.get_coro(), "cr_code", None)
    return code is not None and Path(code.co_filename).is_relative_to(_KOPF)


def _may_pass(error: Exception) -> bool:
    """Whether to ask once more may help: not when the API server refuses us, or knows no such kind."""
    status = getattr(error, "status", None)  # of kopf's errors, whose classes are its own affair
    waits = (HTTPStatus.GONE, HTTPStatus.TOO_MANY_REQUESTS)
    return not isinstance(status, int) or status in waits or not 400 <= status < 500


async def fill(kube: KubeClient, cache: Cache, namespaces: Sequence[str] = ()) -> set[Key]:
    """List everything that is watched into the cache and drop ghosts; returns the keys that changed.

    After it, an object that the cache does not have does not exist. Raises ApiError when a list fails, and
    ``cache.TimeWentBack`` when the cluster was restored from a backup.
    """
    changed: set[Key] = set()
    for kind in WATCHED_KINDS:
        selector = "" if kind is Kind.MODEL_DEPLOYMENT else CHILD_SELECTOR
        for namespace in namespaces or (None,):
            at_least = cache.newest_version(kind)
            listing = await kube.list(
                kind, partial(cache.kept, kind), namespace=namespace, label_selector=selector
            )
            changed |= cache.replace(
                kind, listing.items, listing.resource_version, namespace=namespace, at_least=at_least
            )
    return changed


async def resync(
    kube: KubeClient,
    cache: Cache,
    enqueue: Enqueue,
    enqueue_after: Callable[[Key, float], object],
    *,
    namespaces: Sequence[str] = (),
    every_seconds: float = RESYNC_SECONDS,
    gap: asyncio.Event | None = None,
) -> None:
    """For ever: list again now and then, enqueue what had changed unnoticed, and everything, spread out.

    Soon after ``gap`` was set, too: a watch has missed something.
    """
    gap = gap or asyncio.Event()
    pause = min(_FIRST_RESYNC_SECONDS, every_seconds)
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await gap.wait()
                # several watches are cut off together, and a list costs something
                await asyncio.sleep(_GAP_SECONDS)
        gap.clear()
        pause = random.uniform(0.8, 1.2) * every_seconds  # noqa: S311 - spreads load, guards nothing
        try:
            unnoticed = await fill(kube, cache, namespaces)
        except ApiError as error:
            log.warning("cannot list for the resync; trying again in %.0f s: %s", pause, error)
            continue
        for key in unnoticed:
            enqueue(key)
        for key in cache.model_deployments():
            enqueue_after(key, random.uniform(0, every_seconds / 10))  # noqa: S311 - spreads load

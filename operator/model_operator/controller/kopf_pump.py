"""Reduces kopf to a source of events. This is the only module that relies on kopf's private parts.

kopf writes nothing and stores nothing. It gives up only if a retry can't help.

WARNING: a new kopf can break this module although it still imports. It is written for kopf>=1.45,<1.46, the bound in
pyproject.toml. A minor release of kopf may rename or reshape anything in PRIVATE_PARTS below. Then, for example:

- kopf calls ``NoMemories.recall`` with an argument that it does not know. The first event ends all watches, and after
  a few restarts of the watches the process ends.
- The names of kopf's tasks change. A watch that is lost leaves the other watches running, and each restart of the
  watches adds a set of them.
- kopf reads its lists in another way. It starts a task for each object at the start.

Before you raise the bound:

1. Install the new kopf and run tests/unit/controller/test_kopf_pump.py. It names each part that has changed.
2. Read that part in kopf's source, and adapt the function here that uses it.
3. Run tests/integration/test_kube_watches.py and tests/integration/test_kube_wire.py.
4. Raise the bound in pyproject.toml and above. If you need another private part, add it to the table.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
import kopf
from kopf._core.reactor.inventory import ResourceMemories, ResourceMemory

from model_operator.controller.cache import CHILD_SELECTOR, WATCHED_KINDS
from model_operator.controller.liveness import Liveness
from model_operator.domain.objects import Kind, Object
from model_operator.kube.resources import accept_header, group_and_plural, read_items

PRIVATE_PARTS = {
    "kopf.spawn_tasks": "takes `memories`, whose class is not public. kopf.operator would also cancel our own tasks",
    "kopf._core.reactor.inventory.ResourceMemories": "base of NoMemories: kopf has no setting that turns them off",
    "kopf._core.reactor.inventory.ResourceMemories.recall": "overridden by NoMemories, so it has the same parameters",
    "kopf._core.reactor.inventory.ResourceMemories.forget": "inherited: it must accept an object that was never kept",
    "kopf._core.reactor.inventory.ResourceMemory": "NoMemories gives a blank one for each event",
    "kopf._core.reactor.processing.process_resource_event": "recalls and forgets memories for each event",
    "kopf._core.reactor.orchestration.spawn_missing_watchers": "its names of tasks are how is_watcher knows them",
    "kopf._cogs.aiokits.aiotasks.create_guarded_task": "runs kopf's tasks in its own files: see is_of_kopf",
    "kopf._cogs.clients.api.get": "reads a list by the response's json(), which lists_taken_by overrides",
    "kopf._cogs.clients.api.request": "counts and repeats error_backoffs, and retries after a ClientConnectionError",
    "kopf._cogs.clients.fetching.fetch_objs": "reads `items` and `continue` of a list, which lists_taken_by changes",
    "kopf._cogs.clients.watching.watch_objs": "sets `watch` in the query, which distinguishes a watch from a list",
    "kopf._cogs.clients.watching.continuous_watch": "restarts a list after a ClientPayloadError, which whole raises",
    "kopf._cogs.clients.errors.APIError": "has the response's `status`, which may_pass checks",
}
"""Each part of kopf that this module uses although kopf does not document it, with the reason. A unit test compares
them with the installed kopf."""
_WATCHER = "watcher for "
_WATCHES_PAGE = 100
"""Small, because a page is in memory as a whole, and all kinds are listed at the same time."""
_STOP_SECONDS = 5.0
_KOPF = Path(kopf.__file__).parent
_KIND_OF_PLURAL = {group_and_plural(kind)[-1]: kind for kind in WATCHED_KINDS}
"""By the last part of the path of a list or watch."""


class _NothingStored(kopf.DiffBaseStorage):
    """Stores nothing. kopf's default writes the last handled state to annotations, and copies every object for it."""

    def build(self, **_: Any) -> Any:
        return {}

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        return None


class _NoProgress(kopf.ProgressStorage):
    """Stores nothing. kopf's default keeps the progress of handlers in annotations and in the status."""

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


class NoMemories(ResourceMemories):
    """Stores nothing. kopf's default keeps 1 KiB per object for daemons and retries, which the operator doesn't use."""

    async def recall(
        self,
        raw_body: kopf.RawBody,
        *,
        memobase: Any | None = None,
        noticed_by_listing: bool = False,
        ephemeral: bool = False,
    ) -> ResourceMemory:
        """A blank memory for any object."""
        return ResourceMemory(noticed_by_listing=noticed_by_listing)


class _Backoffs:
    """Seconds between a watch's attempts, with jitter and at most 10. They last for an outage of two minutes.

    After the last one, kopf gives the watch up, and the operator restarts all watches.
    """

    def __len__(self) -> int:
        return 24

    def __iter__(self) -> Iterator[float]:
        for attempt in range(len(self)):
            yield random.uniform(0.5, 1.0) * min(10.0, 0.5 * 2.0**attempt)  # noqa: S311 - spreads load


def watch_settings(silence_seconds: float = 70.0) -> kopf.OperatorSettings:
    """Settings for kopf as a source of events: it writes nothing, scans for nothing and posts nothing."""
    settings = kopf.OperatorSettings()
    settings.process.ultimate_exiting_timeout = None
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.persistence.diffbase_storage = _NothingStored()
    settings.persistence.progress_storage = _NoProgress()
    # lists come as lists: see lists_taken_by
    settings.watching.initial_streaming = False
    settings.watching.chunk_size = _WATCHES_PAGE
    settings.watching.inactivity_timeout = silence_seconds
    # each watch is renewed at this interval, from its last event. The responses are its signs of life
    settings.watching.server_timeout = 120
    settings.watching.connect_timeout = 10
    # before a list restarts, with jitter so replicas and watches are not in step
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


def asking_in_the_right_form() -> aiohttp.TraceConfig:
    """Sets the Accept header of lists and watches to the format in which their kind is read."""

    async def begins(_session: object, _context: object, parameters: aiohttp.TraceRequestStartParams) -> None:
        if kind := _KIND_OF_PLURAL.get(parameters.url.name):
            parameters.headers["Accept"] = accept_header(kind, single="watch" in parameters.url.query)

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(begins)
    return trace


def lists_taken_by(take: Callable[[Kind, Object], None]) -> type[aiohttp.ClientResponse]:
    """Passes the objects of kopf's lists to ``take``, page by page. kopf itself gets empty lists.

    kopf would start a task with a queue and a timer for each object. At a start these are tens of thousands, for
    objects that the operator's own lists have just returned. kopf's watches only need the resourceVersion of the list.
    """

    class Answer(aiohttp.ClientResponse):
        async def json(self, **options: Any) -> Any:
            body = await super().json(**options)
            kind = _KIND_OF_PLURAL.get(self.url.name)
            if kind is None or not self.ok:
                return body
            async for item in read_items(kind, body):
                take(kind, item)
            return {**body, "items": []}

    return Answer


def telling(liveness: Liveness) -> aiohttp.TraceConfig:
    """Reports each response to ``liveness``."""

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


async def whole(request: aiohttp.ClientRequest, ask: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Reads each response that is not a watch to its last byte, and raises an error that kopf retries.

    kopf retries a request if the connection fails, but fails for good if a body ends too early. It restarts a list if a
    body ends too early, but fails for good if the list's snapshot is gone (410).
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


async def end(tasks: set[asyncio.Task[Any]]) -> None:
    """Cancels the tasks, and waits up to 5 seconds for their end."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=_STOP_SECONDS)


def is_of_kopf(task: asyncio.Task[Any]) -> bool:
    """Whether kopf started the task."""
    code = getattr(task.get_coro(), "cr_code", None)
    return code is not None and Path(code.co_filename).is_relative_to(_KOPF)


def is_watcher(task: asyncio.Task[Any]) -> bool:
    """Whether the task is one of kopf's watches, which kopf does not return to its caller."""
    return task.get_name().startswith(_WATCHER)


def may_pass(error: Exception) -> bool:
    """Whether a retry may help. It can't if the API server denies access or does not know the kind."""
    status = getattr(error, "status", None)  # of kopf's errors, whose classes are private
    waits = (HTTPStatus.GONE, HTTPStatus.TOO_MANY_REQUESTS)
    return not isinstance(status, int) or status in waits or not 400 <= status < 500

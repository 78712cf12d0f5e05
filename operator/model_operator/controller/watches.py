"""kopf's events become keys in the queue. Nothing is decided or written here.

Only ``on.event`` handlers are used, which need no finalizer and leave no annotation. The objects that kopf lists
before a watch go into the cache by the page, not by the handlers. This module uses only kopf's public names. The
private ones belong in ``kopf_pump``.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import aiohttp
import kopf

from model_operator.controller.cache import WATCHED_KINDS, Cache
from model_operator.controller.kopf_pump import (
    NoMemories,
    asking_in_the_right_form,
    end,
    is_of_kopf,
    is_watcher,
    lists_taken_by,
    may_pass,
    telling,
    watch_settings,
    whole,
)
from model_operator.controller.liveness import Liveness
from model_operator.controller.relist import Enqueue
from model_operator.controller.workqueue import Backoff
from model_operator.domain.objects import Kind, Object
from model_operator.kube import KubeClient
from model_operator.kube.resources import collection_path, group_and_plural

log = logging.getLogger(__name__)


_NEW_BEGINNINGS = 6
"""In a row; then only a new process may help."""
_NEW_BEGINNING = Backoff(first=1.0, longest=30.0)
_STEADY_SECONDS = 60.0
"""Watches that went well for so long have not failed in a row."""
_WORDS = 500


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
            trace_configs=[telling(liveness), asking_in_the_right_form()],
            middlewares=[whole],
            response_class=lists_taken_by(take),
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
            if failures > _NEW_BEGINNINGS or not may_pass(error):
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
        memories=NoMemories(),
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
        watchers = {task for task in asyncio.all_tasks() if is_watcher(task)}
        await end(watchers.union(tasks))
        # when one request of its discovery fails, too
        await end({task for task in asyncio.all_tasks() if is_of_kopf(task)})

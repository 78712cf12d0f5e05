"""Turns kopf's events into keys in the queue. This module decides nothing and writes nothing.

It uses only ``on.event`` handlers, which need no finalizer and leave no annotation. The objects that kopf lists before
a watch go into the cache by the page, not through the handlers. This module uses only kopf's public names. The private
ones belong in ``kopf_pump``.
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
from model_operator.controller.observe import derives
from model_operator.controller.relist import Enqueue
from model_operator.controller.workqueue import Backoff
from model_operator.domain.objects import Kind, Object, ObjectRef
from model_operator.domain.objects.projection import ref_of
from model_operator.kube import KubeClient
from model_operator.kube.resources import collection_path, group_and_plural

log = logging.getLogger(__name__)


_MAX_RESTARTS = 6
"""In a row. After that, only a new process may help."""
_RESTART_BACKOFF = Backoff(first=1.0, longest=30.0)
_STEADY_SECONDS = 60.0
"""A failure after this many healthy seconds counts as the first one."""
_WORDS = 500


def watch_registry(
    kube: KubeClient, cache: Cache, enqueue: Enqueue, liveness: Liveness
) -> kopf.OperatorRegistry:
    """The handlers. They put each object into the cache and enqueue the affected keys.

    ``liveness`` gets the path of every list and watch that the API server answers with success.
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
        ref = ref_of(kind, item)
        known = cache.has(ref)
        for key in (cache.remove if gone else cache.put)(kind, item):
            enqueue(key)
        if kind is Kind.MODEL_DEPLOYMENT and known != cache.has(ref):
            # others may derive a name that this one needs
            for key in derives(ref.namespace, ref.name):
                if cache.has(ObjectRef(Kind.MODEL_DEPLOYMENT, *key)):
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
    """Run kopf's watches. Returns or raises if one of them fails for good.

    After a failure that may pass (a malformed response, or minutes without an API server), all watches restart, a few
    times in a row with growing pauses. ``started`` is called when kopf's tasks exist and kopf has set its signal
    handlers. ``liveness`` gets every sign of life. A watch that is silent for ``silence_seconds`` is restarted.
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
            if failures > _MAX_RESTARTS or not may_pass(error):
                raise
            pause = _RESTART_BACKOFF.after(failures)
            why = (str(error) or repr(error))[:_WORDS]
            log.warning("the watches failed, restarting them in %.1f s: %s", pause, why)
        await asyncio.sleep(pause)


async def _watch_until_lost(
    registry: kopf.OperatorRegistry,
    silence_seconds: float,
    namespaces: Sequence[str],
    started: Callable[[], None],
) -> None:
    """Run kopf's watches until one of its tasks ends, then stop all of them."""
    tasks = await kopf.spawn_tasks(
        registry=registry,
        settings=watch_settings(silence_seconds),
        memories=NoMemories(),
        standalone=True,
        clusterwide=not namespaces,
        namespaces=list(namespaces),
    )
    started()
    # not kopf.run_tasks, which at its end cancels every newer task of the event loop
    try:
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            task.result()
    finally:
        # if one watch fails, kopf leaves the others running, and they end cleanly only while their helpers run
        watchers = {task for task in asyncio.all_tasks() if is_watcher(task)}
        await end(watchers.union(tasks))
        # kopf also leaves tasks running if a request of its discovery fails
        await end({task for task in asyncio.all_tasks() if is_of_kopf(task)})

"""The operator's own lists. They run beside the watches, because a missed deletion causes no event."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Sequence
from functools import partial

from model_operator.controller.cache import CHILD_SELECTOR, WATCHED_KINDS, Cache
from model_operator.domain.objects import Key, Kind
from model_operator.kube import ApiError, KubeClient

log = logging.getLogger(__name__)


Enqueue = Callable[[Key], object]


_FIRST_RESYNC_SECONDS = 20.0
"""Soon after the start, because an object deleted between the operator's first lists and kopf's is in neither."""
_GAP_SECONDS = 5.0


async def fill(kube: KubeClient, cache: Cache, namespaces: Sequence[str] = ()) -> set[Key]:
    """List all watched kinds into the cache and drop deleted objects. Returns the keys that changed.

    Afterwards, an object that the cache lacks does not exist. Raises ApiError if a list fails, and
    ``cache.TimeWentBack`` if the cluster was restored from a backup.
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
    every_seconds: float,
    gap: asyncio.Event | None = None,
) -> None:
    """List periodically until cancelled. Enqueue keys with missed changes at once, and all keys spread over time.

    Also list soon after ``gap`` is set, because a watch may have missed events.
    """
    gap = gap or asyncio.Event()
    pause = min(_FIRST_RESYNC_SECONDS, every_seconds)
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await gap.wait()
                # several watches end together, and lists are expensive
                await asyncio.sleep(_GAP_SECONDS)
        gap.clear()
        pause = random.uniform(0.8, 1.2) * every_seconds  # noqa: S311 - spreads load, guards nothing
        try:
            unnoticed = await fill(kube, cache, namespaces)
        except ApiError as error:
            log.warning("cannot list for the resync, retrying in %.0f s: %s", pause, error)
            continue
        for key in unnoticed:
            enqueue(key)
        for key in cache.model_deployments():
            enqueue_after(key, random.uniform(0, every_seconds / 10))  # noqa: S311 - spreads load

"""The API server with as little between as there can be: aiohttp, JSON, watches as a stream of events."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
from tests.cluster.api import load_context, tls_context

T = TypeVar("T")
_AGAIN_SECONDS = 0.2


@asynccontextmanager
async def connected(kubeconfig: Path) -> AsyncIterator[aiohttp.ClientSession]:
    """A session whose paths are those of the kubeconfig's API server; answers other than success raise."""
    _, cluster, user = load_context(kubeconfig)
    connector = aiohttp.TCPConnector(ssl=tls_context(cluster, user), limit=0)
    patience = aiohttp.ClientTimeout(total=None, sock_connect=30)
    async with aiohttp.ClientSession(
        cluster["server"], connector=connector, timeout=patience, raise_for_status=_raise
    ) as session:
        yield session


async def _raise(answer: aiohttp.ClientResponse) -> None:
    if answer.status >= 400:
        raise RuntimeError(f"{answer.method} {answer.url.path}: {answer.status} {await answer.text()}")


async def events(
    session: aiohttp.ClientSession, path: str, query: Mapping[str, str] | None = None
) -> AsyncIterator[dict[str, Any]]:
    """All objects that are there, and from then on every change, as ``{type, object}``; ends with the server."""
    asked = {"watch": "true", "timeoutSeconds": "3600", **(query or {})}
    with contextlib.suppress(aiohttp.ClientError):
        while True:
            async with session.get(path, params=asked) as answer:
                rest = b""
                async for chunk in answer.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for event in map(json.loads, lines):
                        # a server that has just started answers with an error and ends the watch
                        if event["type"] != "ERROR":
                            yield event
            await asyncio.sleep(_AGAIN_SECONDS)


async def at_once(jobs: Iterable[T], each: Callable[[T], Awaitable[object]], workers: int) -> None:
    """Do ``each`` for all jobs, by so many workers."""
    queue = iter(jobs)

    async def work() -> None:
        for job in queue:
            await each(job)

    async with asyncio.TaskGroup() as group:
        for _ in range(workers):
            group.create_task(work())

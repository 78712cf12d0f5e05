"""The operator's HTTP server for whoever watches it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from model_operator.metrics.figures import Metrics

log = logging.getLogger(__name__)

Check = Callable[[], str]
"""Answers with what is wrong, or with an empty text."""


@asynccontextmanager
async def serving(
    metrics: Metrics,
    port: int,
    *,
    healthy: Check,
    ready: Check,
    role: Check = lambda: "ok",
    host: str | None = None,
) -> AsyncIterator[int]:
    """Serve /metrics, /healthz and /readyz on ``host`` (None: all addresses).

    ``role`` is what /readyz says when nothing is wrong. Gives the port, which matters when 0 was asked for. The
    answers wait for nothing, so that no answer at all means that the event loop is stuck.

    Raises OSError when the port is taken.
    """

    async def show(request: web.Request) -> web.Response:
        return web.Response(body=await metrics.shown(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    def answering(
        check: Check, well: Check = lambda: "ok"
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(request: web.Request) -> web.Response:
            trouble = check()
            return web.Response(text=f"{trouble or well()}\n", status=503 if trouble else 200)

        return answer

    application = web.Application()
    application.router.add_get("/metrics", show)
    application.router.add_get("/healthz", answering(healthy))
    application.router.add_get("/readyz", answering(ready, role))
    runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        bound = runner.addresses[0][1]
        log.info("serving /metrics, /healthz and /readyz on port %d", bound)
        yield bound
    finally:
        await runner.cleanup()

"""The operator's HTTP server for metrics and probes."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from model_operator.metrics.figures import Metrics

log = logging.getLogger(__name__)

Check = Callable[[], str]
"""Returns a description of the problem, or an empty text."""


@dataclass(frozen=True, slots=True)
class Probes:
    """The checks behind /healthz and /readyz."""

    healthy: Check
    ready: Check
    role: Callable[[], str] = lambda: "ok"
    """Returns the text of /readyz if there is no problem."""


@asynccontextmanager
async def serve(metrics: Metrics, probes: Probes, port: int, host: str | None = None) -> AsyncIterator[int]:
    """Serves /metrics, /healthz and /readyz on ``host`` (None: all addresses).

    Yields the port, which is useful if ``port`` is 0. The answers wait for nothing. No answer therefore means that the
    event loop is stuck.

    Raises OSError if the port is in use.
    """

    async def show(request: web.Request) -> web.Response:
        return web.Response(body=await metrics.render(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    def respond(
        check: Check, well: Callable[[], str] = lambda: "ok"
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(request: web.Request) -> web.Response:
            trouble = check()
            return web.Response(text=f"{trouble or well()}\n", status=503 if trouble else 200)

        return answer

    application = web.Application()
    application.router.add_get("/metrics", show)
    application.router.add_get("/healthz", respond(probes.healthy))
    application.router.add_get("/readyz", respond(probes.ready, probes.role))
    runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        bound = runner.addresses[0][1]
        log.info("serving /metrics, /healthz and /readyz on port %d", bound)
        yield bound
    finally:
        await runner.cleanup()

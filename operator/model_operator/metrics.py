"""What the operator tells about itself: /metrics, /healthz and /readyz."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from time import monotonic

from aiohttp import web
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

log = logging.getLogger(__name__)

_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The operator's own figures, in a Prometheus registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._reconcile = Histogram(
            "model_operator_reconcile_seconds",
            "Time that one look at one ModelDeployment took, by how it ended.",
            ["result"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._wait = Histogram(
            "model_operator_queue_wait_seconds",
            "Time that a ModelDeployment waited for a worker.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._api = Histogram(
            "model_operator_api_request_seconds",
            "Requests to the API server without the watches; code 0 means that no answer came.",
            ["verb", "kind", "code"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._registry = Histogram(
            "model_operator_registry_request_seconds",
            "Questions to model registries, by the registry's name in the configuration, what was asked, and ok or the "
            "reason of the failure.",
            ["registry", "operation", "outcome"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._registry_answered = Gauge(
            "model_operator_registry_last_answer_timestamp_seconds",
            "When a registry last gave a usable answer; what time() is above it is how old our knowledge is.",
            ["registry"],
            registry=self.registry,
        )
        self._webhooks = Counter(
            "model_operator_webhooks",
            "Webhooks received, by the registry's name in the configuration and what became of them.",
            ["registry", "outcome"],
            registry=self.registry,
        )
        self._scrapes = Counter(
            "model_operator_scrapes",
            "Times that a watched pod was asked for its figures: ok, absent (it has none) or failed.",
            ["outcome"],
            registry=self.registry,
        )

    def gauge(self, name: str, description: str, value: Callable[[], float]) -> None:
        """Show a figure that is read when somebody asks; ``name`` is what follows ``model_operator_``."""
        Gauge(f"model_operator_{name}", description, registry=self.registry).set_function(value)

    def waited(self, seconds: float) -> None:
        """A key stood in line for so long."""
        self._wait.observe(seconds)

    def called(self, verb: str, kind: str, status: int, seconds: float) -> None:
        """One request went to the API server."""
        self._api.labels(verb, kind, str(status)).observe(seconds)

    def asked(self, registry: str, operation: str, outcome: str, seconds: float) -> None:
        """A model registry was asked; ``outcome`` is ``ok``, ``left`` (before its end) or a failure's reason."""
        self._registry.labels(registry, operation, outcome).observe(seconds)
        if outcome == "ok":
            self._registry_answered.labels(registry).set_to_current_time()

    def notified(self, registry: str, outcome: str) -> None:
        """A webhook came: ``ok``, ``not_followed`` (nobody follows its model), or why it was refused."""
        self._webhooks.labels(registry, outcome).inc()

    def scraped(self, outcome: str) -> None:
        """A watched pod was asked for its figures: ``ok``, ``absent`` or ``failed``."""
        self._scrapes.labels(outcome).inc()

    @contextmanager
    def reconciling(self) -> Iterator[None]:
        """Time one reconcile; an exception counts as an error and goes on."""
        started, result = monotonic(), "error"
        try:
            yield
            result = "ok"
        finally:
            self._reconcile.labels(result).observe(monotonic() - started)


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
        return web.Response(
            body=generate_latest(metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

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

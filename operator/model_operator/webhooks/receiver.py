"""Receives webhooks by HTTP or HTTPS, one per connection, with limits on size, time and number."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path

from aiohttp import web

from model_operator.settings import Webhooks
from model_operator.webhooks.inbox import Delivery, Inbox, RefusalError
from model_operator.webhooks.mounted_files import Certificate, Seldom

log = logging.getLogger(__name__)

ID_HEADER = "X-MLflow-Delivery-Id"
TIMESTAMP_HEADER = "X-MLflow-Timestamp"
SIGNATURE_HEADER = "X-MLflow-Signature"
PATH = "/webhooks/"
MAX_BODY_BYTES = 65_536
MAX_CONNECTIONS = 64
READ_SECONDS = 5.0
CONNECTION_SECONDS = 10.0
"""Longest time of a connection, which has one request. MLflow sends seldom, and slow senders must not add up."""

_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_TIMESTAMP = re.compile(r"[0-9]{1,12}", re.ASCII)
_MAX_SIGNATURE_LENGTH = 1024
_UNKNOWN_ENTRY = "unknown"

Hint = Callable[[str, str], int]
"""Takes an entry of the configuration and a model's name, and returns the number of references to that model."""
Count = Callable[[str, str], None]
"""Takes an entry of the configuration and the outcome of a delivery."""


class _Receiver:
    """Answers requests, each on its own connection."""

    def __init__(self, inbox: Inbox, entries: Collection[str], hint: Hint, count: Count) -> None:
        self._inbox = inbox
        self._entries = frozenset(entries)
        self._hint = hint
        self._count = count
        self._seldom = Seldom()

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """Returns 204 for an accepted delivery, otherwise the status and the message of the rejection."""
        entry = _UNKNOWN_ENTRY
        try:
            if request.method != "POST":
                raise RefusalError(HTTPStatus.METHOD_NOT_ALLOWED, "method", "only POST is allowed")
            entry = self._entry(request.path)
            body = await _body(request)
            model = self._inbox.model(_delivery(request, body))
            outcome = "ok" if self._hint(entry, model) else "not_followed"
        except RefusalError as refusal:
            outcome, response = refusal.outcome, web.Response(status=refusal.status, text=f"{refusal}\n")
            self._seldom.warn(f"{entry} {outcome}", f"webhook for registry {entry} rejected: {refusal}")
        except Exception:
            # aiohttp's own answer to a defect would leave no line in the log
            outcome, response = "error", web.Response(status=HTTPStatus.BAD_REQUEST)
            self._seldom.warn("error", "a webhook could not be read", exc_info=True)
        else:
            response = web.Response(status=HTTPStatus.NO_CONTENT)
        self._count(entry, outcome)
        response.force_close()
        return response

    def _entry(self, path: str) -> str:
        entry = path.removeprefix(PATH)
        if not path.startswith(PATH) or entry not in self._entries:
            words = f"the path must be {PATH}ENTRY, with a registry of the configuration"
            raise RefusalError(HTTPStatus.NOT_FOUND, "path", words)
        return entry


def _delivery(request: web.BaseRequest, body: bytes) -> Delivery:
    def header(name: str) -> str:
        values = request.headers.getall(name, [])
        if len(values) != 1:
            words = f"exactly one header {name} is needed" if values else f"the header {name} is missing"
            raise RefusalError(HTTPStatus.BAD_REQUEST, "header", words)
        return values[0]

    delivery_id, timestamp = header(ID_HEADER), header(TIMESTAMP_HEADER)
    signatures = header(SIGNATURE_HEADER)
    if not _ID.fullmatch(delivery_id) or not _TIMESTAMP.fullmatch(timestamp):
        words = f"{ID_HEADER} or {TIMESTAMP_HEADER} is malformed"
        raise RefusalError(HTTPStatus.BAD_REQUEST, "header", words)
    if len(signatures) > _MAX_SIGNATURE_LENGTH:
        raise RefusalError(HTTPStatus.BAD_REQUEST, "header", f"{SIGNATURE_HEADER} is too long")
    return Delivery(delivery_id, timestamp, signatures, body)


async def _body(request: web.BaseRequest) -> bytes:
    """Reads the body within its limits, regardless of a Content-Length. Raises RefusalError."""
    too_large = RefusalError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "size", f"the body is larger than {MAX_BODY_BYTES} bytes"
    )
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(READ_SECONDS):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise too_large
    except TimeoutError:
        words = f"the body took more than {READ_SECONDS:.0f} s"
        raise RefusalError(HTTPStatus.REQUEST_TIMEOUT, "slow", words) from None
    return bytes(body)


class _Server(web.Server):
    """aiohttp's server, with limits on the number of connections and on the time of each."""

    def __init__(self, receiver: _Receiver) -> None:
        # a sender of malformed HTTP controls the content and the number of aiohttp's log lines
        silent = logging.getLogger(f"{__name__}.http")
        silent.disabled = True
        super().__init__(
            receiver.answer,
            handler_cancellation=True,
            access_log=None,
            logger=silent,
            auto_decompress=False,
            lingering_time=1.0,
        )
        self._ends: dict[web.RequestHandler, asyncio.TimerHandle] = {}

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if len(self._ends) >= MAX_CONNECTIONS:
            transport.abort()
            return
        loop = asyncio.get_running_loop()
        self._ends[handler] = loop.call_later(CONNECTION_SECONDS, transport.abort)

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        if (end := self._ends.pop(handler, None)) is not None:
            end.cancel()
        super().connection_lost(handler, exc)


@asynccontextmanager
async def receive(
    configured: Webhooks, entries: Collection[str], hint: Hint, count: Count, host: str | None = None
) -> AsyncIterator[int]:
    """Receives webhooks for these registry entries on ``host`` (None: all addresses).

    ``hint`` is called for each accepted delivery and must return at once. ``count`` is called with the outcome of every
    request. Yields the port, which is useful if the configured one is 0.

    Raises OSError if the port is in use. Missing files are no error, since they may come later.
    """
    certificate = Certificate(Path(configured.certificate_dir)) if configured.certificate_dir else None
    inbox = Inbox(Path(configured.secret_dir), configured.max_age_seconds)
    receiver = _Receiver(inbox, entries, hint, count)
    server = _Server(receiver)
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(
        server,
        host,
        configured.port,
        ssl=certificate.context if certificate else None,
        ssl_handshake_timeout=CONNECTION_SECONDS if certificate else None,
    )
    try:
        port: int = listener.sockets[0].getsockname()[1]
        log.info("receiving webhooks by %s on port %d", "https" if certificate else "http", port)
        yield port
    finally:
        listener.close()
        server.pre_shutdown()
        await server.shutdown(1.0)

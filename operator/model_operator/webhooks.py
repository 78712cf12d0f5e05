"""MLflow's webhooks as a hint: they say which model may have moved, and nothing else is believed of them.

A delivery that is signed, fresh and new wakes whoever follows its model; what became of the model the registry is
asked. So a lost, forged or repeated delivery costs a poll interval or a request, never a wrong version.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
import logging
import re
import ssl
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from aiohttp import web

from model_operator.settings import Webhooks

log = logging.getLogger(__name__)

ID_HEADER = "X-MLflow-Delivery-Id"
TIMESTAMP_HEADER = "X-MLflow-Timestamp"
SIGNATURE_HEADER = "X-MLflow-Signature"
PATH = "/webhooks/"
MAX_BODY_BYTES = 65_536
MAX_CONNECTIONS = 64
READ_SECONDS = 5.0
CONNECTION_SECONDS = 10.0
"""A connection lives so long and carries one request: MLflow sends seldom, and slow senders must not add up."""
MAX_REMEMBERED = 10_000
"""Delivery ids; beyond, the oldest is forgotten: a repeated hint does no harm, an endless memory does."""
REREAD_SECONDS = 2.0
"""Files with secrets and certificates are looked at again when so much time has passed."""
LOG_SECONDS = 60.0
"""One line of the log for each kind of refusal within so many seconds."""

_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_TIMESTAMP = re.compile(r"[0-9]{1,12}", re.ASCII)
_MAX_SIGNATURES = 8
_MAX_SIGNATURE_LENGTH = 1024
_MAX_SECRETS = 16
_MAX_SECRET_BYTES = 4096
_MAX_NAME_LENGTH = 1000
_UNKNOWN_ENTRY = "unknown"

Hint = Callable[[str, str], int]
"""Takes an entry of the configuration and a model's name; returns how many references that concerns."""
Count = Callable[[str, str], None]
"""Takes an entry of the configuration and what became of a delivery."""


class RefusalError(Exception):
    """This delivery is not taken; ``outcome`` is for the metric, the words are for whoever sent it."""

    def __init__(self, status: HTTPStatus, outcome: str, words: str) -> None:
        super().__init__(words)
        self.status = status
        self.outcome = outcome


@dataclass(frozen=True, slots=True)
class Delivery:
    """One request as it came in, not believed yet."""

    delivery_id: str
    timestamp: str
    """Seconds since 1970."""
    signatures: str
    """``v1,BASE64``, several of them separated by blanks."""
    body: bytes


class Inbox:
    """Tells deliveries that count from those that don't; remembers the ids of those that did."""

    def __init__(
        self, secret_dir: Path, max_age_seconds: float, clock: Callable[[], float] = time.time
    ) -> None:
        """Every file of ``secret_dir`` is a valid secret; ``clock`` gives seconds since 1970."""
        self._secrets = _Secrets(secret_dir, clock)
        self._max_age = max_age_seconds
        self._clock = clock
        # in the order in which they came
        self._seen: dict[str, float] = {}

    def __len__(self) -> int:
        """How many delivery ids are remembered."""
        return len(self._seen)

    def model(self, delivery: Delivery) -> str:
        """The name of the model that the delivery speaks of. Raises RefusalError.

        Nothing of the body is parsed before the signature, the age and the id were found good.
        """
        self._check_signature(delivery)
        self._check_age_and_id(delivery)
        return model_named_in(delivery.body)

    def _check_signature(self, delivery: Delivery) -> None:
        secrets = self._secrets.read()
        if not secrets:
            raise RefusalError(
                HTTPStatus.SERVICE_UNAVAILABLE, "no_secret", "the receiver has no secret to check with yet"
            )
        signed = f"{delivery.delivery_id}.{delivery.timestamp}.".encode() + delivery.body
        valid = [hmac.digest(secret, signed, hashlib.sha256) for secret in secrets]
        good = False
        for given in _signatures(delivery.signatures):
            for digest in valid:
                # no early end: time tells nothing of which secret was nearly right
                good |= hmac.compare_digest(given, digest)
        if not good:
            raise RefusalError(
                HTTPStatus.UNAUTHORIZED, "signature", "the signature is not by a secret known here"
            )

    def _check_age_and_id(self, delivery: Delivery) -> None:
        now, sent = self._clock(), float(delivery.timestamp)
        if abs(now - sent) > self._max_age:
            words = f"the timestamp is more than {self._max_age:.0f} s away from this clock"
            raise RefusalError(HTTPStatus.UNAUTHORIZED, "timestamp", words)
        self._forget(now)
        if delivery.delivery_id in self._seen:
            raise RefusalError(HTTPStatus.UNAUTHORIZED, "replay", "this delivery id was used before")
        # past that moment the timestamp alone refuses it
        self._seen[delivery.delivery_id] = sent + self._max_age

    def _forget(self, now: float) -> None:
        while self._seen:
            oldest = next(iter(self._seen))
            if self._seen[oldest] >= now and len(self._seen) < MAX_REMEMBERED:
                break
            del self._seen[oldest]


def model_named_in(body: bytes) -> str:
    """The name of the model in a payload; entity and action decide nothing. Raises RefusalError."""
    try:
        payload = json.loads(body.decode())
    except UnicodeDecodeError:
        raise _malformed("the body is not UTF-8") from None
    except (ValueError, RecursionError):
        raise _malformed("the body is not JSON that can be read") from None
    data = payload.get("data") if isinstance(payload, dict) else None
    name = data.get("name") if isinstance(data, dict) else None
    if not isinstance(name, str) or not 0 < len(name) <= _MAX_NAME_LENGTH:
        raise _malformed("the body names no model in data.name")
    return name


def _malformed(words: str) -> RefusalError:
    return RefusalError(HTTPStatus.BAD_REQUEST, "malformed", words)


def _signatures(header: str) -> Iterator[bytes]:
    for part in header.split(" ")[:_MAX_SIGNATURES]:
        version, _, encoded = part.partition(",")
        if version != "v1":
            continue
        try:
            yield base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            continue


class _Secrets:
    """The files of a directory, read again now and then, so that rotation needs no restart."""

    def __init__(self, directory: Path, clock: Callable[[], float]) -> None:
        self._directory = directory
        self._clock = clock
        self._read_at = float("-inf")
        self._secrets: tuple[bytes, ...] = ()
        self._seldom = _Seldom(clock)

    def read(self) -> tuple[bytes, ...]:
        """The secrets that are valid now; none while the directory has none."""
        now = self._clock()
        if not 0 <= now - self._read_at < REREAD_SECONDS:
            self._secrets, self._read_at = tuple(self._files()), now
        return self._secrets

    def _files(self) -> Iterator[bytes]:
        try:
            # Kubernetes keeps its own bookkeeping in names that begin with two dots
            paths = sorted(path for path in self._directory.iterdir() if not path.name.startswith("."))
        except OSError as error:
            self._seldom.warn("directory", f"webhooks.secretDir {self._directory}: {error.strerror}")
            return
        for path in paths[:_MAX_SECRETS]:
            try:
                with path.open("rb") as file:
                    secret = file.read(_MAX_SECRET_BYTES + 1).rstrip(b"\r\n")
            except OSError as error:
                self._seldom.warn(path.name, f"webhooks.secretDir: {path} can't be read: {error.strerror}")
                continue
            if 0 < len(secret) <= _MAX_SECRET_BYTES:
                yield secret
            else:
                words = f"webhooks.secretDir: {path} is empty or over {_MAX_SECRET_BYTES} bytes; not used"
                self._seldom.warn(path.name, words)


class _Certificate:
    """A TLS context whose certificate is taken from its files anew when they change."""

    def __init__(self, directory: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._files = (directory / "tls.crt", directory / "tls.key")
        self._clock = clock
        self._looked_at = float("-inf")
        self._state: object = None
        self._current: ssl.SSLContext | None = None
        self._seldom = _Seldom(clock)
        # has no certificate of its own: without a good one no handshake succeeds, and nothing goes over in the clear
        self.context = _tls_context()
        self.context.sni_callback = self._choose
        self._renew()

    def _choose(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> int | None:
        self._renew()
        if self._current is None:
            return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR
        connection.context = self._current
        return None

    def _renew(self) -> None:
        now = self._clock()
        if now - self._looked_at < REREAD_SECONDS:
            return
        self._looked_at = now
        try:
            state = [(s.st_ino, s.st_mtime_ns, s.st_size) for s in (path.stat() for path in self._files)]
            if state == self._state:
                return
            # a context of its own: a pair that does not fit must not spoil the one that works
            context = _tls_context()
            context.load_cert_chain(*self._files, password=_no_password)
        except (OSError, ValueError) as error:
            what = "kept the one before" if self._current else "until then no webhook is received"
            words = f"webhooks.certificateDir needs a fitting tls.crt and tls.key in {self._files[0].parent}"
            self._seldom.warn("", f"{words} ({type(error).__name__}: {error}); {what}")
            return
        self._state, self._current = state, context


def _tls_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _no_password() -> str:
    # OpenSSL would ask the terminal
    raise ValueError("the key is encrypted")


class _Seldom:
    """Warns about each kind of thing once in ``LOG_SECONDS``, and says how often it was silent."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said: dict[str, tuple[float, int]] = {}

    def warn(self, kind: str, words: str, exc_info: bool = False) -> None:
        """``kind`` comes from a small set: each one is remembered."""
        now = self._clock()
        said_at, silent = self._said.get(kind, (float("-inf"), 0))
        if 0 <= now - said_at < LOG_SECONDS:
            self._said[kind] = (said_at, silent + 1)
            return
        self._said[kind] = (now, 0)
        more = f" (and {silent} times more since the last line)" if silent else ""
        log.warning("%s%s", words, more, exc_info=exc_info)


class _Receiver:
    """Answers one request at a time, each on a connection of its own."""

    def __init__(self, inbox: Inbox, entries: Collection[str], hint: Hint, count: Count) -> None:
        self._inbox = inbox
        self._entries = frozenset(entries)
        self._hint = hint
        self._count = count
        self._seldom = _Seldom()

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """204 for a delivery that counts; else the refusal's status and its one sentence."""
        entry = _UNKNOWN_ENTRY
        try:
            if request.method != "POST":
                raise RefusalError(HTTPStatus.METHOD_NOT_ALLOWED, "method", "only POST is answered here")
            entry = self._entry(request.path)
            body = await _body(request)
            model = self._inbox.model(_delivery(request, body))
            outcome = "ok" if self._hint(entry, model) else "not_followed"
        except RefusalError as refusal:
            outcome, response = refusal.outcome, web.Response(status=refusal.status, text=f"{refusal}\n")
            self._seldom.warn(f"{entry} {outcome}", f"webhook for registry {entry} refused: {refusal}")
        except Exception:
            # not aiohttp's own answer to a defect, which would end in silence here
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
            words = f"there is only {PATH}ENTRY here, for the registries of the configuration"
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
    """The body as it was sent; a Content-Length is not believed. Raises RefusalError."""
    too_large = RefusalError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "size", f"the body is over {MAX_BODY_BYTES} bytes"
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
    """aiohttp's server, which sets no limit to the number of connections, nor to the time of one."""

    def __init__(self, receiver: _Receiver) -> None:
        # what aiohttp says of malformed HTTP is the sender's choice, in words and number
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
async def receiving(
    configured: Webhooks, entries: Collection[str], hint: Hint, count: Count, host: str | None = None
) -> AsyncIterator[int]:
    """Receive webhooks for these registry entries on ``host`` (None: all addresses).

    ``hint`` is called for each delivery that counts and must return at once; ``count`` is told what became of every
    request. Gives the port, which matters when the configured one is 0.

    Raises OSError when the port is taken. Files that are missing are waited for: a webhook is only a hint.
    """
    certificate = _Certificate(Path(configured.certificate_dir)) if configured.certificate_dir else None
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

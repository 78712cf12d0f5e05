"""JSON over HTTP from an untrusted server, with limits of time, size and attempts."""

from __future__ import annotations

import asyncio
import json
import os
import random
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from model_operator.domain.registry import ResolutionReason
from model_operator.registry.clients.addresses import (
    LookUp,
    RefusedAddressError,
    find_permitted_address,
    look_up,
)
from model_operator.registry.clients.base import RegistryConfig, RegistryError, shorten
from model_operator.registry.clients.credentials import (
    CERTIFICATE,
    KEY,
    Access,
    Credentials,
    FileAccess,
    Trust,
    misconfigured,
)

MIB = 1024 * 1024
CREDENTIALS_SECONDS = 60.0
RETRIED_STATUS = frozenset({429, 502, 503, 504})
# the limit of an error's body. The rest is not read
ERROR_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one request. ``total_seconds`` includes the retries."""

    connect_seconds: float = 5.0
    total_seconds: float = 15.0
    tries: int = 3
    retry_seconds: float = 0.5
    """The first pause before a retry. It doubles, with jitter."""
    retry_after_seconds: float = 5.0
    """The longest Retry-After that a request waits for. A longer one ends the request until the next poll."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer whose body is complete (or, for an error, its beginning)."""

    status: int
    headers: httpx.Headers
    body: bytes

    @property
    def media_type(self) -> str:
        """Such as ``application/json``, without parameters."""
        return str(self.headers.get("content-type", "")).partition(";")[0].strip().lower()

    def json(self) -> Any:
        """The body as JSON. Raises ValueError for anything else, including deeply nested brackets."""
        try:
            return json.loads(self.body)
        except RecursionError:
            raise ValueError("nested too deeply") from None


@dataclass(frozen=True, slots=True)
class Site:
    """The URL and the access of a registry. ``entry`` is its name in the operator's configuration."""

    entry: str
    url: str
    access: Access
    workspace: str = ""
    requests_per_second: float = 50.0


def site_of(entry: str, config: RegistryConfig, access: Access | None = None) -> Site:
    """The site of a configuration entry. ``access`` replaces the entry's files."""
    directory, ca_file = (Path(name) if name else None for name in (config.credentials_dir, config.ca_file))
    access = access or FileAccess(entry, directory, ca_file)
    return Site(entry, config.url, access, config.workspace, config.requests_per_second)


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = field(default=None, repr=False)
    """JSON."""
    max_bytes: int = MIB
    """The limit for the size of an answer."""
    tries: int = 1


class JsonSource:
    """Reads JSON objects below one base URL. Follows no redirects, keeps no connections, retries only GETs."""

    def __init__(
        self,
        site: Site,
        limits: Limits | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        look_up: LookUp = look_up,
    ) -> None:
        self.site = site
        self.base = site.url.rstrip("/")
        self._limits = limits or Limits()
        self._transport = transport
        self._clock = clock
        self._look_up = look_up
        self._http: httpx.AsyncClient | None = None
        self._trust: Trust | None = None
        self._credentials = Credentials()
        self._read_at = float("-inf")
        self._renewing = asyncio.Lock()
        self._next_turn = float("-inf")

    async def get(self, path: str, params: Mapping[str, str], max_bytes: int) -> Answer:
        """GET base + path. The answer has any status except 401 and 3xx, and at most ``max_bytes``.

        Raises RegistryError: RegistryUnreachable, Unauthorized, AnswerTooLarge, RegistryMisconfigured,
        UnexpectedAnswer (a redirect, or a compressed body).
        """
        return await self._in_time(_Request("GET", path, params, None, max_bytes, self._limits.tries))

    async def post(self, path: str, body: Mapping[str, Any], max_bytes: int) -> Answer:
        """POST a JSON object to base + path, with one attempt. After a failure, the object may have arrived.

        Answers and errors are those of ``get``.
        """
        content = json.dumps(body).encode()
        return await self._in_time(_Request("POST", path, content=content, max_bytes=max_bytes))

    async def _in_time(self, request: _Request) -> Answer:
        try:
            async with asyncio.timeout(self._limits.total_seconds):
                return await self._let_in(request)
        except TimeoutError:
            raise self._unreachable(f"gave no complete answer in {self._limits.total_seconds:g} s") from None

    async def aclose(self) -> None:
        """Close the connections."""
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    def quote(self, text: str) -> str:
        """A text of the server for a message: no secret, no control character, at most 300 characters."""
        return shorten(self._credentials.redact(text[:MIB]))

    async def _let_in(self, request: _Request) -> Answer:
        await self._renew(only_after=CREDENTIALS_SECONDS)
        used = self._credentials
        answer = await self._send_patiently(request)
        if answer.status == 401:
            # a rotated Secret reaches the mounted file without a notice
            await self._renew(only_after=1.0)
            if self._credentials.authorization != used.authorization:
                answer = await self._send_patiently(request)
        if answer.status == 401:
            raise RegistryError(ResolutionReason.UNAUTHORIZED, self._explain_unauthorized())
        if 300 <= answer.status < 400:
            raise RegistryError(ResolutionReason.UNEXPECTED_ANSWER, self._explain_redirect(answer))
        return answer

    async def _send_patiently(self, request: _Request) -> Answer:
        for attempt in range(1, request.tries + 1):
            final = attempt == request.tries
            pause = self._limits.retry_seconds * 2 ** (attempt - 1)
            try:
                answer = await self._send_once(request)
            except (httpx.NetworkError, httpx.RemoteProtocolError) as error:
                if final or _certificate_problem(error):
                    raise self._unreachable(self._why(error)) from None
            except httpx.TimeoutException as error:
                what = "no connection" if isinstance(error, httpx.ConnectTimeout) else "no answer"
                raise self._unreachable(f"{what} in time") from None
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise self._unreachable(self._why(error)) from None
            else:
                if answer.status not in RETRIED_STATUS or final:
                    return answer
                asked = _retry_after(answer)
                if asked > self._limits.retry_after_seconds:
                    return answer
                pause = max(pause, asked)
            # jitter spreads the retries of operators that a restarting registry disconnected together
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311
        raise AssertionError("the last try returns or raises")

    async def _turn(self) -> None:
        """Wait until one more request is within the rate limit. Unused requests of the last second are kept."""
        now = self._clock()
        turn = max(self._next_turn, now - 1.0)
        self._next_turn = turn + 1.0 / self.site.requests_per_second
        if turn > now:
            await asyncio.sleep(turn - now)

    async def _send_once(self, request: _Request) -> Answer:
        http = self._http
        if http is None:
            raise self._unreachable("the client was closed")
        headers = {
            "accept": "application/json",
            # a compressed body of a few KiB can expand to gigabytes
            "accept-encoding": "identity",
            # MLflow answers on a kept connection about 44 ms later, and closes it between two polls anyway
            "connection": "close",
        }
        if self.site.workspace:
            headers["x-mlflow-workspace"] = self.site.workspace
        if self._credentials.authorization is not None:
            headers["authorization"] = self._credentials.authorization
        if request.content is not None:
            headers["content-type"] = "application/json"
        await self._turn()
        url = httpx.URL(f"{self.base}{request.path}")
        extensions = {}
        if self.site.access.untrusted:
            headers["host"], extensions["sni_hostname"] = url.netloc.decode("ascii"), url.host
            url = url.copy_with(host=await self._find_address(url))
        async with http.stream(
            request.method,
            url,
            params=dict(request.params) or None,
            content=request.content,
            headers=headers,
            extensions=extensions,
        ) as response:
            if response.headers.get("content-encoding", "identity").lower() != "identity":
                raise RegistryError(
                    ResolutionReason.UNEXPECTED_ANSWER,
                    f"{self.base} answered with a compressed body, which was not requested. "
                    "Turn off compression in the proxy in front of the registry",
                )
            failed = response.status_code >= 300
            limit = ERROR_BYTES if failed else request.max_bytes
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > limit:
                    if failed:
                        break
                    raise RegistryError(
                        ResolutionReason.ANSWER_TOO_LARGE,
                        f"{self.base}{request.path} answered with more than {request.max_bytes // 1024} KiB. "
                        "Look for a huge description or tag of the model, or a wrong url",
                    )
            return Answer(response.status_code, response.headers, bytes(body[:limit] if failed else body))

    async def _find_address(self, url: httpx.URL) -> str:
        port = url.port or (443 if url.scheme == "https" else 80)
        try:
            return await find_permitted_address(url.host, port, self._look_up)
        except RefusedAddressError as error:
            raise misconfigured(
                self.site.entry, f"{error}, which is not allowed. Name the address that other clients use"
            ) from None
        except OSError as error:
            raise self._unreachable(error.strerror or str(error)) from None

    async def _renew(self, only_after: float) -> None:
        """Read the credentials and the CA again if the last read is more than ``only_after`` seconds ago."""
        async with self._renewing:
            if self._http is not None and self._clock() - self._read_at < only_after:
                return
            credentials, trust = await self.site.access.read()
            if self._http is None or trust != self._trust:
                http = await asyncio.to_thread(self._new_http, trust)
                await self.aclose()
                self._http = http
            self._credentials, self._trust, self._read_at = credentials, trust, self._clock()

    def _new_http(self, trust: Trust) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            verify=self._tls(trust),
            timeout=httpx.Timeout(self._limits.total_seconds, connect=self._limits.connect_seconds),
            follow_redirects=False,
            limits=httpx.Limits(max_connections=8, max_keepalive_connections=0),
            transport=self._transport,
            # a proxy would resolve names itself
            trust_env=not self.site.access.untrusted,
        )

    def _tls(self, trust: Trust) -> ssl.SSLContext:
        access = self.site.access
        try:
            text = trust.ca.decode("ascii", "replace")
            context = ssl.create_default_context(cadata=text) if text else httpx.create_ssl_context()
        except (ssl.SSLError, ValueError):
            raise misconfigured(
                self.site.entry, f"the CA is not a PEM certificate. {access.authority}"
            ) from None
        if trust.certificate:
            try:
                _load_certificate(context, trust.certificate)
            except (OSError, ValueError):
                what = f"{CERTIFICATE} and {KEY} in {access.place} are not a PEM certificate and its unencrypted key"
                raise misconfigured(self.site.entry, what) from None
        return context

    def _explain_unauthorized(self) -> str:
        site = self.site
        if not site.access.place:
            return (
                f"{self.base} requires credentials (401) and registry '{site.entry}' has none. "
                f"{site.access.remedy}"
            )
        return (
            f"{self.base} rejected the credentials of registry '{site.entry}' (401). "
            f"Correct username and password, or token, in {site.access.place}"
        )

    def _explain_redirect(self, answer: Answer) -> str:
        try:
            target = urlsplit(answer.headers.get("location", ""))
            # the query of a redirect may contain a token
            place = f"{target.scheme}://{target.hostname}{target.path}" if target.hostname else target.path
        except ValueError:
            place = "somewhere else"
        return (
            f"{self.base} redirects ({answer.status}) to {self.quote(place)}, which is not followed. "
            f"Set the url of registry '{self.site.entry}' to the registry itself"
        )

    def _why(self, error: Exception) -> str:
        if problem := _certificate_problem(error):
            return f"its certificate is not trusted ({self.quote(problem)}). {self.site.access.authority}"
        if isinstance(error, httpx.ReadError) and self.base.startswith("https:"):
            # with TLS 1.3 a server rejects the client certificate after the handshake and closes the connection
            said = self.quote(str(error)) or "it closed the connection"
            remedy = "If it requires a client certificate, put tls.crt and tls.key beside the credentials"
            return f"{said}. {remedy}"
        return self.quote(str(error)) or type(error).__name__

    def _unreachable(self, what: str) -> RegistryError:
        return RegistryError(
            ResolutionReason.UNREACHABLE,
            f"{self.base} can't be reached: {what}. "
            f"Check the url of registry '{self.site.entry}', DNS and network policies",
        )


def _load_certificate(context: ssl.SSLContext, certificate: bytes) -> None:
    """Load this client certificate, which is followed by its key. Raises OSError, ValueError."""
    # Python's ssl only reads files, so this one is in memory
    file = os.memfd_create("client-certificate")
    try:
        os.write(file, certificate)
        context.load_cert_chain(f"/proc/self/fd/{file}", password=_no_password)
    finally:
        os.close(file)


def _no_password() -> str:
    # otherwise OpenSSL prompts in the terminal
    raise ValueError("the key is encrypted")


def _certificate_problem(error: BaseException | None) -> str:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message or "verification failed"
        error = error.__cause__ or error.__context__
    return ""


def _retry_after(answer: Answer) -> float:
    """Seconds. The form with a date is rare between services and counts as none."""
    text = answer.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdecimal() and len(text) < 7 else 0.0

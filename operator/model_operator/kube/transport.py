"""HTTP calls to the API server: credentials, timeouts, retries, and a limit on the size of answers."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from kubernetes.aio import client, config

from model_operator.kube.errors import ApiError, Fenced, Unauthorized, Unavailable, error_for

JSON = "application/json"
SIGN_IN_PAUSE_SECONDS = 1.0
YAML = "application/yaml"
APPLY = "application/apply-patch+yaml; charset=utf-8"
"""With the charset: without it, the client library writes JSON with surrogate pairs, which YAML does not have."""
MAX_ANSWER_BYTES = 64 * 1024 * 1024
_SERVICE_ACCOUNT_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"  # noqa: S105 - a path
_USER_AGENT = f"model-operator/{version('model-operator')}"

CallObserver = Callable[[str, str, int, float], None]
"""Called after every attempt, with verb, kind, HTTP status (0: no answer) and seconds."""

MayWrite = Callable[[], bool]
"""Called right before each attempt of a write."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The number of attempts of an idempotent call, and its timeouts: each attempt, and in total. In seconds."""

    attempts: int = 4
    attempt_timeout: float = 10.0
    first_pause: float = 0.2
    longest_pause: float = 5.0
    give_up_after: float = 25.0

    def pause(self, attempt: int, retry_after: float) -> float:
        """Returns the seconds to wait after the given attempt (from 1), with jitter.

        Never less than ``retry_after``, up to ``longest_pause``.
        """
        ceiling = min(self.longest_pause, self.first_pause * 2.0 ** (attempt - 1))
        jittered = random.uniform(ceiling / 2, ceiling)  # noqa: S311 - spreads load, guards nothing
        return max(jittered, min(retry_after, self.longest_pause))


@dataclass(frozen=True, slots=True)
class Connection:
    """The address of the API server and our credentials, for the watches, which have their own client."""

    server: str
    ca_file: str | None
    insecure: bool
    token: str | None
    certificate_file: str | None
    key_file: str | None
    proxy_url: str | None


@dataclass(frozen=True, slots=True)
class Call:
    """One request. An ``idempotent`` one may be sent again if its result is unknown."""

    verb: str
    kind: str
    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | Sequence[Any] | str | None = None
    content_type: str = JSON
    idempotent: bool = True
    accept: str = JSON


class Transport:
    """Sends calls with ``kubernetes.aio`` and returns decoded JSON."""

    def __init__(
        self,
        configuration: client.Configuration,
        *,
        reload: Callable[[], Awaitable[client.Configuration]],
        retry: RetryPolicy,
        observer: CallObserver | None = None,
        may_write: MayWrite = lambda: True,
    ) -> None:
        """``reload`` creates the configuration again, for new credentials after a 401."""
        self._configuration: Any = configuration
        # the plain REST client: the typed models on top of it would take twice the time per call
        self._rest: Any = client.ApiClient(configuration).rest_client
        self._reload = reload
        self._timeout = aiohttp.ClientTimeout(total=retry.attempt_timeout)
        self._retry = retry
        self._observer = observer
        self.may_write = may_write
        self._signed_in_at = time.monotonic()

    async def close(self) -> None:
        """Closes the connections."""
        await self._rest.close()

    async def send(self, call: Call) -> Any:
        """Sends a call, retries it within the policy's bounds, and returns the decoded answer.

        Raises a subclass of ApiError. Raises Fenced for a write while ``may_write`` returns False.
        """
        started = time.monotonic()
        signed_in_again = False
        attempt = 0
        while True:
            attempt += 1
            retry_after, sure_not_done = 0.0, False
            try:
                return await self._attempt(call)
            except Unauthorized:
                if signed_in_again:
                    raise
                signed_in_again = True
                try:
                    await self._sign_in_again()
                except (OSError, config.ConfigException) as failure:
                    raise _unreachable(failure) from failure
                continue
            except _Refused as refused:
                error: ApiError = refused.error
                retry_after = refused.retry_after
                # the server did nothing before a 429, but maybe before a 5xx
                sure_not_done = error.status == 429
            except aiohttp.ClientConnectorError as failure:
                error, sure_not_done = _unreachable(failure), True
            except (aiohttp.ClientError, TimeoutError, OSError, config.ConfigException) as failure:
                error = _unreachable(failure)
            pause = self._retry.pause(attempt, retry_after)
            spent = time.monotonic() - started
            if (
                not (call.idempotent or sure_not_done)
                or attempt >= self._retry.attempts
                or spent + pause > self._retry.give_up_after
            ):
                raise error
            await asyncio.sleep(pause)

    async def connection(self) -> Connection:
        """Returns the present address and credentials."""
        token = await self._token()
        settings = self._configuration
        return Connection(
            server=settings.host,
            ca_file=settings.ssl_ca_cert or None,
            insecure=not settings.verify_ssl,
            token=token.split(" ", 1)[-1].strip() if token else None,
            certificate_file=settings.cert_file or None,
            key_file=settings.key_file or None,
            proxy_url=settings.proxy or None,
        )

    async def _attempt(self, call: Call) -> Any:
        url = f"{self._configuration.host}{call.path}"
        if call.query:
            url = f"{url}?{urlencode(call.query)}"
        headers = {
            "Accept": call.accept,
            "Content-Type": call.content_type,
            "User-Agent": _USER_AGENT,
        }
        if token := await self._token():
            headers["Authorization"] = token
        # in each attempt, because a frozen process may continue at any point
        if call.method != "GET" and not self.may_write():
            raise Fenced
        started, status = time.monotonic(), 0
        try:
            answer = await self._rest.request(
                call.method, url, headers=headers, body=call.body, _request_timeout=self._timeout
            )
            response: aiohttp.ClientResponse = answer.response
            async with response:
                status = response.status
                return await _read(response)
        finally:
            if self._observer is not None:
                self._observer(call.verb, call.kind, status, time.monotonic() - started)

    async def _token(self) -> str | None:
        # it reads the mounted token again once a minute
        token: str | None = await self._configuration.get_api_key_with_prefix("BearerToken")
        return " ".join(token.split()) if token else None

    async def _sign_in_again(self) -> None:
        """Gets new credentials after a 401: reads the token file, or runs the kubeconfig's plug-in again."""
        if time.monotonic() - self._signed_in_at < SIGN_IN_PAUSE_SECONDS:
            return  # another call's 401 has just done it
        self._signed_in_at = time.monotonic()
        fresh = await self._reload()
        self._configuration.api_key.update(fresh.api_key)


async def load_configuration(kubeconfig: Path | None, context: str = "") -> client.Configuration:
    """Returns the connection of the given file, else KUBECONFIG, else the service account, else ~/.kube/config.

    ``context`` is one of the file's contexts. Empty: the current one. Raises
    ``kubernetes.aio.config.ConfigException`` if there is no configuration.
    """
    configuration = client.Configuration()
    if kubeconfig is None and not context and not os.environ.get("KUBECONFIG") and in_pod():
        config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    else:
        await config.load_kube_config(  # type: ignore[no-untyped-call]
            config_file=str(kubeconfig) if kubeconfig else os.environ.get("KUBECONFIG") or None,
            context=context or None,
            client_configuration=configuration,
            persist_config=False,
        )
    configuration.retries = None  # retries are in `send` only, not in the client library, too
    # with trust_env, aiohttp would read the environment and ~/.netrc for each call, the latter in a thread
    configuration.client_session_kwargs = {"trust_env": False}
    configuration.proxy = configuration.proxy or _proxy_of_the_environment(configuration.host)
    return configuration


def _proxy_of_the_environment(url: str) -> str | None:
    parts = urlsplit(url)
    if not parts.hostname or proxy_bypass(parts.hostname):
        return None
    return getproxies().get(parts.scheme)


def in_pod() -> bool:
    """Whether the process has a pod's service account."""
    return "KUBERNETES_SERVICE_HOST" in os.environ and Path(_SERVICE_ACCOUNT_TOKEN).exists()


def json_for_yaml(body: Mapping[str, Any]) -> str:
    """Returns JSON that a YAML parser reads in the same way: characters that YAML does not allow are escaped.

    All other characters stay unescaped, because YAML has no surrogate pairs.
    """
    text = json.dumps(body, ensure_ascii=False)
    return _NOT_IN_YAML.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


_NOT_IN_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")


class _Refused(Exception):  # noqa: N818 - an answer after which another attempt may succeed
    def __init__(self, error: ApiError, retry_after: float) -> None:
        super().__init__(str(error))
        self.error = error
        self.retry_after = retry_after


async def _read(response: aiohttp.ClientResponse) -> Any:
    raw = bytearray()
    async for chunk in response.content.iter_chunked(256 * 1024):
        raw += chunk
        if len(raw) > MAX_ANSWER_BYTES:
            raise Unavailable(
                response.status, "AnswerTooLarge", f"the answer is larger than {MAX_ANSWER_BYTES} bytes"
            )
    try:
        body = json.loads(raw)
    except ValueError:
        body = None
    if not 200 <= response.status < 300:
        error = error_for(response.status, body)
        if isinstance(error, Unavailable):
            raise _Refused(error, _retry_after(response.headers))
        raise error
    if not isinstance(body, dict):
        raise Unavailable(
            response.status, "NotJSON", "the answer is not a JSON object: is this an API server?"
        )
    return body


def _retry_after(headers: Mapping[str, str]) -> float:
    try:
        return max(0.0, float(headers.get("Retry-After", "0")))
    except ValueError:
        return 0.0


def _unreachable(failure: BaseException) -> Unavailable:
    reason = "Timeout" if isinstance(failure, TimeoutError) else "Unreachable"
    if isinstance(failure, aiohttp.ClientConnectorCertificateError | ssl.SSLError):
        reason = "TLS"
    return Unavailable(0, reason, f"the API server gave no answer: {failure or type(failure).__name__}")

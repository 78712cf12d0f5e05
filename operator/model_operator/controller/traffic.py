"""Counts what the pods of a watched revision answer, from the figures that ``pod/serve.py`` shows.

Pods are not trusted: what they show is bounded in time and size, and only three figures of it are read. A pod that
shows nothing (a server that isn't ours) counts as nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import math
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import httpx
from prometheus_client.parser import text_string_to_metric_families

from model_operator.domain.objects import Key, Pod
from model_operator.domain.world import Traffic
from model_operator.planner.manifests.pods import PORT_NAME

log = logging.getLogger(__name__)

SCRAPE_SECONDS = 5.0
TIMEOUT_SECONDS = 2.0
PARALLEL = 20
MAX_BYTES = 256 * 1024
MAX_LINES = 200
"""Of the metrics that are read; serve.py shows one line per status code and two more."""
MAX_LINE = 512
SATURATED_SCRAPES = 2
"""A pod that was full in so many scrapes in a row is saturated."""
STALE_SECONDS = 60.0
"""For so long a pod that can't be scraped any more counts as full as it was."""
ABSENT_ROUNDS = 12
"""A pod that has no figures is asked again only after so many rounds."""

REQUESTS = "model_server_requests_total"
IN_FLIGHT = "model_server_requests_in_flight"
CONCURRENCY = "model_server_concurrency"
_READ = (REQUESTS, IN_FLIGHT, CONCURRENCY)
_NOT_SERVED = frozenset({404, 405, 501})
_LARGEST = 2.0**53


class ScrapeResult(StrEnum):
    """How one scrape ended."""

    OK = "ok"
    ABSENT = "absent"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Figures:
    """What one pod shows, since its container started."""

    requests: float
    errors: float
    full: bool
    """Whether it works on as many requests as it can."""


class UnusableFiguresError(ValueError):
    """The text is not what serve.py shows; the message says why, without quoting it."""


@dataclass(slots=True)
class _Counted:
    """One pod, as far as it was counted."""

    url: str = ""
    """Where it is scraped; empty while it is not."""
    present: bool = True
    last: Figures | None = None
    requests: float = 0.0
    errors: float = 0.0
    full_scrapes: int = 0
    scraped_at: float = float("-inf")
    rounds_to_skip: int = 0

    def count(self, figures: Figures, now: float) -> None:
        """Take another scrape in; the first one is only what later ones are compared with."""
        if (last := self.last) is not None:
            # a counter that went back belongs to a container that started meanwhile
            fresh = figures.requests < last.requests or figures.errors < last.errors
            self.requests += figures.requests - (0.0 if fresh else last.requests)
            self.errors += figures.errors - (0.0 if fresh else last.errors)
        self.last = figures
        self.full_scrapes = self.full_scrapes + 1 if figures.full else 0
        self.scraped_at = now

    def saturated(self, now: float) -> bool:
        """Whether it was full twice in a row, not long ago."""
        recent = now - self.scraped_at < STALE_SECONDS
        return self.present and recent and self.full_scrapes >= SATURATED_SCRAPES


@dataclass(slots=True)
class _Followed:
    """The pods of one revision, by uid, and the sum of those that are gone."""

    revision: str
    pods: dict[str, _Counted] = field(default_factory=dict)
    gone_requests: float = 0.0
    gone_errors: float = 0.0
    reported: Traffic = field(default_factory=Traffic)

    def let_go(self, uid: str) -> None:
        """That pod does not exist any more; what it answered counts on."""
        pod = self.pods.pop(uid)
        pod.present = False
        self.gone_requests += pod.requests
        self.gone_errors += pod.errors

    def traffic(self, now: float) -> Traffic:
        pods = self.pods.values()
        return Traffic(
            requests=int(self.gone_requests + sum(pod.requests for pod in pods)),
            errors=int(self.gone_errors + sum(pod.errors for pod in pods)),
            saturated=any(pod.saturated(now) for pod in pods),
        )


class TrafficCounter:
    """Scrapes the pods of the revisions that are followed, every five seconds.

    All methods but ``run`` return at once, and belong into the event loop that runs ``run``.
    """

    def __init__(
        self,
        wake: Callable[[Key], object],
        scraped: Callable[[str], None] = lambda result: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``wake`` is called for a key whose figures changed so much that another look is worthwhile: errors, or
        saturation, or requests past a power of two. ``scraped`` hears how each scrape ended.
        """
        self._wake = wake
        self._scraped = scraped
        self._clock = clock
        self._followed: dict[Key, _Followed] = {}
        self._slots = asyncio.Semaphore(PARALLEL)
        self._something = asyncio.Event()

    def follow(self, key: Key, revision: str, pods: Sequence[Pod]) -> None:
        """Count for ``key`` what these pods answer, as far as they are of that revision.

        A pod is scraped from when it is ready until it is deleted: one that lost its readiness again may have done
        so because it is saturated. Another revision than before starts from nothing.
        """
        followed = self._followed.get(key)
        if followed is None or followed.revision != revision:
            followed = self._followed[key] = _Followed(revision)
        existing = {pod.uid for pod in pods}
        for uid in [uid for uid in followed.pods if uid not in existing]:
            followed.let_go(uid)
        for known in followed.pods.values():
            known.url, known.present = "", False
        for pod in pods:
            if pod.leaving or pod.revision != revision:
                continue
            url = _url(pod)
            if url and (pod.uid in followed.pods or pod.is_ready):
                counted = followed.pods.setdefault(pod.uid, _Counted())
                counted.url, counted.present = url, True
        self._something.set()

    def forget(self, key: Key) -> None:
        """Count nothing more for ``key``."""
        self._followed.pop(key, None)

    def traffic(self, key: Key, revision: str = "") -> Traffic:
        """What was counted since ``key`` is followed; nothing while it, or ``revision`` if given, is not."""
        followed = self._followed.get(key)
        if followed is None or (revision and followed.revision != revision):
            return Traffic()
        return followed.traffic(self._clock())

    async def run(self) -> None:
        """Scrape until cancelled. No pod ends it."""
        async with _client() as http:
            while True:
                if not self._followed:
                    self._something.clear()
                    await self._something.wait()
                await self.scrape(http)
                await asyncio.sleep(SCRAPE_SECONDS)

    async def scrape(self, http: httpx.AsyncClient | None = None) -> None:
        """Scrape all pods once, and wake whom that concerns."""
        if http is None:
            async with _client() as own:
                return await self.scrape(own)
        async with asyncio.TaskGroup() as group:
            for key, followed in [*self._followed.items()]:
                group.create_task(self._scrape_key(http, key, followed))

    async def _scrape_key(self, http: httpx.AsyncClient, key: Key, followed: _Followed) -> None:
        async with asyncio.TaskGroup() as group:
            for pod in [*followed.pods.values()]:
                group.create_task(self._scrape_pod(http, pod))
        if self._followed.get(key) is not followed:
            return
        before, now = followed.reported, followed.traffic(self._clock())
        if (
            now.errors != before.errors
            or now.saturated != before.saturated
            or now.requests.bit_length() != before.requests.bit_length()
        ):
            followed.reported = now
            self._wake(key)

    async def _scrape_pod(self, http: httpx.AsyncClient, pod: _Counted) -> None:
        async with self._slots:
            url = pod.url
            if not url:
                return
            if pod.rounds_to_skip:
                pod.rounds_to_skip -= 1
                return
            result, figures = await _fetch(http, url)
        if result is ScrapeResult.ABSENT:
            pod.rounds_to_skip = ABSENT_ROUNDS
        if figures is not None and pod.present:
            pod.count(figures, self._clock())
        self._scraped(str(result))


def figures_of(text: str) -> Figures:
    """Read what serve.py shows. Raises UnusableFiguresError when a figure is missing or can't be true."""
    requests = errors = in_flight = concurrency = 0.0
    seen: set[str] = set()
    for line in _relevant(text):
        for name, labels, value in _samples(line):
            if not (math.isfinite(value) and 0 <= value <= _LARGEST):
                raise UnusableFiguresError(f"{name} is negative, endless or no number")
            seen.add(name)
            if name == REQUESTS:
                requests += value
                errors += value if _is_error(labels.get("code", "")) else 0.0
            elif name == IN_FLIGHT:
                in_flight += value
            elif name == CONCURRENCY:
                concurrency += value
    if not seen:
        raise UnusableFiguresError("none of the figures is there")
    if requests > _LARGEST:
        raise UnusableFiguresError(f"the sum of {REQUESTS} is beyond reason")
    return Figures(requests, errors, full=0 < concurrency <= in_flight)


def _relevant(text: str) -> Iterator[str]:
    """The few lines that are read; everything else would only cost time to parse."""
    count = 0
    for line in text.split("\n"):
        if not line.startswith(_READ):
            continue
        count += 1
        if count > MAX_LINES or len(line) > MAX_LINE:
            raise UnusableFiguresError(
                f"more than {MAX_LINES} lines of figures, or one over {MAX_LINE} characters"
            )
        yield line


def _samples(line: str) -> list[tuple[str, dict[str, str], float]]:
    try:
        return [
            (sample.name, sample.labels, float(sample.value))
            for family in text_string_to_metric_families(line)
            for sample in family.samples
            if sample.name in _READ
        ]
    except Exception as error:
        # the parser promises no particular exception for a text that somebody made up
        raise UnusableFiguresError(f"a line of figures can't be parsed ({type(error).__name__})") from None


def _is_error(code: str) -> bool:
    return len(code) == 3 and code.isascii() and code.isdecimal() and int(code) >= 500


async def _fetch(http: httpx.AsyncClient, url: str) -> tuple[ScrapeResult, Figures | None]:
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            status, body = await _get(http, url)
        if status in _NOT_SERVED:
            return ScrapeResult.ABSENT, None
        if status != 200:
            raise UnusableFiguresError(f"the answer is {status}")
        return ScrapeResult.OK, figures_of(body.decode("utf-8", "replace"))
    except (TimeoutError, httpx.HTTPError, httpx.InvalidURL, UnusableFiguresError) as error:
        log.debug("no figures from %s: %s %s", url, type(error).__name__, error)
        return ScrapeResult.FAILED, None
    except Exception:
        # one odd pod must not end the counting of all others, and the process with it
        log.exception("a defect while reading the figures of %s", url)
        return ScrapeResult.FAILED, None


async def _get(http: httpx.AsyncClient, url: str) -> tuple[int, bytes]:
    # a connection that is kept would be one more for the pod to drain; a packed body unfolds to gigabytes
    headers = {"accept": "text/plain", "accept-encoding": "identity", "connection": "close"}
    async with http.stream("GET", url, headers=headers) as response:
        if response.status_code != 200:
            return response.status_code, b""
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > MAX_BYTES:
                raise UnusableFiguresError(f"the answer is longer than {MAX_BYTES} bytes")
        return response.status_code, bytes(body)


def _client() -> httpx.AsyncClient:
    return httpx.AsyncClient(
        # pods are reached directly, whatever leads out of the cluster
        trust_env=False,
        follow_redirects=False,
        timeout=TIMEOUT_SECONDS,
        limits=httpx.Limits(max_connections=PARALLEL, max_keepalive_connections=0),
        # pods speak plain HTTP: authorities that nobody asks for need not be read
        verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
    )


def _url(pod: Pod) -> str:
    """Where the pod shows its figures; empty when it has no address of its own or no port of that name."""
    try:
        address = ipaddress.ip_address(pod.ip)
    except ValueError:
        return ""
    if address.is_link_local or address.is_multicast or address.is_unspecified:
        return ""  # no pod's: a cloud's metadata service answers there
    port = pod.ports.get(PORT_NAME, 0)
    if not port:
        return ""
    host = f"[{address}]" if address.version == 6 else str(address)
    return f"http://{host}:{port}/metrics"

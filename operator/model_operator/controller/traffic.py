"""Counts the answers of pods during a watch window, from the metrics of ``pod/serve.py``.

Pods are not trusted. Each scrape has a limit of time and size. A pod without these metrics (a custom server) is not
counted.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, field, replace
from enum import StrEnum

import httpx

from model_operator.controller.pod_figures import Figures, UnusableFiguresError, figures_of
from model_operator.domain.objects import Key, Pod
from model_operator.domain.world import UNREAD_AFTER, Traffic
from model_operator.planner.manifests.pods import PORT_NAME

log = logging.getLogger(__name__)

SCRAPE_SECONDS = 5.0
TIMEOUT_SECONDS = 2.0
PARALLEL = 20
MAX_BYTES = 256 * 1024
SATURATED_SCRAPES = 2
"""A pod that was full in this many scrapes in a row is saturated."""
STALE_SECONDS = 60.0
"""After a failed scrape, the last result of a pod counts for this long."""
ABSENT_ROUNDS = 12
"""A pod without metrics is scraped again after this many rounds."""

_NOT_SERVED = frozenset({404, 405, 501})


class ScrapeResult(StrEnum):
    """How one scrape ended."""

    OK = "ok"
    ABSENT = "absent"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class _Scrape:
    """One attempt to read the metrics of a pod."""

    result: ScrapeResult
    figures: Figures | None = None
    problem: str = ""
    """Why there are no figures. Texts of the operator's own, with no part of the answer."""


@dataclass(slots=True)
class _Sight:
    """Whether the metrics of a revision's pods can be read at all, without a change for single rounds."""

    read: bool = False
    unread: str = ""
    since: float = 0.0
    """When the present row of rounds began, all with or all without a success."""
    succeeds: bool | None = None
    """Whether the rounds of this row had a success. None before the first."""

    def note(self, scrapes: Sequence[_Scrape], now: float) -> None:
        """Add a round. One without any attempt changes nothing."""
        if not scrapes:
            return
        succeeds = any(scrape.figures for scrape in scrapes)
        if succeeds is not self.succeeds:
            self.succeeds, self.since = succeeds, now
        lasts = now - self.since >= UNREAD_AFTER.total_seconds()
        if succeeds and (lasts or not self.unread):
            self.read, self.unread = True, ""
        elif not succeeds and lasts:
            self.read, self.unread = False, self.unread or scrapes[0].problem


@dataclass(frozen=True, slots=True)
class _Counts:
    """What pods answered since they are scraped."""

    requests: float = 0.0
    errors: float = 0.0
    turned_away: float = 0.0
    broken_streams: float = 0.0

    def plus(self, other: _Counts) -> _Counts:
        return _Counts(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def minus(self, other: _Counts) -> _Counts:
        return _Counts(*(a - b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def has_fallen(self, before: _Counts) -> bool:
        """Whether one of the counters decreased, as only those of a restarted container do."""
        return any(a < b for a, b in zip(astuple(self), astuple(before), strict=True))


_NOTHING = _Counts()


@dataclass(slots=True)
class _Counted:
    """The counts of one pod."""

    url: str = ""
    """The URL to scrape. Empty while the pod is not scraped."""
    present: bool = True
    last: _Counts | None = None
    sum: _Counts = _NOTHING
    """Its ``turned_away`` are all answers of 503."""
    has_queue: bool = False
    full_scrapes: int = 0
    scraped_at: float = float("-inf")
    rounds_to_skip: int = 0

    def count(self, figures: Figures, now: float) -> None:
        """Add a scrape. The first one only sets the baseline."""
        shown = _Counts(figures.requests, figures.errors, figures.unavailable, figures.broken_streams)
        if (last := self.last) is not None:
            self.sum = self.sum.plus(shown if shown.has_fallen(last) else shown.minus(last))
        self.last = shown
        self.has_queue = self.has_queue or figures.has_queue
        self.full_scrapes = self.full_scrapes + 1 if figures.full else 0
        self.scraped_at = now

    def counts(self) -> _Counts:
        """The counts so far. Only a pod with a queue turns requests away, and any other 503 is an error."""
        found = self.sum
        if self.has_queue:
            return found
        return replace(found, errors=found.errors + found.turned_away, turned_away=0.0)

    def saturated(self, now: float) -> bool:
        """Whether it was full twice in a row recently."""
        recent = now - self.scraped_at < STALE_SECONDS
        return self.present and recent and self.full_scrapes >= SATURATED_SCRAPES


@dataclass(slots=True)
class _Followed:
    """The pods of one revision, by uid, and the sums of deleted pods."""

    revision: str
    pods: dict[str, _Counted] = field(default_factory=dict)
    gone: _Counts = _NOTHING
    sight: _Sight = field(default_factory=_Sight)
    reported: Traffic = field(default_factory=Traffic)

    def let_go(self, uid: str) -> None:
        """Remove a deleted pod. Its answers still count."""
        pod = self.pods.pop(uid)
        pod.present = False
        self.gone = self.gone.plus(pod.counts())

    def traffic(self, now: float) -> Traffic:
        counts = self.gone
        for pod in self.pods.values():
            counts = counts.plus(pod.counts())
        return Traffic(
            requests=int(counts.requests),
            errors=int(counts.errors),
            saturated=any(pod.saturated(now) for pod in self.pods.values()),
            read=self.sight.read,
            unread=self.sight.unread,
            turned_away=int(counts.turned_away),
            broken_streams=int(counts.broken_streams),
        )


class TrafficCounter:
    """Scrapes the pods of the followed revisions every five seconds.

    All methods except ``run`` and ``scrape`` return at once. Call them in the event loop of ``run``.
    """

    def __init__(
        self,
        wake: Callable[[Key], object],
        scraped: Callable[[str], None] = lambda result: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``wake`` is called for a key that needs a reconcile: its errors, its saturation or the readability of its
        metrics changed, or its requests passed a power of two. ``scraped`` gets the result of each scrape.
        """
        self._wake = wake
        self._scraped = scraped
        self._clock = clock
        self._followed: dict[Key, _Followed] = {}
        self._slots = asyncio.Semaphore(PARALLEL)
        self._something = asyncio.Event()

    def follow(self, key: Key, revision: str, pods: Sequence[Pod]) -> None:
        """Count for ``key`` the answers of those pods that run this revision.

        A pod is scraped from the time when it is ready until it is deleted, since a pod may lose its readiness because
        it is saturated. A new revision starts from zero.
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
        """Stop counting for ``key``."""
        self._followed.pop(key, None)

    def traffic(self, key: Key, revision: str = "") -> Traffic:
        """The counts since ``key`` is followed. They are empty if it, or the given ``revision``, is not followed."""
        followed = self._followed.get(key)
        if followed is None or (revision and followed.revision != revision):
            return Traffic()
        return followed.traffic(self._clock())

    async def run(self) -> None:
        """Scrape until cancelled. No pod can end it."""
        async with _client() as http:
            while True:
                if not self._followed:
                    self._something.clear()
                    await self._something.wait()
                await self.scrape(http)
                await asyncio.sleep(SCRAPE_SECONDS)

    async def scrape(self, http: httpx.AsyncClient | None = None) -> None:
        """Scrape all pods once, and wake the keys that need a reconcile."""
        if http is None:
            async with _client() as own:
                return await self.scrape(own)
        async with asyncio.TaskGroup() as group:
            for key, followed in [*self._followed.items()]:
                group.create_task(self._scrape_key(http, key, followed))

    async def _scrape_key(self, http: httpx.AsyncClient, key: Key, followed: _Followed) -> None:
        async with asyncio.TaskGroup() as group:
            pods = [*followed.pods.values()]
            tasks = [group.create_task(self._scrape_pod(http, pod)) for pod in pods]
        if self._followed.get(key) is not followed:
            return
        followed.sight.note([scrape for task in tasks if (scrape := task.result())], self._clock())
        before, now = followed.reported, followed.traffic(self._clock())
        if (
            now.failed != before.failed
            or (now.saturated, now.read, now.unread) != (before.saturated, before.read, before.unread)
            or now.judged.bit_length() != before.judged.bit_length()
        ):
            followed.reported = now
            self._wake(key)

    async def _scrape_pod(self, http: httpx.AsyncClient, pod: _Counted) -> _Scrape | None:
        """One attempt. None if the pod has no URL, or is left out in this round."""
        async with self._slots:
            url = pod.url
            if not url:
                return None
            if pod.rounds_to_skip:
                pod.rounds_to_skip -= 1
                return None
            scrape = await _fetch(http, url)
        if scrape.result is ScrapeResult.ABSENT:
            pod.rounds_to_skip = ABSENT_ROUNDS
        if scrape.figures is not None and pod.present:
            pod.count(scrape.figures, self._clock())
        self._scraped(str(scrape.result))
        return scrape


async def _fetch(http: httpx.AsyncClient, url: str) -> _Scrape:
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            status, body = await _get(http, url)
        if status in _NOT_SERVED:
            return _Scrape(ScrapeResult.ABSENT, problem=f"the answer is {status}")
        if status != 200:
            raise UnusableFiguresError(f"the answer is {status}")
        return _Scrape(ScrapeResult.OK, figures_of(body.decode("utf-8", "replace")))
    except UnusableFiguresError as error:
        log.debug("no metrics from %s: %s", url, error)
        return _Scrape(ScrapeResult.FAILED, problem=str(error))
    except (TimeoutError, httpx.HTTPError, httpx.InvalidURL) as error:
        log.debug("no metrics from %s: %s %s", url, type(error).__name__, error)
        return _Scrape(ScrapeResult.FAILED, problem=f"no answer ({type(error).__name__})")
    except Exception:
        # one malformed pod must not end the scrapes of all others and then the process
        log.exception("a defect while reading the metrics of %s", url)
        return _Scrape(ScrapeResult.FAILED, problem="the answer can't be processed")


async def _get(http: httpx.AsyncClient, url: str) -> tuple[int, bytes]:
    # a kept connection is one more to drain for the pod, and a compressed body can expand to gigabytes
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
        # pods are reached directly, not through a proxy of the environment
        trust_env=False,
        follow_redirects=False,
        timeout=TIMEOUT_SECONDS,
        limits=httpx.Limits(max_connections=PARALLEL, max_keepalive_connections=0),
        # pods use plain HTTP, so no CA certificates are loaded
        verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
    )


def _url(pod: Pod) -> str:
    """The URL of the pod's metrics. Empty if the pod has no address of its own or no port of that name."""
    try:
        address = ipaddress.ip_address(pod.ip)
    except ValueError:
        return ""
    if address.is_link_local or address.is_multicast or address.is_unspecified:
        return ""  # never a pod's address: a cloud's metadata service answers there
    port = pod.ports.get(PORT_NAME, 0)
    if not port:
        return ""
    host = f"[{address}]" if address.version == 6 else str(address)
    return f"http://{host}:{port}/metrics"

"""Reads the facts of versions that gates need, while a plan wants them. Equal requests share one read."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from model_operator.domain.objects import Key
from model_operator.domain.registry import (
    FactsWanted,
    Metric,
    ModelDescription,
    ResolutionReason,
    VersionFacts,
    VersionId,
)
from model_operator.registry.clients.base import RegistryClient, RegistryError
from model_operator.registry.ids import Clients, RegistryId

log = logging.getLogger(__name__)

PARALLEL = 4
LONGEST_PAUSE_SECONDS = 300.0
JITTER = 0.1
MAX_DESCRIPTIONS = 1000
"""Limit of cached descriptions. The files of a version never change."""


class _Part(Enum):
    METRICS = "metrics"
    DESCRIPTION = "description"


@dataclass(frozen=True, slots=True)
class _Topic:
    """One kind of fact of one version, shared by all keys."""

    registry: RegistryId
    id: VersionId
    run_id: str
    source: str
    part: _Part


@dataclass(slots=True)
class _Answer:
    due: float
    followers: set[Key] = field(default_factory=set)
    value: Sequence[Metric] | ModelDescription | None = None
    problem: str = ""
    failure: object = None
    """The reason of the last failure. A different wording with the same reason is not a change."""
    failures: int = 0


class FactsReader:
    """Reads and keeps the wanted facts of each followed version.

    All methods except ``run`` return at once. Call them in the event loop of ``run``.
    """

    def __init__(
        self,
        clients: Clients,
        poll_seconds: float,
        on_change: Callable[[Key], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Metrics are read again every ``poll_seconds``. ``on_change`` is called for keys whose facts changed."""
        self._clients = clients
        self._poll_seconds = poll_seconds
        self._on_change = on_change
        self._clock = clock
        self._wanted: dict[Key, tuple[RegistryId, tuple[FactsWanted, ...]]] = {}
        self._answers: dict[_Topic, _Answer] = {}
        self._descriptions: OrderedDict[_Topic, ModelDescription] = OrderedDict()
        self._wake = asyncio.Event()

    def follow(self, key: Key, registry: RegistryId, wanted: Sequence[FactsWanted]) -> None:
        """Set the wanted facts of ``key``. Idempotent."""
        if not wanted:
            self.forget(key)
            return
        now = (registry, tuple(wanted))
        if self._wanted.get(key) == now:
            return
        before = self._topics(key)
        self._wanted[key] = now
        topics = self._topics(key)
        for topic in topics - before:
            self._start(topic).followers.add(key)
        self._leave(key, before - topics)

    def forget(self, key: Key) -> None:
        """Drop the wanted facts of ``key``."""
        topics = self._topics(key)
        self._wanted.pop(key, None)
        self._leave(key, topics)

    def look_up(self, key: Key) -> Mapping[VersionId, VersionFacts]:
        """The known facts of each version that ``key`` wants facts of."""
        registry, wanted = self._wanted.get(key, (RegistryId(), ()))
        return {want.id: self._facts(registry, want) for want in wanted}

    async def run(self) -> None:
        """Read until cancelled. Failures of a registry and defects of this code do not end it."""
        while True:
            due = [topic for topic, answer in self._answers.items() if answer.due <= self._clock()]
            if due:
                limit = asyncio.Semaphore(PARALLEL)
                await asyncio.gather(*(self._ask(topic, limit) for topic in due))
                continue
            self._wake.clear()
            soonest = min((answer.due for answer in self._answers.values()), default=None)
            pause = None if soonest is None else max(0.0, soonest - self._clock())
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                continue

    # --- topics ----------------------------------------------------------------------------------

    def _topics(self, key: Key) -> set[_Topic]:
        registry, wanted = self._wanted.get(key, (RegistryId(), ()))
        return {topic for want in wanted for topic in _topics_of(registry, want)}

    def _start(self, topic: _Topic) -> _Answer:
        answer = self._answers.get(topic)
        if answer is None:
            answer = self._answers[topic] = _Answer(self._clock())
            if (kept := self._descriptions.get(topic)) is not None:
                answer.value, answer.due = kept, float("inf")
            else:
                self._wake.set()
        return answer

    def _leave(self, key: Key, topics: set[_Topic]) -> None:
        for topic in topics:
            answer = self._answers[topic]
            answer.followers.discard(key)
            if not answer.followers:
                del self._answers[topic]

    def _facts(self, registry: RegistryId, want: FactsWanted) -> VersionFacts:
        metrics: Sequence[Metric] | None = None
        description: ModelDescription | None = None
        problems = dict.fromkeys(_Part, "")
        for topic in _topics_of(registry, want):
            answer = self._answers[topic]
            problems[topic.part] = answer.problem
            if isinstance(answer.value, ModelDescription):
                description = answer.value
            elif answer.value is not None:
                metrics = answer.value
        return VersionFacts(metrics, description, problems[_Part.METRICS], problems[_Part.DESCRIPTION])

    # --- reading ---------------------------------------------------------------------------------

    async def _ask(self, topic: _Topic, limit: asyncio.Semaphore) -> None:
        client = self._clients.client(topic.registry)
        try:
            if client is None:
                raise _unknown(topic.registry)
            async with limit:
                value = await _read(client, topic)
        except RegistryError as error:
            self._take_failure(topic, error.reason, error.message)
        except Exception:
            log.exception("a defect while reading %s of %s", topic.part.value, topic.id)
            self._take_failure(topic, "defect", "the operator could not handle an answer. See its log")
        else:
            self._take_answer(topic, value)

    def _take_answer(self, topic: _Topic, value: Sequence[Metric] | ModelDescription) -> None:
        if isinstance(value, ModelDescription):
            self._descriptions[topic] = value
            while len(self._descriptions) > MAX_DESCRIPTIONS:
                self._descriptions.popitem(last=False)
        answer = self._answers.get(topic)
        if answer is None:
            return  # no key wants it any more
        pause = self._poll_seconds if topic.part is _Part.METRICS else float("inf")
        answer.due = self._clock() + _spread(pause)
        # compared by repr, since NaN is not equal to itself
        news = repr(answer.value) != repr(value) or bool(answer.problem)
        answer.value, answer.problem, answer.failure, answer.failures = value, "", None, 0
        self._report_change(answer if news else None)

    def _take_failure(self, topic: _Topic, failure: object, message: str) -> None:
        answer = self._answers.get(topic)
        if answer is None:
            return
        answer.failures += 1
        pause = min(self._poll_seconds * 2.0 ** min(answer.failures - 1, 16), LONGEST_PAUSE_SECONDS)
        answer.due = self._clock() + _spread(pause)
        if answer.value is not None or answer.failure == failure:
            return  # known facts stay valid
        answer.problem, answer.failure = message, failure
        self._report_change(answer)

    def _report_change(self, answer: _Answer | None) -> None:
        for key in sorted(answer.followers) if answer else ():
            self._on_change(key)


def _topics_of(registry: RegistryId, want: FactsWanted) -> list[_Topic]:
    parts = [_Part.METRICS] * want.metrics + [_Part.DESCRIPTION] * want.description
    return [_Topic(registry, want.id, want.run_id, want.source, part) for part in parts]


async def _read(client: RegistryClient, topic: _Topic) -> Sequence[Metric] | ModelDescription:
    if topic.part is _Part.METRICS:
        return await client.metrics(topic.run_id, topic.source)
    return await client.description(topic.id.model, topic.id.version)


def _unknown(registry: RegistryId) -> RegistryError:
    return RegistryError(ResolutionReason.UNKNOWN_REGISTRY, f"registry '{registry}' is not configured")


def _spread(seconds: float) -> float:
    return seconds * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - spreads load

"""Polls one registry for all followed references, and reports changed answers."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from model_operator.api.names import RESERVED_KEY_PREFIX
from model_operator.api.reference import ModelReference
from model_operator.domain.registry import Resolution, ResolutionReason, ResolvedVersion
from model_operator.registry.batch import Batch
from model_operator.registry.clients.base import SAID_NO, RegistryClient, RegistryError, with_last_good

log = logging.getLogger(__name__)

# their messages quote a server or the network, and a different wording is not a change
_QUOTING = frozenset(
    {ResolutionReason.UNREACHABLE, ResolutionReason.REGISTRY_ERROR, ResolutionReason.UNEXPECTED_ANSWER}
)


@dataclass(frozen=True, slots=True)
class Pace:
    """The intervals of requests to a registry, in seconds."""

    poll_seconds: float = 15.0
    longest_backoff_seconds: float = 120.0
    coalesce_seconds: float = 0.05
    """A new reference waits this long for others that arrive at the same time."""
    hint_seconds: float = 1.0
    """The pause between two rounds for hints. It is longer if such a round takes longer."""
    jitter: float = 0.1
    """The random share by which an interval is longer or shorter."""

    def until_next(self, failures: int) -> float:
        """Seconds to the next round after this many failures in a row."""
        longest = max(self.longest_backoff_seconds, self.poll_seconds)
        seconds = min(self.poll_seconds * 2.0 ** min(failures, 16), longest)
        return seconds * random.uniform(1 - self.jitter, 1 + self.jitter)  # noqa: S311 - spreads load


class Poller:
    """Polls one registry with one set of credentials. Only ``run`` sends requests."""

    def __init__(
        self,
        client: RegistryClient,
        changed: Callable[[ModelReference], None],
        pace: Pace,
        clock: Callable[[], float] = time.monotonic,
        quiet_tags: str = RESERVED_KEY_PREFIX,
    ) -> None:
        """``changed`` is called with a reference when its answer changes, and for its first answer.

        Answers contain tags whose keys begin with ``quiet_tags``, but a change of such a tag does not count.
        """
        self._client = client
        self._batch = Batch(client)
        self._changed = changed
        self._pace = pace
        self._clock = clock
        self._quiet_tags = quiet_tags
        self._wanted: set[ModelReference] = set()
        self._answers: dict[ModelReference, Resolution] = {}
        self._last_good: dict[ModelReference, ResolvedVersion] = {}
        self._names: Counter[str] = Counter()
        self._soon: set[ModelReference] = set()
        self._closely: set[ModelReference] = set()
        self._hinted: set[str] = set()
        self._hints_at = float("-inf")
        self._answered_now: set[ModelReference] = set()
        self._failure: RegistryError | None = None
        self._failures = 0
        self._asked_at = float("-inf")
        self._next_at = float("-inf")
        self._wake = asyncio.Event()

    @property
    def url(self) -> str:
        """The registry's base URL."""
        return self._client.url

    def answer(self, reference: ModelReference) -> Resolution | None:
        """The current answer, or None before the first one."""
        return self._answers.get(reference)

    def add(self, reference: ModelReference) -> None:
        """Follow this reference and poll it at once. If the registry fails, poll it within one interval."""
        if reference in self._wanted:
            return
        self._wanted.add(reference)
        self._names[reference.name] += 1
        if self._failure is None:
            self._soon.add(reference)
        else:
            self._answers[reference] = self._to_resolution(self._failure)
            self._next_at = min(self._next_at, self._asked_at + self._pace.poll_seconds)
        self._wake.set()

    def discard(self, reference: ModelReference) -> None:
        """Stop following this reference, and drop its answer."""
        if reference not in self._wanted:
            return
        self._wanted.remove(reference)
        self._names[reference.name] -= 1
        if not self._names[reference.name]:
            del self._names[reference.name]
        self._soon.discard(reference)
        self._closely.discard(reference)
        self._answers.pop(reference, None)
        self._last_good.pop(reference, None)

    def refresh(self, reference: ModelReference) -> None:
        """Poll this reference again soon, without the cache."""
        if reference not in self._wanted:
            return
        if self._failure is not None:
            self._next_at = self._clock()
        else:
            self._soon.add(reference)
        self._wake.set()

    def watch_closely(self, reference: ModelReference, closely: bool) -> None:
        """Set whether each round reads this reference without the cache, so the next round sees a changed tag."""
        (self._closely.add if closely else self._closely.discard)(reference)

    def hint(self, model: str) -> int:
        """Poll a model again after a hint that it changed. All hints together cause at most one round per second.

        If the registry fails, it is polled within one interval. Returns the number of affected references.
        """
        if (concerned := self._names[model]) == 0:
            return 0
        if self._failure is None:
            self._hinted.add(model)
        else:
            self._next_at = min(self._next_at, self._asked_at + self._pace.poll_seconds)
        self._wake.set()
        return concerned

    async def run(self) -> None:
        """Poll until cancelled. Failures of the registry and defects of this code do not end it."""
        try:
            while True:
                await self.wait()
                await self.step()
        finally:
            await self._client.aclose()

    async def wait(self) -> None:
        """Return when a round is due. Without references, no round is due."""
        while (seconds := self._seconds_to_wait()) > 0:
            self._wake.clear()
            try:
                async with asyncio.timeout(None if seconds == float("inf") else seconds):
                    await self._wake.wait()
            except TimeoutError:
                continue
        if self._soon or self._hinted:
            await asyncio.sleep(self._pace.coalesce_seconds)

    async def step(self) -> None:
        """Run the round that is due, for all references or only for the urgent ones."""
        started = self._clock()
        regular = started >= self._next_at
        soon, self._soon = frozenset(self._soon), set()
        if regular:
            soon |= self._closely & self._wanted
        hinted = self._hinted if started >= self._hints_at else set()
        if hinted:
            self._hinted = set()
            soon |= {reference for reference in self._wanted if reference.name in hinted}
        good = not soon or await self._round(soon, afresh=True)
        if hinted:
            # hints may use at most half of the time of a slow registry
            took = self._clock() - started
            self._hints_at = self._clock() + max(self._pace.hint_seconds, took)
        if regular and good and (rest := frozenset(self._wanted - soon)):
            good = await self._round(rest, afresh=False)
        if regular or not good:
            self._asked_at = self._clock()
            self._next_at = self._asked_at + self._pace.until_next(self._failures)

    async def _round(self, asked: frozenset[ModelReference], afresh: bool) -> bool:
        """Poll these references. Returns False if more than single models failed."""
        self._answered_now = set()
        try:
            if afresh:
                await self._batch.ask_afresh(asked, self._take_answer)
            else:
                await self._batch.ask_all(asked, dict(self._answers), self._take_answer)
        except RegistryError as error:
            return self._note_failure(error, asked, afresh)
        except Exception:
            log.exception("a defect while polling registry %s", self.url)
            defect = RegistryError(
                ResolutionReason.UNEXPECTED_ANSWER,
                f"the operator could not handle an answer of {self.url}. See the operator's log",
            )
            return self._note_failure(defect, asked, afresh)
        self._failure, self._failures = None, 0
        return True

    def _note_failure(self, error: RegistryError, asked: Collection[ModelReference], afresh: bool) -> bool:
        whole = error.concerns_whole_registry
        concerned = self._wanted if whole else asked
        for reference in [*concerned]:
            if reference not in self._answered_now:
                self._note(reference, self._to_resolution(error))
        if afresh and not whole:
            # a failure of a few new references does not mean that the others fail
            return True
        self._failure = error if whole else None
        self._failures += 1
        return False

    def _take_answer(self, reference: ModelReference, resolution: Resolution) -> None:
        self._answered_now.add(reference)
        self._note(reference, resolution)

    def _note(self, reference: ModelReference, resolution: Resolution) -> None:
        if reference not in self._wanted:
            return
        if resolution.ok and resolution.version is not None:
            self._last_good[reference] = resolution.version
        elif resolution.reason in SAID_NO:
            self._last_good.pop(reference, None)
        answer = with_last_good(resolution, self._last_good.get(reference))
        before = self._answers.get(reference)
        if before is not None and self._same(before, answer):
            if answer.ok:
                self._answers[reference] = answer
            return
        self._answers[reference] = answer
        self._changed(reference)

    def _to_resolution(self, error: RegistryError) -> Resolution:
        return Resolution(error.reason, error.message, self.url)

    def _seconds_to_wait(self) -> float:
        if not self._wanted:
            return float("inf")
        due = min(self._next_at, self._hints_at) if self._hinted else self._next_at
        return 0.0 if self._soon else max(0.0, due - self._clock())

    def _same(self, before: Resolution, answer: Resolution) -> bool:
        before, answer = self._news(before), self._news(answer)
        if answer.reason in _QUOTING and answer.reason is before.reason:
            return before.version == answer.version
        return before == answer

    def _news(self, resolution: Resolution) -> Resolution:
        """The answer without the tags that the operator writes itself."""
        version = resolution.version
        if version is None or not any(key.startswith(self._quiet_tags) for key in version.tags):
            return resolution
        tags = {key: value for key, value in version.tags.items() if not key.startswith(self._quiet_tags)}
        return replace(resolution, version=replace(version, tags=tags))

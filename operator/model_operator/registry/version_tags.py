"""Writes verdicts on model versions back to their registry as tags, with pauses, and each tag once.

Nothing waits for the tags or depends on them. If a registry denies writes, the operator logs one warning.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from model_operator.api.names import RESERVED_KEY_PREFIX
from model_operator.domain.objects import Key
from model_operator.domain.plan import VersionTag
from model_operator.domain.registry import ResolutionReason, ResolvedVersion
from model_operator.registry.clients.base import RegistryClient, RegistryError, shorten

log = logging.getLogger(__name__)

PARALLEL = 2
MAX_VALUE = 500
MAX_REMEMBERED = 64
"""Limit of versions per ModelDeployment with a known tag. Tags of older versions are read again."""

_GONE = frozenset({ResolutionReason.MODEL_NOT_FOUND, ResolutionReason.VERSION_NOT_FOUND})
# only a person can fix these
_REFUSED = frozenset(
    {ResolutionReason.FORBIDDEN, ResolutionReason.UNAUTHORIZED, ResolutionReason.HOST_HEADER_REFUSED}
)


@dataclass(frozen=True, slots=True)
class Patience:
    """The retries of failed writes, in seconds."""

    first_seconds: float = 2.0
    """The pause after the first failure. It doubles with each further one."""
    longest_seconds: float = 3600.0
    tries: int = 12
    """After this many failures, a tag is dropped until the reconciler requests it again."""
    refused_seconds: float = 3600.0
    """The pause for a model, or a whole registry, that denies writes."""
    jitter: float = 0.2
    """The random share by which a pause is longer or shorter."""

    def pause(self, failures: int) -> float:
        """Seconds to the next attempt after this many failures in a row."""
        return self._spread(min(self.first_seconds * 2.0 ** min(failures - 1, 16), self.longest_seconds))

    def pause_refused(self) -> float:
        """Seconds to the next attempt after access was denied."""
        return self._spread(self.refused_seconds)

    def _spread(self, seconds: float) -> float:
        return seconds * random.uniform(1 - self.jitter, 1 + self.jitter)  # noqa: S311 - spreads load


class _Place(NamedTuple):
    """One version with the ModelDeployment that writes its tag."""

    key: Key
    model: str
    version: str


@dataclass(slots=True)
class _Wanted:
    value: str
    due: float
    tried: bool = False
    """Whether a write was sent, so the value in the registry is uncertain."""
    failures: int = 0


def tag_prefix(cluster: str) -> str:
    """The prefix of all tag keys that the operator of that cluster writes."""
    return f"{RESERVED_KEY_PREFIX}{cluster}/"


class TagWriter:
    """Keeps the tags of model versions at the values that the reconciler requests.

    All methods except ``run`` and ``step`` return at once. Call them in the event loop of ``run``.
    """

    def __init__(
        self,
        registries: Mapping[str, RegistryClient],
        cluster: str,
        clock: Callable[[], float] = time.monotonic,
        patience: Patience | None = None,
    ) -> None:
        """``registries`` has the clients of the configuration's entries. A registry that a spec describes gets no tags.
        ``cluster`` is a part of the tags' keys.
        """
        self._outboxes = {
            entry: _Outbox(entry, client, tag_prefix(cluster), patience or Patience(), clock)
            for entry, client in registries.items()
        }
        self._written_to: dict[Key, str] = {}

    def note(
        self, key: Key, registry_name: str, tags: Sequence[VersionTag], known: ResolvedVersion | None = None
    ) -> None:
        """Request these tags, and for each version only the newest one.

        ``known`` is the resolved version from the poller. Tags that it has already are not written. An empty list also
        cancels tags that are not written yet. The resolver reports an unknown registry.
        """
        before = self._written_to.get(key)
        if before is not None and before != registry_name:
            self._outboxes[before].forget(key)
            del self._written_to[key]
        outbox = self._outboxes.get(registry_name)
        if outbox is None:
            return
        if not tags:
            outbox.call_off(key)
            return
        self._written_to[key] = registry_name
        for tag in tags:
            place = _Place(key, tag.model, tag.version)
            same = known is not None and (known.model, known.version) == (tag.model, tag.version)
            outbox.want(place, shorten(tag.value, MAX_VALUE), known.tags if known and same else {})

    def forget(self, key: Key) -> None:
        """Stop writing for that ModelDeployment. Written tags stay."""
        if (registry_name := self._written_to.pop(key, None)) is not None:
            self._outboxes[registry_name].forget(key)

    @property
    def waiting(self) -> int:
        """The number of tags that are not written yet."""
        return sum(outbox.waiting for outbox in self._outboxes.values())

    async def run(self) -> None:
        """Write until cancelled. The next operator requests tags that are not written by then."""
        async with asyncio.TaskGroup() as group:
            for outbox in self._outboxes.values():
                group.create_task(outbox.run())

    async def step(self) -> None:
        """Write all tags that are due."""
        for outbox in self._outboxes.values():
            await outbox.step()


class _Outbox:
    """The tags that one registry should have and lacks."""

    def __init__(
        self,
        entry: str,
        client: RegistryClient,
        prefix: str,
        patience: Patience,
        clock: Callable[[], float],
    ) -> None:
        self._entry = entry
        self._client = client
        self._prefix = prefix
        self._patience = patience
        self._clock = clock
        self._wanted: dict[_Place, _Wanted] = {}
        self._in_flight: set[_Place] = set()
        self._said: dict[Key, OrderedDict[_Place, str]] = {}
        self._refused: dict[str, float] = {}
        """Models that deny writes, with the time of the next attempt."""
        self._paused_until = float("-inf")
        self._failures = 0
        self._warned = False
        self._wake = asyncio.Event()

    @property
    def waiting(self) -> int:
        return len(self._wanted)

    def want(self, place: _Place, value: str, known: Mapping[str, str]) -> None:
        wanted = self._wanted.get(place)
        said = self._find_certain(place) or known.get(self._tag(place))
        if said == value and (wanted is None or not wanted.tried):
            self._wanted.pop(place, None)
        elif wanted is None:
            self._wanted[place] = _Wanted(value, self._clock())
            self._wake.set()
        else:
            # a pause after a failure continues even if the value changes
            wanted.value = value

    def call_off(self, key: Key) -> None:
        for place in [place for place in self._wanted if place.key == key]:
            del self._wanted[place]

    def forget(self, key: Key) -> None:
        self.call_off(key)
        self._said.pop(key, None)

    async def run(self) -> None:
        try:
            while True:
                await self.wait()
                await self.step()
        finally:
            await self._client.aclose()

    async def wait(self) -> None:
        """Return when a tag is due."""
        while (seconds := self._seconds_to_wait()) > 0:
            self._wake.clear()
            try:
                async with asyncio.timeout(None if seconds == float("inf") else seconds):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def step(self) -> None:
        async with asyncio.TaskGroup() as workers:
            for _ in range(min(PARALLEL, len(self._wanted))):
                workers.create_task(self._work())

    async def _work(self) -> None:
        while (place := self._next_due()) is not None:
            self._in_flight.add(place)
            try:
                await self._send(place, self._wanted[place])
            finally:
                self._in_flight.discard(place)

    def _next_due(self) -> _Place | None:
        now = self._clock()
        due = [
            place
            for place in self._wanted
            if place not in self._in_flight and self._find_due_time(place) <= now
        ]
        return min(due, key=self._find_due_time, default=None)

    def _find_due_time(self, place: _Place) -> float:
        refused_until = self._refused.get(place.model, float("-inf"))
        return max(self._wanted[place].due, refused_until, self._paused_until)

    def _seconds_to_wait(self) -> float:
        soonest = min((self._find_due_time(place) for place in self._wanted), default=float("inf"))
        return max(0.0, soonest - self._clock())

    async def _send(self, place: _Place, wanted: _Wanted) -> None:
        value = wanted.value
        try:
            if not await self._has_tag(place, value):
                if self._wanted.get(place) is not wanted or wanted.value != value:
                    return  # no longer wanted, or a new value is wanted, which is due at once
                wanted.tried = True
                self._forget_certain(place)
                await self._client.set_version_tag(place.model, place.version, self._tag(place), value)
                self._refused.pop(place.model, None)
                self._warned = self._warned and bool(self._refused)
        except RegistryError as error:
            self._handle_failure(place, wanted, error)
            return
        except Exception:
            log.exception("a defect while writing a tag to registry %s", self._client.url)
            self._postpone(place, wanted, "a defect of the operator")
            return
        self._failures = 0
        if self._wanted.get(place) is not wanted:
            return  # dropped meanwhile
        said = self._said.setdefault(place.key, OrderedDict())
        said[place] = value
        if len(said) > MAX_REMEMBERED:
            said.popitem(last=False)
        if wanted.value == value:
            del self._wanted[place]

    async def _has_tag(self, place: _Place, value: str) -> bool:
        """Whether the registry has that tag. Read only if it is unknown, once per version."""
        if self._find_certain(place) is not None:
            return False
        # writing an equal tag would still trigger the registry's webhooks
        record = await self._client.version(place.model, place.version)
        return record.tags.get(self._tag(place)) == value

    def _find_certain(self, place: _Place) -> str | None:
        """The known value in the registry, which was written or read without any write since."""
        said = self._said.get(place.key)
        return None if said is None else said.get(place)

    def _forget_certain(self, place: _Place) -> None:
        if (said := self._said.get(place.key)) is not None:
            said.pop(place, None)

    def _handle_failure(self, place: _Place, wanted: _Wanted, error: RegistryError) -> None:
        if error.reason in _GONE:
            log.debug("not tagged: %s", error.message)
            if self._wanted.get(place) is wanted:
                del self._wanted[place]
        elif error.reason in _REFUSED:
            until = self._clock() + self._patience.pause_refused()
            if error.concerns_whole_registry:
                self._paused_until = until
            else:
                self._refused[place.model] = until
            self._warn(error)
        elif error.concerns_whole_registry:
            # the poller reports an outage, and all tags wait together
            self._failures += 1
            self._paused_until = self._clock() + self._patience.pause(self._failures)
            log.debug("tags wait for registry %s: %s", self._entry, error.message)
        else:
            self._postpone(place, wanted, error.message)

    def _postpone(self, place: _Place, wanted: _Wanted, why: str) -> None:
        wanted.failures += 1
        wanted.due = self._clock() + self._patience.pause(wanted.failures)
        if wanted.failures < self._patience.tries or self._wanted.get(place) is not wanted:
            log.debug("tag of %s version %s is retried later: %s", shorten(place.model), place.version, why)
            return
        del self._wanted[place]
        log.warning(
            "registry '%s': the verdict on version %s of '%s' was not written after %d attempts: %s",
            *(self._entry, place.version, shorten(place.model), wanted.failures, why),
        )

    def _warn(self, error: RegistryError) -> None:
        level = logging.DEBUG if self._warned else logging.WARNING
        self._warned = True
        log.log(
            level,
            "registry '%s': verdicts can't be written back as tags: %s. Writing them needs EDIT on the model. "
            "revert.tagVersion: Never turns them off. The operator retries in an hour, and logs this once",
            *(self._entry, error.message),
        )

    def _tag(self, place: _Place) -> str:
        return f"{self._prefix}{'/'.join(place.key)}"

"""Writes the verdicts on model versions back to their registry, as tags: late, politely, and never twice.

Nothing waits for it and nothing depends on it. A registry that can't be written to costs one line in the log.
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
"""Versions of one ModelDeployment whose tags are remembered as written; older ones are read again."""

_GONE = frozenset({ResolutionReason.MODEL_NOT_FOUND, ResolutionReason.VERSION_NOT_FOUND})
# these are answered by a person, not by waiting
_REFUSED = frozenset(
    {ResolutionReason.FORBIDDEN, ResolutionReason.UNAUTHORIZED, ResolutionReason.HOST_HEADER_REFUSED}
)


@dataclass(frozen=True, slots=True)
class Patience:
    """How failed writes are tried again; all in seconds."""

    first_seconds: float = 2.0
    """The pause after a first failure; it doubles with each further one."""
    longest_seconds: float = 3600.0
    tries: int = 12
    """After so many failures of one tag it is dropped, until the reconciler names it again."""
    refused_seconds: float = 3600.0
    """How long a model (or a whole registry) that we may not write to is left alone."""
    jitter: float = 0.2
    """The share by which a pause is longer or shorter at random."""

    def pause(self, failures: int) -> float:
        """Seconds to the next try after so many failures in a row."""
        return self._spread(min(self.first_seconds * 2.0 ** min(failures - 1, 16), self.longest_seconds))

    def pause_refused(self) -> float:
        """Seconds to the next try where we were not let in."""
        return self._spread(self.refused_seconds)

    def _spread(self, seconds: float) -> float:
        return seconds * random.uniform(1 - self.jitter, 1 + self.jitter)  # noqa: S311 - spreads load


class _Place(NamedTuple):
    """One version, as far as one ModelDeployment has something to say of it."""

    key: Key
    model: str
    version: str


@dataclass(slots=True)
class _Wanted:
    value: str
    due: float
    tried: bool = False
    """Whether anything was sent, so that nobody knows for sure what the registry says now."""
    failures: int = 0


def tag_prefix(cluster: str) -> str:
    """What the keys of all tags begin with that the operator of that cluster writes."""
    return f"{RESERVED_KEY_PREFIX}{cluster}/"


class TagWriter:
    """Keeps the tags of model versions as the reconciler wants them.

    All methods but ``run`` return at once, and belong into the event loop that runs ``run``.
    """

    def __init__(
        self,
        registries: Mapping[str, RegistryClient],
        cluster: str,
        clock: Callable[[], float] = time.monotonic,
        patience: Patience | None = None,
    ) -> None:
        """``registries`` are the clients of the entries of the configuration: what a spec describes itself gets no
        tags. ``cluster`` is a part of the tags' keys.
        """
        self._outboxes = {
            entry: _Outbox(entry, client, tag_prefix(cluster), patience or Patience(), clock)
            for entry, client in registries.items()
        }
        self._written_to: dict[Key, str] = {}

    def note(
        self, key: Key, registry_name: str, tags: Sequence[VersionTag], known: ResolvedVersion | None = None
    ) -> None:
        """Let the registry say these tags, and for each version only the newest of them.

        ``known`` is the resolved version as the poller has it; what its tags say already is not written. No
        tags at all also calls off what was not written yet. An unknown registry is told by the resolver.
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
        """Write nothing more for that ModelDeployment; what is written stays."""
        if (registry_name := self._written_to.pop(key, None)) is not None:
            self._outboxes[registry_name].forget(key)

    @property
    def waiting(self) -> int:
        """How many tags are not written yet."""
        return sum(outbox.waiting for outbox in self._outboxes.values())

    async def run(self) -> None:
        """Write until cancelled; what is not written by then is wanted again by the next operator."""
        async with asyncio.TaskGroup() as group:
            for outbox in self._outboxes.values():
                group.create_task(outbox.run())

    async def step(self) -> None:
        """Write all that is due now."""
        for outbox in self._outboxes.values():
            await outbox.step()


class _Outbox:
    """What one registry should say and does not yet."""

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
        """Models that we may not write to, and until when they are left alone."""
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
            # the pause after a failure goes on, however often the value changes
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
        """Return when something is due."""
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
            if not await self._says(place, value):
                if self._wanted.get(place) is not wanted or wanted.value != value:
                    return  # no longer wanted, or another value is: that one is due at once
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
            return  # forgotten meanwhile
        said = self._said.setdefault(place.key, OrderedDict())
        said[place] = value
        if len(said) > MAX_REMEMBERED:
            said.popitem(last=False)
        if wanted.value == value:
            del self._wanted[place]

    async def _says(self, place: _Place, value: str) -> bool:
        """Whether the registry has that tag; asked only where it isn't known, once per version."""
        if self._find_certain(place) is not None:
            return False
        # an equal tag would still start whatever the registry's webhooks start
        record = await self._client.version(place.model, place.version)
        return record.tags.get(self._tag(place)) == value

    def _find_certain(self, place: _Place) -> str | None:
        """What the registry says for sure: we wrote it, or read it, and have sent nothing since."""
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
            # the poller tells of an outage; all tags wait together
            self._failures += 1
            self._paused_until = self._clock() + self._patience.pause(self._failures)
            log.debug("tags wait for registry %s: %s", self._entry, error.message)
        else:
            self._postpone(place, wanted, error.message)

    def _postpone(self, place: _Place, wanted: _Wanted, why: str) -> None:
        wanted.failures += 1
        wanted.due = self._clock() + self._patience.pause(wanted.failures)
        if wanted.failures < self._patience.tries or self._wanted.get(place) is not wanted:
            log.debug("tag of %s version %s again later: %s", shorten(place.model), place.version, why)
            return
        del self._wanted[place]
        log.warning(
            "registry '%s': the verdict on version %s of '%s' was not written after %d tries: %s",
            *(self._entry, place.version, shorten(place.model), wanted.failures, why),
        )

    def _warn(self, error: RegistryError) -> None:
        level = logging.DEBUG if self._warned else logging.WARNING
        self._warned = True
        log.log(
            level,
            "registry '%s': verdicts can't be written back as tags: %s. Writing them needs EDIT on the model; "
            "revert.tagVersion: Never does without. Tried again in an hour, and said once",
            *(self._entry, error.message),
        )

    def _tag(self, place: _Place) -> str:
        return f"{self._prefix}{'/'.join(place.key)}"

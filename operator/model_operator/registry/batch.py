"""Resolves many references of one registry at once, with few requests."""

from __future__ import annotations

import asyncio
import itertools
import zlib
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import TypeVar

from model_operator.api.reference import ModelReference
from model_operator.domain.registry import Resolution, ResolutionReason
from model_operator.registry.clients.base import (
    SAID_NO,
    ModelRecord,
    RegistryClient,
    RegistryError,
    VersionRecord,
    newest_of,
    to_resolution,
    version_of,
)

PARALLEL = 4
SLOW_ROUNDS = 10
"""Within this many rounds, the details of each version are read again, and each absence is confirmed again."""
MAX_REFRESHED = 50
"""Limit of versions whose details are read again in one round, the oldest first."""
MAX_SINGLE = 200
"""If the listing fails, up to this many models are read by single GETs. With more models, the round fails."""
ROWS_PER_REQUEST = 50
"""This many rows of a listing cost the registry as much as one GET of a model."""
FIRST_LISTING_COST = 3.0
"""The assumed cost before the first listing: that of one page in a small registry."""
NAMES_IN_ONE_GO = 20
"""The number of models without requests before a worker yields to the event loop: one or two milliseconds."""
HOPELESS_AFTER = 8
"""After this many failed models in a round without any answer, the round stops."""

VersionId = tuple[str, str]
Row = TypeVar("Row", ModelRecord, VersionRecord)
Id = TypeVar("Id")
# a listing contains such a model as soon as it exists or is readable
_UNSEEN = frozenset({ResolutionReason.MODEL_NOT_FOUND, ResolutionReason.FORBIDDEN})


@dataclass(slots=True)
class _Round:
    """One batch in progress."""

    answered: Callable[[ModelReference, Resolution], None]
    known: Mapping[ModelReference, Resolution]
    number: int | None
    """The number of this round for all references. None: nothing may come from memory."""
    due: frozenset[VersionId] = frozenset()
    """Versions whose details must be read again."""
    read: set[VersionId] = field(default_factory=set)
    listed: dict[str, ModelRecord] | None = None
    used: set[VersionId] = field(default_factory=set)
    failed: list[RegistryError] = field(default_factory=list)
    """Failures without an answer so far."""
    replies: int = 0
    """Answers of the registry so far, positive or negative."""
    hopeless: RegistryError | None = None

    def confirms(self, name: str) -> bool:
        """Whether this round confirms the absence of that model again."""
        return self.number is None or (self.number + zlib.crc32(name.encode())) % SLOW_ROUNDS == 0

    def may_remember(self, key: VersionId) -> bool:
        """Whether this round may use details from memory."""
        return key in self.read or (self.number is not None and key not in self.due)


class Batch:
    """Turns references into resolutions, and caches the details of versions, which rarely change.

    The rule for batches: a listing of R models in P pages costs the registry about as much as P + R / 50 single GETs.
    Models are listed if the last listing cost less than one GET per wanted model. A listing stops as soon as its cost
    reaches that limit. Unknown details of versions are read by the same rule. If a listing lacks a model, a single GET
    confirms it, since a page may miss a row.
    """

    def __init__(self, client: RegistryClient) -> None:
        self._client = client
        self._listing_cost = FIRST_LISTING_COST
        self._versions: dict[VersionId, VersionRecord] = {}
        self._rounds = 0

    async def ask_all(
        self,
        references: Collection[ModelReference],
        known: Mapping[ModelReference, Resolution],
        answered: Callable[[ModelReference, Resolution], None],
    ) -> None:
        """Resolve all wanted references in one round. Each answer goes to ``answered``.

        ``known`` has the current answers. Raises RegistryError if the registry as a whole does not answer. Some
        references may have an answer by then.
        """
        self._rounds += 1
        due = min(MAX_REFRESHED, -(-len(self._versions) // SLOW_ROUNDS))
        # the cache is in the order of reading
        this = _Round(answered, known, self._rounds, frozenset(itertools.islice(self._versions, due)))
        await self._ask(references, this)
        # drop versions that no reference needs after its alias moved
        self._versions = {key: record for key, record in self._versions.items() if key in this.used}

    async def ask_afresh(
        self,
        references: Collection[ModelReference],
        answered: Callable[[ModelReference, Resolution], None],
    ) -> None:
        """Like ``ask_all`` for some references, without the cache."""
        await self._ask(references, _Round(answered, {}, None))

    async def _ask(self, references: Collection[ModelReference], this: _Round) -> None:
        by_name: dict[str, list[ModelReference]] = {}
        for reference in references:
            by_name.setdefault(reference.name, []).append(reference)
        followed = {reference.name for reference in references if reference.version is None}
        if self._client.lists_models and len(followed) > self._listing_cost:
            this.listed = await self._list_models(followed)
        await self._list_versions(self._unknown_versions(references, this), this)
        # each worker takes the next model from this queue
        queue = iter(_rotate(list(by_name.items()), self._rounds))
        async with asyncio.TaskGroup() as workers:
            for _ in range(min(PARALLEL, len(by_name))):
                workers.create_task(self._work(queue, this))
        if this.hopeless is not None:
            raise this.hopeless
        if this.failed and not this.replies:
            raise this.failed[0]

    async def _work(self, queue: Iterator[tuple[str, list[ModelReference]]], this: _Round) -> None:
        for count, (name, references) in enumerate(queue):
            if count % NAMES_IN_ONE_GO == 0:
                # thousands of models from a listing would block the event loop
                await asyncio.sleep(0)
            for reference in references:
                if this.hopeless is not None:
                    return
                try:
                    record = await self._record(reference, this)
                except RegistryError as error:
                    _count_failure(error, this)
                    if this.hopeless is None:
                        this.answered(reference, Resolution(error.reason, error.message, self._client.url))
                else:
                    this.replies += 1
                    this.used.add((name, record.version))
                    this.answered(reference, to_resolution(record, reference, self._client.url))

    async def _record(self, reference: ModelReference, this: _Round) -> VersionRecord:
        if reference.version is not None:
            return await self._version((reference.name, reference.version), this)
        if this.listed is None:
            model = await self._client.model(reference.name)
            return await self._find_followed(reference, model, this)
        listed = this.listed.get(reference.name)
        if listed is None:
            before = this.known.get(reference)
            if before is not None and before.reason in _UNSEEN and not this.confirms(reference.name):
                raise RegistryError(before.reason, before.message)
            listed = await self._client.model(reference.name)
        return await self._find_followed(reference, listed, this)

    async def _find_followed(
        self, reference: ModelReference, model: ModelRecord, this: _Round
    ) -> VersionRecord:
        number = version_of(model, reference, self._client.url)
        if newest := newest_of(model, number):
            return self._remember(newest, this)
        return await self._version((reference.name, number), this)

    async def _version(self, key: VersionId, this: _Round) -> VersionRecord:
        remembered = self._versions.get(key)
        if remembered is not None and this.may_remember(key):
            return remembered
        try:
            return self._remember(await self._client.version(*key), this)
        except RegistryError as error:
            if remembered is None or error.reason in SAID_NO or error.concerns_whole_registry:
                self._versions.pop(key, None)
                raise
            # a version's run and source can't change, and its tags may be late
            return self._remember(remembered, this)

    def _remember(self, record: VersionRecord, this: _Round) -> VersionRecord:
        key = (record.model, record.version)
        self._versions.pop(key, None)
        if record.ready:
            self._versions[key] = record
            this.read.add(key)
        return record

    async def _list_models(self, names: set[str]) -> dict[str, ModelRecord] | None:
        try:
            found, self._listing_cost = await _search(self._client.models(), names, lambda row: row.name)
        except RegistryError as error:
            if error.concerns_whole_registry or len(names) > MAX_SINGLE:
                raise
            return None
        return found

    async def _list_versions(self, wanted: set[VersionId], this: _Round) -> None:
        # there are more versions than models, so a listing of versions costs at least as much
        if not self._client.lists_models or len(wanted) <= self._listing_cost:
            return
        # missing versions are read by single GETs, which report a failure of the registry
        with suppress(RegistryError):
            found, _ = await _search(self._client.versions(), wanted, lambda row: (row.model, row.version))
            for record in found.values():
                self._remember(record, this)

    def _unknown_versions(self, references: Iterable[ModelReference], this: _Round) -> set[VersionId]:
        unknown: set[VersionId] = set()
        for reference in references:
            number = reference.version
            if number is None:
                model = (this.listed or {}).get(reference.name)
                if model is None:
                    continue
                with suppress(RegistryError):
                    number = version_of(model, reference, self._client.url)
                if number is None or newest_of(model, number):
                    continue
            key = (reference.name, number)
            if key not in self._versions or this.number is None:
                unknown.add(key)
        return unknown


async def _search(
    pages: AsyncGenerator[Sequence[Row], None], wanted: set[Id], identify: Callable[[Row], Id]
) -> tuple[dict[Id, Row], float]:
    """Read pages until all rows are found or single GETs are cheaper. Returns the found rows and the cost."""
    found: dict[Id, Row] = {}
    cost = 0.0
    async with aclosing(pages):
        async for rows in pages:
            cost += 1 + len(rows) / ROWS_PER_REQUEST
            found |= {identify(row): row for row in rows if identify(row) in wanted}
            if len(found) == len(wanted) or cost >= len(wanted):
                break
    return found, cost


def _count_failure(error: RegistryError, this: _Round) -> None:
    if error.concerns_whole_registry:
        this.hopeless = error
    elif error.reason in SAID_NO or error.reason is ResolutionReason.FORBIDDEN:
        this.replies += 1
    else:
        this.failed.append(error)
        if not this.replies and len(this.failed) >= HOPELESS_AFTER:
            this.hopeless = error


def _rotate(items: list[tuple[str, list[ModelReference]]], by: int) -> list[tuple[str, list[ModelReference]]]:
    """Change the order in each round, so eight broken models can't block the others permanently."""
    start = (by * (HOPELESS_AFTER + 1)) % len(items) if items else 0
    return items[start:] + items[:start]

"""The operator's cache of the cluster: every ModelDeployment and every object with the operator's labels.

Lists fill it before work starts. Then watches and the responses to the operator's own writes keep it current. Each
source may deliver an older state, and the cache drops it, because a second action on a stale read would be a second
revert. Objects without the labels are not in the cache, even if they have the name of a child.

Objects are stored as compressed JSON. As Python dicts they would take ten times the memory, and only the few in work
are read at any time.
"""

from __future__ import annotations

import json
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import overload

from model_operator.api.names import LABEL_DEPLOYMENT, LABEL_MANAGED_BY, MANAGED_BY
from model_operator.domain.objects import Key, Kind, Object, ObjectRef
from model_operator.domain.objects.projection import (
    SLIMMED,
    owner_of,
    project,
    ref_of,
    resource_version_of,
    uid_of,
    with_resource_version,
)

WATCHED_KINDS = (
    Kind.MODEL_DEPLOYMENT,
    Kind.DEPLOYMENT,
    Kind.SERVICE,
    Kind.AUTOSCALER,
    Kind.DISRUPTION_BUDGET,
    Kind.CONFIG_MAP,
    Kind.REVISION,
    Kind.POD,
    Kind.ENDPOINT_SLICE,
)
CHILD_SELECTOR = f"{LABEL_MANAGED_BY}={MANAGED_BY},{LABEL_DEPLOYMENT}"
"""The label selector of our children, for lists and watches."""

Snapshot = Mapping[Kind, tuple[Object, ...]]
"""All objects of one key, by kind and ordered by name. Each watched kind is present, maybe empty."""

_MAX_GRAVES = 20_000
_FOR_EVER = float("inf")


class TimeWentBack(Exception):  # noqa: N818 - an event, which no caller can fix
    """The cluster returns an older state than the cache has: it was restored from a backup.

    Every cached object would count as newer than the real one. Only a restart with an empty cache helps.
    """


@dataclass(frozen=True, slots=True)
class Entry:
    """One stored object. ``entry`` creates it."""

    ref: ObjectRef
    owner: Key | None
    uid: str
    version: int | None
    packed: bytes
    """Without the resourceVersion, so equal states have equal bytes."""
    resource_version: str


class _Kept(Sequence[Object]):
    """Objects that are unpacked one by one, when they are used. Any thread may read it."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries = entries

    def __len__(self) -> int:
        return len(self._entries)

    @overload
    def __getitem__(self, index: int) -> Object: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Object]: ...

    def __getitem__(self, index: int | slice) -> Object | Sequence[Object]:
        if isinstance(index, slice):
            return _Kept(self._entries[index])
        return _unpack(self._entries[index])


class Cache:
    """Objects by owner. Each body that it returns is a copy for the caller."""

    def __init__(self) -> None:
        self._entries: dict[ObjectRef, Entry] = {}
        self._owned: dict[Key, set[ObjectRef]] = {}
        # uid -> the version up to which news about the object is ignored
        self._graves: OrderedDict[str, float] = OrderedDict()
        self._newest: dict[Kind, int] = {}

    def put(self, kind: Kind, body: Object) -> frozenset[Key]:
        """Store an object in its state at its resourceVersion.

        Returns the keys for which something changed: none if the object is not newer or no stored field changed, and
        two if the owner changed. An object that lost the operator's labels is removed.
        """
        # at its start, a watch reports mostly known objects, so this check must be cheap
        if not self._is_news(ref_of(kind, body), uid_of(body), _version(body)):
            return frozenset()
        return self._take(entry(kind, body))

    def remove(self, kind: Kind, body: Object) -> frozenset[Key]:
        """Remove an object that left the watch because it was deleted or lost the operator's labels.

        ``body`` has the resourceVersion at which the object left. Older news does not restore the object, but a label
        that is set again does. Returns the keys for which something changed.
        """
        ref, uid, version = ref_of(kind, body), uid_of(body), _version(body)
        self._saw(kind, version)
        self._bury(uid, _FOR_EVER if version is None else version)
        known = self._entries.get(ref)
        if known is None or known.uid != uid:
            return frozenset()  # a new object has this name by now
        if version is not None and known.version is not None and version < known.version:
            return frozenset()
        return self._drop(ref)

    def forget(self, ref: ObjectRef, uid: str | None = None) -> frozenset[Key]:
        """Remove an object that the API server no longer has (or no longer has with that uid).

        Returns the keys for which something changed.
        """
        if uid:
            self._bury(uid, _FOR_EVER)
        known = self._entries.get(ref)
        if known is None or (uid and known.uid != uid):
            return frozenset()
        return self._drop(ref)

    def kept(self, kind: Kind, body: Object) -> Entry:
        """The entry of an object. It is the stored one if the cache has this version already."""
        known = self._entries.get(ref_of(kind, body))
        if (
            known
            and known.version is not None
            and (known.uid, known.version) == (uid_of(body), _version(body))
        ):
            return known
        return entry(kind, body)

    def newest_version(self, kind: Kind) -> int:
        """The highest resourceVersion seen of that kind, or 0."""
        return self._newest.get(kind, 0)

    def replace(
        self,
        kind: Kind,
        items: Iterable[Entry],
        resource_version: str,
        *,
        namespace: str | None = None,
        at_least: int = 0,
    ) -> frozenset[Key]:
        """Store a complete list of a kind, of one namespace or of all, in its state at its resourceVersion.

        An object that is missing from the list and not newer than the list is removed. ``at_least`` is the
        ``newest_version`` before the list was requested. Returns the keys for which something changed. Raises
        TimeWentBack if the list is older than that.
        """
        listed_at = _number(resource_version)
        if listed_at is not None and listed_at < at_least:
            raise TimeWentBack(
                f"the list of {kind} is of resourceVersion {listed_at}, yet {at_least} has been seen before"
            )
        changed: set[Key] = set()
        present = set()
        for item in items:
            present.add(item.ref)
            if self._is_news(item.ref, item.uid, item.version):
                changed |= self._take(item)
        for ref, known in list(self._entries.items()):
            if ref.kind is not kind or ref in present or namespace not in (None, ref.namespace):
                continue
            if listed_at is None or known.version is None or known.version <= listed_at:
                self._bury(known.uid, _FOR_EVER if listed_at is None else listed_at)
                changed |= self._drop(ref)
        return frozenset(changed)

    def snapshot(self, key: Key) -> Snapshot:
        """The ModelDeployment of that key, if it exists, and every object labelled as its child."""
        found: dict[Kind, list[ObjectRef]] = {kind: [] for kind in WATCHED_KINDS}
        for ref in self._owned.get(key, ()):
            found[ref.kind].append(ref)
        return {
            kind: tuple(_unpack(self._entries[ref]) for ref in sorted(refs, key=lambda ref: ref.name))
            for kind, refs in found.items()
        }

    def get(self, ref: ObjectRef) -> Object | None:
        """One object, or None."""
        known = self._entries.get(ref)
        return _unpack(known) if known else None

    def has(self, ref: ObjectRef) -> bool:
        """Whether there is that object."""
        return ref in self._entries

    def model_deployments(self) -> list[Key]:
        """The keys of all ModelDeployments."""
        return sorted((ref.namespace, ref.name) for ref in self._entries if ref.kind is Kind.MODEL_DEPLOYMENT)

    def of_kind(self, kind: Kind) -> Sequence[Object]:
        """All objects of that kind, by namespace and name, unpacked when they are read."""
        refs = [ref for ref in self._entries if ref.kind is kind]
        refs.sort(key=lambda ref: (ref.namespace, ref.name))
        return _Kept([self._entries[ref] for ref in refs])

    def __len__(self) -> int:
        return len(self._entries)

    def _is_news(self, ref: ObjectRef, uid: str, version: int | None) -> bool:
        known = self._entries.get(ref)
        if known is not None and _not_newer(version, known.version):
            return False
        return version is None or version > self._graves.get(uid, -1)

    def _take(self, news: Entry) -> frozenset[Key]:
        self._saw(news.ref.kind, news.version)
        known = self._entries.get(news.ref)
        before = self._drop(news.ref)
        if news.owner is None:
            return before
        self._entries[news.ref] = news
        self._owned.setdefault(news.owner, set()).add(news.ref)
        if news.ref.kind in SLIMMED and known is not None and _says_the_same(known, news):
            return frozenset()
        return before | {news.owner}

    def _drop(self, ref: ObjectRef) -> frozenset[Key]:
        known = self._entries.pop(ref, None)
        if known is None or known.owner is None:
            return frozenset()
        siblings = self._owned[known.owner]
        siblings.discard(ref)
        if not siblings:
            del self._owned[known.owner]
        return frozenset({known.owner})

    def _bury(self, uid: str, version: float) -> None:
        if not uid:
            return
        self._graves[uid] = max(version, self._graves.get(uid, -1))
        self._graves.move_to_end(uid)
        if len(self._graves) > _MAX_GRAVES:
            self._graves.popitem(last=False)

    def _saw(self, kind: Kind, version: int | None) -> None:
        if version is not None:
            self._newest[kind] = max(version, self._newest.get(kind, 0))


def entry(kind: Kind, body: Object) -> Entry:
    """Project and compress an object to the form in which the cache stores it."""
    kept = with_resource_version(project(kind, body), "")
    packed = zlib.compress(json.dumps(kept, separators=(",", ":")).encode(), level=1)
    at = resource_version_of(body)
    return Entry(ref_of(kind, body), owner_of(kind, body), uid_of(body), _number(at), packed, at)


def _unpack(kept: Entry) -> Object:
    return with_resource_version(json.loads(zlib.decompress(kept.packed)), kept.resource_version)


def _says_the_same(one: Entry, other: Entry) -> bool:
    """Whether two states of an object differ only in their resourceVersions."""
    return (one.owner, one.packed) == (other.owner, other.packed)


def _version(body: Object) -> int | None:
    return _number(resource_version_of(body))


def _number(resource_version: object) -> int | None:
    text = str(resource_version)
    return int(text) if text.isascii() and text.isdigit() else None


def _not_newer(version: int | None, known: int | None) -> bool:
    return version is not None and known is not None and version <= known

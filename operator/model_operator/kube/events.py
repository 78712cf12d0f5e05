"""Kubernetes events that a person can read: what is said again is counted, and nobody is flooded."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from model_operator.api.names import FIELD_MANAGER
from model_operator.domain.objects import Kind, Object, ObjectRef
from model_operator.domain.plan import Event
from model_operator.kube.client import KubeClient
from model_operator.kube.errors import NotFound
from model_operator.kube.resources import API_VERSIONS

WINDOW_SECONDS = 600.0
MOST_IN_WINDOW = 25
"""Different events about one object; a life that is this eventful is told by the log."""
_REMEMBERED = 4096
_MAX_MESSAGE_BYTES = 1024

_Words = tuple[str, str, str]
"""The uid of the object, reason and message."""


@dataclass(slots=True)
class _Emitted:
    ref: ObjectRef
    count: int
    at: float


class EventRecorder:
    """Writes events, and remembers for a while which, within fixed bounds."""

    def __init__(self, kube: KubeClient, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock`` gives seconds that only grow."""
        self._kube = kube
        self._clock = clock
        self._emitted: OrderedDict[_Words, _Emitted] = OrderedDict()
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    async def tell(self, regarding: Object, event: Event) -> bool:
        """Says it on the object (its body, with apiVersion, kind, name and uid).

        What was said in the last ten minutes raises the count of the event that is there. Returns False when the
        object had too many events in that time, so that this one was left out. Raises ApiError.
        """
        message = _at_most(event.message, _MAX_MESSAGE_BYTES)
        uid = str(regarding["metadata"].get("uid", ""))
        words = (uid, event.reason, message)
        before, now = self._emitted.get(words), self._clock()
        if before is not None and now - before.at < WINDOW_SECONDS and await self._again(before):
            before.at = now
            self._emitted.move_to_end(words)
            return True
        if not self._has_room(uid, now):
            return False
        ref = ObjectRef(
            Kind.EVENT,
            regarding["metadata"]["namespace"],
            f"{regarding['metadata']['name']}.{secrets.token_hex(8)}",
        )
        await self._kube.create(ref, _event(ref, regarding, event, message))
        self._emitted[words] = _Emitted(ref, 1, now)
        self._emitted.move_to_end(words)
        if len(self._emitted) > _REMEMBERED:
            self._emitted.popitem(last=False)
        return True

    async def _again(self, told: _Emitted) -> bool:
        """Counts the event once more; False when it is not there any more."""
        patch = {"count": told.count + 1, "lastTimestamp": _now()}
        try:
            await self._kube.merge_patch(told.ref, patch)
        except NotFound:
            return False
        told.count += 1
        return True

    def _has_room(self, uid: str, now: float) -> bool:
        times = self._times.setdefault(uid, deque(maxlen=MOST_IN_WINDOW))
        self._times.move_to_end(uid)
        if len(self._times) > _REMEMBERED:
            self._times.popitem(last=False)
        if len(times) == MOST_IN_WINDOW and now - times[0] < WINDOW_SECONDS:
            return False
        times.append(now)
        return True


def _event(ref: ObjectRef, regarding: Object, event: Event, message: str) -> dict[str, Any]:
    metadata, now = regarding["metadata"], _now()
    return {
        "apiVersion": API_VERSIONS[Kind.EVENT],
        "kind": "Event",
        "metadata": {"namespace": ref.namespace, "name": ref.name},
        "involvedObject": {
            "apiVersion": regarding["apiVersion"],
            "kind": regarding["kind"],
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata.get("uid", ""),
            "resourceVersion": metadata.get("resourceVersion", ""),
        },
        "type": "Warning" if event.warning else "Normal",
        "reason": event.reason,
        "message": message,
        "source": {"component": FIELD_MANAGER},
        "reportingComponent": FIELD_MANAGER,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _at_most(text: str, limit: int) -> str:
    return text if len(text.encode()) <= limit else text.encode()[: limit - 3].decode(errors="ignore") + "…"

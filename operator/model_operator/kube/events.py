"""Writes Kubernetes events: repeated ones raise a count, and their number is limited."""

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
"""Different events about one object. Further ones are only in the log."""
_REMEMBERED = 4096
_MAX_MESSAGE_BYTES = 1024

_Identity = tuple[str, str, str]
"""The uid of the object, reason and message."""


@dataclass(slots=True)
class _Emitted:
    ref: ObjectRef
    count: int
    at: float


class EventRecorder:
    """Writes events, and remembers a bounded number of them to count repetitions."""

    def __init__(self, kube: KubeClient, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock`` returns monotonic seconds."""
        self._kube = kube
        self._clock = clock
        self._emitted: OrderedDict[_Identity, _Emitted] = OrderedDict()
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    async def emit(self, regarding: Object, event: Event) -> bool:
        """Emits an event about an object (its body, with apiVersion, kind, name and uid). Raises ApiError.

        If the same event was emitted in the last ten minutes, its count is raised instead. Returns False if the event
        was dropped, because the object had MOST_IN_WINDOW different events in that time.
        """
        message = _at_most(event.message, _MAX_MESSAGE_BYTES)
        uid = str(regarding["metadata"].get("uid", ""))
        identity = (uid, event.reason, message)
        before, now = self._emitted.get(identity), self._clock()
        if before is not None and now - before.at < WINDOW_SECONDS and await self._again(before):
            before.at = now
            self._emitted.move_to_end(identity)
            return True
        if not self._has_room(uid, now):
            return False
        ref = ObjectRef(
            Kind.EVENT,
            regarding["metadata"]["namespace"],
            f"{regarding['metadata']['name']}.{secrets.token_hex(8)}",
        )
        await self._kube.create(ref, _event(ref, regarding, event, message))
        self._emitted[identity] = _Emitted(ref, 1, now)
        self._emitted.move_to_end(identity)
        if len(self._emitted) > _REMEMBERED:
            self._emitted.popitem(last=False)
        return True

    async def _again(self, emitted: _Emitted) -> bool:
        """Raises the count of the event. Returns False if it does not exist any more."""
        patch = {"count": emitted.count + 1, "lastTimestamp": _now()}
        try:
            await self._kube.merge_patch(emitted.ref, patch)
        except NotFound:
            return False
        emitted.count += 1
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

"""Keeps two who want different things of one object from fighting over it at full speed."""

from __future__ import annotations

import hashlib
import json
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from model_operator.domain.objects import Object, ObjectRef

REPAIRS = 5
WINDOW_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class _Repairs:
    body: bytes
    """The digest of what the object was made each time."""
    times: deque[float] = field(default_factory=lambda: deque(maxlen=REPAIRS))


class RepairLimit:
    """Counts repairs per object; after ``REPAIRS`` within ``WINDOW_SECONDS`` the next one has to wait.

    A repair makes an object what it was made before. So it is none when the body has changed: a person who edits a
    ModelDeployment six times in a minute fights with nobody. And what was tried and met a conflict is none: a
    Deployment's controller writes its status many times in the seconds after a change.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._repairs: dict[ObjectRef, _Repairs] = {}

    def may_repair(self, ref: ObjectRef, body: Object) -> bool:
        """Whether the object may be made what ``body`` says, now."""
        known = self._repairs.get(ref)
        if known is None or known.body != _digest(body) or len(known.times) < REPAIRS:
            return True
        return self._clock() - known.times[0] >= WINDOW_SECONDS

    def repaired(self, ref: ObjectRef, body: Object) -> None:
        """It was."""
        known, digest = self._repairs.get(ref), _digest(body)
        if known is None or known.body != digest:
            known = self._repairs[ref] = _Repairs(digest)
        known.times.append(self._clock())

    def forget(self, namespace: str, name: str) -> None:
        """Drops what is known of a ModelDeployment's children of that name."""
        for ref in [r for r in self._repairs if (r.namespace, r.name) == (namespace, name)]:
            del self._repairs[ref]


def _digest(body: Object) -> bytes:
    """In place of the body, which may be kilobytes: after an upgrade of the operator there may be thousands."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).digest()

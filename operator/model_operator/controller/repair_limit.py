"""Limits repairs, so two clients with different goals for one object don't overwrite each other at full speed."""

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
    """The digest of the body that each repair applied."""
    times: deque[float] = field(default_factory=lambda: deque(maxlen=REPAIRS))


class RepairLimit:
    """Counts repairs per object. After ``REPAIRS`` within ``WINDOW_SECONDS``, the next one has to wait.

    A repair applies the same body again. A new body is not a repair, so six edits of a ModelDeployment in a minute do
    not reach the limit. An attempt that ended in a conflict does not count either, because a Deployment's controller
    writes its status many times in the seconds after a change.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._repairs: dict[ObjectRef, _Repairs] = {}

    def may_repair(self, ref: ObjectRef, body: Object) -> bool:
        """Whether ``body`` may be applied to the object now."""
        known = self._repairs.get(ref)
        if known is None or known.body != _digest(body) or len(known.times) < REPAIRS:
            return True
        return self._clock() - known.times[0] >= WINDOW_SECONDS

    def repaired(self, ref: ObjectRef, body: Object) -> None:
        """Count a repair that succeeded."""
        known, digest = self._repairs.get(ref), _digest(body)
        if known is None or known.body != digest:
            known = self._repairs[ref] = _Repairs(digest)
        known.times.append(self._clock())

    def forget(self, namespace: str, name: str) -> None:
        """Drops the repairs of the children of that name."""
        for ref in [r for r in self._repairs if (r.namespace, r.name) == (namespace, name)]:
            del self._repairs[ref]


def _digest(body: Object) -> bytes:
    """Stored instead of the body. After an upgrade of the operator there may be thousands of bodies of some KiB."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).digest()

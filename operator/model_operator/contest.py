"""Keeps two who want different things of one object from fighting over it at full speed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from model_operator.world import ObjectRef

REPAIRS = 5
WINDOW_SECONDS = 60.0


class Contest:
    """Counts repairs per object; after ``REPAIRS`` within ``WINDOW_SECONDS`` the next one has to wait.

    What was tried and met a conflict is no repair: a Deployment's controller writes its status many times in the
    seconds after a change, and would pass for somebody who fights.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._repairs: dict[ObjectRef, deque[float]] = {}

    def may_repair(self, ref: ObjectRef) -> bool:
        """Whether the object may be repaired now."""
        times = self._repairs.get(ref)
        return times is None or len(times) < REPAIRS or self._clock() - times[0] >= WINDOW_SECONDS

    def repaired(self, ref: ObjectRef) -> None:
        """It was."""
        self._repairs.setdefault(ref, deque(maxlen=REPAIRS)).append(self._clock())

    def forget(self, namespace: str, name: str) -> None:
        """Drops what is known of a ModelDeployment's children of that name."""
        for ref in [r for r in self._repairs if (r.namespace, r.name) == (namespace, name)]:
            del self._repairs[ref]

"""Limits the number of rollouts in progress, and keeps the order of those that wait."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

from model_operator.domain.objects import Key


class Slots:
    """A slot for each rollout in progress. A free slot goes to the key that has waited longest."""

    def __init__(self, limit: int, call: Callable[[Key], object]) -> None:
        """``call`` enqueues a key, whose reconcile may take a slot at once or at any later time."""
        self._limit = limit
        self._call = call
        self._taken: set[Key] = set()
        # a dict, since it keeps the order
        self._line: dict[Key, None] = {}

    def free_for(self, key: Key) -> bool:
        """Whether ``key`` may start or continue a rollout."""
        return key in self._taken or len(self._taken) < self._limit

    def note(self, key: Key, in_flight: bool, waits: bool = False) -> None:
        """Takes or releases the slot of ``key``, or puts the key in the queue for one."""
        if in_flight:
            self._taken.add(key)
        else:
            self._taken.discard(key)
        if not waits:
            self._line.pop(key, None)
        elif key not in self._line:
            self._line[key] = None
            return  # it was reconciled just now
        # even if no slot was released, because a key that was called may not have used its free slot
        for waiting in list(islice(self._line, max(0, self._limit - len(self._taken)))):
            if waiting != key:
                self._call(waiting)

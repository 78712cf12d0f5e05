"""How many rollouts are under way at once, whose, and who comes next."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

from model_operator.domain.objects import Key


class Slots:
    """A slot for each rollout under way. When one comes free, who has waited longest is called."""

    def __init__(self, limit: int, call: Callable[[Key], object]) -> None:
        """``call`` has a key looked at; it may ask, and take a slot, at once or any time later."""
        self._limit = limit
        self._call = call
        self._taken: set[Key] = set()
        # a dict, since it keeps the order
        self._line: dict[Key, None] = {}

    def free_for(self, key: Key) -> bool:
        """Whether ``key`` may start, or go on with, a rollout."""
        return key in self._taken or len(self._taken) < self._limit

    def note(self, key: Key, in_flight: bool, waits: bool = False) -> None:
        """Takes or gives back the slot of ``key``, or has it wait for one."""
        if in_flight:
            self._taken.add(key)
        else:
            self._taken.discard(key)
        if not waits:
            self._line.pop(key, None)
        elif key not in self._line:
            self._line[key] = None
            return  # it has just looked
        # also where no slot was given back: one that was called may have left a free slot behind
        for waiting in list(islice(self._line, max(0, self._limit - len(self._taken)))):
            if waiting != key:
                self._call(waiting)

"""Checks that the background tasks still make progress: the watches and the workers.

A restart can't fix an outage of the API server. So a silent watch counts as a fault only while the API server answers
other calls.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

WATCH_SECONDS = 300.0
"""Longer than a healthy watch can be silent, since each watch is renewed every two minutes."""
WORK_SECONDS = 120.0
"""A reconcile that takes longer is stuck, because every call in it has a far shorter timeout."""


class Liveness:
    """Signs of life, in seconds of a monotonic clock, and the problem if they are missing."""

    def __init__(
        self, work_seconds: Callable[[], float], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """``work_seconds`` returns the time that the oldest reconcile in progress has taken so far."""
        self._work_seconds = work_seconds
        self._clock = clock
        self._watches: dict[str, float] = {}
        self._answered = float("-inf")
        self._listed: set[str] = set()
        self.relisted = asyncio.Event()
        """Set when a watch restarted with a list. Neither reports objects that were deleted in between."""

    def expect(self, watches: Iterable[str]) -> None:
        """Register watches that are being started, by their paths."""
        now = self._clock()
        self._watches |= dict.fromkeys(watches, now)

    def heard(self, watch: str) -> None:
        """The API server answered a watch, or the list that starts one. Unknown paths are ignored."""
        if watch in self._watches:
            self._watches[watch] = self._clock()

    def listed(self, watch: str) -> None:
        """The API server answered the list that starts a watch."""
        self.heard(watch)
        if watch in self._listed:
            self.relisted.set()
        self._listed.add(watch)

    def answered(self) -> None:
        """The API server answered a call other than a watch."""
        self._answered = self._clock()

    def trouble(self) -> str:
        """The part that is stuck, or an empty text."""
        if (seconds := self._work_seconds()) > WORK_SECONDS:
            return f"a reconcile has been stuck for {seconds:.0f} s"
        for watch, heard in self._watches.items():
            if self._answered - heard > WATCH_SECONDS:
                silent = self._clock() - heard
                return f"the watch {watch} has been silent for {silent:.0f} s while the API server answers"
        return ""

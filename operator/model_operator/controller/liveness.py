"""Whether the parts that nobody waits for are still at work: the watches and the workers.

An outage of the API server is nothing that a restart would fix, so a silent watch is a fault of ours only while the
API server answers our other calls.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

WATCH_SECONDS = 300.0
"""Several times as long as a watch may be without an answer: each is asked for anew every other minute."""
WORK_SECONDS = 120.0
"""A reconcile that takes longer will not come back; every call in it is bounded by far less."""


class Liveness:
    """Signs of life, by a monotonic clock in seconds, and what their absence means."""

    def __init__(
        self, work_seconds: Callable[[], float], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """``work_seconds`` tells how long the key that has been in work for the longest time has been."""
        self._work_seconds = work_seconds
        self._clock = clock
        self._watches: dict[str, float] = {}
        self._answered = float("-inf")
        self._listed: set[str] = set()
        self.began_anew = asyncio.Event()
        """Set when a watch began anew with a list: what was deleted meanwhile is in neither."""

    def expect(self, watches: Iterable[str]) -> None:
        """These watches, named by their paths, are being started."""
        now = self._clock()
        self._watches |= dict.fromkeys(watches, now)

    def heard(self, watch: str) -> None:
        """The API server answered a watch, or the list that begins one; other names are ignored."""
        if watch in self._watches:
            self._watches[watch] = self._clock()

    def listed(self, watch: str) -> None:
        """The API server answered the list that begins a watch."""
        self.heard(watch)
        if watch in self._listed:
            self.began_anew.set()
        self._listed.add(watch)

    def answered(self) -> None:
        """The API server answered a call that is no watch."""
        self._answered = self._clock()

    def trouble(self) -> str:
        """What is stuck; empty when nothing is."""
        if (seconds := self._work_seconds()) > WORK_SECONDS:
            return f"a reconcile is stuck for {seconds:.0f} s"
        for watch, heard in self._watches.items():
            if self._answered - heard > WATCH_SECONDS:
                silent = self._clock() - heard
                return f"the watch {watch} is silent for {silent:.0f} s while the API server answers"
        return ""

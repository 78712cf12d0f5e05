"""A queue of keys with the semantics of client-go's: each key is at most once in the queue and once in work.

To add a key requests a reconcile, no matter how often or why. A key that is added while it is in work is handed out
again afterwards, and never to two workers at once. Delays and failures only change the time.

One difference from client-go: keys wait in groups, and the groups take turns. A group with thousands of keys does not
delay the others.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class ShutDown(Exception):  # noqa: N818 - not a fault
    """The queue hands out no more keys."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Growing delays for a key that keeps failing, in seconds."""

    first: float = 0.5
    longest: float = 300.0

    def after(self, failures: int) -> float:
        """The delay after that many failures in a row (from 1). It doubles each time, with a jitter of up to half."""
        ceiling = min(self.longest, self.first * 2.0 ** min(failures - 1, 32))
        return random.uniform(ceiling / 2, ceiling)  # noqa: S311 - spreads load, guards nothing


class WorkQueue(Generic[K]):
    """The queue of one event loop. Not thread-safe.

    ``clock`` returns monotonic seconds. ``on_wait`` is called with the seconds that a key has waited. ``group_of``
    returns the group of a key. By default, all keys are in one group.
    """

    def __init__(
        self,
        *,
        backoff: Backoff | None = None,
        clock: Callable[[], float] = time.monotonic,
        on_wait: Callable[[float], None] = lambda seconds: None,
        group_of: Callable[[K], Hashable] = lambda key: None,
    ) -> None:
        self._backoff = backoff or Backoff()
        self._clock = clock
        self._on_wait = on_wait
        self._group_of = group_of
        self._ready: OrderedDict[Hashable, deque[K]] = OrderedDict()
        """The queues of the groups, none of them empty. The first group is next."""
        self._depth = 0
        self._ready_since: dict[K, float] = {}
        """The dirty set: keys that wait, or will wait when their current work is done."""
        self._working_since: dict[K, float] = {}
        self._due: dict[K, float] = {}
        self._agenda: list[tuple[float, int, K]] = []
        self._sequence = itertools.count()
        self._failures: dict[K, int] = {}
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._idle = asyncio.Event()
        self._idle.set()
        self._alarm: asyncio.TimerHandle | None = None
        self._shut = False

    def add(self, key: K) -> None:
        """Enqueue the key for the next free worker. A delay that was set before stays."""
        if self._shut or key in self._ready_since:
            return
        self._ready_since[key] = self._clock()
        if key not in self._working_since:
            self._stand_in_line(key)

    def add_after(self, key: K, seconds: float) -> None:
        """Enqueue the key after that time. Of several calls, the earliest time counts."""
        if seconds <= 0:
            self.add(key)
            return
        due = self._clock() + seconds
        if self._shut or self._due.get(key, float("inf")) <= due:
            return
        self._due[key] = due
        heapq.heappush(self._agenda, (due, next(self._sequence), key))
        self._set_alarm()

    def add_rate_limited(self, key: K) -> float:
        """Enqueue the key again after a failure. Returns the delay in seconds."""
        self._failures[key] = self._failures.get(key, 0) + 1
        delay = self._backoff.after(self._failures[key])
        self.add_after(key, delay)
        return delay

    def forget(self, key: K) -> None:
        """Reset the failures of a key after a success."""
        self._failures.pop(key, None)

    def failures(self, key: K) -> int:
        """The number of failures of the key in a row."""
        return self._failures.get(key, 0)

    async def get(self) -> K:
        """Wait for a key and take it. Call ``done`` afterwards. Raises ShutDown."""
        while not self._shut and not self._ready:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._call_next()  # this worker was called but is cancelled
                raise
        if self._shut:
            raise ShutDown
        key = self._take_next()
        now = self._clock()
        self._on_wait(now - self._ready_since.pop(key))
        self._working_since[key] = now
        self._idle.clear()
        return key

    def done(self, key: K) -> None:
        """Finish the work on a key. If the key was added meanwhile, it waits again."""
        del self._working_since[key]
        if key in self._ready_since and not self._shut:
            self._stand_in_line(key)
        if not self._working_since:
            self._idle.set()

    def shut_down(self) -> None:
        """Hand out no more keys and accept none. Keys in work continue."""
        self._shut = True
        if self._alarm is not None:
            self._alarm.cancel()
        while self._waiting:
            self._call_next()

    async def drained(self) -> None:
        """Wait until no key is in work."""
        await self._idle.wait()

    @property
    def depth(self) -> int:
        """The number of keys that wait."""
        return self._depth

    @property
    def in_work(self) -> int:
        """The number of keys in work."""
        return len(self._working_since)

    @property
    def longest_work_seconds(self) -> float:
        """The seconds since the oldest key in work was taken."""
        return self._clock() - min(self._working_since.values()) if self._working_since else 0.0

    def release_due(self) -> None:
        """Enqueue the keys that are due. Called by the queue's own timer."""
        now = self._clock()
        while self._agenda and self._agenda[0][0] <= now:
            due, _, key = heapq.heappop(self._agenda)
            if self._due.get(key) == due:  # otherwise an earlier time was set after this one
                del self._due[key]
                self.add(key)
        self._set_alarm()

    def _stand_in_line(self, key: K) -> None:
        self._ready.setdefault(self._group_of(key), deque()).append(key)
        self._depth += 1
        self._call_next()

    def _take_next(self) -> K:
        group, line = self._ready.popitem(last=False)
        key = line.popleft()
        self._depth -= 1
        if line:
            self._ready[group] = line  # behind all others
        return key

    def _call_next(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._agenda and not self._shut:
            delay = max(0.0, self._agenda[0][0] - self._clock())
            self._alarm = asyncio.get_running_loop().call_later(delay, self.release_due)


async def work(
    queue: WorkQueue[K],
    reconcile: Callable[[K], Awaitable[float | None]],
    on_error: Callable[[K, Exception, float], None],
) -> None:
    """Run one worker: reconcile keys until the queue shuts down.

    ``reconcile`` returns the seconds until the next reconcile of the key, or None. If it raises an error, the key is
    retried with growing delay, and ``on_error`` gets the key, the error and the delay in seconds.
    """
    while True:
        try:
            key = await queue.get()
        except ShutDown:
            return
        try:
            look_again = await reconcile(key)
        except Exception as error:
            on_error(key, error, queue.add_rate_limited(key))
        else:
            queue.forget(key)
            if look_again is not None:
                queue.add_after(key, look_again)
        finally:
            queue.done(key)
        # a reconcile without work to do never yields to the event loop, so at a start with thousands of keys it would
        # block until the last of them
        await asyncio.sleep(0)

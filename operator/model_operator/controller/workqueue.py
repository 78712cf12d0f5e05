"""A queue of keys with the semantics of client-go's: every key at most once in line and once in work.

Adding a key says "look at this one", no matter how often or why. A key that is added while it is in work is
handed out again afterwards, never to two workers at once. Delays and failures only decide when.

One thing is not client-go's: keys stand in line by groups, of which each has its turn, so that a group with
thousands of keys does not keep the others waiting.
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
    """Growing delays of a key that keeps failing, in seconds."""

    first: float = 0.5
    longest: float = 300.0

    def after(self, failures: int) -> float:
        """The delay after that many failures in a row (from 1): doubled each time, jittered by half."""
        ceiling = min(self.longest, self.first * 2.0 ** min(failures - 1, 32))
        return random.uniform(ceiling / 2, ceiling)  # noqa: S311 - spreads load, guards nothing


class WorkQueue(Generic[K]):
    """One event loop's queue; not safe across threads.

    ``clock`` gives monotonic seconds; ``on_wait`` learns how many seconds a key stood in line. ``group_of`` names the
    group of a key; by default all are in one.
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
        """The lines, none of them empty; the group whose turn it is stands first."""
        self._depth = 0
        self._ready_since: dict[K, float] = {}
        """The dirty set: keys that wait in line or will once their present turn is over."""
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
        """Have the key looked at as soon as a worker is free. An earlier wish to look later stays."""
        if self._shut or key in self._ready_since:
            return
        self._ready_since[key] = self._clock()
        if key not in self._working_since:
            self._stand_in_line(key)

    def add_after(self, key: K, seconds: float) -> None:
        """Have the key looked at after that time; of several such wishes the earliest counts."""
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
        """Have the key looked at again after a failure; returns the delay in seconds."""
        self._failures[key] = self._failures.get(key, 0) + 1
        delay = self._backoff.after(self._failures[key])
        self.add_after(key, delay)
        return delay

    def forget(self, key: K) -> None:
        """The key went well: its next failure is its first."""
        self._failures.pop(key, None)

    def failures(self, key: K) -> int:
        """How often in a row the key has failed."""
        return self._failures.get(key, 0)

    async def get(self) -> K:
        """Wait for a key and take it into work; ``done`` must follow. Raises ShutDown."""
        while not self._shut and not self._ready:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._call_next()  # this worker was called but has left
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
        """The key is out of work; if it was added meanwhile, it stands in line again."""
        del self._working_since[key]
        if key in self._ready_since and not self._shut:
            self._stand_in_line(key)
        if not self._working_since:
            self._idle.set()

    def shut_down(self) -> None:
        """Hand out no more keys and take none; what is in work goes on."""
        self._shut = True
        if self._alarm is not None:
            self._alarm.cancel()
        while self._waiting:
            self._call_next()

    async def drained(self) -> None:
        """Wait until nothing is in work."""
        await self._idle.wait()

    @property
    def depth(self) -> int:
        """How many keys stand in line."""
        return self._depth

    @property
    def in_work(self) -> int:
        """How many keys workers hold."""
        return len(self._working_since)

    @property
    def longest_work_seconds(self) -> float:
        """How long the key that has been in work for the longest time has been."""
        return self._clock() - min(self._working_since.values()) if self._working_since else 0.0

    def release_due(self) -> None:
        """Put the keys whose time has come in line; called by the queue's own timer."""
        now = self._clock()
        while self._agenda and self._agenda[0][0] <= now:
            due, _, key = heapq.heappop(self._agenda)
            if self._due.get(key) == due:  # else an earlier time was agreed after this one
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
    """One worker: reconcile keys until the queue shuts down.

    ``reconcile`` returns the seconds after which it wants to see the key again, or None. When it raises, the
    key comes again with growing delay and ``on_error`` gets key, error and delay in seconds.
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
        # neither a key that is there nor a look that finds nothing to do waits for anything: at a start with
        # thousands of keys the event loop would stand still until the last of them
        await asyncio.sleep(0)

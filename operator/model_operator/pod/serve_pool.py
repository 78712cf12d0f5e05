"""The workers of the server, and which request goes to which of them: a part of serve.py.

Requests that no worker is free for wait in a queue with a bound.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import logging
import os
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from model_operator.pod.serve_batch import Batcher, can_be_batched
    from model_operator.pod.serve_forks import LoadingEndedError, Processes
    from model_operator.pod.serve_request import (
        Answer,
        Frame,
        Request,
        batch_frame,
        read_answer,
        read_answers,
        request_frame,
    )
    from model_operator.pod.serve_slots import Events, Limits, Slot, Worker
else:
    from serve_batch import Batcher, can_be_batched
    from serve_forks import LoadingEndedError, Processes
    from serve_request import (
        Answer,
        Frame,
        Request,
        batch_frame,
        read_answer,
        read_answers,
        request_frame,
    )
    from serve_slots import Events, Limits, Slot, Worker

# how often a worker with a queue behind it is looked at
LOOK_SECONDS = 0.02
# how often a busy worker gets a ping
PING_SECONDS = 1.0
# as a probe of the pod waits for an answer
BLOCKED_SECONDS = 5.0
# a little more than the minute after which the kubelet restarts a server that gives no answer
MOST_BLOCKED_SECONDS = 75.0
# that many workers in a row ended over a request, and none answered one
MOST_DEATHS_IN_ROW = 5
LONGEST_PAUSE = 5.0
LAST_ANSWERS_SECONDS = 0.1

log = logging.getLogger("serve")


class SaturatedError(Exception):
    """The request would wait behind too many others."""


class CallerGoneError(Exception):
    """The caller closed the connection while the request waited."""


async def _never() -> None:
    """For a batch, which goes on although one of its callers is gone."""
    await asyncio.Event().wait()


class Pool:
    """The workers, and the requests that they work on or that wait for them."""

    def __init__(self, limits: Limits, processes: Processes, died: Callable[[int, int, bool], None]) -> None:
        """``died`` is called with the pid and exit code of a worker that ended, and whether all of them end so."""
        self._limits = limits
        self._processes = processes
        self._died = died
        self._workers: list[Worker] = []
        self._queue: collections.deque[tuple[asyncio.Future[Slot], int]] = collections.deque()
        self._queued_bytes = 0
        self._in_work = 0
        self._deaths_in_row = 0
        self._look: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._batcher = Batcher(limits, self._answer_together, self._answer_alone)

    async def start(self) -> None:
        """Starts the workers. Raises LoadingEndedError when the model can't be loaded."""
        for _ in range(self._limits.workers):
            await self._add()

    async def _add(self) -> None:
        worker = Worker(await self._processes.make(), self._limits.each)
        worker.listen()
        worker.idle.append(await worker.open_slot(self._release))
        self._workers.append(worker)
        self._keep(self._replace(worker))
        self._hand_out()

    async def _replace(self, worker: Worker) -> None:
        """Waits for the end of a worker and starts another one."""
        await worker.process.ended()
        self._workers.remove(worker)
        for slot in list(worker.slots):
            slot.close()
        code = await self._processes.end(worker.process)
        self._deaths_in_row += 1
        log.error("a worker ended with exit code %d", code)
        # while the only one loads the model again, another pod should get the requests
        alone = not self._workers and not self._processes.can_copy
        all_end = alone or self._deaths_in_row >= MOST_DEATHS_IN_ROW
        if all_end:
            why = "it was the only one" if alone else "none has answered a request since"
            log.error("%s: the server ends, too", why)
            # for the answers to those whose requests it worked on
            await asyncio.sleep(LAST_ANSWERS_SECONDS)
        self._died(worker.process.pid, code, all_end)
        if self._deaths_in_row > 1:
            await asyncio.sleep(min(0.1 * 2.0**self._deaths_in_row, LONGEST_PAUSE))
        try:
            await self._add()
        except LoadingEndedError as ended:
            self._died(worker.process.pid, ended.code, True)

    async def answer(self, request: Request, gone: Callable[[], Awaitable[Any]]) -> Answer | Events:
        """The answer of a worker, or a stream. ``gone`` returns when the caller has closed the connection.

        Raises SaturatedError, WorkerEndedError, CallerGoneError, and LateError after the limit's seconds.
        """
        if self._limits.batch_rows > 1 and can_be_batched(request):
            together: Answer | Events = await self._batcher.answer(request)
            return together
        return await self._answer_alone(request, gone)

    async def _answer_alone(self, request: Request, gone: Callable[[], Awaitable[Any]]) -> Answer | Events:
        found = await self._ask(request_frame(request), gone)
        return found if isinstance(found, Events) else read_answer(found)

    async def _answer_together(self, requests: list[Request]) -> list[Answer]:
        found = await self._ask(batch_frame(requests), _never)
        # a batch has no streams
        return read_answers(cast("Frame", found))

    async def _ask(self, question: Frame, gone: Callable[[], Awaitable[Any]]) -> Frame | Events:
        begun = time.monotonic()
        slot = None if self._queue else self._free_slot()
        if slot is None:
            slot = await self._wait_for_slot(len(question.body), gone)
        answered = slot.ask(question)
        left = max(0.0, begun + self._limits.seconds - time.monotonic())
        timer = asyncio.get_running_loop().call_later(left, slot.be_late)
        try:
            return await answered
        finally:
            timer.cancel()

    def _free_slot(self) -> Slot | None:
        """Takes a slot of the worker that has least to do, unless all have enough."""
        if self._in_work >= self._limits.concurrency:
            return None
        free = [worker for worker in self._workers if worker.idle and worker.busy < worker.target]
        if not free:
            return None
        worker = min(free, key=lambda worker: worker.busy)
        worker.busy += 1
        self._in_work += 1
        if self._watching is None or self._watching.done():
            self._watching = asyncio.ensure_future(self._watch_while_busy())
        return worker.idle.pop()

    async def _watch_while_busy(self) -> None:
        """Looks for workers that can do nothing, since the model holds the GIL, and ends one that does it too long."""
        while self._in_work:
            await asyncio.sleep(PING_SECONDS)
            now = time.monotonic()
            for worker in self._workers:
                if worker.blocked_for(now) > MOST_BLOCKED_SECONDS:
                    log.error("a worker was blocked for %d s: it is killed", MOST_BLOCKED_SECONDS)
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(worker.process.pid, signal.SIGKILL)
                elif worker.busy:
                    worker.ping(now)

    def is_blocked(self) -> bool:
        """Whether no worker can answer for now: each is blocked, or there is none."""
        now = time.monotonic()
        return all(worker.blocked_for(now) >= BLOCKED_SECONDS for worker in self._workers)

    def _release(self, slot: Slot, frame: Frame | None) -> None:
        """Takes a slot back with the answer to its request, or without one when its worker has ended."""
        worker = slot.worker
        worker.busy -= 1
        self._in_work -= 1
        if frame is None:
            worker.slots.remove(slot)
            self._keep(self._reopen(worker))
        else:
            self._deaths_in_row = 0
            worker.idle.append(slot)
            *_, seconds, cpu_seconds = frame.head
            worker.answered.seconds += seconds
            worker.answered.cpu_seconds += cpu_seconds
        self._hand_out()

    async def _reopen(self, worker: Worker) -> None:
        """Opens a slot in place of one that was closed, if the worker lives."""
        if worker in self._workers:
            with contextlib.suppress(OSError):
                worker.idle.append(await worker.open_slot(self._release))
                self._hand_out()

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs something beside the requests."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _wait_for_slot(self, size: int, gone: Callable[[], Awaitable[Any]]) -> Slot:
        """Waits in the queue. The time there is the server's own, so a request that waits too long is saturation."""
        limits = self._limits
        # some of those that may be in work wait for a worker that is not known to take several at once
        full = self._in_work + len(self._queue) >= limits.concurrency + limits.queue
        if full or (self._queue and self._queued_bytes + size > limits.queue_bytes):
            raise SaturatedError
        turn: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()
        self._queue.append((turn, size))
        self._queued_bytes += size
        if self._look is None or self._look.done():
            self._look = asyncio.ensure_future(self._look_while_some_wait())
        leaving = asyncio.ensure_future(gone())
        try:
            await asyncio.wait((turn, leaving), timeout=limits.seconds, return_when="FIRST_COMPLETED")
        finally:
            leaving.cancel()
            if not turn.done():
                self._queue.remove((turn, size))
                self._queued_bytes -= size
        if turn.done():
            return turn.result()
        raise CallerGoneError if leaving.done() else SaturatedError

    def _hand_out(self) -> None:
        """Gives free slots to the requests that wait, in their order."""
        while self._queue and (slot := self._free_slot()) is not None:
            turn, size = self._queue.popleft()
            self._queued_bytes -= size
            turn.set_result(slot)

    async def _look_while_some_wait(self) -> None:
        """Gives more requests at once to workers that wait for something else than the CPU."""
        while self._queue:
            await asyncio.sleep(LOOK_SECONDS)
            for worker in list(self._workers):
                worker.look(time.monotonic(), self._limits)
                # one that has just ended is replaced elsewhere
                with contextlib.suppress(OSError):
                    while len(worker.slots) < worker.target:
                        worker.idle.append(await worker.open_slot(self._release))
            self._hand_out()

"""The workers of the server, and which request goes to which of them: a part of serve.py.

A worker predicts one request at a time, since two would only wait for each other's GIL. More than one goes to a worker
that waits for something else, such as another service. Requests beyond that wait in a queue with a bound.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model_operator.pod.serve_cpu import cpu_seconds
    from model_operator.pod.serve_forks import ORDER_BYTES, Forker, Process, exit_code
    from model_operator.pod.serve_request import (
        Answer,
        Frame,
        FrameParser,
        Request,
        read_answer,
        request_frame,
    )
else:
    from serve_cpu import cpu_seconds
    from serve_forks import ORDER_BYTES, Forker, Process, exit_code
    from serve_request import Answer, Frame, FrameParser, Request, read_answer, request_frame

# how often a worker with a queue behind it is looked at
LOOK_SECONDS = 0.02
# of a core: a worker that uses less for one request waits for something else, and for several there is still room.
# One that uses more has enough
WAITS_BELOW, ROOM_BELOW, COMPUTES_ABOVE = 0.4, 0.5, 0.7
# that many workers in a row ended over a request, and none answered one
MOST_DEATHS_IN_ROW = 5
LONGEST_PAUSE = 5.0

log = logging.getLogger("serve")


class SaturatedError(Exception):
    """The request would wait behind too many others."""


class WorkerEndedError(Exception):
    """The worker ended while it worked on the request."""


class CallerGoneError(Exception):
    """The caller closed the connection while the request waited."""


class LateError(Exception):
    """The worker has not answered within the time for a request."""


class LoadingEndedError(Exception):
    """The loading process ended with ``code`` in place of reporting."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class Limits:
    """``workers`` processes, ``concurrency`` requests in work and ``queue`` that wait, of at most ``queue_bytes``.

    A request may take ``seconds`` from its arrival to its answer. ``each`` requests go to a worker at once in any case.
    """

    workers: int
    concurrency: int
    queue: int
    queue_bytes: int
    seconds: float
    each: int = 1


class Slot(asyncio.Protocol):
    """One socket to a worker, which works on one request at a time. ``answered`` is called with each answer."""

    def __init__(self, worker: Worker, answered: Callable[[Slot, Frame | None], None]) -> None:
        self.worker = worker
        self._answered = answered
        self._parser = FrameParser()
        self._caller: asyncio.Future[Frame] | None = None
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        """Called by the event loop."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        for frame in self._parser.feed(data):
            if self._caller is not None and not self._caller.done():
                self._caller.set_result(frame)
            self._caller = None
            self._answered(self, frame)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        if self._caller is not None:
            self._fail(WorkerEndedError())
            self._caller = None
            self._answered(self, None)

    def ask(self, request: Request) -> asyncio.Future[Frame]:
        """Sends a request and returns the future frame of its answer."""
        self._caller = caller = asyncio.get_running_loop().create_future()
        if self._transport.is_closing():
            self.connection_lost(None)
        else:
            self._transport.writelines(request_frame(request).parts())
        return caller

    def be_late(self) -> None:
        """Ends the wait of the caller. The slot is free when the worker answers."""
        self._fail(LateError())

    def _fail(self, error: Exception) -> None:
        if self._caller is not None and not self._caller.done():
            self._caller.set_exception(error)

    def close(self) -> None:
        """Closes the socket. A request in work ends with WorkerEndedError."""
        self._transport.abort()


@dataclass(eq=False)
class Worker:
    """A worker process with its slots. ``target`` is how many requests it gets at once."""

    process: Process
    target: int
    idle: list[Slot] = field(default_factory=list)
    slots: list[Slot] = field(default_factory=list)
    busy: int = 0
    looked_at: float = 0.0
    cpu: float = 0.0
    answered: Usage = field(default_factory=lambda: Usage())
    """Of the answers since the last look."""

    async def open_slot(self, answered: Callable[[Slot, Frame | None], None]) -> Slot:
        """A new socket to the worker, which answers on it in a thread of its own."""
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self.process.control, [b"slot"], [theirs.fileno()])
        slot = Slot(self, answered)
        await asyncio.get_running_loop().create_unix_connection(lambda: slot, sock=ours)
        self.slots.append(slot)
        return slot

    def look(self, now: float, limits: Limits) -> None:
        """Adapts ``target`` to the CPU time that the worker used since the last look, while requests wait."""
        cpu = cpu_seconds(self.process.pid)
        before, since, answered = self.cpu, now - self.looked_at, self.answered
        self.cpu, self.looked_at, self.answered = cpu or 0.0, now, Usage()
        if since > 1 or self.busy < self.target:
            return
        if answered.seconds:
            # the time between two answers is the front's
            cores: float | None = self.busy * answered.cpu_seconds / answered.seconds
        else:
            cores = None if cpu is None else (cpu - before) / since
        self.target = next_target(self.target, cores, limits)


@dataclass
class Usage:
    """The sums of the times that requests took, and of the CPU times."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0


def next_target(target: int, cores: float | None, limits: Limits) -> int:
    """How many requests a worker gets at once, if it used so many cores for ``target`` of them.

    One more for a worker that waits, one less for one that computes. An unknown use counts as waiting.
    """
    if cores is None or cores < (WAITS_BELOW if target == 1 else ROOM_BELOW):
        return min(target + 1, limits.concurrency)
    return max(target - 1, limits.each) if cores > COMPUTES_ABOVE else target


class Processes:
    """Makes processes with the model: copies of one that has loaded it, or each loads it where that can't be copied."""

    def __init__(self, nursery: Forker) -> None:
        """``nursery`` forks the loading processes."""
        self._nursery = nursery
        self._source: Forker | None = None
        self._lock = asyncio.Lock()
        self._watched: set[asyncio.Task[None]] = set()
        self.pids: set[int] = set()
        self.report: dict[str, Any] = {}
        """The report of the process that loaded the model first."""

    async def make(self) -> Process:
        """A process that works. Raises LoadingEndedError when the model can't be loaded."""
        async with self._lock:
            while True:
                if self._source is None:
                    process, report = await self._load(tested=bool(self.report))
                    self.report = self.report or report
                    if report["alone"]:
                        log.info("each worker loads the model for itself: %s", report["alone"])
                        return process
                    self._source = Forker(process.control)
                    self._watch(self._source, process)
                try:
                    process = await self._source.fork()
                except OSError:
                    self._source = None
                else:
                    self.pids.add(process.pid)
                    return process

    async def _load(self, tested: bool) -> tuple[Process, dict[str, Any]]:
        process = await self._nursery.fork(tested=tested)
        self.pids.add(process.pid)
        report = asyncio.ensure_future(asyncio.get_running_loop().sock_recv(process.control, ORDER_BYTES))
        ended = asyncio.ensure_future(process.ended())
        await asyncio.wait((report, ended), return_when="FIRST_COMPLETED")
        for waits in (report, ended):
            waits.cancel()
        if report.cancelled() or not report.done() or not report.result():
            raise LoadingEndedError(await self.end(process))
        return process, dict(json.loads(report.result()))

    def _watch(self, source: Forker, process: Process) -> None:
        async def note() -> None:
            await process.ended()
            code = await self.end(process)
            log.error("the process that loaded the model ended with exit code %d", code)
            if self._source is source:
                self._source = None

        task = asyncio.ensure_future(note())
        self._watched.add(task)
        task.add_done_callback(self._watched.discard)

    async def end(self, process: Process) -> int:
        """The exit code of a process that has ended, 0 if it is unknown; one that still runs is killed."""
        self.pids.discard(process.pid)
        with contextlib.suppress(ChildProcessError):
            # process 1 inherits it when the one that forked it has ended
            if (ended := os.waitpid(process.pid, os.WNOHANG))[0]:  # noqa: ASYNC222 (it does not wait)
                return exit_code(ended[1])
        for forker in (self._source, self._nursery):
            if forker is not None:
                with contextlib.suppress(OSError):
                    if code := await forker.end(process):
                        return code
        return 0


class Pool:
    """The workers, and the requests that they work on or that wait for them."""

    def __init__(self, limits: Limits, processes: Processes, died: Callable[[int, bool], None]) -> None:
        """``died`` is called with the exit code of a worker that ended, and whether all of them end so."""
        self._limits = limits
        self._processes = processes
        self._died = died
        self._workers: list[Worker] = []
        self._queue: collections.deque[tuple[asyncio.Future[Slot], int]] = collections.deque()
        self._queued_bytes = 0
        self._in_work = 0
        self._deaths_in_row = 0
        self._look: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Starts the workers. Raises LoadingEndedError when the model can't be loaded."""
        for _ in range(self._limits.workers):
            await self._add()

    async def _add(self) -> None:
        worker = Worker(await self._processes.make(), self._limits.each)
        worker.idle.append(await worker.open_slot(self._release))
        self._workers.append(worker)
        task = asyncio.ensure_future(self._replace(worker))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._hand_out()

    async def _replace(self, worker: Worker) -> None:
        """Waits for the end of a worker and starts another one."""
        await worker.process.ended()
        self._workers.remove(worker)
        for slot in worker.slots:
            slot.close()
        code = await self._processes.end(worker.process)
        self._deaths_in_row += 1
        log.error("a worker ended with exit code %d", code)
        self._died(code, self._deaths_in_row >= MOST_DEATHS_IN_ROW)
        if self._deaths_in_row > 1:
            await asyncio.sleep(min(0.1 * 2.0**self._deaths_in_row, LONGEST_PAUSE))
        try:
            await self._add()
        except LoadingEndedError as ended:
            self._died(ended.code, True)

    async def answer(self, request: Request, gone: Callable[[], Awaitable[Any]]) -> Answer:
        """The answer of a worker. ``gone`` returns when the caller has closed the connection.

        Raises SaturatedError, WorkerEndedError, CallerGoneError, and LateError after the limit's seconds.
        """
        begun = time.monotonic()
        slot = None if self._queue else self._free_slot()
        if slot is None:
            slot = await self._wait_for_slot(len(request.body), gone)
        answered = slot.ask(request)
        left = max(0.0, begun + self._limits.seconds - time.monotonic())
        timer = asyncio.get_running_loop().call_later(left, slot.be_late)
        try:
            return read_answer(await answered)
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
        return worker.idle.pop()

    def _release(self, slot: Slot, frame: Frame | None) -> None:
        """Takes a slot back with the answer to its request, or without one when its worker has ended."""
        worker = slot.worker
        worker.busy -= 1
        self._in_work -= 1
        if frame is not None:
            self._deaths_in_row = 0
            worker.idle.append(slot)
            *_, seconds, cpu_seconds = frame.head
            worker.answered.seconds += seconds
            worker.answered.cpu_seconds += cpu_seconds
        self._hand_out()

    async def _wait_for_slot(self, size: int, gone: Callable[[], Awaitable[Any]]) -> Slot:
        """Waits in the queue. The time there is the server's own, so a request that waits too long is saturation."""
        if len(self._queue) >= self._limits.queue or (
            self._queue and self._queued_bytes + size > self._limits.queue_bytes
        ):
            raise SaturatedError
        turn: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()
        self._queue.append((turn, size))
        self._queued_bytes += size
        if self._look is None or self._look.done():
            self._look = asyncio.ensure_future(self._look_while_some_wait())
        leaving = asyncio.ensure_future(gone())
        try:
            await asyncio.wait((turn, leaving), timeout=self._limits.seconds, return_when="FIRST_COMPLETED")
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
                while len(worker.slots) < worker.target:
                    with contextlib.suppress(OSError):
                        worker.idle.append(await worker.open_slot(self._release))
            self._hand_out()

"""Workers as the front has them, with a socket for each request that they work on at once: a part of serve.py.

A worker predicts one request at a time, since two would only wait for each other's GIL. More than one goes to a worker
that waits for something else, such as another service.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model_operator.pod.serve_cpu import cpu_seconds
    from model_operator.pod.serve_forks import Process
    from model_operator.pod.serve_request import (
        ANSWER,
        END,
        PING,
        STREAM,
        Frame,
        FrameParser,
    )
else:
    from serve_cpu import cpu_seconds
    from serve_forks import Process
    from serve_request import ANSWER, END, PING, STREAM, Frame, FrameParser

# of a core: a worker that uses less for one request waits for something else, and for several there is still room.
# One that uses more has enough
WAITS_BELOW, ROOM_BELOW, COMPUTES_ABOVE = 0.4, 0.5, 0.7
# of a stream that the caller has not taken yet. The worker then waits
MOST_EVENTS = 256


class WorkerEndedError(Exception):
    """The worker ended while it worked on the request."""


class LateError(Exception):
    """The worker has not answered within the time for a request."""


@dataclass(frozen=True)
class Limits:
    """``workers`` processes, ``concurrency`` requests in work and ``queue`` that wait, of at most ``queue_bytes``.

    A request may take ``seconds`` from its arrival to its answer. ``each`` requests go to a worker at once in any case.
    With ``batch_rows`` above 1, requests that arrive within ``batch_wait`` seconds are predicted together, up to that
    number of rows.
    """

    workers: int
    concurrency: int
    queue: int
    queue_bytes: int
    seconds: float
    each: int = 1
    batch_rows: int = 1
    batch_wait: float = 0.0


class Slot(asyncio.Protocol):
    """One socket to a worker, which works on one request at a time. ``answered`` is called with each answer."""

    def __init__(self, worker: Worker, answered: Callable[[Slot, Frame | None], None]) -> None:
        self.worker = worker
        self._answered = answered
        self._parser = FrameParser()
        self._caller: asyncio.Future[Frame | Events] | None = None
        self._events: asyncio.Queue[Frame | None] | None = None
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        """Called by the event loop."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        for frame in self._parser.feed(data):
            if frame.kind == STREAM:
                self._begin_stream(frame)
                continue
            if self._events is not None:
                self._events.put_nowait(frame)
                if self._events.qsize() >= MOST_EVENTS:
                    self._transport.pause_reading()
            elif self._caller is not None and not self._caller.done():
                self._caller.set_result(frame)
            if frame.kind in (ANSWER, END):
                self._caller = self._events = None
                self._answered(self, frame)

    def _begin_stream(self, frame: Frame) -> None:
        if self._caller is None or self._caller.done():
            # the caller has been answered that it was late: nobody reads these events
            self.close()
            return
        self._events = asyncio.Queue()
        self._caller.set_result(Events(self, self._events, *frame.head))

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        if self._caller is not None:
            self._fail(WorkerEndedError())
            if self._events is not None:
                self._events.put_nowait(None)
            self._caller = self._events = None
            self._answered(self, None)

    def go_on(self) -> None:
        """Reads on after a pause."""
        if not self._transport.is_closing() and not self._transport.is_reading():
            self._transport.resume_reading()

    def ask(self, question: Frame) -> asyncio.Future[Frame | Events]:
        """Sends a request or a batch of them and returns the future answer, a frame or a stream."""
        self._caller = caller = asyncio.get_running_loop().create_future()
        if self._transport.is_closing():
            self.connection_lost(None)
        else:
            self._transport.writelines(question.parts())
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


class Events:
    """The events of a stream as they come."""

    def __init__(
        self,
        slot: Slot,
        frames: asyncio.Queue[Frame | None],
        content_type: str,
        headers: Sequence[tuple[str, str]],
    ) -> None:
        self._slot = slot
        self._frames = frames
        self._ended = False
        self.content_type = content_type
        self.headers = headers

    async def next(self) -> Frame:
        """The next frame, of the kind CHUNK or END. Raises WorkerEndedError."""
        frame = await self._frames.get()
        self._ended = frame is None or frame.kind == END
        if frame is None:
            raise WorkerEndedError
        if self._frames.empty() and not self._ended:
            self._slot.go_on()
        return frame

    def close(self) -> None:
        """Ends a stream that has not ended yet. The worker closes the model's iterator with its next event."""
        if not self._ended:
            self._slot.close()


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
    pinged: float | None = None
    """When it got a ping that it has not answered yet."""

    def ping(self, now: float) -> None:
        """Sends a ping. The worker's main thread answers it, unless another one holds the GIL."""
        if self.pinged is None:
            with contextlib.suppress(OSError):
                self.process.control.send(PING)
                self.pinged = now

    def listen(self) -> None:
        """Notes the answers to pings from now on."""

        def note() -> None:
            with contextlib.suppress(OSError):
                if self.process.control.recv(len(PING)):
                    self.pinged = None
                    return
            loop.remove_reader(control)

        loop, control = asyncio.get_running_loop(), self.process.control
        loop.add_reader(control, note)

    def blocked_for(self, now: float) -> float:
        """The seconds for which it has owed the answer to a ping."""
        return 0.0 if self.pinged is None else now - self.pinged

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

"""The faults that a wire can have."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from tests.contract.registry.faulty_server import document
from tests.wire.wire import Client, Cut, Exchange, Fault, Forward, Transform, Trick, pass_on

REASONS = {
    409: "Conflict",
    410: "Expired",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
}
Which = Callable[[Exchange], bool]


def any_of_them(_: Exchange) -> bool:
    """Every request."""
    return True


def calls(exchange: Exchange) -> bool:
    """Every request that is no watch."""
    return not exchange.watch


def watches(exchange: Exchange) -> bool:
    """Every request that opens a watch."""
    return exchange.watch


def lists(exchange: Exchange) -> bool:
    """Every request that reads a collection."""
    return exchange.lists


def writes(exchange: Exchange) -> bool:
    """Every request that may change something."""
    return exchange.writes


def changes(exchange: Exchange) -> bool:
    """Every request that changes what is there: none that makes an object."""
    return exchange.method in ("PATCH", "DELETE")


@dataclass
class Every:
    """Plays a trick on each ``nth`` of the requests that it is meant for, the first one after ``nth - 1`` good ones."""

    nth: int
    trick: Trick
    which: Which = any_of_them
    _seen: int = 0

    def __call__(self, exchange: Exchange) -> Trick | None:
        """See Fault."""
        if not self.which(exchange):
            return None
        self._seen += 1
        return self.trick if self._seen % self.nth == 0 else None


@dataclass
class Next:
    """Plays a trick on the next ``count`` of the requests that it is meant for, and on none after them."""

    count: int
    trick: Trick
    which: Which = any_of_them

    def __call__(self, exchange: Exchange) -> Trick | None:
        """See Fault."""
        if not self.count or not self.which(exchange):
            return None
        self.count -= 1
        return self.trick


def status_of(code: int) -> dict[str, Any]:
    """What an API server answers with such a code."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": f"the wire says {code}",
        "reason": REASONS[code],
        "code": code,
    }


def refused(code: int, **headers: str) -> Trick:
    """The answer is that code, and the server hears nothing of it. Header names in snake_case."""

    async def refuse(_: Exchange, client: Client, __: Forward) -> None:
        await client.answer(document(status_of(code), f"{code} {REASONS[code]}", **headers))

    return refuse


def done_but(code: int = 0) -> Trick:
    """The request is carried out, and the answer is lost: a reset, or that code instead of it."""

    async def lose_the_answer(_: Exchange, client: Client, forward: Forward) -> None:
        async with forward() as answer:
            async for _piece in answer.pieces:
                pass
        if code:
            await client.answer(document(status_of(code), f"{code} {REASONS[code]}"))
        else:
            client.reset()

    return lose_the_answer


async def reset(_: Exchange, client: Client, __: Forward) -> None:
    """The connection is reset before the server has heard anything."""
    client.reset()


def changed(transform: Transform) -> Trick:
    """The body of the answer is changed on its way."""

    async def change(_: Exchange, client: Client, forward: Forward) -> None:
        async with forward() as answer:
            await pass_on(client, answer, transform)

    return change


async def slowly(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """A kilobyte now and then."""
    async for piece in pieces:
        for start in range(0, len(piece), 1024):
            await asyncio.sleep(0.01)
            yield piece[start : start + 1024]


async def cut_short(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Half of the first piece, then a reset."""
    async for piece in pieces:
        yield piece[: len(piece) // 2] or b" "
        raise Cut


def silent_after(count: int) -> Transform:
    """So many pieces, then nothing and no end."""

    async def fall_silent(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        passed = 0
        async for piece in pieces:
            if passed == count:
                await asyncio.Event().wait()
            passed += 1
            yield piece

    return fall_silent


async def twice_and_late(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Each event late, twice, and the one before it once more."""
    before = b""
    async for piece in pieces:
        await asyncio.sleep(0.3)
        for event in (piece, piece, before):
            if event:
                yield event
        before = piece


def ends_after(count: int, line: bytes) -> Transform:
    """So many events, then that line and the end."""

    async def end(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        # the first line of a watch may be long in coming
        passed = 0
        while passed < count and (piece := await anext(pieces, None)):
            passed += 1
            yield piece
        yield line + b"\n"

    return end


def error_event(code: int) -> bytes:
    """The event by which a watch says that it failed: 410 when it is too old."""
    return json.dumps({"type": "ERROR", "object": status_of(code)}).encode()


@dataclass
class Held:
    """Requests that came and are carried on only when they are let go: a server that hangs."""

    which: Which = any_of_them
    answers: list[tuple[Exchange, int]] = field(default_factory=list)
    """What the server said to each, once they were let go."""
    waiting: list[Exchange] = field(default_factory=list)
    _go: threading.Event = field(default_factory=threading.Event)
    _carried: set[asyncio.Future[None]] = field(default_factory=set)
    """The loop itself keeps no task from the garbage collector once its client has hung up."""

    def let_go(self) -> None:
        """They go on, whether or not somebody still waits for the answers."""
        self._go.set()

    def __call__(self, exchange: Exchange) -> Trick | None:
        """See Fault."""
        return self._hold if self.which(exchange) and not self._go.is_set() else None

    async def _hold(self, exchange: Exchange, client: Client, forward: Forward) -> None:
        self.waiting.append(exchange)
        # the client may hang up; what it has sent is on its way all the same
        carried = asyncio.ensure_future(self._carry_on(exchange, client, forward))
        self._carried.add(carried)
        carried.add_done_callback(self._carried.discard)
        await asyncio.shield(carried)

    async def _carry_on(self, exchange: Exchange, client: Client, forward: Forward) -> None:
        while not self._go.is_set():  # noqa: ASYNC110 - it is set by another thread
            await asyncio.sleep(0.05)
        async with forward() as answer:
            self.answers.append((exchange, answer.status))
            if not client.writer.is_closing():
                with contextlib.suppress(OSError):
                    await pass_on(client, answer)


def together(*faults: Fault) -> Fault:
    """The first that says something."""

    def choose(exchange: Exchange) -> Trick | None:
        return next((trick for fault in faults if (trick := fault(exchange))), None)

    return choose

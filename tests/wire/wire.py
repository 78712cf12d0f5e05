"""A wire that breaks as it is told: between the operator and a real API server, or a real registry.

It ends TLS, understands HTTP as far as it must to choose what to break, and opens a connection of its own for every
request. Without faults it changes nothing that a client may notice but the name of the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

Transform = Callable[[AsyncIterator[bytes]], AsyncIterator[bytes]]
"""Changes the pieces of a body on their way: lines of a watch, otherwise blocks. May raise Cut."""

_LIMIT = 2**24
_BLOCK = 2**16
_GOODBYE_SECONDS = 0.3
_DROPPED = frozenset(
    {"connection", "keep-alive", "accept-encoding", "transfer-encoding", "content-length", "upgrade"}
)


class Cut(Exception):  # noqa: N818 - wanted
    """The connection is reset here."""


@dataclass(frozen=True)
class Exchange:
    """One request, before it is carried on."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def path(self) -> str:
        """The path without its query."""
        return urlsplit(self.target).path

    @property
    def watch(self) -> bool:
        """Whether it opens a watch."""
        return "watch" in parse_qs(urlsplit(self.target).query)

    @property
    def lists(self) -> bool:
        """Whether it reads a collection of one of the API's groups."""
        parts = self.path.strip("/").split("/")
        rest = parts[2:] if parts[0] == "api" else parts[3:]
        rest = rest[2:] if rest[:1] == ["namespaces"] and len(rest) > 2 else rest
        return self.method == "GET" and not self.watch and len(rest) == 1

    @property
    def writes(self) -> bool:
        """Whether it may change something."""
        return self.method != "GET"


@dataclass
class Client:
    """The side that asks."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def reset(self) -> None:
        """Ends the connection without a goodbye."""
        self.writer.transport.abort()

    async def answer(self, raw: bytes) -> None:
        """Sends a whole answer, made up."""
        self.writer.write(raw)
        await self.writer.drain()


@dataclass
class Answer:
    """What the server says; the body comes in pieces."""

    status: int
    head: list[str]
    pieces: AsyncIterator[bytes]


Forward = Callable[[], contextlib.AbstractAsyncContextManager[Answer]]
Trick = Callable[[Exchange, Client, Forward], Awaitable[None]]
Fault = Callable[[Exchange], Trick | None]
"""Says what is done to an exchange, or nothing; the first fault of a wire that says something is played."""


async def pass_on(client: Client, answer: Answer, transform: Transform | None = None) -> None:
    """Gives the client the server's answer, piece by piece, as far as ``transform`` lets it."""
    kept = [line for line in answer.head[1:] if line.split(":", 1)[0].lower() not in _DROPPED]
    status = answer.head[0].split(" ", 1)[1]
    head = [f"HTTP/1.1 {status}", *kept, "transfer-encoding: chunked", "connection: close"]
    client.writer.write("\r\n".join(head).encode() + b"\r\n\r\n")
    pieces = transform(answer.pieces) if transform else answer.pieces
    try:
        async for piece in pieces:
            client.writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            await client.writer.drain()
    except Cut:
        client.reset()
        return
    client.writer.write(b"0\r\n\r\n")
    await client.writer.drain()


async def honestly(_: Exchange, client: Client, forward: Forward) -> None:
    """The trick that is none."""
    async with forward() as answer:
        await pass_on(client, answer)


@dataclass
class Wire:
    """Listens on a free loopback port while its context runs, in a thread of its own.

    ``upstream`` is the URL that requests are carried to, with ``client_tls`` for https; with ``server_tls`` it is
    itself spoken to by https. ``faults`` may be replaced at any time.
    """

    upstream: str
    client_tls: ssl.SSLContext | None = None
    server_tls: ssl.SSLContext | None = None
    faults: Sequence[Fault] = ()
    broken: Counter[str] = field(default_factory=Counter)
    """How often each trick was played, by its name."""
    passed: int = 0
    """Requests in all."""

    def __post_init__(self) -> None:
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="wire")

    @property
    def url(self) -> str:
        """Where it is spoken to."""
        return f"{'https' if self.server_tls else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> Wire:
        self._thread.start()
        self._do(self._open())
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @contextlib.contextmanager
    def outage(self) -> Iterator[None]:
        """Cuts all connections and refuses new ones while the block runs."""
        self._do(self._close())
        self.broken["outage"] += 1
        try:
            yield
        finally:
            self._do(self._open())

    def cut(self) -> None:
        """Resets all connections that are open."""
        self._do(self._cut())

    def _do(self, work: Awaitable[None]) -> None:
        async def run() -> None:
            await work

        asyncio.run_coroutine_threadsafe(run(), self._loop).result(30)

    async def _open(self) -> None:
        self._server = await asyncio.start_server(
            self._accept, "127.0.0.1", self.port, ssl=self.server_tls, limit=_LIMIT
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._server is not None:
            for listening in self._server.sockets:
                self._loop.remove_reader(listening.fileno())
            # a connection that was just accepted gets its transport in the next turn; asyncio of Python 3.11 forgets
            # its socket when the server was closed before that
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            self._server.close()
        await self._cut()

    async def _end(self) -> None:
        await self._close()
        # what was held back has no client any more
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        # connections that were cut are closed in later turns of the loop
        await asyncio.sleep(_GOODBYE_SECONDS)

    async def _cut(self) -> None:
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # one that has not finished its handshake has no task yet
        for transport in list(self._loop._transports.values()):  # type: ignore[attr-defined]  # nothing public lists them
            if (transport.get_extra_info("sockname") or ("", 0))[1] == self.port:
                transport.abort()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self._loop.create_task(self._attend(Client(reader, writer)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _attend(self, client: Client) -> None:
        try:
            exchange = await _read(client.reader)
            self.passed += 1
            trick = next((t for fault in self.faults if (t := fault(exchange))), honestly)
            if trick is not honestly:
                self.broken[getattr(trick, "__name__", "trick")] += 1
            play = asyncio.ensure_future(trick(exchange, client, lambda: self._forward(exchange)))
            # a client sends one request and waits: more bytes can only be the end
            gone = asyncio.ensure_future(client.reader.read(1))
            try:
                await asyncio.wait([play, gone], return_when=asyncio.FIRST_COMPLETED)
                if play.done():
                    await play
            finally:
                for part in (play, gone):
                    part.cancel()
                await asyncio.gather(play, gone, return_exceptions=True)
        except (OSError, asyncio.IncompleteReadError, ssl.SSLError):
            client.reset()
        except asyncio.CancelledError:
            client.reset()
            raise
        finally:
            client.writer.close()
            with contextlib.suppress(OSError, ssl.SSLError):
                await client.writer.wait_closed()

    @contextlib.asynccontextmanager
    async def _forward(self, exchange: Exchange) -> AsyncIterator[Answer]:
        to = urlsplit(self.upstream)
        reader, writer = await asyncio.open_connection(
            to.hostname, to.port, ssl=self.client_tls, limit=_LIMIT
        )
        try:
            # an answer to HTTP/1.0 ends with its connection, and needs no unpacking
            lines = [f"{exchange.method} {exchange.target} HTTP/1.0"]
            lines += [f"{name}: {value}" for name, value in exchange.headers if name.lower() not in _DROPPED]
            lines += [f"content-length: {len(exchange.body)}", "connection: close"]
            writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + exchange.body)
            await writer.drain()
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
            pieces = _lines(reader) if exchange.watch else _blocks(reader)
            yield Answer(int(head[0].split(" ")[1]), head, pieces)
        finally:
            writer.transport.abort()


async def _read(reader: asyncio.StreamReader) -> Exchange:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
    method, target, _ = head[0].split(" ")
    headers = tuple((line.split(":", 1)[0], line.split(":", 1)[1].strip()) for line in head[1:])
    sizes = [int(value) for name, value in headers if name.lower() == "content-length"]
    return Exchange(method, target, headers, await reader.readexactly(sizes[0]) if sizes else b"")


async def _lines(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while line := await reader.readline():
        yield line


async def _blocks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while block := await reader.read(_BLOCK):
        yield block

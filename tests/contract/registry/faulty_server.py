"""An HTTP server that misbehaves as it is told: for what no MLflow server can be made to do."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

Answer = bytes | Callable[[asyncio.StreamWriter], Any]
"""Raw bytes to send before closing, or a coroutine function that writes what it likes."""


class FaultyServer:
    """Gives its answers in order, the last one again and again; keeps the heads of the requests."""

    def __init__(self, answers: Sequence[Answer]) -> None:
        self.answers = list(answers)
        self.requests: list[str] = []
        self.url = ""
        self._connections: set[asyncio.Task[None]] = set()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection's one request, beside the others."""
        self._connections.add(asyncio.create_task(self._answer(reader, writer)))

    async def close(self) -> None:
        """Hang up on everybody."""
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._answer_request(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()

    async def _answer_request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.requests.append(head.decode())
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if isinstance(answer, bytes):
                writer.write(answer)
            else:
                await answer(writer)
            await writer.drain()


@contextlib.asynccontextmanager
async def faulty(*answers: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[FaultyServer]:
    """A server on a free loopback port that gives these answers."""
    faults = FaultyServer(answers)
    server = await asyncio.start_server(faults.accept, "127.0.0.1", 0, ssl=tls)
    try:
        faults.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield faults
    finally:
        server.close()
        await faults.close()


def response(
    body: bytes | str, status: str = "200 OK", kind: str = "application/json", **headers: str
) -> bytes:
    """A whole answer; ``headers`` in snake_case."""
    content = body.encode() if isinstance(body, str) else body
    lines = [
        f"HTTP/1.1 {status}",
        f"content-type: {kind}",
        f"content-length: {len(content)}",
        "connection: close",
    ]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def document(value: Any, status: str = "200 OK", **headers: str) -> bytes:
    """An answer with that value as JSON."""
    return response(json.dumps(value), status, **headers)


async def endless(writer: asyncio.StreamWriter) -> None:
    """JSON without an end, in chunks."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
    chunk = b'"aaaaaaaaaaaaaa",' * 1024
    while True:
        writer.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        await writer.drain()


async def dripping(writer: asyncio.StreamWriter) -> None:
    """A byte now and then: never silent for long, never done."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.01)


async def silent(writer: asyncio.StreamWriter) -> None:
    """Nothing at all, until the client hangs up."""
    await asyncio.sleep(30)

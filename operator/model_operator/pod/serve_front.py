"""The server's front for callers: health, metrics and limits before the workers. A part of serve.py."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model_operator.pod.serve_metrics import CLIENT_GONE, CONTENT_TYPE, RequestMetrics
    from model_operator.pod.serve_pool import (
        CallerGoneError,
        LateError,
        Pool,
        SaturatedError,
        WorkerEndedError,
    )
    from model_operator.pod.serve_request import Answer, Request
    from model_operator.pod.serve_scoring import PREDICTION_PATH, Message, Receive, Send
else:
    from serve_metrics import CLIENT_GONE, CONTENT_TYPE, RequestMetrics
    from serve_pool import CallerGoneError, LateError, SaturatedError, WorkerEndedError
    from serve_request import Answer, Request
    from serve_scoring import PREDICTION_PATH

# for a request's body to arrive
BODY_SECONDS = 60.0
# after a 413, the caller needs time to read the answer and stop sending. Closing the connection earlier discards it
LINGER_SECONDS = 2.0

# for a caller that was turned away
RETRY_AFTER_SECONDS = 1

# a caller that keeps its connection stays with this pod, also when the Service has moved to another version
CONNECTION_SECONDS = 30.0
# beyond that many, the oldest connections are forgotten
MOST_CONNECTIONS = 10_000

log = logging.getLogger("serve")


class RefusedError(Exception):
    """A request that does not reach the model: the status and the message of its answer."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.error = {"error_code": code, "message": message}


@dataclass
class Front:
    """The application that uvicorn runs. ``in_flight`` counts requests from their first byte on."""

    pool: Pool
    metrics: RequestMetrics
    max_request_bytes: int
    self_test: str = ""
    draining: bool = False
    in_flight: int = 0
    last_request: float = field(default_factory=time.monotonic)
    connection_seconds: float = CONNECTION_SECONDS
    """An older connection is closed with its next answer. Its caller then gets a pod from the Service again."""
    opened: dict[Any, float] = field(default_factory=dict)
    """When the first request came, by the caller's address and port."""

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answers one request as the ASGI protocol has it."""
        if scope["type"] != "http":
            return

        async def last_answer_closes(message: Message) -> None:
            if message["type"] == "http.response.start" and (
                self.draining or self._is_old(scope.get("client"))
            ):
                message["headers"] = [*message.get("headers", []), (b"connection", b"close")]
            await send(message)

        if await self._answers_itself(scope["path"], last_answer_closes):
            return
        self.in_flight += 1
        try:
            # MLflow answers any other method with 405, which is no request to the model
            if scope["path"] == PREDICTION_PATH and scope["method"] == "POST":
                await self._predict_and_count(scope, receive, last_answer_closes)
            else:
                await self._pass_on(scope, receive, last_answer_closes)
        finally:
            self.in_flight -= 1
            self.last_request = time.monotonic()

    def _is_old(self, caller: Any) -> bool:
        now = time.monotonic()
        if now - self.opened.setdefault(caller, now) < self.connection_seconds:
            if len(self.opened) > MOST_CONNECTIONS:
                del self.opened[next(iter(self.opened))]
            return False
        del self.opened[caller]
        return True

    async def _answers_itself(self, path: str, send: Send) -> bool:
        if path == "/health":
            await _answer(send, 200, {"status": "ok", "selfTest": self.self_test})
        elif path == "/ping":
            status, word = (503, "draining") if self.draining else (200, "ok")
            await _answer(send, status, {"status": word})
        elif path == "/metrics":
            text = self.metrics.text()
            if text is None:
                sentence = "The server's image has no prometheus_client, so requests are not counted."
                await _answer(send, 501, {"error_code": "NOT_IMPLEMENTED", "message": sentence})
            else:
                await _send_whole(send, 200, CONTENT_TYPE.encode(), text)
        else:
            return False
        return True

    async def _predict_and_count(self, scope: Message, receive: Receive, send: Send) -> None:
        status, counted = CLIENT_GONE, False

        def count() -> None:
            nonlocal counted
            if not counted:
                self.metrics.count_answer(status)
            counted = True

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif not message.get("more_body", False):
                # before it is sent: a caller with the answer finds it in the metrics
                count()
            await send(message)

        try:
            await self._predict(scope, receive, note)
        except CallerGoneError:
            pass
        finally:
            count()

    async def _predict(self, scope: Message, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        try:
            if b"content-type" not in headers:
                raise RefusedError(415, "BAD_REQUEST", "the header Content-Type is missing")
            body = await self._whole_body(headers, receive)
        except RefusedError as refused:
            await _refuse(send, receive, refused)
            return
        begun = time.monotonic()
        self.metrics.begun()
        try:
            await _send_answer(send, await self._answer_of_worker(scope, body, receive))
        finally:
            self.metrics.count_end(time.monotonic() - begun)

    async def _pass_on(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answers a request that is no prediction."""
        try:
            body = await self._whole_body(dict(scope["headers"]), receive)
            await _send_answer(send, await self._answer_of_worker(scope, body, receive))
        except RefusedError as refused:
            await _refuse(send, receive, refused)
        except CallerGoneError:
            pass

    async def _answer_of_worker(self, scope: Message, body: bytes, receive: Receive) -> Answer:
        """The answer to a whole request, also when no worker gives one."""
        headers = scope["headers"]
        if scope["path"] == PREDICTION_PATH:
            # the only one that plays a part
            headers = [header for header in headers if header[0] == b"content-type"]
        kept = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
        try:
            return await self.pool.answer(Request(scope["method"], scope["path"], body, kept), receive)
        except SaturatedError:
            self.metrics.count_saturated()
            text = "as many requests as the server takes are in work or wait (spec.server.maxConcurrency and maxQueue)"
            return _error(503, "TEMPORARILY_UNAVAILABLE", text, ("retry-after", str(RETRY_AFTER_SECONDS)))
        except LateError:
            # the words of MLflow's own server
            return Answer(504, "application/json", b"Request processing time exceeded limit")
        except WorkerEndedError:
            text = "the model ended its process while it predicted (see the server's log)"
            return _error(500, "INTERNAL_ERROR", text)

    async def _whole_body(self, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
        """The request's body. Raises RefusedError as soon as it is known to be too large or too slow."""
        declared = headers.get(b"content-length", b"")
        if declared.isdigit() and int(declared) > self.max_request_bytes:
            raise self._too_large()
        task, expired = asyncio.current_task(), False

        def expire() -> None:
            nonlocal expired
            expired = True
            if task is not None:
                task.cancel()

        # not wait_for: it makes a task of its own for each request
        timer = asyncio.get_running_loop().call_later(BODY_SECONDS, expire)
        try:
            return await self._read(receive)
        except asyncio.CancelledError:
            if not expired:
                raise
            text = f"the request was not complete within {BODY_SECONDS:g} s"
            raise RefusedError(408, "REQUEST_TIMEOUT", text) from None
        finally:
            timer.cancel()

    async def _read(self, receive: Receive) -> bytes:
        chunks: list[bytes] = []
        size, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise CallerGoneError
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            if size > self.max_request_bytes:
                raise self._too_large()
            more = message.get("more_body", False)
        return b"".join(chunks)

    def _too_large(self) -> RefusedError:
        return RefusedError(
            413,
            "REQUEST_TOO_LARGE",
            f"the request has more than {self.max_request_bytes} bytes, which is the limit that MAX_REQUEST_BYTES in"
            " the server's environment sets",
        )


def _error(status: int, code: str, message: str, *headers: tuple[str, str]) -> Answer:
    body = json.dumps({"error_code": code, "message": message}).encode()
    return Answer(status, "application/json", body, headers)


async def _send_answer(send: Send, answer: Answer) -> None:
    start = _start(answer.status, answer.content_type.encode("latin-1"), answer.body)
    start["headers"] += [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
    await send(start)
    await send({"type": "http.response.body", "body": answer.body})


async def _refuse(send: Send, receive: Receive, refused: RefusedError) -> None:
    """Answers before the request was read, and closes the connection."""
    data = json.dumps(refused.error).encode()
    start = _start(refused.status, b"application/json", data)
    start["headers"].append((b"connection", b"close"))
    await send(start)
    await send({"type": "http.response.body", "body": data, "more_body": True})

    async def discard() -> None:
        more = True
        while more:
            message = await receive()
            more = message["type"] == "http.request" and message.get("more_body", False)

    done, pending = await asyncio.wait({asyncio.ensure_future(discard())}, timeout=LINGER_SECONDS)
    for task in (*done, *pending):
        task.cancel()
    await send({"type": "http.response.body", "body": b""})


def _start(status: int, content_type: bytes, data: bytes) -> dict[str, Any]:
    headers = [(b"content-type", content_type), (b"content-length", str(len(data)).encode())]
    return {"type": "http.response.start", "status": status, "headers": headers}


async def _send_whole(send: Send, status: int, content_type: bytes, data: bytes) -> None:
    await send(_start(status, content_type, data))
    await send({"type": "http.response.body", "body": data})


async def _answer(send: Send, status: int, body: dict[str, str]) -> None:
    await _send_whole(send, status, b"application/json", json.dumps(body).encode())

"""The server's front for callers: health, metrics, limits and clean errors around MLflow's app. A part of serve.py."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model_operator.pod.serve_failure import shorten
    from model_operator.pod.serve_metrics import CLIENT_GONE, CONTENT_TYPE, RequestMetrics
    from model_operator.pod.serve_scoring import App, Message, Receive, Send
    from model_operator.pod.serve_selftest import message_of
else:
    from serve_failure import shorten
    from serve_metrics import CLIENT_GONE, CONTENT_TYPE, RequestMetrics
    from serve_scoring import App, Message, Receive, Send
    from serve_selftest import message_of

PREDICTION_PATH = "/invocations"
# for a request's body to arrive
BODY_SECONDS = 60.0
# after a 413, the caller needs time to read the answer and stop sending. Closing the connection earlier discards it
LINGER_SECONDS = 2.0

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


class ClientGoneError(Exception):
    """The caller has closed the connection before the request was whole."""


@dataclass
class Front:
    """The application that uvicorn runs. ``in_flight`` counts requests from their first byte on."""

    app: App
    metrics: RequestMetrics
    max_request_bytes: int
    self_test: str = ""
    draining: bool = False
    in_flight: int = 0
    last_request: float = field(default_factory=time.monotonic)
    logged_nan: bool = False
    connection_seconds: float = CONNECTION_SECONDS
    """An older connection is closed with its next answer. Its caller then gets a pod from the Service again."""
    opened: dict[Any, float] = field(default_factory=dict)
    """When the first request came, by the caller's address and port."""

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answers one request as the ASGI protocol has it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
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
                await self.app(scope, receive, last_answer_closes)
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
        except ClientGoneError:
            pass
        except Exception:
            # uvicorn answers if nothing was sent yet
            status = 500
            raise
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
            await self._put_to_model(scope, body, receive, send)
        finally:
            self.metrics.count_end(time.monotonic() - begun)

    async def _whole_body(self, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
        """The request's body. Raises RefusedError as soon as it is known to be too large or too slow."""
        chunks: list[bytes] = []
        most = self.max_request_bytes
        too_large = RefusedError(
            413,
            "REQUEST_TOO_LARGE",
            f"the request has more than {most} bytes, which is the limit that MAX_REQUEST_BYTES in the server's"
            " environment sets",
        )
        declared = headers.get(b"content-length", b"")
        if declared.isdigit() and int(declared) > most:
            raise too_large

        async def read() -> None:
            size, more = 0, True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGoneError
                chunks.append(message.get("body", b""))
                size += len(chunks[-1])
                if size > most:
                    raise too_large
                more = message.get("more_body", False)

        try:
            await asyncio.wait_for(read(), BODY_SECONDS)
        except (TimeoutError, asyncio.TimeoutError):  # two things before Python 3.11  # noqa: UP041
            text = f"the request was not complete within {BODY_SECONDS:g} s"
            raise RefusedError(408, "REQUEST_TIMEOUT", text) from None
        return b"".join(chunks)

    async def _put_to_model(self, scope: Message, body: bytes, receive: Receive, send: Send) -> None:
        """Passes the whole request on, and the whole answer back: valid JSON, or an error without a stack trace."""
        given = False
        start: Message = {}
        answer: list[bytes] = []

        async def replay() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def collect(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                return
            answer.append(message.get("body", b""))

        try:
            await self.app(scope, replay, collect)
        except Exception:
            if _is_text(body) and not start:
                raise
            # raised again, uvicorn would close the connection, and the caller's next request on it would be lost
            log.exception("MLflow's application raised an exception over a request")
        if _is_text(body) or start.get("status", 500) < 500:
            await self._pass_back(start, b"".join(answer), send)
            return
        # MLflow 2 answers 500 in this case. That would count against the model
        error = {"error_code": "BAD_REQUEST", "message": "The request is not valid UTF-8."}
        await _answer(send, 400, error)

    async def _pass_back(self, start: Message, body: bytes, send: Send) -> None:
        if start["status"] >= 400 and (text := message_of(body)):
            error = {"error_code": str(json.loads(body)["error_code"]), "message": shorten(text)}
            await _answer(send, start["status"], error)
            return
        if start["status"] < 300 and (b"NaN" in body or b"Infinity" in body):
            # in a thread: a large answer would hold up the health checks
            valid = await asyncio.to_thread(without_nan, body)
            if valid != body and not self.logged_nan:
                self.logged_nan = True
                log.warning("the model predicts NaN or an infinity, and callers get null (logged once)")
            body = valid
        headers = [(name, value) for name, value in start.get("headers", []) if name != b"content-length"]
        headers.append((b"content-length", str(len(body)).encode()))
        await send({**start, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _is_text(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def without_nan(body: bytes) -> bytes:
    """JSON with null for NaN and the infinities, which JSON does not know. Anything else is returned unchanged."""
    found = False

    def null(_constant: str) -> None:
        nonlocal found
        found = True

    try:
        value = json.loads(body, parse_constant=null)
    except ValueError:
        return body
    # a text may contain NaN, too
    return json.dumps(value).encode() if found else body


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

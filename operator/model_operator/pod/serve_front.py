"""The server's front for callers: health, metrics and limits before the workers. A part of serve.py."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model_operator.pod.serve_metrics import CLIENT_GONE, CONTENT_TYPE, RequestMetrics
    from model_operator.pod.serve_pool import CallerGoneError, Pool, SaturatedError
    from model_operator.pod.serve_request import END, PREDICTION_PATH, Answer, Request
    from model_operator.pod.serve_scoring import Message, Receive, Send
    from model_operator.pod.serve_slots import Events, LateError, WorkerEndedError
    from model_operator.pod.serve_stream import StreamFailedError
    from model_operator.pod.serve_v2 import Route, answer_error, answer_json, find_route
else:
    from serve_metrics import CLIENT_GONE, CONTENT_TYPE, RequestMetrics
    from serve_pool import CallerGoneError, SaturatedError
    from serve_request import END, PREDICTION_PATH, Answer, Request
    from serve_slots import Events, LateError, WorkerEndedError
    from serve_stream import StreamFailedError
    from serve_v2 import answer_error, answer_json, find_route

# for a request's body to arrive
BODY_SECONDS = 60.0
# after a 413, the caller needs time to read the answer and stop sending. Closing the connection earlier discards it
LINGER_SECONDS = 2.0

# for a caller that was turned away
RETRY_AFTER_SECONDS = 1

WORKER_ENDED = "the model ended its process while it predicted (see the server's log)"

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
    paths: frozenset[str] = frozenset({PREDICTION_PATH})
    """Of predictions, beside those of V2."""
    silence_seconds: float = 60.0
    """A stream may be silent for so long."""
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

        route = find_route(scope["path"]) if scope["path"].startswith("/v2") else None
        if await self._answers_itself(scope["path"], route, last_answer_closes):
            return
        self.in_flight += 1
        try:
            # MLflow answers any other method with 405, which is no request to the model
            is_prediction = scope["path"] in self.paths or (route is not None and route.action == "infer")
            if is_prediction and scope["method"] == "POST":
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

    def _not_ready(self) -> str:
        """Why the pod should get no requests, or nothing."""
        if self.draining:
            return "draining"
        return "no worker answers" if self.pool.is_blocked() else ""

    async def _answers_itself(self, path: str, route: Route | None, send: Send) -> bool:
        if route is not None:
            why = self._not_ready() if route.action in ("ready", "model-ready") else ""
            if not why and route.action != "live":
                return False
            await _send_answer(send, answer_error(503, why) if why else answer_json(200, {"live": True}))
        elif path == "/health":
            await _answer(send, 200, {"status": "ok", "selfTest": self.self_test})
        elif path == "/ping":
            why = self._not_ready()
            await _answer(send, 503 if why else 200, {"status": why or "ok"})
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
            status = CLIENT_GONE
        finally:
            count()

    async def _predict(self, scope: Message, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        try:
            if b"content-type" not in headers and scope["path"] in self.paths:
                raise RefusedError(415, "BAD_REQUEST", "the header Content-Type is missing")
            body = await self._whole_body(headers, receive)
        except RefusedError as refused:
            await _refuse(send, receive, refused)
            return
        begun = time.monotonic()
        self.metrics.begun()
        try:
            answer = await self._answer_of_worker(scope, body, receive)
            if isinstance(answer, Events):
                await self._send_events(answer, begun, receive, send)
            else:
                await _send_answer(send, answer)
        finally:
            self.metrics.count_end(time.monotonic() - begun)

    async def _send_events(self, events: Events, begun: float, receive: Receive, send: Send) -> None:
        """Sends a stream to its end, or to that of the caller's patience or the worker's."""
        headers = [(b"content-type", events.content_type.encode("latin-1")), *_encoded(events.headers)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        leaving = asyncio.ensure_future(receive())
        tokens, failure = 0, ""
        begins = True
        try:
            while True:
                coming = asyncio.ensure_future(events.next())
                await asyncio.wait(
                    (coming, leaving), timeout=self.silence_seconds, return_when="FIRST_COMPLETED"
                )
                if not coming.done():
                    coming.cancel()
                    if leaving.done():
                        raise CallerGoneError
                    text = f"the model was silent for {self.silence_seconds:g} s"
                    raise StreamFailedError("STREAM_TIMEOUT", text)
                frame = coming.result()
                if begins:
                    self.metrics.count_first_chunk(time.monotonic() - begun)
                    begins = False
                if frame.kind == END:
                    failure, tokens, *_ = frame.head
                    break
                await self._send_event(send, frame.body)
        except WorkerEndedError:
            failure = "INTERNAL_ERROR"
            event = StreamFailedError(failure, WORKER_ENDED).event()
            await self._send_event(send, event)
        except StreamFailedError as silent:
            failure = silent.error_code
            await self._send_event(send, silent.event())
        finally:
            leaving.cancel()
            events.close()
            self.metrics.count_stream(tokens, bool(failure))
        await send({"type": "http.response.body", "body": b""})

    async def _send_event(self, send: Send, event: bytes) -> None:
        """Sends an event. A caller that does not take it holds a worker, and is given up like one that is gone."""
        message = {"type": "http.response.body", "body": event, "more_body": True}
        sending = asyncio.ensure_future(send(message))
        done, _ = await asyncio.wait((sending,), timeout=self.silence_seconds)
        if not done:
            sending.cancel()
            raise CallerGoneError
        sending.result()

    async def _pass_on(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answers a request that is no prediction."""
        try:
            body = await self._whole_body(dict(scope["headers"]), receive)
            answer = await self._answer_of_worker(scope, body, receive)
            if isinstance(answer, Answer):
                await _send_answer(send, answer)
        except RefusedError as refused:
            await _refuse(send, receive, refused)
        except CallerGoneError:
            pass

    async def _answer_of_worker(self, scope: Message, body: bytes, receive: Receive) -> Answer | Events:
        """The answer to a whole request, also when no worker gives one."""
        headers = scope["headers"]
        if scope["path"] in self.paths:
            # the only one that plays a part
            headers = [header for header in headers if header[0] == b"content-type"]
        kept = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
        try:
            return await self.pool.answer(Request(scope["method"], scope["path"], body, kept), receive)
        except SaturatedError:
            self.metrics.count_saturated()
            text = "as many requests as the server takes are in work or wait (spec.server.maxConcurrency and maxQueue)"
            retry = ("retry-after", str(RETRY_AFTER_SECONDS))
            return _error(scope, 503, "TEMPORARILY_UNAVAILABLE", text, retry)
        except LateError:
            # the words of MLflow's own server
            text = "Request processing time exceeded limit"
            if _is_v2(scope):
                return answer_error(504, text)
            return Answer(504, "application/json", text.encode())
        except WorkerEndedError:
            return _error(scope, 500, "INTERNAL_ERROR", WORKER_ENDED)

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
            # since Python 3.11 a task counts how often it was cancelled
            getattr(task, "uncancel", int)()
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


def _is_v2(scope: Message) -> bool:
    return str(scope["path"]).startswith("/v2/")


def _error(scope: Message, status: int, code: str, message: str, *headers: tuple[str, str]) -> Answer:
    """An error in the form of the protocol that the caller uses."""
    if _is_v2(scope):
        return answer_error(status, message, *headers)
    body = json.dumps({"error_code": code, "message": message}).encode()
    return Answer(status, "application/json", body, headers)


def _encoded(headers: Sequence[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]


async def _send_answer(send: Send, answer: Answer) -> None:
    start = _start(answer.status, answer.content_type.encode("latin-1"), answer.body)
    start["headers"] += _encoded(answer.headers)
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

"""Answers by server-sent events over a model's predict_stream. A part of serve.py.

An event is ``data: JSON`` and an empty line, and a stream that is complete ends with ``data: [DONE]``. MLflow's agent
server (mlflow.genai.agent_server.server) and OpenAI's chat completions write the same, and clients of both stop at that
mark. OpenAI's responses also name each event (``event: response.output_text.delta``), so these have a name here, too.

A stream that fails ends with an event named ``error`` and without the mark. OpenAI's client raises an exception only if
the event's data has a key ``error`` (openai/_streaming.py). So the data has one, beside MLflow's ``error_code`` and
``message``.
"""

from __future__ import annotations

import contextvars
import dataclasses
import json
import logging
import re
import threading
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model_operator.pod.serve_failure import describe, shorten
    from model_operator.pod.serve_request import Answer, Request
else:
    from serve_failure import describe, shorten
    from serve_request import Answer, Request

CONTENT_TYPE = "text/event-stream; charset=utf-8"
# a proxy must pass each event on at once. The second one is nginx's
HEADERS = (("cache-control", "no-cache"), ("x-accel-buffering", "no"))
DONE = b"data: [DONE]\n\n"
# how long a model may clean up after a stream that is closed before its end
CLOSE_SECONDS = 5.0
MOST_TOKENS = 10**9

INVOCATIONS = "/invocations"
RESPONSES_AGENT = "mlflow.pyfunc.loaders.responses_agent"
# the types of events in OpenAI's responses, which MLflow's responses agents yield
NAMED_EVENT = re.compile(r"response(\.[a-z0-9_]+)+|error")

END = object()

log = logging.getLogger("serve")


class StreamFailedError(Exception):
    """The stream has ended early. ``status`` is the answer's if nothing was sent before."""

    def __init__(self, error_code: str, message: str, status: int = 500) -> None:
        super().__init__(message)
        self.error_code = error_code
        self.message = message
        self.status = status

    def answer(self) -> Answer:
        """The error as an answer of its own."""
        error = {"error_code": self.error_code, "message": self.message}
        return Answer(self.status, "application/json", json.dumps(error).encode())

    def event(self) -> bytes:
        """The error as the last event of a stream."""
        error = {"message": self.message, "type": "server_error", "code": self.error_code}
        data = {"error_code": self.error_code, "message": self.message, "error": error}
        return f"event: error\ndata: {json.dumps(data)}\n\n".encode()


def wants_stream(body: bytes) -> bool:
    """Whether the request has ``"stream": true`` at its top level.

    MLflow has it there and nowhere else: the agent server reads it from the top of the body, and the requests of chat
    models, chat agents and responses agents declare it as a boolean beside the messages. ``custom_inputs`` are the
    model's own. Another value than true is left to MLflow, which rejects it for a chat model or an agent. The agent
    server streams for any value that Python counts as true, even the text "false".
    """
    if b'"stream"' not in body:
        return False
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        return False
    return isinstance(request, dict) and request.get("stream") is True


def is_responses_agent(metadata: Any) -> bool:
    """Whether MLflow's description of the model (mlflow.models.Model) is a ResponsesAgent's, which gets /responses."""
    function = (getattr(metadata, "flavors", None) or {}).get("python_function") or {}
    return bool(function.get("loader_module") == RESPONSES_AGENT)


def as_invocation(request: Request) -> Request:
    """The request to /responses as one to /invocations. Its body is the same there, as in MLflow's agent server."""
    return dataclasses.replace(request, path=INVOCATIONS)


def tokens(chunk: Any) -> int:
    """How many output tokens the chunk reports, 0 if it reports none.

    Chat models and chat agents have ``usage.completion_tokens`` in their last chunk. Responses agents have
    ``response.usage.output_tokens`` in the event response.completed.
    """
    if not isinstance(chunk, Mapping):
        return 0
    holder = chunk.get("response") if str(chunk.get("type")).startswith("response.") else chunk
    usage = holder.get("usage") if isinstance(holder, Mapping) else None
    if not isinstance(usage, Mapping):
        return 0
    count = usage.get("completion_tokens", usage.get("output_tokens"))
    valid = isinstance(count, int) and not isinstance(count, bool) and 0 < count <= MOST_TOKENS
    return int(count) if valid else 0


def stream(model: Any, request: Request, most_bytes: int, most_seconds: float) -> Answer | Stream:
    """Begins a streamed answer, and waits for its first event.

    ``model`` is a ModelUnderWatch. The events may have ``most_bytes`` in total, without the last one of an error or the
    end. Each chunk has to come within ``most_seconds`` of the beginning. The limit is checked when a chunk has come:
    a model that is silent can't be interrupted. An error before the first event is a whole answer, 400 for the
    caller's and 500 for the model's.
    """
    try:
        _check_content_type(request.headers.get("content-type", ""))
        if not model.can_stream():
            raise StreamFailedError("BAD_REQUEST", model.NO_STREAM, 400)
        data, params = _parse(request.body, model.metadata)
        return Stream(model.predict_stream(data, params=params), most_bytes, most_seconds)
    except StreamFailedError as failure:
        return failure.answer()


class Stream(Iterator[bytes]):
    """The events of an answer, each one whole.

    After the event of an error, the next call raises StreamFailedError: the request has failed although its status
    was 200. ``tokens`` is the highest count of output tokens up to now, since some models count on from chunk to chunk.
    One thread reads. Any thread may close.
    """

    content_type = CONTENT_TYPE
    headers = HEADERS

    def __init__(self, chunks: Iterator[Any], most_bytes: int, most_seconds: float) -> None:
        """Waits for the first chunk. Raises StreamFailedError if there is an error instead."""
        self.tokens = 0
        self._chunks = chunks
        # MLflow's generator sets variables of the context and is suspended then. They must not reach the next request,
        # and the generator can only be closed in the context in which it has run
        self._context = contextvars.copy_context()
        self._bytes_left = most_bytes
        self._most = f"{most_bytes} bytes", f"{most_seconds:g} s"
        self._deadline = time.monotonic() + most_seconds
        self._failure: StreamFailedError | None = None
        # both change under the lock
        self._over = self._reading = False
        self._lock = threading.Lock()
        try:
            self._next: bytes | None = self._read(begun=False)
        except StreamFailedError:
            self.close()
            raise

    def __next__(self) -> bytes:
        event, self._next = self._next, None
        if event is not None:
            return event
        if self._failure is not None:
            raise self._failure
        try:
            return self._read(begun=True)
        except StreamFailedError as failure:
            self.close()
            self._failure = failure
            return failure.event()

    def close(self) -> None:
        """Ends the stream, and the model's generator. It does not wait for a model that won't end.

        While another thread waits for a chunk, that thread ends the generator as soon as it has come.
        """
        with self._lock:
            self._next = None
            was_over, self._over = self._over, True
            if was_over or self._reading:
                return
        self._end_generator()

    def _end_generator(self) -> None:
        # in a thread of its own: a model may do anything in a "finally"
        closing = threading.Thread(target=self._close_chunks, name="close-stream", daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)
        if closing.is_alive():
            log.warning("the model still cleans up %g s after its stream was closed", CLOSE_SECONDS)

    def _close_chunks(self) -> None:
        try:
            close = getattr(self._chunks, "close", None)
            if close is not None:
                self._context.run(close)
        except BaseException as error:
            log.warning("the model raised an exception when its stream was closed: %s", describe(error))

    def _read(self, begun: bool) -> bytes:
        """The next event. Raises StreamFailedError, with the status to answer with unless the stream has ``begun``."""
        with self._lock:
            if self._over:
                raise StopIteration
            self._reading = True
        try:
            chunk = self._context.run(next, self._chunks, END)
        except Exception as error:
            raise _failure_of(error, begun) from error
        finally:
            with self._lock:
                self._reading = False
                closed = self._over
        if closed:
            self._end_generator()
            raise StopIteration
        if chunk is END:
            self._over = True
            return DONE
        if time.monotonic() > self._deadline:
            raise StreamFailedError("STREAM_TIMEOUT", f"the answer took more than {self._most[1]}", 504)
        try:
            event, count = _encode(chunk)
        except Exception as error:
            log.exception("a chunk of the model can't be converted to JSON")
            raise StreamFailedError(
                "INTERNAL_ERROR",
                f"the model's answer has a chunk of the type {type(chunk).__name__} that can't be converted to JSON"
                " (see the server's log)",
            ) from error
        self.tokens = max(self.tokens, count)
        self._bytes_left -= len(event)
        if self._bytes_left < 0:
            raise StreamFailedError("RESPONSE_TOO_LARGE", f"the answer has more than {self._most[0]}")
        return event


def _failure_of(error: Exception, begun: bool) -> StreamFailedError:
    """The failure for an exception that a ModelUnderWatch raised: MLflow's have a code, a status and a message."""
    code = str(getattr(error, "error_code", "INTERNAL_ERROR"))
    message = shorten(str(getattr(error, "message", ""))) or describe(error)
    status = int(error.get_http_status_code()) if hasattr(error, "get_http_status_code") else 500
    return StreamFailedError("INTERNAL_ERROR", message) if begun else StreamFailedError(code, message, status)


def _encode(chunk: Any) -> tuple[bytes, int]:
    """The chunk's event, and its count of tokens. Raises an exception of any type if it can't be JSON."""
    # as MLflow's agent server converts them
    if hasattr(chunk, "model_dump"):
        chunk = chunk.model_dump(exclude_none=True)
    elif dataclasses.is_dataclass(chunk) and not isinstance(chunk, type):
        chunk = dataclasses.asdict(chunk)
    name = chunk.get("type") if isinstance(chunk, Mapping) else None
    event = f"event: {name}\n" if isinstance(name, str) and NAMED_EVENT.fullmatch(name) else ""
    return f"{event}data: {_json(chunk)}\n\n".encode(), tokens(chunk)


def _json(chunk: Any) -> str:
    """JSON on one line, with null for NaN and the infinities."""
    try:
        text = json.dumps(chunk)
    except TypeError:
        # arrays, tables and dates, as MLflow's scoring server converts them
        from mlflow.utils.proto_json_utils import (  # type: ignore[import-not-found,unused-ignore]
            NumpyEncoder,
            _get_jsonable_obj,
        )

        text = json.dumps(_get_jsonable_obj(chunk), cls=NumpyEncoder)
    if "NaN" in text or "Infinity" in text:
        text = json.dumps(json.loads(text, parse_constant=lambda _: None))
    return text


def _check_content_type(content_type: str) -> None:
    """Accepts JSON in UTF-8 only. MLflow's other types, CSV and Parquet, have no place for ``stream``."""
    kind, *parameters = (part.strip().lower() for part in content_type.split(";"))
    if kind != "application/json" or any(
        parameter != "charset=utf-8" for parameter in parameters if parameter
    ):
        text = "a streamed answer requires a request with the content type application/json"
        raise StreamFailedError("BAD_REQUEST", text, 415)


def _parse(body: bytes, metadata: Any) -> tuple[Any, Any]:
    """Data and parameters, as MLflow's scoring server reads them. Any exception is the caller's fault."""
    from mlflow.pyfunc.scoring_server import _parse_json_data  # type: ignore[import-not-found,unused-ignore]

    try:
        parsed = _parse_json_data(body, metadata, metadata.get_input_schema())
    except Exception as error:
        message = shorten(str(getattr(error, "message", ""))) or describe(error)
        raise StreamFailedError("BAD_REQUEST", message, 400) from error
    return parsed.data, parsed.params

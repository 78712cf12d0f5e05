"""The model and its answers to requests, by MLflow's own scoring: a part of serve.py."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import json
import logging
import traceback
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass, replace
from io import StringIO
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model_operator.pod.serve_batch import divide, group
    from model_operator.pod.serve_failure import DefiniteError, describe, shorten
    from model_operator.pod.serve_fast import TableReader, quicken, reader_for
    from model_operator.pod.serve_image import blame_image, list_differences
    from model_operator.pod.serve_request import PREDICTION_PATH, Answer, Request
else:
    from serve_batch import divide, group
    from serve_failure import DefiniteError, describe, shorten
    from serve_fast import quicken, reader_for
    from serve_image import blame_image, list_differences
    from serve_request import PREDICTION_PATH, Answer, Request

# the contract tests run with these
TESTED_MLFLOW = ("2.22.", "3.17.")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

# the functions of MLflow that check and convert a request for the model
OF_INPUT = ("_validate_prediction_input", "_convert_llm_input_data", "_convert_input")

log = logging.getLogger("serve")


@dataclass(frozen=True)
class Prediction:
    """One call of the model: its rows, or None if they can't be counted, and its answer."""

    rows: int | None
    answer: Any


class ModelUnderWatch:
    """A loaded model with separate errors for its own faults and the caller's.

    MLflow answers 400 both to bad input and to an exception in the model. Here, exceptions that MLflow's own code
    raises (about the input) stay 400, and any other exception becomes an error 500 without a stack trace.
    """

    NO_STREAM = (
        "the model has no predict_stream method, so it can't stream its answer: send the request without"
        ' "stream": true, or log a version of the model whose class has predict_stream'
    )

    def __init__(self, model: Any, failure: Callable[[str], Exception]) -> None:
        self._model = model
        self._failure = failure
        self.last_error = ""
        self.last_exception: Exception | None = None
        self.remembers = False
        self.last_prediction: Prediction | None = None

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._model, attribute)

    def predict(self, data: Any, params: Any = None) -> Any:
        from mlflow.exceptions import MlflowException  # type: ignore[import-not-found,unused-ignore]

        # before the model gets hold of it
        rows = _rows(data) if self.remembers else None
        try:
            answer = self._model.predict(data, params=params)
        except MlflowException as error:
            self.last_error = describe(error)
            raise
        except Exception as error:
            self.last_error = describe(error)
            self.last_exception = error if self.remembers else None
            if _is_of_mlflow(error) or _is_of_input(error):
                raise
            log.exception("the model raised an exception while predicting")
            raise self._failure(
                f"the model raised {type(error).__name__} while predicting (see the server's log)"
            ) from error
        if self.remembers:
            self.last_prediction = Prediction(rows, answer)
        return answer

    # MLflow looks at it with every request, and it is found quicker here
    predict.__signature__ = inspect.signature(predict)  # type: ignore[attr-defined]

    def can_stream(self) -> bool:
        """Whether there is a predict_stream. A chat model has MLflow's own, which raises NotImplementedError."""
        if not hasattr(self._model, "predict_stream"):
            return False
        # a model of any other flavor has None in MLflow 2.22 and 3.17
        return getattr(self._model, "_predict_stream_fn", self._model) is not None

    def predict_stream(self, data: Any, params: Any = None) -> Iterator[Any]:
        """The chunks of the answer. An exception after the first one is always the model's.

        Closing it closes the model's own iterator.
        """
        begun = False
        chunks: Iterator[Any] = iter(())
        try:
            chunks = iter(self._model.predict_stream(data, params=params))
            for chunk in chunks:
                begun = True
                yield chunk
        except (Exception, SystemExit) as error:
            self.last_error = describe(error)
            failure = self._stream_error(error, begun)
            if failure is error:
                raise
            raise failure from error
        finally:
            close = getattr(chunks, "close", None)
            if close is not None:
                close()

    def _stream_error(self, error: BaseException, begun: bool) -> Any:
        """The exception to raise for one of predict_stream's."""
        from mlflow.exceptions import MlflowException
        from mlflow.protos.databricks_pb2 import BAD_REQUEST  # type: ignore[import-not-found,unused-ignore]

        if not begun and isinstance(error, NotImplementedError) and _innermost(error) == "predict_stream":
            return MlflowException(self.NO_STREAM, error_code=BAD_REQUEST)
        if not begun and _is_of_input(error):
            # MLflow has no status for most of these, which would make them 500
            text = error.message if isinstance(error, MlflowException) else describe(error)
            return MlflowException(text, error_code=BAD_REQUEST)
        if not begun and isinstance(error, MlflowException):
            return error
        log.error("the model raised an exception while streaming", exc_info=error)
        return self._failure(
            f"the model raised {type(error).__name__} while streaming (see the server's log)"
        )


def _is_of_mlflow(error: BaseException) -> bool:
    """Whether only MLflow's own code took part: it converts the input, such as chat messages, for the model."""
    # the first frame is the caller of this function. A method that dataclasses generates has no file of its own
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)][1:]
    modules = {str(frame.f_globals.get("__name__")).partition(".")[0] for frame in frames}
    return modules == {"mlflow"}


def _is_of_input(error: BaseException) -> bool:
    """Whether MLflow rejected the input. Classes of pydantic and the model's own validators may have taken part."""
    # the first frame is the caller of this function
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)][1:]
    of_mlflow = [
        frame.f_code.co_name
        for frame in itertools.takewhile(
            lambda frame: str(frame.f_globals.get("__name__")).startswith("mlflow."), frames
        )
    ]
    if any(name in OF_INPUT for name in of_mlflow):
        return True
    # predict_stream takes a single row, and checks that itself
    return len(of_mlflow) == len(frames) and of_mlflow[-1:] == ["_predict_stream"] and _is_mlflows(error)


def _is_mlflows(error: BaseException) -> bool:
    from mlflow.exceptions import MlflowException

    return isinstance(error, MlflowException)


def _innermost(error: BaseException) -> str:
    """The name of the function that raised it."""
    return [frame for frame, _ in traceback.walk_tb(error.__traceback__)][-1].f_code.co_name


def _rows(data: Any) -> int | None:
    """How many rows a table or an array has."""
    shape = getattr(data, "shape", ())
    return int(shape[0]) if shape else None


def load(model_dir: Path) -> ModelUnderWatch:
    """The model in `model_dir`. Raises DefiniteError if it, or a library that it needs, can't be loaded."""
    try:
        import mlflow  # type: ignore[import-not-found,unused-ignore]
        from mlflow.exceptions import MlflowException
        from mlflow.pyfunc import scoring_server  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise DefiniteError(
            "RequirementMissing",
            f"the server's image can't serve MLflow models ({describe(error)}): use an image with MLflow, or"
            " spec.server.runtime: Custom",
        ) from error
    if not mlflow.__version__.startswith(TESTED_MLFLOW):
        tested = ", ".join(f"{version}x" for version in TESTED_MLFLOW)
        log.warning("MLflow %s was not tested with this server (%s were)", mlflow.__version__, tested)

    class PredictionFailed(MlflowException):  # type: ignore[misc,unused-ignore]
        # MLflow adds the caller's data and the stack trace to the text, and the caller needs neither
        def __init__(self, text: str) -> None:
            super().__init__(text)
            self.text = text

        def serialize_as_json(self) -> str:
            return json.dumps({"error_code": "INTERNAL_ERROR", "message": self.text})

    try:
        model = scoring_server.load_model_with_mlflow_config(str(model_dir))
    except (Exception, SystemExit) as error:
        log.exception("the model can't be loaded")
        if failure := blame_image(error, model_dir, loading=True):
            raise failure from error
        text = f"the model can't be loaded: {describe(error)}"
        if differences := list_differences(model_dir):
            text += f". Nothing points to the image, but the model was made with {differences}"
        raise DefiniteError("LoadFailed", text) from error
    return ModelUnderWatch(model, PredictionFailed)


class Scoring:
    """Answers requests with the model as MLflow's own scoring application does. Thread-safe if the model is.

    Raises DefiniteError if the image's libraries do not match. Only this class uses MLflow's private interface.
    """

    def __init__(self, model: ModelUnderWatch) -> None:
        from mlflow import pyfunc
        from mlflow.pyfunc import scoring_server

        self.model = model
        self._server = scoring_server
        self._schema = model.metadata.get_input_schema()
        self._logged_nan = False
        try:
            # for all other paths, and it marks the process as a server for the model
            self._app: App = scoring_server.init(model)
        except Exception as error:
            log.exception("MLflow's scoring server can't be made")
            raise DefiniteError(
                "RequirementMissing",
                f"the scoring server of the image's MLflow {mlflow_version()} does not go together with its other"
                f" libraries ({describe(error)}): set spec.server.image to an image in which it does",
            ) from error
        self._reader = reader_for(model.metadata)
        quicken(scoring_server, pyfunc, self._reader)

    def answer(self, request: Request) -> Answer:
        """The answer for a caller: valid JSON, or an error without a stack trace. Raises nothing."""
        return self._checked(request, self.answer_of_mlflow(request))

    def answer_together(self, requests: Sequence[Request], most_rows: int) -> list[Answer]:
        """The answers to several requests, predicted together where their tables can be joined. Raises nothing."""
        if self._reader is None:
            return [self.answer(request) for request in requests]
        rows = [self._reader.rows(request.body) for request in requests]
        sizes = [None if found is None else len(found) for found in rows]
        answers: list[Answer] = []
        for positions in group(sizes, most_rows):
            joined = [rows[position] or [] for position in positions]
            together = self._predict_together(self._reader, joined) if len(positions) > 1 else None
            answers += together or [self.answer(requests[position]) for position in positions]
        return answers

    def _predict_together(self, reader: TableReader, tables: list[list[Any]]) -> list[Answer] | None:
        """The answers for tables of rows, or None if the model or its answer is not fit for that."""
        try:
            prediction = self.model.predict(reader.table(list(chain.from_iterable(tables))), params=None)
            parts = divide(prediction, [len(rows) for rows in tables])
            return None if parts is None else [self._encoded(part) for part in parts]
        except (Exception, SystemExit):
            # each request gets its own answer or error
            return None

    def _encoded(self, prediction: Any) -> Answer:
        text = StringIO()
        self._server.predictions_to_json(prediction, text)
        return self._without_nan(Answer(200, "application/json", text.getvalue().encode()))

    def answer_of_mlflow(self, request: Request) -> Answer:
        """The answer of MLflow's application as it is. Raises nothing."""
        try:
            if request.path == PREDICTION_PATH and request.method == "POST":
                return self._predict(request)
            return asyncio.run(_ask(self._app, request))
        except BaseException:  # a model may raise SystemExit
            log.exception("a request raised an exception outside of MLflow's checks")
            return Answer(500, "text/plain; charset=utf-8", b"Internal Server Error")

    def _predict(self, request: Request) -> Answer:
        from mlflow.exceptions import MlflowException

        content_type = request.headers.get("content-type", "")
        try:
            response = self._server.invocations(request.body, content_type, self.model, self._schema)
        except MlflowException as error:
            text = error.serialize_as_json().encode(errors="replace")
            return Answer(error.get_http_status_code(), "application/json", text)
        media_type = response.mimetype
        if media_type.startswith("text/"):
            media_type += "; charset=utf-8"
        return Answer(response.status, media_type, response.response.encode())

    def _checked(self, request: Request, answer: Answer) -> Answer:
        body = answer.body
        if answer.status >= 500 and not _is_text(request.body):
            # MLflow 2 answers 500 in this case. That would count against the model
            return _error(400, "BAD_REQUEST", "The request is not valid UTF-8.")
        if answer.status >= 400 and (text := message_of(body)):
            return _error(answer.status, str(json.loads(body)["error_code"]), text)
        return self._without_nan(answer) if answer.status < 300 else answer

    def _without_nan(self, answer: Answer) -> Answer:
        body = answer.body
        if b"NaN" not in body and b"Infinity" not in body:
            return answer
        valid = without_nan(body)
        if valid != body and not self._logged_nan:
            self._logged_nan = True
            log.warning("the model predicts NaN or an infinity, and callers get null (logged once)")
        return replace(answer, body=valid)


def _error(status: int, code: str, message: str) -> Answer:
    body = json.dumps({"error_code": code, "message": shorten(message)}).encode()
    return Answer(status, "application/json", body)


def message_of(body: bytes) -> str:
    """Returns the message in an error of MLflow's. Empty if the body is no such error."""
    try:
        error = json.loads(body)
        return str(error["message"]) if "error_code" in error else ""
    except (ValueError, TypeError, KeyError):
        return ""


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


async def _ask(app: App, request: Request) -> Answer:
    """The answer of an ASGI application to a request that is whole."""
    start: Message = {}
    chunks: list[bytes] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": request.body, "more_body": False}

    async def send(message: Message) -> None:
        nonlocal start
        if message["type"] == "http.response.start":
            start = message
        else:
            chunks.append(message.get("body", b""))

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": request.path,
        "raw_path": request.path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [
            (name.encode("latin-1"), value.encode("latin-1")) for name, value in request.headers.items()
        ],
        "client": ("127.0.0.1", 0),
        "server": ("127.0.0.1", 0),
    }
    await app(scope, receive, send)
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in start["headers"]}
    headers.pop("content-length", None)
    content_type = headers.pop("content-type", "")
    return Answer(start["status"], content_type, b"".join(chunks), tuple(headers.items()))


def mlflow_version() -> str:
    """The version of the image's MLflow."""
    import mlflow

    return str(mlflow.__version__)

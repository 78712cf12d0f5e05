"""Serve one MLflow model: load it, put its own example through it once, and only then open the port.

Runs as process 1 of the server container, in an image that has MLflow and uvicorn. What it needs is in the
environment:

    MODEL_NAME, MODEL_VERSION    what is served; every answer says so (X-Model-Name, X-Model-Version)
    MODEL_DIR                    directory of the model, default /model
    SERVER_PORT                  port to open, default 8080
    SELF_TEST_MODE               Auto (default): test if there is an example; Required; LoadOnly
    SELF_TEST_TIMEOUT_SECONDS    default 60
    SELF_TEST_PATH               default /invocations
    SELF_TEST_PAYLOAD_FILE       a request body to use in place of the model's serving_input_example.json
    DRAIN_SECONDS                longest time from SIGTERM to the end, default 30

A definite failure ends with one of the exit codes below and one line of JSON in the termination message.
SIGTERM before the port is open ends at once (143); afterwards requests in flight are answered first, and the
exit code is 0.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import signal
import socket
import sys
import threading
import time
import urllib.parse
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

LOAD_FAILED = 50
REQUIREMENT_MISSING = 51
SELF_TEST_FAILED = 52
SELF_TEST_MISSING = 53
SERVE_MISCONFIGURED = 54
TERMINATED = 128 + signal.SIGTERM

REASONS = {
    LOAD_FAILED: "LoadFailed",
    REQUIREMENT_MISSING: "RequirementMissing",
    SELF_TEST_FAILED: "SelfTestFailed",
    SELF_TEST_MISSING: "SelfTestMissing",
    SERVE_MISCONFIGURED: "ServeMisconfigured",
}

TESTED_MLFLOW = ("3.17", "3.18")
MESSAGE_BYTES = 1024
# by the name's last words: TOKENIZERS_PARALLELISM=false is no secret, and "false" no word to hide
SECRET_VARIABLE = re.compile(r"(PASSWORD|PASSWD|TOKEN|SECRET|CREDENTIALS?|(^|_)KEY)(_|$)", re.IGNORECASE)
# requests still arrive for a moment after SIGTERM; the port stays open until none came for this long
QUIET_SECONDS = 2.0
# kept back from DRAIN_SECONDS for closing connections and ending the process
RESERVE_SECONDS = 1.0
# longer than callers and proxies keep an idle connection, so that they close it: what a caller sends while
# the server closes is lost
KEEP_ALIVE_SECONDS = 120

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

log = logging.getLogger("serve")


class DefiniteError(Exception):
    """Trying again would end in the same way: the exit code and the text for the termination message."""

    def __init__(self, code: int, message: str, self_test: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.self_test = self_test


@dataclass(frozen=True)
class Settings:
    name: str
    version: str
    model_dir: Path
    port: int
    mode: str
    test_seconds: float
    test_path: str
    payload: Path | None
    drain_seconds: float

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Settings:
        """Reads and checks the environment. Raises DefiniteError that names the variable."""
        for variable in ("MODEL_NAME", "MODEL_VERSION"):
            if not env.get(variable):
                raise DefiniteError(SERVE_MISCONFIGURED, f"the environment variable {variable} is not set")
        mode = env.get("SELF_TEST_MODE") or "Auto"
        if mode not in ("Auto", "Required", "LoadOnly"):
            raise DefiniteError(
                SERVE_MISCONFIGURED, f"SELF_TEST_MODE is {mode!r}: it must be Auto, Required or LoadOnly"
            )
        model_dir = Path(env.get("MODEL_DIR") or "/model")
        if not model_dir.is_dir():
            raise DefiniteError(SERVE_MISCONFIGURED, f"MODEL_DIR names {model_dir}, which is not a directory")
        payload = Path(env["SELF_TEST_PAYLOAD_FILE"]) if env.get("SELF_TEST_PAYLOAD_FILE") else None
        if payload is not None and not payload.is_file():
            raise DefiniteError(
                SERVE_MISCONFIGURED,
                f"SELF_TEST_PAYLOAD_FILE names {payload}, which does not exist: check the key of"
                " spec.selfTest.payload.configMap",
            )
        return cls(
            name=env["MODEL_NAME"],
            version=env["MODEL_VERSION"],
            model_dir=model_dir,
            port=int(_number(env, "SERVER_PORT", 8080, 65535)),
            mode=mode,
            test_seconds=_number(env, "SELF_TEST_TIMEOUT_SECONDS", 60, 86400),
            test_path=env.get("SELF_TEST_PATH") or "/invocations",
            payload=payload,
            drain_seconds=_number(env, "DRAIN_SECONDS", 30, 86400),
        )


def _number(env: Mapping[str, str], variable: str, default: float, most: float) -> float:
    text = env.get(variable) or str(default)
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 < value <= most:
        raise DefiniteError(
            SERVE_MISCONFIGURED, f"{variable} is {text!r}: it must be a number above 0 and at most {most:g}"
        )
    return value


# ---- loading ---------------------------------------------------------------


class ModelUnderWatch:
    """A loaded model that tells its own faults from the caller's.

    MLflow answers 400 to bad input and to an exception inside the model alike. Here an exception that is not
    MLflow's own (which says what is wrong with the input) becomes an error 500 without a stack trace.
    """

    def __init__(self, model: Any, failure: Callable[[str], Exception]) -> None:
        self._model = model
        self._failure = failure
        self.last_error = ""

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._model, attribute)

    def predict(self, data: Any, params: Any = None) -> Any:
        from mlflow.exceptions import MlflowException  # type: ignore[import-not-found,unused-ignore]

        try:
            return self._model.predict(data, params=params)
        except MlflowException as error:
            self.last_error = described(error)
            raise
        except Exception as error:
            self.last_error = described(error)
            log.exception("the model raised an exception while predicting")
            raise self._failure(
                f"the model raised {type(error).__name__} while predicting; the server's log says more"
            ) from error


def load(model_dir: Path) -> ModelUnderWatch:
    """The model in `model_dir`. Raises DefiniteError if it, or a library that it needs, can't be loaded."""
    try:
        import mlflow  # type: ignore[import-not-found,unused-ignore]
        from mlflow.exceptions import MlflowException
        from mlflow.pyfunc import scoring_server  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise DefiniteError(
            REQUIREMENT_MISSING,
            f"the server's image can't serve MLflow models ({described(error)}): use an image with MLflow, or"
            " spec.server.runtime: Custom",
        ) from error
    if not mlflow.__version__.startswith(TESTED_MLFLOW):
        log.warning("MLflow %s was not tested with this server (%s were)", mlflow.__version__, TESTED_MLFLOW)

    class PredictionFailed(MlflowException):  # type: ignore[misc,unused-ignore]
        # MLflow puts the caller's data and the stack trace into the text; the caller needs neither
        def __init__(self, text: str) -> None:
            super().__init__(text)
            self.text = text

        def serialize_as_json(self) -> str:
            return json.dumps({"error_code": "INTERNAL_ERROR", "message": self.text})

    try:
        model = scoring_server.load_model_with_mlflow_config(str(model_dir))
    except ImportError as error:
        missing = f"the module {error.name!r}" if error.name else "a module"
        raise DefiniteError(
            REQUIREMENT_MISSING,
            f"the model needs {missing}, which the server's image does not have in the right version"
            f" ({described(error)}): set spec.server.image to an image with the model's requirements",
        ) from error
    except (Exception, SystemExit) as error:
        log.exception("the model can't be loaded")
        raise DefiniteError(LOAD_FAILED, f"the model can't be loaded: {described(error)}") from error
    return ModelUnderWatch(model, PredictionFailed)


def scoring_app(model: ModelUnderWatch, request_seconds: float | None = None) -> App:
    """MLflow's own scoring application around the model; a request may take `request_seconds`.

    The one place that stands on MLflow's private interface; another version's would be added here. Without
    `request_seconds` it is what MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT says (60 s).
    """
    from mlflow.pyfunc import scoring_server

    variable = "MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT"
    before = os.environ.get(variable)
    if request_seconds is not None:
        os.environ[variable] = str(int(request_seconds) + 1)
    try:
        app: App = scoring_server.init(model)
    finally:
        if before is not None:
            os.environ[variable] = before
        elif request_seconds is not None:
            del os.environ[variable]
    return app


# ---- the self-test ---------------------------------------------------------


def self_test(settings: Settings, model: ModelUnderWatch) -> str:
    """Puts one request through the model. Returns Passed, LoadOnly or NoExample; raises DefiniteError."""
    if settings.mode == "LoadOnly":
        return "LoadOnly"
    example = settings.payload or settings.model_dir / "serving_input_example.json"
    if not example.is_file():
        if settings.mode == "Required":
            raise DefiniteError(
                SELF_TEST_MISSING,
                "spec.selfTest.mode is Required, but the model was logged without an input_example and"
                " spec.selfTest.payload is not set",
                "NoExample",
            )
        return "NoExample"
    started = time.monotonic()
    app = Front(scoring_app(model, settings.test_seconds))
    content_type = b"text/csv" if example.suffix == ".csv" else b"application/json"
    status, body = asyncio.run(_ask(app, settings, content_type, example.read_bytes()))
    what = "the given payload" if settings.payload else "the model's own input example"
    problem = _problem(status, body, what, model.last_error)
    if problem:
        raise DefiniteError(SELF_TEST_FAILED, f"self-test failed: {problem}", "Failed")
    log.info("self-test passed in %.2f s", time.monotonic() - started)
    return "Passed"


async def _ask(app: App, settings: Settings, content_type: bytes, body: bytes) -> tuple[int, bytes]:
    """The status and body of the answer to one POST, made without a socket; ends the process if it hangs."""
    status, chunks = 500, []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        else:
            chunks.append(message.get("body", b""))

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": settings.test_path,
        "raw_path": settings.test_path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [
            (b"host", b"localhost"),
            (b"content-type", content_type),
            (b"content-length", str(len(body)).encode()),
        ],
        "client": ("127.0.0.1", 0),
        "server": ("127.0.0.1", settings.port),
    }
    request = asyncio.ensure_future(app(scope, receive, send))
    done, _ = await asyncio.wait({request}, timeout=settings.test_seconds)
    if not done:
        # the thread that predicts can't be stopped, and closing this loop would wait for it
        _end(
            DefiniteError(
                SELF_TEST_FAILED,
                f"self-test failed: no answer within {settings.test_seconds:g} s"
                " (spec.selfTest.timeoutSeconds)",
                "Failed",
            )
        )
    error = request.exception()
    if error is not None:
        return 500, described(error).encode()
    return status, b"".join(chunks)


def _problem(status: int, body: bytes, what: str, model_error: str) -> str:
    if status != 200:
        text = model_error or _message_of(body) or body.decode(errors="replace")
        return f"{what} was answered with status {status}: {text}"

    def refuse(constant: str) -> NoReturn:
        raise ValueError(constant)

    try:
        json.loads(body, parse_constant=refuse)
    except ValueError as error:
        if str(error) in ("NaN", "Infinity", "-Infinity"):
            return f"the prediction for {what} contains {error}, which is no number and not valid JSON"
        return f"the prediction for {what} is not valid JSON: {error}"
    return ""


# ---- answering -------------------------------------------------------------


@dataclass
class Front:
    """What callers talk to: health, readiness and clean errors around MLflow's application."""

    app: App
    self_test: str = ""
    draining: bool = False
    in_flight: int = 0
    last_request: float = field(default_factory=time.monotonic)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def last_answer_closes(message: Message) -> None:
            if message["type"] == "http.response.start" and self.draining:
                message["headers"] = [*message.get("headers", []), (b"connection", b"close")]
            await send(message)

        if scope["path"] == "/health":
            await _answer(last_answer_closes, 200, {"status": "ok", "selfTest": self.self_test})
            return
        if scope["path"] == "/ping":
            status, word = (503, "draining") if self.draining else (200, "ok")
            await _answer(last_answer_closes, status, {"status": word})
            return
        self.in_flight += 1
        try:
            await self._invoke(scope, receive, last_answer_closes)
        finally:
            self.in_flight -= 1
            self.last_request = time.monotonic()

    async def _invoke(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["path"] == "/invocations" and not any(k == b"content-type" for k, _ in scope["headers"]):
            error = {"error_code": "BAD_REQUEST", "message": "the header Content-Type is missing"}
            await _answer(send, 415, error)
            return
        start: Message | None = None
        body = b""

        async def clean(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start" and message["status"] >= 400:
                start = message
            elif start is None:
                await send(message)
            else:
                body += message.get("body", b"")
                if not message.get("more_body"):
                    await self._send_error(send, start, body)

        await self.app(scope, receive, clean)

    @staticmethod
    async def _send_error(send: Send, start: Message, body: bytes) -> None:
        text = _message_of(body)
        if not text:
            await send(start)
            await send({"type": "http.response.body", "body": body})
            return
        error = {"error_code": str(json.loads(body)["error_code"]), "message": shortened(text)}
        await _answer(send, start["status"], error)


async def _answer(send: Send, status: int, body: dict[str, str]) -> None:
    data = json.dumps(body).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": data})


def _message_of(body: bytes) -> str:
    """The message of an error as MLflow writes it; empty if it is none."""
    try:
        error = json.loads(body)
        return str(error["message"]) if "error_code" in error else ""
    except (ValueError, TypeError, KeyError):
        return ""


def serve(settings: Settings, front: Front) -> None:
    """Opens the port and answers until SIGTERM has come and the requests in flight are answered."""
    import uvicorn  # type: ignore[import-not-found,unused-ignore]

    config = uvicorn.Config(
        front,
        host="0.0.0.0",  # noqa: S104 (a pod is reached from outside)
        port=settings.port,
        access_log=False,
        log_config=None,
        server_header=False,
        headers=[
            ("X-Model-Version", urllib.parse.quote(settings.version)),
            ("X-Model-Name", urllib.parse.quote(settings.name, safe="")),
        ],
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        # what remains at the end of the drain is cut off
        timeout_graceful_shutdown=max(1, int(RESERVE_SECONDS)),
    )
    server = uvicorn.Server(config)
    terminated = asyncio.Event()
    loop: asyncio.AbstractEventLoop | None = None

    def on_signal(_number: int, _frame: Any) -> None:
        if loop is None:
            os._exit(TERMINATED)
        loop.call_soon_threadsafe(terminated.set)

    # uvicorn's own handler closes the port at once: what comes in that moment would be lost
    server.handle_exit = on_signal

    async def drain() -> None:
        await terminated.wait()
        received = time.monotonic()
        front.draining = True
        front.last_request = received
        log.info("SIGTERM: draining, %d requests in flight", front.in_flight)
        deadline = received + max(settings.drain_seconds - 2 * RESERVE_SECONDS, 0)
        while time.monotonic() < deadline and (  # noqa: ASYNC110 (the clock ends it, too)
            front.in_flight or time.monotonic() - front.last_request < QUIET_SECONDS
        ):
            await asyncio.sleep(0.05)
        if front.in_flight:
            log.warning(
                "the %g s to drain are over: %d requests cut", settings.drain_seconds, front.in_flight
            )
        server.should_exit = True

    async def run() -> None:
        nonlocal loop
        loop = asyncio.get_running_loop()
        draining = asyncio.ensure_future(drain())
        await server.serve()
        draining.cancel()
        if not server.started:
            _end(DefiniteError(SERVE_MISCONFIGURED, f"the port {settings.port} can't be opened"))
        # not by return: closing the loop waits for threads that may still be predicting
        _exit(0)

    asyncio.run(run())


# ---- the process -----------------------------------------------------------


def described(error: BaseException) -> str:
    """The type and text of an exception, shortened."""
    text = str(error).strip()
    return shortened(f"{type(error).__name__}: {text}" if text else type(error).__name__)


def shortened(text: str) -> str:
    """At most MESSAGE_BYTES of the text, on one line, without the values of variables that look secret."""
    for variable, value in os.environ.items():
        if len(value) >= 4 and SECRET_VARIABLE.search(variable):
            text = text.replace(value, "***")
    text = re.sub(r"(://)[^/@\s]+@", r"\1***@", text)
    text = " ".join(text.split())
    data = text.encode()
    return text if len(data) <= MESSAGE_BYTES else data[: MESSAGE_BYTES - 3].decode(errors="ignore") + "..."


def _end(failure: DefiniteError) -> NoReturn:
    """Leaves the termination message where the kubelet reads it, and ends the process."""
    record = {"reason": REASONS[failure.code], "message": shortened(failure.message)}
    if failure.self_test:
        record["selfTest"] = failure.self_test
    line = json.dumps(record, ensure_ascii=False)
    try:
        Path(os.environ.get("TERMINATION_MESSAGE_PATH") or "/dev/termination-log").write_text(line + "\n")
    except OSError as error:
        log.warning("no termination message: %s", error)
    print(line, file=sys.stderr)
    _exit(failure.code)


def _exit(code: int) -> NoReturn:
    """Ends the process now: threads of the model or its libraries must not hold it."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _exit_on_sigterm_while_loading() -> None:
    """Ends the process on SIGTERM, also while the main thread is inside a library's long call.

    Python runs a signal's handler between two steps of the main thread only; the wake-up socket is written by
    the signal itself, and a thread of its own waits for it. Process 1 has no default action to fall back on.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.signal(signal.SIGTERM, lambda _number, _frame: os._exit(TERMINATED))
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)

    def wait() -> None:
        with writer:  # keeps the socket alive
            while signal.SIGTERM not in reader.recv(1):
                pass
        os._exit(TERMINATED)

    threading.Thread(target=wait, name="sigterm", daemon=True).start()


def _prepare_environment() -> None:
    """Makes MLflow and the libraries write to the temporary directory only, and never call home."""
    here = Path(__file__).resolve().parent
    # this directory would shadow a module of the model named like one of our scripts
    sys.path[:] = [entry for entry in sys.path if not entry or Path(entry).resolve() != here]
    scratch = os.environ.get("TMPDIR") or "/tmp"  # noqa: S108 (a volume of the pod's own)
    if not os.access(os.environ.get("HOME") or "/", os.W_OK):
        os.environ["HOME"] = scratch
    for variable, value in {
        "MPLCONFIGDIR": scratch,
        # a tracking server must not be needed to serve
        "MLFLOW_TRACKING_URI": f"file://{scratch}/mlruns",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "PYTHONDONTWRITEBYTECODE": "1",
    }.items():
        os.environ.setdefault(variable, value)


def main() -> NoReturn:
    """Loads, tests and serves the model that the environment names; ends the process itself."""
    started = time.monotonic()
    _exit_on_sigterm_while_loading()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    _prepare_environment()
    try:
        settings = Settings.from_env(os.environ)
        model = load(settings.model_dir)
        outcome = self_test(settings, model)
        front = Front(scoring_app(model), outcome)
    except DefiniteError as failure:
        _end(failure)
    log.info(
        "serving %s version %s on port %d after %.1f s, self-test: %s",
        settings.name,
        settings.version,
        settings.port,
        time.monotonic() - started,
        outcome,
    )
    signal.set_wakeup_fd(-1)
    serve(settings, front)
    _exit(0)


if __name__ == "__main__":
    main()

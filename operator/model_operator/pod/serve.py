"""Serve one MLflow model: load it, put its own example through it once, and only then open the port.

Runs as process 1 of the server container. The image needs MLflow and uvicorn. These variables configure it:

    MODEL_NAME, MODEL_VERSION    also in each answer (X-Model-Name, X-Model-Version)
    MODEL_DIR                    directory of the model, default /model
    SERVER_PORT                  port to open, default 8080
    SELF_TEST_MODE               Auto (default, test if there is an example), Required or LoadOnly
    SELF_TEST_TIMEOUT_SECONDS    default 60
    SELF_TEST_PATH               default /invocations
    SELF_TEST_PAYLOAD_FILE       a request body to use in place of the model's own input example
    MAX_REQUEST_BYTES            a larger request is answered with 413, default 64 MiB
    DRAIN_SECONDS                longest time from SIGTERM to the end, default 30
    CONNECTION_SECONDS           after which a kept connection is closed with its next answer, default 30

On a definite failure, the process exits with one of the exit codes below and leaves a line of JSON in the termination
message. On SIGTERM before the port is open it exits at once (143). Later, it answers the requests in flight first and
exits with 0.

The parts serve_*.py are in the same directory. GET /metrics has figures about the requests for Prometheus.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import pwd
import signal
import socket
import sys
import threading
import time
import urllib.parse
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

# Alone in a directory, as in a pod, they are modules of their own. Before _prepare_environment.
if TYPE_CHECKING:
    from model_operator.pod.serve_failure import DefiniteError, shorten
    from model_operator.pod.serve_front import CONNECTION_SECONDS, Front
    from model_operator.pod.serve_image import REMEDY, list_differences
    from model_operator.pod.serve_metrics import RequestMetrics
    from model_operator.pod.serve_scoring import load, mlflow_version, scoring_app
    from model_operator.pod.serve_selftest import SelfTest
else:
    from serve_failure import DefiniteError, shorten
    from serve_front import CONNECTION_SECONDS, Front
    from serve_image import REMEDY, list_differences
    from serve_metrics import RequestMetrics
    from serve_scoring import load, mlflow_version, scoring_app
    from serve_selftest import SelfTest

LOAD_FAILED = 50
REQUIREMENT_MISSING = 51
SELF_TEST_FAILED = 52
SELF_TEST_MISSING = 53
SERVE_MISCONFIGURED = 54
SELF_TEST_WRONG_SHAPE = 55
IMAGE_MISMATCH = 56
TERMINATED = 128 + signal.SIGTERM

REASONS = {
    LOAD_FAILED: "LoadFailed",
    REQUIREMENT_MISSING: "RequirementMissing",
    SELF_TEST_FAILED: "SelfTestFailed",
    SELF_TEST_MISSING: "SelfTestMissing",
    SERVE_MISCONFIGURED: "ServeMisconfigured",
    SELF_TEST_WRONG_SHAPE: "SelfTestWrongShape",
    IMAGE_MISMATCH: "ImageMismatch",
}

MAX_REQUEST_BYTES = 64 * 2**20
# as many as asyncio's own pool would have
PREDICTION_THREADS = min(32, (os.cpu_count() or 1) + 4)
# requests still arrive for a moment after SIGTERM. The port stays open until none came for this long
QUIET_SECONDS = 2.0
# kept back from DRAIN_SECONDS for closing connections and ending the process
RESERVE_SECONDS = 1.0
# longer than callers and proxies keep an idle connection: they should close it. A request that is sent while the
# server closes is lost
KEEP_ALIVE_SECONDS = 120

log = logging.getLogger("serve")


@dataclass(frozen=True)
class Settings:
    name: str
    version: str
    model_dir: Path
    port: int
    max_request_bytes: int
    self_test: SelfTest
    drain_seconds: float
    connection_seconds: float

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Settings:
        """Reads and checks the environment. Raises DefiniteError that names the variable."""
        for variable in ("MODEL_NAME", "MODEL_VERSION"):
            if not env.get(variable):
                raise DefiniteError("ServeMisconfigured", f"the environment variable {variable} is not set")
        mode = env.get("SELF_TEST_MODE") or "Auto"
        if mode not in ("Auto", "Required", "LoadOnly"):
            raise DefiniteError(
                "ServeMisconfigured", f"SELF_TEST_MODE is {mode!r}: it must be Auto, Required or LoadOnly"
            )
        model_dir = Path(env.get("MODEL_DIR") or "/model")
        if not model_dir.is_dir():
            raise DefiniteError(
                "ServeMisconfigured", f"MODEL_DIR names {model_dir}, which is not a directory"
            )
        payload = Path(env["SELF_TEST_PAYLOAD_FILE"]) if env.get("SELF_TEST_PAYLOAD_FILE") else None
        if payload is not None and not payload.is_file():
            raise DefiniteError(
                "ServeMisconfigured",
                f"SELF_TEST_PAYLOAD_FILE names {payload}, which does not exist: check the key of"
                " spec.selfTest.payload.configMap",
            )
        return cls(
            name=env["MODEL_NAME"],
            version=env["MODEL_VERSION"],
            model_dir=model_dir,
            port=int(_number(env, "SERVER_PORT", 8080, 65535)),
            max_request_bytes=int(_number(env, "MAX_REQUEST_BYTES", MAX_REQUEST_BYTES, 2**40)),
            self_test=SelfTest(
                mode=mode,
                seconds=_number(env, "SELF_TEST_TIMEOUT_SECONDS", 60, 86400),
                path=env.get("SELF_TEST_PATH") or "/invocations",
                payload=payload,
            ),
            drain_seconds=_number(env, "DRAIN_SECONDS", 30, 86400),
            connection_seconds=_number(env, "CONNECTION_SECONDS", CONNECTION_SECONDS, 86400),
        )


def _number(env: Mapping[str, str], variable: str, default: float, most: float) -> float:
    text = env.get(variable) or str(default)
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 < value <= most:
        raise DefiniteError(
            "ServeMisconfigured", f"{variable} is {text!r}: it must be a number above 0 and at most {most:g}"
        )
    return value


# ---- answering -------------------------------------------------------------


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
        # requests that remain at the end of the drain are cut off
        timeout_graceful_shutdown=max(1, int(RESERVE_SECONDS)),
    )
    server = uvicorn.Server(config)
    terminated = asyncio.Event()
    loop: asyncio.AbstractEventLoop | None = None

    def on_signal(_number: int, _frame: Any) -> None:
        if loop is None:
            os._exit(TERMINATED)
        loop.call_soon_threadsafe(terminated.set)

    # uvicorn's own handler closes the port at once, and requests in that moment would be lost
    server.handle_exit = on_signal

    async def end() -> None:
        await terminated.wait()
        await _drain(front, settings.drain_seconds)
        server.should_exit = True

    async def run() -> None:
        nonlocal loop
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(PREDICTION_THREADS, "predict"))
        ending = asyncio.ensure_future(end())
        await server.serve()
        ending.cancel()
        if not server.started:
            _end(DefiniteError("ServeMisconfigured", f"the port {settings.port} can't be opened"))
        # not by return: closing the loop waits for threads that may still be predicting
        _exit(0)

    asyncio.run(run())


async def _drain(front: Front, seconds: float) -> None:
    """Waits until the requests in flight are answered and no new ones arrive, but not longer than ``seconds``."""
    received = time.monotonic()
    front.draining = True
    front.last_request = received
    log.info("SIGTERM: draining, %d requests in flight", front.in_flight)
    deadline = received + max(seconds - 2 * RESERVE_SECONDS, 0)
    while time.monotonic() < deadline and (  # noqa: ASYNC110 (the clock ends it, too)
        front.in_flight or time.monotonic() - front.last_request < QUIET_SECONDS
    ):
        await asyncio.sleep(0.05)
    if front.in_flight:
        log.warning("the %g s to drain are over: %d requests cut", seconds, front.in_flight)


# ---- the process -----------------------------------------------------------


def _leave(message: str) -> None:
    """Leaves the termination message, in place of an earlier one."""
    try:
        Path(os.environ.get("TERMINATION_MESSAGE_PATH") or "/dev/termination-log").write_text(message)
    except OSError as error:
        log.warning("no termination message: %s", error)


def _expect_crash(model_dir: Path) -> bool:
    """Leaves a message in advance for a crash of the interpreter, if the image has other versions.

    Bytecode of another Python, or a library with another binary interface, can end the process with a signal.
    """
    differences = list_differences(model_dir)
    if differences:
        log.warning("the model was made with %s", differences)
        message = f"the process ended while it loaded or tested the model, which was made with {differences}: {REMEDY}"
        _leave(
            json.dumps({"reason": "ImageMismatch", "message": shorten(message)}, ensure_ascii=False) + "\n"
        )
    return bool(differences)


def _end(failure: DefiniteError) -> NoReturn:
    """Leaves the termination message where the kubelet reads it, and ends the process."""
    record = {"reason": failure.reason, "message": shorten(failure.message)}
    if failure.self_test:
        record["selfTest"] = failure.self_test
    line = json.dumps(record, ensure_ascii=False)
    _leave(line + "\n")
    print(line, file=sys.stderr)
    _exit(next(code for code, reason in REASONS.items() if reason == failure.reason))


def _exit(code: int) -> NoReturn:
    """Ends the process now: threads of the model or its libraries must not hold it."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _exit_on_sigterm_while_loading() -> None:
    """Ends the process on SIGTERM, also while the main thread is inside a library's long call.

    Python runs a signal handler only between two steps of the main thread. The signal itself writes to the wake-up
    socket, and a separate thread waits for it. Process 1 has no default action for a signal.
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


def _name_user() -> None:
    """Sets a user name if the image's passwd has none for this uid. getpass.getuser() fails otherwise."""
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        for variable in ("LOGNAME", "USER"):
            os.environ[variable] = os.environ.get(variable) or "model-server"


def _prepare_environment() -> None:
    """Makes MLflow and the libraries write to the temporary directory only, and never call home."""
    here = Path(__file__).resolve().parent
    # this directory would shadow a module of the model named like one of our scripts
    sys.path[:] = [entry for entry in sys.path if not entry or Path(entry).resolve() != here]
    scratch = os.environ.get("TMPDIR") or "/tmp"  # noqa: S108 (a volume of the pod's own)
    if not os.access(os.environ.get("HOME") or "/", os.W_OK):
        os.environ["HOME"] = scratch
    _name_user()
    for variable, value in {
        "MPLCONFIGDIR": scratch,
        # a tracking server must not be needed to serve
        "MLFLOW_TRACKING_URI": f"file://{scratch}/mlruns",
        # without it MLflow 3.17 and later refuse that store, and a model may log while it predicts
        "MLFLOW_ALLOW_FILE_STORE": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "PYTHONDONTWRITEBYTECODE": "1",
        # timestamps of counters, as metrics
        "PROMETHEUS_DISABLE_CREATED_SERIES": "true",
    }.items():
        os.environ.setdefault(variable, value)


def main() -> NoReturn:
    """Loads, tests and serves the model, and exits the process."""
    started = time.monotonic()
    _exit_on_sigterm_while_loading()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    _prepare_environment()
    try:
        settings = Settings.from_env(os.environ)
        expects_crash = _expect_crash(settings.model_dir)
        model = load(settings.model_dir)
        outcome = settings.self_test.run(model, settings.model_dir)
        if expects_crash:
            _leave("")
        metrics = RequestMetrics(settings.name, settings.version, mlflow_version(), PREDICTION_THREADS)
        front = Front(
            scoring_app(model),
            metrics,
            settings.max_request_bytes,
            outcome,
            connection_seconds=settings.connection_seconds,
        )
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

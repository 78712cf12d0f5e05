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
    SERVER_WORKERS               processes that predict, default by the container's CPU limit, 1 if it has none
    MAX_CONCURRENCY              requests in work at once, default 32
    MAX_QUEUE                    requests that wait before others are answered with 503, default 256
    BATCH_MAX_ROWS               rows of several requests that are predicted together, default 1: each by itself
    BATCH_MAX_WAIT_MILLISECONDS  for which a request waits for others to come, default 5
    CONNECTION_SECONDS           after which a kept connection is closed with its next answer, default 30

On a definite failure, the process exits with one of the exit codes of serve_failure.py and leaves a line of JSON in
the termination message. On SIGTERM before the port is open it exits at once (143). Later, it answers the requests in
flight first and exits with 0.

The parts serve_*.py are in the same directory. GET /metrics has figures about the requests for Prometheus.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import pwd
import signal
import socket
import sys
import time
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

# Alone in a directory, as in a pod, they are modules of their own. Before _prepare_environment.
if TYPE_CHECKING:
    from model_operator.pod.serve_cpu import cpu_limit, thread_settings, usable_cores, worker_count
    from model_operator.pod.serve_failure import DefiniteError, end_with, exit_now
    from model_operator.pod.serve_forks import (
        Forker,
        LoadingEndedError,
        Processes,
        control_pair,
        end_with_parent,
        fork_on_request,
        stay_through_sigterm,
    )
    from model_operator.pod.serve_front import CONNECTION_SECONDS, Front
    from model_operator.pod.serve_metrics import SHARED, RequestMetrics, share_metrics
    from model_operator.pod.serve_pool import Pool
    from model_operator.pod.serve_routes import Served
    from model_operator.pod.serve_selftest import SelfTest
    from model_operator.pod.serve_slots import Limits
    from model_operator.pod.serve_worker import load_and_serve
else:
    from serve_cpu import cpu_limit, thread_settings, usable_cores, worker_count
    from serve_failure import DefiniteError, end_with, exit_now
    from serve_forks import (
        Forker,
        LoadingEndedError,
        Processes,
        control_pair,
        end_with_parent,
        fork_on_request,
        stay_through_sigterm,
    )
    from serve_front import CONNECTION_SECONDS, Front
    from serve_metrics import SHARED, RequestMetrics, share_metrics
    from serve_pool import Pool
    from serve_routes import Served
    from serve_selftest import SelfTest
    from serve_slots import Limits
    from serve_worker import load_and_serve

TERMINATED = 128 + signal.SIGTERM

MAX_REQUEST_BYTES = 64 * 2**20
# requests in work at once, and requests that wait, without a setting
MAX_CONCURRENCY, MAX_QUEUE = 32, 256
BATCH_WAIT_MS = 5
# of bodies that wait, or one that is larger
QUEUE_BYTES = 256 * 2**20
# as MLflow's own server has it, and its variable
REQUEST_SECONDS, REQUEST_SECONDS_VARIABLE = 60, "MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT"
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
    cores: float
    limits: Limits

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
        limit = cpu_limit()
        cores = usable_cores(limit)
        workers = int(_number(env, "SERVER_WORKERS", worker_count(limit, cores), 64))
        concurrency = int(_number(env, "MAX_CONCURRENCY", MAX_CONCURRENCY, 1000))
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
            cores=cores,
            limits=Limits(
                workers=workers,
                concurrency=concurrency,
                queue=int(_number(env, "MAX_QUEUE", MAX_QUEUE, 10_000, least=0)),
                queue_bytes=QUEUE_BYTES,
                seconds=_number(env, REQUEST_SECONDS_VARIABLE, REQUEST_SECONDS, 86400),
                each=max(1, min(int(cores / workers), concurrency)),
                batch_rows=int(_number(env, "BATCH_MAX_ROWS", 1, 10_000)),
                batch_wait=_number(env, "BATCH_MAX_WAIT_MILLISECONDS", BATCH_WAIT_MS, 1000, least=0) / 1000,
            ),
        )


def _number(
    env: Mapping[str, str], variable: str, default: float, most: float, least: float | None = None
) -> float:
    text = env.get(variable) or str(default)
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not ((value > 0 if least is None else value >= least) and value <= most):
        at_least = "above 0" if least is None else f"at least {least:g}"
        raise DefiniteError(
            "ServeMisconfigured",
            f"{variable} is {text!r}: it must be a number {at_least} and at most {most:g}",
        )
    return value


# ---- answering -------------------------------------------------------------


async def serve(settings: Settings, nursery: Forker, of_workers: str) -> None:
    """Has the model loaded, opens the port, and answers until SIGTERM has come and the requests are answered.

    ``of_workers`` is the directory of the metrics that the model registers.
    """
    started = time.monotonic()
    processes = Processes(nursery)
    front: Front | None = None

    def died(pid: int, code: int, all_of_them: bool) -> None:
        if front is not None:
            front.metrics.count_death(code)
            front.metrics.forget_worker(pid)
        if all_of_them:
            _end_all(processes, code or 1)

    pool = Pool(settings.limits, processes, died)
    starting = asyncio.ensure_future(pool.start())
    # while the model loads
    await asyncio.sleep(0)
    config = _config(settings)
    try:
        await starting
    except LoadingEndedError as ended:
        exit_now(ended.code)
    report = processes.report
    metrics = RequestMetrics(
        settings.name, settings.version, report["mlflow"], settings.limits.concurrency, of_workers
    )
    front = Front(
        pool,
        metrics,
        settings.max_request_bytes,
        report["selfTest"],
        connection_seconds=settings.connection_seconds,
        paths=frozenset(report["paths"]),
        silence_seconds=settings.limits.seconds,
    )
    log.info(
        "serving %s version %s on port %d after %.1f s, workers: %d, self-test: %s",
        settings.name,
        settings.version,
        settings.port,
        time.monotonic() - started,
        settings.limits.workers,
        report["selfTest"],
    )
    await _answer(settings, front, config)
    _end_all(processes, 0)


def _config(settings: Settings) -> Any:
    """uvicorn's configuration, still without an application."""
    import uvicorn  # type: ignore[import-not-found,unused-ignore]

    return uvicorn.Config(
        lambda: None,
        host="0.0.0.0",  # noqa: S104 (a pod is reached from outside)
        port=settings.port,
        access_log=False,
        log_config=None,
        server_header=False,
        lifespan="off",
        proxy_headers=False,
        ws="none",
        headers=[
            ("X-Model-Version", urllib.parse.quote(settings.version)),
            ("X-Model-Name", urllib.parse.quote(settings.name, safe="")),
        ],
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        # requests that remain at the end of the drain are cut off
        timeout_graceful_shutdown=max(1, int(RESERVE_SECONDS)),
    )


async def _answer(settings: Settings, front: Front, config: Any) -> None:
    import uvicorn

    config.app = front
    server = uvicorn.Server(config)
    terminated = asyncio.Event()
    loop = asyncio.get_running_loop()
    # uvicorn's own handler closes the port at once, and requests in that moment would be lost
    server.handle_exit = lambda _number, _frame: loop.call_soon_threadsafe(terminated.set)

    async def end() -> None:
        await terminated.wait()
        await _drain(front, settings.drain_seconds)
        server.should_exit = True

    ending = asyncio.ensure_future(end())
    await server.serve()
    ending.cancel()
    if not server.started:
        end_with(DefiniteError("ServeMisconfigured", f"the port {settings.port} can't be opened"))


def _end_all(processes: Processes, code: int) -> NoReturn:
    """Ends the server and every process with the model now."""
    for pid in processes.pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    exit_now(code)


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
    """Serves the model, and exits the process."""
    # at once, and before anything is started: process 1 has no default action for a signal
    signal.signal(signal.SIGTERM, lambda _number, _frame: os._exit(TERMINATED))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    _prepare_environment()
    try:
        settings = Settings.from_env(os.environ)
    except DefiniteError as failure:
        end_with(failure)
    if settings.limits.workers > 1 or settings.cores < len(os.sched_getaffinity(0)):
        os.environ.update(thread_settings(settings.cores, settings.limits.workers, os.environ))
    control, theirs = control_pair()
    of_workers = share_metrics()
    if os.fork() == 0:
        control.close()
        stay_through_sigterm()
        end_with_parent()
        served = Served(settings.name, settings.version, settings.model_dir, settings.limits.batch_rows)
        load = functools.partial(load_and_serve, served=served, self_test=settings.self_test)
        fork_on_request(theirs, load)
    theirs.close()
    os.environ.pop(SHARED, None)
    _event_loop().run_until_complete(_run(settings, control, of_workers))
    exit_now(0)


async def _run(settings: Settings, control: socket.socket, of_workers: str) -> None:
    await serve(settings, Forker(control), of_workers)


def _event_loop() -> asyncio.AbstractEventLoop:
    """The quickest event loop that the image has."""
    try:
        import uvloop  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        loop = asyncio.new_event_loop()
    else:
        loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop


if __name__ == "__main__":
    main()

"""The processes that have the model: one loads and tests it, workers answer requests with it. A part of serve.py."""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import random
import socket
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model_operator.pod.serve_failure import DefiniteError, end_with, leave_message, shorten
    from model_operator.pod.serve_forks import end_with_parent, fork_on_request
    from model_operator.pod.serve_image import REMEDY, list_differences
    from model_operator.pod.serve_request import (
        BATCH,
        CHUNK,
        PING,
        Answer,
        Frame,
        Wire,
        answer_frame,
        answers_frame,
        end_frame,
        read_batch,
        read_request,
        stream_frame,
    )
    from model_operator.pod.serve_routes import Routes, Served
    from model_operator.pod.serve_scoring import Scoring, load, mlflow_version
    from model_operator.pod.serve_selftest import SelfTest
    from model_operator.pod.serve_stream import Stream, StreamFailedError
else:
    from serve_failure import DefiniteError, end_with, leave_message, shorten
    from serve_forks import end_with_parent, fork_on_request
    from serve_image import REMEDY, list_differences
    from serve_request import (
        BATCH,
        CHUNK,
        PING,
        Answer,
        Frame,
        Wire,
        answer_frame,
        answers_frame,
        end_frame,
        read_batch,
        read_request,
        stream_frame,
    )
    from serve_routes import Routes, Served
    from serve_scoring import Scoring, load, mlflow_version
    from serve_selftest import SelfTest
    from serve_stream import Stream, StreamFailedError

log = logging.getLogger("serve")


# ---- loading ---------------------------------------------------------------


def _expect_crash(model_dir: Path) -> bool:
    """Leaves a message in advance for a crash of the interpreter, if the image has other versions.

    Bytecode of another Python, or a library with another binary interface, can end the process with a signal.
    """
    differences = list_differences(model_dir)
    if differences:
        log.warning("the model was made with %s", differences)
        message = f"the process ended while it loaded or tested the model, which was made with {differences}: {REMEDY}"
        leave_message(
            json.dumps({"reason": "ImageMismatch", "message": shorten(message)}, ensure_ascii=False) + "\n"
        )
    return bool(differences)


def load_and_serve(
    control: socket.socket, order: Mapping[str, Any], served: Served, self_test: SelfTest
) -> None:
    """The loading process: loads the model, tests it unless the order says that it was, and reports to the front.

    The report is ``selfTest``, ``mlflow``, ``paths`` that predict, and ``alone``: why the process can't be forked, or
    empty. Then it forks workers on request, or is a worker itself. On a definite failure, it ends with the exit code
    of its reason.
    """
    end_with_parent()
    try:
        expects_crash = _expect_crash(served.directory)
        scoring = Scoring(load(served.directory))
        routes = Routes(served, scoring)
        outcome = "" if order.get("tested") else self_test.run(scoring, served.directory, routes.answer)
        if expects_crash:
            leave_message("")
    except DefiniteError as failure:
        end_with(failure)
    alone = cannot_fork()
    # two more looks at what every request uses would be two copies of it
    gc.collect()
    gc.freeze()
    report = {"selfTest": outcome, "mlflow": mlflow_version(), "paths": routes.predicting, "alone": alone}
    control.send(json.dumps(report).encode())
    if alone:
        work(control, routes)
    else:
        fork_on_request(control, lambda own, _order: _work_as_a_copy(own, routes))


def cannot_fork() -> str:
    """Why a copy of this process would not work as it does, or empty: it has other threads, or a GPU in use.

    Only the thread that forks exists in the copy. A lock that another one held stays locked, and the threads of a pool
    (OpenMP, BLAS, CUDA) are gone without a word to their library.
    """
    names = [thread.name for thread in threading.enumerate() if thread is not threading.current_thread()]
    if names:
        return f"the model or a library has started threads ({shorten(', '.join(names))[:100]})"
    with contextlib.suppress(OSError):
        if any(
            os.path.realpath(handle).startswith("/dev/nvidia") for handle in Path("/proc/self/fd").iterdir()
        ):
            return "the model uses a GPU"
    with contextlib.suppress(OSError):
        # a thread that has just ended is there for a moment longer
        deadline = time.monotonic() + 0.2
        while (count := len(list(Path("/proc/self/task").iterdir()))) > 1 and time.monotonic() < deadline:
            time.sleep(0.001)
        if count > 1:
            return f"a library has started {count - 1} native threads"
    return ""


# ---- answering -------------------------------------------------------------


def _work_as_a_copy(control: socket.socket, routes: Routes) -> None:
    """A forked worker. Its random numbers are not those of the others."""
    random.seed()
    if (numpy := sys.modules.get("numpy")) is not None:
        numpy.random.seed()
    work(control, routes)


def work(control: socket.socket, routes: Routes) -> None:
    """A worker: answers requests on every socket that comes over ``control``, each in a thread, until that closes."""
    while True:
        try:
            message, handles, _, _ = socket.recv_fds(control, 16, 1)
        except OSError:
            message = b""
        if not message:
            os._exit(0)
        if message == PING:
            control.send(message)
            continue
        wire = Wire(socket.socket(fileno=handles[0]))
        threading.Thread(target=_answer_all, args=(wire, routes), name="predict", daemon=True).start()


def _answer_all(wire: Wire, routes: Routes) -> None:
    """Answers one request after the other until the front closes its end."""
    with contextlib.closing(wire), contextlib.suppress(OSError):
        while (frame := wire.read()) is not None:
            begun, cpu = time.perf_counter(), time.thread_time()
            if frame.kind == BATCH:
                answers = routes.answer_together(read_batch(frame))
                wire.write(answers_frame(answers, time.perf_counter() - begun, time.thread_time() - cpu))
                continue
            answered = routes.answer(read_request(frame))
            if isinstance(answered, Answer):
                wire.write(answer_frame(answered, time.perf_counter() - begun, time.thread_time() - cpu))
                continue
            failure = _stream(wire, answered)
            usage = (time.perf_counter() - begun, time.thread_time() - cpu)
            wire.write(end_frame(failure, answered.tokens, *usage))


def _stream(wire: Wire, events: Stream) -> str:
    """Sends the events of a stream and returns the code of its error, or nothing."""
    try:
        wire.write(stream_frame(events.content_type, events.headers))
        for event in events:
            wire.write(Frame(CHUNK, None, event))
    except StreamFailedError as failure:
        return failure.error_code
    finally:
        # also when the front has closed its end: the caller is gone
        events.close()
    return ""

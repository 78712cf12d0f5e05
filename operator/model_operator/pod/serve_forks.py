"""Processes that fork others on request: a part of serve.py.

The front, process 1, has no model and no MLflow. At its start it forks a process that does nothing but fork. The
loading process comes from it, loads the model, and forks the workers in the same way. So nobody forks who has threads
or an event loop, and a worker shares the pages of the loaded model.

Control sockets keep the borders of messages. An order is a JSON object. FORK brings the new process's own socket along.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

ORDER_BYTES = 4096

log = logging.getLogger("serve")

Child = Callable[[socket.socket, Mapping[str, Any]], None]


def control_pair() -> tuple[socket.socket, socket.socket]:
    """The two ends of a control socket."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def stay_through_sigterm() -> None:
    """Leaves SIGTERM to the front, which drains. Programs that the model starts get the default again."""
    signal.signal(signal.SIGTERM, lambda _number, _frame: None)


def end_with_parent() -> None:
    """Has this process killed when the one that forked it ends: it may be in a long call of a library."""
    # linux/prctl.h: PR_SET_PDEATHSIG
    with contextlib.suppress(OSError, AttributeError, ImportError):
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def fork_on_request(control: socket.socket, child: Child) -> NoReturn:
    """Forks a child for each order and reports its pid, until the other end is closed. Never returns.

    The child runs ``child`` with its own socket and the order, and ends when that returns.
    """
    # if the model ignores it, the kernel keeps no exit codes, and waiting for one child waits for all
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    while True:
        message, handles, _, _ = socket.recv_fds(control, ORDER_BYTES, 1)
        if not message:
            os._exit(0)
        order = json.loads(message)
        if "end" in order:
            reply = {"status": _end(order["end"])}
        else:
            pid = os.fork()
            if pid == 0:
                control.close()
                child(socket.socket(fileno=handles[0]), order)
                os._exit(0)
            os.close(handles[0])
            reply = {"pid": pid}
        control.send(json.dumps(reply).encode())


def _end(pid: int) -> int:
    """The exit status of a child, as a shell has it. A child that still runs is killed."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    try:
        return exit_code(os.waitpid(pid, 0)[1])
    except ChildProcessError:
        return 0


def exit_code(status: int) -> int:
    """The exit code in a status of ``waitpid``: 128 and the signal's number for a process that a signal ended."""
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


@dataclass(frozen=True)
class Process:
    """A forked process as the front has it: its pid and the front's end of its socket."""

    pid: int
    control: socket.socket

    async def ended(self) -> None:
        """Waits until the process has ended."""
        loop = asyncio.get_running_loop()
        over = loop.create_future()

        def end() -> None:
            if not over.done():
                over.set_result(None)

        def end_if_closed() -> None:
            with contextlib.suppress(BlockingIOError):
                if not self.control.recv(1, socket.MSG_PEEK):
                    end()

        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        except (OSError, AttributeError):
            # before Linux 5.3: its socket closes with it, unless the model has forked and left that open
            handle, end = os.dup(self.control.fileno()), end_if_closed
        loop.add_reader(handle, end)
        try:
            await over
        finally:
            loop.remove_reader(handle)
            os.close(handle)


class Forker:
    """The front's side of a process that forks on request."""

    def __init__(self, control: socket.socket) -> None:
        control.setblocking(False)
        self._control = control
        self._lock = asyncio.Lock()

    async def fork(self, **order: Any) -> Process:
        """A new process. Raises OSError if the forking process has ended."""
        ours, theirs = control_pair()
        with theirs:
            reply = await self._order(order, [theirs.fileno()])
        ours.setblocking(False)
        return Process(reply["pid"], ours)

    async def end(self, process: Process) -> int:
        """The exit code of a forked process, which is killed if it still runs."""
        process.control.close()
        return int((await self._order({"end": process.pid}, []))["status"])

    async def _order(self, order: Mapping[str, Any], handles: list[int]) -> dict[str, Any]:
        async with self._lock:
            socket.send_fds(self._control, [json.dumps(order).encode()], handles)
            reply = await asyncio.get_running_loop().sock_recv(self._control, ORDER_BYTES)
        if not reply:
            raise ConnectionResetError("the forking process has ended")
        return dict(json.loads(reply))


class LoadingEndedError(Exception):
    """The loading process ended with ``code`` in place of reporting."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Processes:
    """Makes processes with the model: copies of one that has loaded it, or each loads it where that can't be copied."""

    def __init__(self, nursery: Forker) -> None:
        """``nursery`` forks the loading processes."""
        self._nursery = nursery
        self._source: Forker | None = None
        self._lock = asyncio.Lock()
        self._watched: set[asyncio.Task[None]] = set()
        self.pids: set[int] = set()
        self.report: dict[str, Any] = {}
        """The report of the process that loaded the model first."""

    async def make(self) -> Process:
        """A process that works. Raises LoadingEndedError when the model can't be loaded."""
        async with self._lock:
            while True:
                if self._source is None:
                    process, report = await self._load(tested=bool(self.report))
                    self.report = self.report or report
                    if report["alone"]:
                        log.info("each worker loads the model for itself: %s", report["alone"])
                        return process
                    self._source = Forker(process.control)
                    self._watch(self._source, process)
                try:
                    process = await self._source.fork()
                except OSError:
                    self._source = None
                else:
                    self.pids.add(process.pid)
                    return process

    async def _load(self, tested: bool) -> tuple[Process, dict[str, Any]]:
        process = await self._nursery.fork(tested=tested)
        self.pids.add(process.pid)
        report = asyncio.ensure_future(asyncio.get_running_loop().sock_recv(process.control, ORDER_BYTES))
        ended = asyncio.ensure_future(process.ended())
        await asyncio.wait((report, ended), return_when="FIRST_COMPLETED")
        for waits in (report, ended):
            waits.cancel()
        if report.cancelled() or not report.done() or not report.result():
            raise LoadingEndedError(await self.end(process))
        return process, dict(json.loads(report.result()))

    def _watch(self, source: Forker, process: Process) -> None:
        async def note() -> None:
            await process.ended()
            code = await self.end(process)
            log.error("the process that loaded the model ended with exit code %d", code)
            if self._source is source:
                self._source = None

        task = asyncio.ensure_future(note())
        self._watched.add(task)
        task.add_done_callback(self._watched.discard)

    @property
    def can_copy(self) -> bool:
        """Whether the next process will be a copy of one that has loaded the model."""
        return self._source is not None

    async def end(self, process: Process) -> int:
        """The exit code of a process that has ended, 0 if it is unknown. One that still runs is killed."""
        self.pids.discard(process.pid)
        with contextlib.suppress(ChildProcessError):
            # process 1 inherits it when the one that forked it has ended
            if (ended := os.waitpid(process.pid, os.WNOHANG))[0]:  # noqa: ASYNC222 (it does not wait)
                return exit_code(ended[1])
        for forker in (self._source, self._nursery):
            if forker is not None:
                with contextlib.suppress(OSError):
                    if code := await forker.end(process):
                        return code
        return 0

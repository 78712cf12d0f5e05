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
import os
import signal
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

ORDER_BYTES = 4096

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
    """The exit status of a child, as a shell has it; one that still runs is killed."""
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

        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        except (OSError, AttributeError):
            # before Linux 5.3: its socket closes with it, unless the model has forked and left that open
            handle = os.dup(self.control.fileno())
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

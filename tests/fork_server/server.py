"""Imports modules once and forks a process for each that is asked for: the part that runs in the interpreter of those.

Started as ``python server.py SOCKET MODULE...``; ends when its standard input does, and its processes with it. It has
one thread, so that what is forked is whole. Standard library only: any interpreter runs it.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
from typing import Any

from fork_client import HEADER  # beside this script

LARGEST_REQUEST = 2**24


def received(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """A request, and the descriptors of the files that take the process's two outputs."""
    head, descriptors, _, _ = socket.recv_fds(connection, HEADER.size, 2)
    (size,) = HEADER.unpack(head)
    if size > LARGEST_REQUEST:
        raise ValueError(f"a request of {size} bytes")
    with connection.makefile("rb") as stream:
        return json.loads(stream.read(size)), descriptors


def serve(listener: socket.socket) -> dict[str, Any]:
    """Forks for each request, and reports each end to who asked; returns in the forked process, with its request."""
    waking, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.set_wakeup_fd(wakes)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    living: dict[int, socket.socket] = {}
    while True:
        ready, _, _ = select.select([listener, waking, sys.stdin.fileno()], [], [])
        if waking in ready:
            os.read(waking, 4096)
            _report_ends(living)
        if sys.stdin.fileno() in ready:
            for pid in living:
                os.kill(pid, signal.SIGKILL)
            sys.exit(0)
        if listener in ready:
            connection, _ = listener.accept()
            request, outputs = received(connection)
            # nothing that waits to be written may be written twice
            sys.stdout.flush()
            sys.stderr.flush()
            if (pid := os.fork()) == 0:
                for other in (*living.values(), connection, listener):
                    other.close()
                for descriptor in (waking, wakes):
                    os.close(descriptor)
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                _become(request, outputs)
                return request
            for descriptor in outputs:
                os.close(descriptor)
            living[pid] = connection
            _tell(connection, {"pid": pid})


def _report_ends(living: dict[int, socket.socket]) -> None:
    while living:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        with living.pop(pid) as connection:
            _tell(connection, {"code": os.waitstatus_to_exitcode(status)})


def _tell(connection: socket.socket, what: dict[str, int]) -> None:
    # who asked may have gone
    with contextlib.suppress(OSError):
        connection.sendall(json.dumps(what).encode() + b"\n")


def _become(request: dict[str, Any], outputs: list[int]) -> None:
    """What a new process has for its own: files, directory, environment, arguments."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, descriptor in enumerate((nothing, *outputs)):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(request["directory"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = request["arguments"]


def run(request: dict[str, Any]) -> None:
    """Runs the module, or the script, as ``python -m`` and ``python SCRIPT`` do."""
    if module := request["module"]:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        script = request["arguments"][0]
        sys.path[0] = os.path.dirname(script)  # noqa: PTH120 - as Python itself does it, without a look at links
        runpy.run_path(script, run_name="__main__")


def main() -> None:
    """Serves until standard input ends; in a forked process, runs what was asked for."""
    path, *modules = sys.argv[1:]
    for module in modules:
        importlib.import_module(module)
    # what was imported stays for ever: a collection in a forked process would only copy its pages
    gc.collect()
    gc.freeze()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(64)
        print("ready", flush=True)
        request = serve(listener)
    run(request)


if __name__ == "__main__":
    main()

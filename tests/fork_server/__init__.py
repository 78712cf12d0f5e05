"""Processes that begin with their imports done: forked from an interpreter that has imported them once.

To import an operator, or MLflow, takes a second or two of a processor; to fork one that has done so takes none. What
runs is the same: the module or the script as ``__main__``, with arguments, environment, directory and output of its
own. What an interpreter reads when it starts (``PYTHONPATH``, ``-X``) has no effect: what is about that needs a fresh
one.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Protocol

from tests.fork_server.fork_client import pack, send

_SERVER = Path(__file__).with_name("server.py")
START_SECONDS = 240


class Process(Protocol):
    """What ``subprocess.Popen`` and ``ForkedProcess`` have in common."""

    pid: int
    returncode: int | None

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...
    def kill(self) -> None: ...


class ForkedProcess:
    """A process that a fork server has made; to be used like one of ``subprocess.Popen``."""

    def __init__(self, connection: socket.socket, name: str) -> None:
        self._connection = connection
        self._name = name
        self._said = b""
        self._lock = threading.Lock()
        self.returncode: int | None = None
        self.pid = self._answer("pid", START_SECONDS)

    def poll(self) -> int | None:
        """The exit code; the negative number of the signal that ended it; None while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Waits for its end. Raises subprocess.TimeoutExpired."""
        with self._lock:
            if self.returncode is None:
                self.returncode = self._answer("code", timeout)
                self._connection.close()
            return self.returncode

    def send_signal(self, sig: int) -> None:
        """Sends it a signal; a no-op when it is known to have ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, sig)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _answer(self, key: str, timeout: float | None) -> int:
        deadline = None if timeout is None else time.monotonic() + timeout
        while b"\n" not in self._said:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not select.select([self._connection], [], [], left)[0]:
                raise subprocess.TimeoutExpired(self._name, timeout or 0)
            if not (more := self._connection.recv(4096)):
                raise RuntimeError(f"the fork server of {self._name} has ended")
            self._said += more
        line, self._said = self._said.split(b"\n", 1)
        return int(json.loads(line)[key])


class ForkServer:
    """An interpreter that has imported modules, and forks. Starts when it is first asked; ends with this process."""

    def __init__(self, python: str, modules: Sequence[str], environment: Mapping[str, str]) -> None:
        self._command = [python, "-u", str(_SERVER)]
        self._modules = modules
        self._environment = environment
        self._lock = threading.Lock()
        self._server: subprocess.Popen[bytes] | None = None
        self._home = Path()

    def start(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        directory: Path,
        output: IO[bytes],
        module: str = "",
    ) -> ForkedProcess:
        """Forks a process that runs ``module`` with these arguments, or without one the script that is the first.

        ``output`` takes both its outputs. Raises RuntimeError when the modules can't be imported.
        """
        words = [module, *arguments] if module else list(arguments)
        request = pack(words, environment, str(directory), module)
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(str(self._ready() / "socket"))
            send(connection, request, (output.fileno(), output.fileno()))
            return ForkedProcess(connection, module or arguments[0])
        except BaseException:
            connection.close()
            raise

    def program(self, path: Path, module: str) -> None:
        """Writes a program to that path that runs the module in a forked process, with all that it is started with."""
        line = f"sys.exit(fork_client.run({str(self._ready() / 'socket')!r}, {module!r}))"
        path.write_text(
            f"#!{sys.executable} -IS\nimport sys\nsys.path.insert(0, {str(_SERVER.parent)!r})\n"
            f"import fork_client\n{line}\n"
        )
        path.chmod(0o755)

    def _ready(self) -> Path:
        """Where its socket is, once it listens."""
        with self._lock:
            if self._server is None:
                self._home = Path(tempfile.mkdtemp(prefix="fork-"))
                log = self._home / "log"
                with log.open("wb") as output:
                    server = subprocess.Popen(
                        [*self._command, str(self._home / "socket"), *self._modules],
                        env=dict(self._environment),
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        stderr=output,
                        cwd=self._home,
                    )
                self._server = server
                atexit.register(self._stop, server, self._home)
                assert server.stdout
                if not server.stdout.readline():
                    raise RuntimeError(
                        f"{self._command} ended with {server.wait()}:\n{log.read_text()[-3000:]}"
                    )
            return self._home

    @staticmethod
    def _stop(server: subprocess.Popen[bytes], home: Path) -> None:
        with server:
            assert server.stdin
            server.stdin.close()
        shutil.rmtree(home, ignore_errors=True)


OPERATORS = ForkServer(sys.executable, ("model_operator.app.process", "model_operator.settings"), os.environ)
"""Of this environment's interpreter, with the operator imported."""

KUBECTL_MODEL = ForkServer(
    sys.executable,
    (
        "model_operator.cli.app",
        "model_operator.kube.transport",
        "model_operator.registry.clients.mlflow.client",
    ),
    os.environ,
)
"""With ``kubectl model`` imported."""

"""A command that is waited for: in a process group of its own, with its output in a file and its cost counted."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from tests.cluster.process import log_tail, tied_to_this_process

PATIENCE_SECONDS = 10.0
"""What an interrupted command has for its own clean-up."""


class Child:
    """A running command; the kernel kills it when the process that started it dies."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        """Starts it. Standard output and standard error go to ``log``."""
        self.command = tuple(command)
        self.log = log
        self.began = time.monotonic()
        self.wall_seconds = 0.0
        """Once it has ended, as the next."""
        self.cpu_seconds = 0.0
        """Of the process and of all that it waited for."""
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [*tied_to_this_process(), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Of the process, and of its group."""
        return self._process.pid

    def exit_code(self) -> int | None:
        """None while it runs."""
        if self._process.returncode is None:
            # Popen.poll drops the resource usage
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            if pid:
                self._process.returncode = os.waitstatus_to_exitcode(status)
                self.wall_seconds = time.monotonic() - self.began
                self.cpu_seconds = usage.ru_utime + usage.ru_stime
        return self._process.returncode

    def output(self) -> str:
        """All that it printed so far."""
        return self.log.read_text(errors="replace")

    def last_words(self, lines: int = 1) -> str:
        """The last lines that it printed."""
        return log_tail(self.log, lines).strip()

    def _group_is_there(self) -> bool:
        self.exit_code()
        try:
            os.killpg(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)


def end(children: Sequence[Child]) -> None:
    """Interrupts the children with all that they have started, and kills those that do not end in time."""
    for number in (signal.SIGINT, signal.SIGKILL):
        for child in children:
            child._signal(number)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while any(child._group_is_there() for child in children) and time.monotonic() < deadline:
            time.sleep(0.05)

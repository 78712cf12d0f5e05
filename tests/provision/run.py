"""Runs jobs side by side, each as a process of its own, and shows one line of progress."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from tests.cluster.process import log_tail, tied_to_this_process
from tests.provision.schedule import Job, Progress, line, ready

LOOK_SECONDS = 0.25
PLAIN_SECONDS = 15.0
"""How often a line is printed where nobody watches a terminal."""
QUIET_SECONDS = 3.0
"""Of what is done sooner, nothing is said."""
GRACE_SECONDS = 10.0
SHOWN_LINES = 40


class JobFailedError(RuntimeError):
    """A job has failed; the message has its last words."""


@dataclass
class _Running:
    job: Job
    process: subprocess.Popen[bytes]
    log: Path

    def cpu_seconds(self) -> float | None:
        """None while it runs; afterwards the CPU seconds of the process and of all that it waited for."""
        pid, status, usage = os.wait4(self.process.pid, os.WNOHANG)
        if pid == 0:
            return None
        self.process.returncode = os.waitstatus_to_exitcode(status)
        return usage.ru_utime + usage.ru_stime

    def end(self) -> None:
        """Ends it with all that it has started."""
        for sign in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, sign)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(GRACE_SECONDS)
                return


@dataclass
class Jobs:
    """Jobs that wait, run or are done. ``run`` does them all."""

    jobs: Sequence[Job]
    console: Console
    seen: dict[str, Progress] = field(default_factory=dict)
    _running: list[_Running] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)
    _said: float = 0.0

    def run(self) -> None:
        """Returns when all are done. When one fails, or this is interrupted, the others are ended.

        Raises JobFailedError.
        """
        self.seen = {job.name: Progress() for job in self.jobs}
        with tempfile.TemporaryDirectory(prefix="provision-") as logs, self._live() as live:
            try:
                while any(progress.ended is None for progress in self.seen.values()):
                    for job in ready(self.jobs, self.seen):
                        self._start(job, Path(logs))
                    time.sleep(LOOK_SECONDS)
                    for running in tuple(self._running):
                        self._look(running)
                    self._show(live)
            finally:
                for running in self._running:
                    running.end()

    @property
    def _now(self) -> float:
        return time.monotonic() - self._began

    def _start(self, job: Job, logs: Path) -> None:
        log = logs / f"{job.name.replace(' ', '-').replace('/', '-')}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*tied_to_this_process(), *job.command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._running.append(_Running(job, process, log))
        self.seen[job.name] = Progress(began=self._now)

    def _look(self, running: _Running) -> None:
        name = running.job.name
        words = log_tail(running.log, 1).strip()
        self.seen[name] = replace(self.seen[name], words=words)
        cpu = running.cpu_seconds()
        if cpu is None:
            return
        self._running.remove(running)
        if running.process.returncode != 0:
            said = log_tail(running.log, SHOWN_LINES)
            raise JobFailedError(f"{name}: `{' '.join(running.job.command[1:])}` failed:\n{said}")
        self.seen[name] = replace(self.seen[name], ended=self._now)
        took = self._now - (self.seen[name].began or 0.0)
        if took > QUIET_SECONDS:
            self._print(f"{name}: done in {took:.0f} s ({cpu:.0f} s of CPU)")

    @contextlib.contextmanager
    def _live(self) -> Iterator[object]:
        if not self.console.is_terminal:
            yield None
            return
        with self.console.status("") as status:
            yield status

    def _show(self, live: object) -> None:
        text = line(self.jobs, self.seen, self._now)
        if live is not None:
            live.update(escape(text))  # type: ignore[attr-defined]  # rich's Status
        elif self._now - self._said >= PLAIN_SECONDS:
            self._print(text)

    def _print(self, text: str) -> None:
        self._said = self._now
        self.console.print(f"  {self._now:6.1f} s  {escape(text)}")


def plain_or_live() -> Console:
    """A console that shows a living line on a terminal, and plain lines elsewhere and in CI."""
    plain = bool(os.environ.get("CI")) or None
    return Console(
        file=sys.stderr,
        highlight=False,
        soft_wrap=True,
        no_color=plain,
        force_terminal=False if plain else None,
    )

"""Runs jobs side by side, each as a process of its own, and shows one line of progress."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from tests.cluster.child import Child, end
from tests.provision.schedule import Job, Progress, line, ready

LOOK_SECONDS = 0.25
PLAIN_SECONDS = 15.0
"""How often a line is printed where nobody watches a terminal."""
QUIET_SECONDS = 3.0
"""Of what is done sooner, nothing is said."""
SHOWN_LINES = 40


class JobFailedError(RuntimeError):
    """A job has failed; the message has its last words."""


@dataclass
class Jobs:
    """Jobs that wait, run or are done. ``run`` does them all."""

    jobs: Sequence[Job]
    console: Console
    seen: dict[str, Progress] = field(default_factory=dict)
    _running: dict[str, Child] = field(default_factory=dict)
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
                    for name in tuple(self._running):
                        self._look(name)
                    self._show(live)
            finally:
                end(list(self._running.values()))

    @property
    def _now(self) -> float:
        return time.monotonic() - self._began

    def _start(self, job: Job, logs: Path) -> None:
        log = logs / f"{job.name.replace(' ', '-').replace('/', '-')}.log"
        self._running[job.name] = Child(job.command, log)
        self.seen[job.name] = Progress(began=self._now)

    def _look(self, name: str) -> None:
        child = self._running[name]
        code = child.exit_code()
        self.seen[name] = replace(self.seen[name], words=child.last_words())
        if code is None:
            return
        del self._running[name]
        if code != 0:
            said = child.last_words(SHOWN_LINES)
            raise JobFailedError(f"{name}: `{' '.join(child.command[1:])}` failed:\n{said}")
        self.seen[name] = replace(self.seen[name], ended=self._now)
        if child.wall_seconds > QUIET_SECONDS:
            self._print(f"{name}: done in {child.wall_seconds:.0f} s ({child.cpu_seconds:.0f} s of CPU)")

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

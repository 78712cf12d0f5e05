"""Runs commands at the same time and reports the result and the cost of each."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from tests.cluster.child import Child, end

LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class Job:
    """A command with the name that the summary shows."""

    name: str
    command: tuple[str, ...]
    report: str = ""
    """A heading: the output from it on is shown even when the command succeeds."""


@dataclass(frozen=True)
class Result:
    """The outcome of one job: its exit code, its output, its wall time, and the CPU time of all its processes."""

    job: Job
    code: int
    output: str
    wall: float
    cpu: float

    @property
    def passed(self) -> bool:
        """Whether the command succeeded."""
        return self.code == 0

    @property
    def line(self) -> str:
        """The summary of the job in one line."""
        verdict = "passed" if self.passed else "FAILED"
        return f"{verdict}  {self.job.name:<18} {self.wall:6.1f} s wall {self.cpu:6.1f} s CPU"

    @property
    def shown(self) -> str:
        """The part of its output that a reader needs: all of a failure, the report of a success."""
        if not self.passed:
            return self.output
        lines = self.output.splitlines(keepends=True)
        headings = [
            number for number, line in enumerate(lines) if self.job.report and self.job.report in line
        ]
        return "".join(lines[headings[0] :]) if headings else ""


def run(jobs: Sequence[Job], out: TextIO) -> bool:
    """Runs all jobs at once and writes a line to ``out`` when each ends; returns whether all passed.

    After the last one come the reports, the output of the failures, and a summary. When it is interrupted, all
    processes of all jobs end before the KeyboardInterrupt goes on.
    """
    began = time.monotonic()
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="checks-") as logs:
        running: dict[Child, Job] = {}
        try:
            for number, job in enumerate(jobs):
                running[Child(job.command, Path(logs, str(number)))] = job
            while running:
                time.sleep(LOOK_SECONDS)
                for child, job in tuple(running.items()):
                    if (code := child.exit_code()) is not None:
                        del running[child]
                        results.append(
                            Result(job, code, child.output(), child.wall_seconds, child.cpu_seconds)
                        )
                        print(results[-1].line, file=out, flush=True)
        finally:
            end(list(running))
    _conclude(results, time.monotonic() - began, out)
    return all(result.passed for result in results)


def _conclude(results: Sequence[Result], wall: float, out: TextIO) -> None:
    failed = [result for result in results if not result.passed]
    for result in sorted(results, key=lambda result: not result.passed):
        if result.shown:
            print(f"\n--- {result.job.name}\n{result.shown.rstrip()}", file=out)
    if failed:
        print("", *(result.line for result in results), sep="\n", file=out)
    cpu = sum(result.cpu for result in results)
    verdict = (
        f"{len(failed)} of {len(results)} checks FAILED" if failed else f"all {len(results)} checks passed"
    )
    print(
        f"\n{verdict}: {wall:.1f} s wall, {cpu:.1f} s CPU, load {os.getloadavg()[0]:.1f}",
        file=out,
        flush=True,
    )

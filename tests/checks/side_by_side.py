"""Runs commands at the same time and reports the result and the cost of each."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import IO, TextIO

PATIENCE = 10.0
"""Seconds that an interrupted command has for its own clean-up."""


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
    results = []
    with _started(jobs) as running, ThreadPoolExecutor(len(jobs)) as waiting:
        try:
            for ended in as_completed([waiting.submit(_wait, *started) for started in running]):
                results.append(ended.result())
                print(results[-1].line, file=out, flush=True)
        except BaseException:
            # the threads only return once their commands have ended
            _end([process for _, process, _, _ in running])
            raise
    failed = [result for result in results if not result.passed]
    for result in sorted(results, key=lambda result: not result.passed):
        if result.shown:
            print(f"\n--- {result.job.name}\n{result.shown.rstrip()}", file=out)
    if failed:
        print("", *(result.line for result in results), sep="\n", file=out)
    wall, cpu = time.monotonic() - began, sum(result.cpu for result in results)
    verdict = (
        f"{len(failed)} of {len(results)} checks FAILED" if failed else f"all {len(results)} checks passed"
    )
    print(
        f"\n{verdict}: {wall:.1f} s wall, {cpu:.1f} s CPU, load {os.getloadavg()[0]:.1f}",
        file=out,
        flush=True,
    )
    return not failed


_Started = tuple[Job, "subprocess.Popen[bytes]", IO[bytes], float]


@contextlib.contextmanager
def _started(jobs: Sequence[Job]) -> Iterator[list[_Started]]:
    """The processes of the jobs, each in a process group of its own and with a file for its output."""
    with contextlib.ExitStack() as files:
        running: list[_Started] = []
        try:
            for job in jobs:
                output = files.enter_context(tempfile.TemporaryFile())
                process = subprocess.Popen(
                    job.command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
                running.append((job, process, output, time.monotonic()))
        except BaseException:
            _end([process for _, process, _, _ in running])
            raise
        yield running


def _wait(job: Job, process: subprocess.Popen[bytes], output: IO[bytes], began: float) -> Result:
    # Popen.wait drops the resource usage, which counts the grandchildren that the child waited for as well
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.monotonic() - began
    output.seek(0)
    text = output.read().decode("utf-8", "replace")
    return Result(job, process.returncode, text, wall, usage.ru_utime + usage.ru_stime)


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Interrupts whole process groups, and kills those that do not end."""
    deadline = time.monotonic() + PATIENCE
    _signal(processes, signal.SIGINT)
    while _groups(processes) and time.monotonic() < deadline:
        time.sleep(0.05)
    _signal(processes, signal.SIGKILL)


def _groups(processes: Sequence[subprocess.Popen[bytes]]) -> list[int]:
    """The process groups in which something still runs."""
    return [process.pid for process in processes if _exists(process.pid)]


def _exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _signal(processes: Sequence[subprocess.Popen[bytes]], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)

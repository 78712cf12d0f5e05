"""A pytest plugin: every run ends with a report on where its time went, also with several workers."""

from __future__ import annotations

import os
import resource
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import pytest

HEADING = "where the time went"
SLOWEST = 10
_SENT = "cpu_seconds"


@dataclass
class Case:
    """The seconds of one case: in its fixtures, where a server may start for all that follow, and in itself."""

    fixtures: float = 0.0
    call: float = 0.0

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.fixtures + self.call


@dataclass
class Durations:
    """The durations of the cases by their node id."""

    cases: defaultdict[str, Case] = field(default_factory=lambda: defaultdict(Case))

    def add(self, nodeid: str, phase: str, seconds: float) -> None:
        """Counts a phase (``setup``, ``call`` or ``teardown``) of a case."""
        if phase == "call":
            self.cases[nodeid].call += seconds
        else:
            self.cases[nodeid].fixtures += seconds

    def rows(self) -> list[str]:
        """A line for each suite: its cases and the sum of their seconds, the longest first."""
        suites: defaultdict[str, list[float]] = defaultdict(list)
        for nodeid, case in self.cases.items():
            suites[suite_of(nodeid)].append(case.seconds)
        longest = sorted(suites.items(), key=lambda item: -sum(item[1]))
        width = max(len(name) for name in suites)
        return [f"{name:<{width}} {len(took):6} cases {sum(took):8.1f} s" for name, took in longest]

    def slowest(self) -> list[str]:
        """A line for each of the slowest cases."""
        worst = sorted(self.cases.items(), key=lambda item: -item[1].seconds)[:SLOWEST]
        return [f"{case.seconds:8.2f} s  {nodeid}{_note(case)}" for nodeid, case in worst]


def suite_of(nodeid: str) -> str:
    """The suite of a case: the folder in ``tests/``, or for lack of one the first part of the path."""
    parts = PurePosixPath(nodeid.split("::")[0]).parts
    return parts[1] if len(parts) > 2 and parts[0] == "tests" else parts[0]


def _note(case: Case) -> str:
    return f" ({case.fixtures:.2f} s in fixtures)" if case.fixtures > case.call else ""


@dataclass
class Cpu:
    """CPU seconds: of the process that reports, of its children, of the workers, and of the workers' children."""

    own: float
    children: float
    workers: list[tuple[float, float]] = field(default_factory=list)

    @property
    def line(self) -> str:
        """All of it, split by process.

        The children of the process that reports are the workers, once they have ended. What they used between
        their last message and their end counts as children's time, as does a worker that crashed.
        """
        workers, theirs = sum(own for own, _ in self.workers), sum(children for _, children in self.workers)
        children = max(0.0, self.children - workers - theirs) + theirs
        split = [f"own {self.own:.1f} s", *([f"workers {workers:.1f} s"] if self.workers else [])]
        total = self.own + workers + children
        return f"CPU {total:.1f} s ({', '.join(split)}, children {children:.1f} s)"


def cpu_seconds() -> tuple[float, float]:
    """The CPU seconds of this process, and of all its children that have ended and were waited for."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    own, children = (usage.ru_utime + usage.ru_stime for usage in used)
    return own, children


class WorkerTiming:
    """In a worker of pytest-xdist: sends its CPU time to the process that reports."""

    # the workers' children have ended by then: the last case has taken the session's fixtures down
    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        output: dict[str, Any] = session.config.workeroutput  # type: ignore[attr-defined]
        output[_SENT] = cpu_seconds()


class Timing:
    """In the process that reports."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._load = os.getloadavg()[0]
        self._durations = Durations()
        self._workers: list[tuple[float, float]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._durations.add(report.nodeid, report.when or "", report.duration)

    # known only where pytest-xdist is loaded
    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        # a worker that crashed has sent nothing
        sent = getattr(node, "workeroutput", {}).get(_SENT)
        if sent:
            self._workers.append(tuple(sent))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self._durations.cases:
            return
        terminalreporter.section(HEADING)
        for line in (*self._durations.rows(), f"the {SLOWEST} slowest:", *self._durations.slowest()):
            terminalreporter.write_line(line)
        wall, load = time.monotonic() - self._began, os.getloadavg()[0]
        cpu = Cpu(*cpu_seconds(), self._workers).line
        terminalreporter.write_line(
            f"wall {wall:.1f} s, {cpu}, load {self._load:.1f} before, {load:.1f} after"
        )


def register(config: pytest.Config) -> None:
    """Adds the plugin to a session, in the form that its process needs."""
    worker = hasattr(config, "workerinput")
    config.pluginmanager.register(WorkerTiming() if worker else Timing(), "timing")

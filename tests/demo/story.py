"""What happens in the demo, step by step, and what must be seen at each of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.demo.timeline import Timeline
from tests.demo.watcher import Watcher
from tests.mlflow_server import MlflowServer, alias
from tests.workbench import Load, Namespace, Workbench

MANIFEST = Path(__file__).with_name("iris.yaml")
NAME = "iris"
ALIAS = "champion"
REQUESTS_PER_SECOND = 20
QUIET_SECONDS = 4.0
"""How long each state is left to serve before the next thing happens."""
FIRST_SECONDS = 180.0
ROLLOUT_SECONDS = 180.0


class StepError(RuntimeError):
    """A step of the demo went otherwise than it must."""

    def __init__(self, expected: str, seen: str) -> None:
        super().__init__(f"expected: {expected}\nseen:     {seen}")


@dataclass(frozen=True)
class Outcome:
    """The demo's figures, times in seconds."""

    first_serving: float
    """From the applied manifest to the first version's serving."""
    follow_first: float
    """From the alias move to the first answer of the new version."""
    follow_whole: float
    """From the alias move until all pods run the new version."""
    revert: float
    """From the alias move to the bad version until it is rejected and its pods are gone."""
    sent: int
    failed: int
    longest_gap: float
    slowest: float
    answers: str
    operator_mib: float


class Story:
    """Version 1 serves; the alias moves to 2, which serves; it moves to 3, which does not load: back to 2."""

    def __init__(
        self, timeline: Timeline, bench: Workbench, namespace: Namespace, registry: MlflowServer
    ) -> None:
        self.timeline = timeline
        self.bench = bench
        self.namespace = namespace
        self.registry = registry
        self.watcher = Watcher(timeline, namespace, NAME)

    def tell(self) -> Outcome:
        """Plays it. Raises StepError when a step differs."""
        with self.timeline.step("kubectl apply: the alias champion names version 1"):
            alias(self.registry, NAME, ALIAS, "1")
            first = self._first_version()
        with self.timeline.step(f"{REQUESTS_PER_SECOND} prediction requests a second from now on"):
            self.watcher.load = Load.start(self.namespace, NAME, REQUESTS_PER_SECOND)
            self._leave_alone("1")
        with self.timeline.step("the alias champion moves to version 2, which is better"):
            answered, whole = self._follow()
            self._leave_alone("2")
        with self.timeline.step("the alias champion moves to version 3, which can't be loaded"):
            revert = self._revert()
            self._leave_alone("2")
        return self._outcome(first, answered, whole, revert)

    def _first_version(self) -> float:
        self.bench.kubectl("-n", self.namespace.name, "apply", "-f", str(MANIFEST))
        began = time.monotonic()
        self._until("version 1 serves with 2 replicas", lambda: self._serves("1"), FIRST_SECONDS)
        return time.monotonic() - began

    def _follow(self) -> tuple[float, float]:
        moved = time.time()
        alias(self.registry, NAME, ALIAS, "2")
        self._until("version 2 serves with 2 replicas", lambda: self._serves("2"), ROLLOUT_SECONDS)
        whole = time.time() - moved
        self._until("version 2 answers", lambda: "2" in self.watcher.counters.first, 10)
        # a pod that drains still answers on the connections that it has
        self._until("the pods of version 1 have drained", lambda: self.watcher.versions == {"2"}, 90)
        return self.watcher.counters.first["2"] - moved, whole

    def _revert(self) -> float:
        before = self.watcher.counters.answered.copy()
        moved = time.monotonic()
        alias(self.registry, NAME, ALIAS, "3")
        self._until(
            "version 3 is rejected and version 2 serves on",
            lambda: (
                self.watcher.condition("Current") == ("False", "VersionRejected")
                and self.namespace.pod_versions(NAME) == ["2", "2"]
            ),
            ROLLOUT_SECONDS,
        )
        took = time.monotonic() - moved
        rejected = self.watcher.status["rejected"][0]
        if (rejected["version"], rejected["reason"]) != ("3", "LoadFailed"):
            raise StepError("version 3 is rejected because of LoadFailed", str(rejected))
        if self.watcher.condition("Ready") != ("True", "Serving"):
            raise StepError("Ready=True: a bad alias does not spoil what serves", self._state())
        after = self.watcher.load.counters().answered if self.watcher.load else {}
        if after.get("1") != before.get("1") or "3" in after:
            raise StepError("only version 2 answers", self.watcher.counters.by_version())
        self.timeline.note(f"version 3 was rejected: {rejected['message']}", "yellow")
        return took

    def _leave_alone(self, version: str) -> None:
        until = time.monotonic() + QUIET_SECONDS
        while time.monotonic() < until:
            self.watcher.look()
            if self.watcher.serving != version:
                raise StepError(f"version {version} goes on serving", self._state())
            time.sleep(0.5)
        self._no_failures()

    def _serves(self, version: str) -> bool:
        return (
            self.watcher.serving == version
            and self.watcher.condition("Current") == ("True", "Serving")
            and self.watcher.condition("Ready") == ("True", "Serving")
            and self.namespace.pod_versions(NAME) == [version] * 2
        )

    def _until(self, expected: str, true: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while True:
            self.watcher.look()
            self._no_failures()
            if true():
                return
            if time.monotonic() > deadline:
                raise StepError(f"{expected} (within {seconds:g} s)", self._state())
            time.sleep(0.5)

    def _no_failures(self) -> None:
        counters = self.watcher.counters
        if counters.failed:
            texts = {f"{f['connection']}: {f['error']}" for f in counters.failures}
            raise StepError("no request fails", f"{counters.failed} failed: {'; '.join(sorted(texts))}")

    def _state(self) -> str:
        conditions = ("Ready", "Current", "Resolved", "Stalled")
        told = [f"{kind}={'/'.join(self.watcher.condition(kind))}" for kind in conditions]
        pods = self.namespace.pod_versions(NAME)
        return f"serving version {self.watcher.serving or 'none'}; {', '.join(told)}; pods of versions {pods}"

    def _outcome(self, first: float, answered: float, whole: float, revert: float) -> Outcome:
        memory = self.bench.operator_memory()
        assert self.watcher.load is not None
        counters = self.watcher.load.stop()
        return Outcome(
            first,
            answered,
            whole,
            revert,
            counters.sent,
            counters.failed,
            counters.longest_gap,
            counters.slowest,
            counters.by_version(),
            memory,
        )

"""Turns what changes in the cluster into lines of the timeline."""

from __future__ import annotations

from typing import Any

from tests.demo.timeline import Timeline
from tests.workbench import Counters, Load, Namespace
from tests.workbench.namespace import ANNOTATION_VERSION


class Watcher:
    """Looks at one ModelDeployment, its pods and the answered requests; tells what is new since the last look."""

    def __init__(self, timeline: Timeline, namespace: Namespace, name: str) -> None:
        self.timeline = timeline
        self.namespace = namespace
        self.name = name
        self.load: Load | None = None
        self.counters = Counters()
        self.status: dict[str, Any] = {}
        self._phase = ""
        self._conditions: dict[str, str] = {}
        self._pods: dict[str, str] = {}
        self._events: set[tuple[str, str]] = set()
        self._answering: set[str] = set()
        self._failed = 0

    def look(self) -> None:
        """One look. Raises httpx.HTTPError."""
        self.status = self.namespace.status(self.name)
        self._tell_events()
        self._tell_pods()
        self._tell_conditions()
        if self.load:
            self.counters = self.load.counters()
            self._tell_answers()
        self.timeline.live(self._now())

    def condition(self, kind: str) -> tuple[str, str]:
        """Status and reason of a condition as of the last look; empty when it is absent."""
        for condition in self.status.get("conditions", []):
            if condition["type"] == kind:
                return condition["status"], condition["reason"]
        return "", ""

    @property
    def serving(self) -> str:
        """The serving version as of the last look."""
        return str(self.status.get("serving", {}).get("version", ""))

    @property
    def versions(self) -> set[str]:
        """The model versions of all pods that are still there, as of the last look."""
        return {state.split()[0].removeprefix("v") for state in self._pods.values()}

    def _tell_events(self) -> None:
        for reason, message in self.namespace.events(self.name):
            if (reason, message) not in self._events:
                self._events.add((reason, message))
                style = {"RolledOut": "green", "Reverted": "yellow"}.get(reason, "cyan")
                self.timeline.note(f"event {reason}: {message}", style)

    def _tell_pods(self) -> None:
        seen = {}
        for pod in self.namespace.items("Pod", f"model-operator.io/deployment={self.name}"):
            seen[pod["metadata"]["name"]] = f"v{_version(pod)} {_state(pod)}"
        for name, state in seen.items():
            if self._pods.get(name) != state:
                self.timeline.note(f"pod {name}: {state}", "dim")
        for name, state in self._pods.items():
            if name not in seen:
                self.timeline.note(f"pod {name}: {state.split()[0]} gone", "dim")
        self._pods = seen

    def _tell_conditions(self) -> None:
        for kind in ("Ready", "Current", "Resolved", "Stalled"):
            status, reason = self.condition(kind)
            text = f"{kind}={status} ({reason})" if status else f"{kind} is gone"
            if self._conditions.get(kind, f"{kind} is gone") != text:
                self.timeline.note(text)
            self._conditions[kind] = text

    def _tell_answers(self) -> None:
        for version in sorted(set(self.counters.first) - self._answering):
            self.timeline.note(f"first answer from version {version}", "bold green")
        self._answering |= set(self.counters.first)
        if self.counters.failed > self._failed:
            self._failed = self.counters.failed
            last = self.counters.failures[-1]
            self.timeline.note(
                f"{self._failed} requests failed; {last['connection']}: {last['error']}", "bold red"
            )

    def _now(self) -> str:
        counters = self.counters
        pods = ", ".join(self._pods.values())
        answers = f"{counters.sent} requests, {counters.failed} failed: {counters.by_version()}  |  "
        return (answers if self.load else "") + (pods or "no pods yet")


def _version(pod: dict[str, Any]) -> str:
    return str(pod["metadata"].get("annotations", {}).get(ANNOTATION_VERSION, "?"))


def _state(pod: dict[str, Any]) -> str:
    if pod["metadata"].get("deletionTimestamp"):
        return "draining"
    status = pod.get("status", {})
    conditions = {c["type"]: c["status"] for c in status.get("conditions", [])}
    if conditions.get("Ready") == "True":
        return "ready"
    for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        for state in (container.get("state", {}), container.get("lastState", {})):
            if (ended := state.get("terminated")) and ended.get("exitCode"):
                return f"failed (exit code {ended['exitCode']})"
    if conditions.get("PodScheduled") != "True":
        return "waiting for a node"
    return "loading" if conditions.get("Initialized") == "True" else "fetching"

"""What the stories measure on the way: printed at the end of a run, and kept by hand in docs/project/benchmarks.md."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime

from tests.workbench import Counters, Namespace
from tests.workbench.namespace import ANNOTATION_VERSION, LABEL_DEPLOYMENT


@dataclass
class Figures:
    """Lines of the two tables."""

    requests: list[str] = field(default_factory=list)
    seconds: list[str] = field(default_factory=list)

    def sent(self, what: str, counted: Counters) -> None:
        """What became of a story's requests."""
        errors = sum(counted.erred.values())
        self.requests.append(
            f"| {what} | {counted.sent} | {counted.failed} | {errors} | {counted.longest_gap:.1f} |"
        )

    def took(self, what: str, seconds: float) -> None:
        """How long something took; the cluster's own times are whole seconds."""
        self.seconds.append(f"| {what} | {seconds:.1f} |")

    def lines(self) -> list[str]:
        """Both tables, in Markdown."""
        lines = []
        if self.requests:
            lines += [
                "| Story | Sent | Failed | Model's own 500 | Longest gap (s) |",
                "|---|---|---|---|---|",
            ]
            lines += self.requests
        if self.seconds:
            lines += ["", "| From, to | Seconds |", "|---|---|", *self.seconds]
        return lines


def moment(text: str) -> float:
    """Seconds since 1970 of a time as Kubernetes writes it."""
    return datetime.fromisoformat(text).timestamp()


def first_ends(cluster: Namespace, seen: dict[tuple[str, str], float]) -> None:
    """Adds when the server of each version first ended badly, by ModelDeployment and version.

    Pods of a rejected version are soon gone, and with them what they tell: look often.
    """
    for pod in cluster.items("Pod", LABEL_DEPLOYMENT):
        metadata = pod["metadata"]
        key = metadata["labels"][LABEL_DEPLOYMENT], metadata["annotations"][ANNOTATION_VERSION]
        for container in pod.get("status", {}).get("containerStatuses", []):
            for state in (container.get("state", {}), container.get("lastState", {})):
                ended = state.get("terminated", {})
                if ended.get("exitCode") and not metadata.get("deletionTimestamp"):
                    seen[key] = min(moment(ended["finishedAt"]), seen.get(key, math.inf))

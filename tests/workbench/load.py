"""A pod that asks a Service for predictions all the time, and what it has counted."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.workbench.namespace import Namespace

SCRIPT = Path(__file__).with_name("load_script.py")
NAME = "requests"
PORT = 9000
IMAGE = "model-operator.io/server:dev"


@dataclass(frozen=True)
class Counters:
    """What was counted since the pod began; times are seconds since 1970, by version where there are several."""

    sent: int = 0
    failed: int = 0
    answered: dict[str, int] = field(default_factory=dict)
    first: dict[str, float] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
    erred: dict[str, int] = field(default_factory=dict)
    """Answers with status 500 that name their version: the model's own errors, which are no lost requests."""
    changes: list[dict[str, Any]] = field(default_factory=list)
    """``at`` and ``version`` of each good answer on a fresh connection, where it is by another version than before,
    or comes after a second without any. A kept connection stays with a pod that is still there."""
    failures: list[dict[str, Any]] = field(default_factory=list)
    slowest: float = 0.0
    """Seconds of the slowest good answer."""
    longest_gap: float = 0.0
    """The longest time, in seconds, between two good answers."""
    reconnects: int = 0

    def answered_first(self, version: str, after: float) -> float:
        """When that version answered for the first time after a moment (it had not answered just before it).

        Raises LookupError when it did not.
        """
        later = [c["at"] for c in self.changes if c["version"] == version and c["at"] >= after]
        if not later:
            raise LookupError(f"version {version} has not answered since {after:.1f}: {self.changes}")
        return float(later[0])

    def by_version(self) -> str:
        """Such as ``v1 120, v2 31``."""
        return ", ".join(f"v{version} {count}" for version, count in sorted(self.answered.items()))


@dataclass(frozen=True)
class Load:
    """Prediction requests from inside the cluster, half on fresh connections, half on kept ones."""

    namespace: Namespace
    name: str = NAME

    @classmethod
    def start(cls, namespace: Namespace, service: str, rate: int) -> Load:
        """Begins to send ``rate`` requests a second to the Service of that name, and waits until it does."""
        load = cls(namespace, f"{NAME}-{service}")
        target = f"http://{service}.{namespace.name}.svc/invocations"
        namespace.post(
            "ConfigMap", {"metadata": {"name": load.name}, "data": {SCRIPT.name: SCRIPT.read_text()}}
        )
        namespace.post("Pod", _pod(load.name, target, rate))
        namespace.until("requests are sent and answered", lambda: load.counters().answered)
        return load

    def counters(self) -> Counters:
        """What was counted so far; zeros while the pod does not answer. Raises httpx.HTTPError."""
        path = f"/api/v1/namespaces/{self.namespace.name}/pods/{self.name}:{PORT}/proxy/counters"
        answer = self.namespace.api.http.get(path)
        if answer.is_error:
            return Counters()
        found = answer.json()
        return Counters(longest_gap=found.pop("longestGap"), **found)

    def stop(self) -> Counters:
        """Ends the requests and returns what was counted."""
        counters = self.counters()
        self.namespace.delete("Pod", self.name, gracePeriodSeconds=0)
        return counters


def _pod(name: str, target: str, rate: int) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 1,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "requests",
                    "image": IMAGE,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["python", f"/scripts/{SCRIPT.name}"],
                    "env": [{"name": "TARGET", "value": target}, {"name": "RATE", "value": str(rate)}],
                    "ports": [{"containerPort": PORT}],
                    "resources": {"requests": {"cpu": "50m", "memory": "32Mi"}},
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "volumeMounts": [{"name": "scripts", "mountPath": "/scripts", "readOnly": True}],
                }
            ],
            "volumes": [{"name": "scripts", "configMap": {"name": name}}],
        },
    }

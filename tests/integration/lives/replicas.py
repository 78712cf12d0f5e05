"""Replicas of the operator: processes of their own that compete for one Lease, restarted as Kubernetes does it."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import httpx
from tests.cluster.api import ApiClient
from tests.cluster.network import free_ports
from tests.integration.lives.operator_process import OperatorProcess

LEASES = "/apis/coordination.k8s.io/v1/namespaces/{}/leases"
LEASE = "operator"


def election(namespace: str) -> dict[str, Any]:
    """The settings of an election whose Lease is in that namespace: shorter than usual, but not hasty."""
    where = {"enabled": True, "namespace": namespace, "leaseName": LEASE}
    return {"leaderElection": {**where, "leaseSeconds": 6, "renewSeconds": 4, "retrySeconds": 0.5}}


class Replica(OperatorProcess):
    """An operator that can be frozen, asked how it is, and looked after."""

    def __init__(self, directory: Path, kubeconfig: Path, settings: dict[str, Any]) -> None:
        directory.mkdir(exist_ok=True)
        (self.port,) = free_ports(1)
        super().__init__(directory, kubeconfig, {**settings, "metricsPort": self.port})
        self.exits: list[int] = []
        """The codes with which it ended by itself."""

    def freeze(self) -> None:
        """SIGSTOP: it stands still in the middle of whatever it does."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT: it goes on where it stood, and notices nothing."""
        self._signal(signal.SIGCONT)

    def terminate(self) -> int:
        """SIGTERM; returns its exit code."""
        return self._end(signal.SIGTERM)

    def answer(self, path: str) -> tuple[int, str]:
        """Status and text of what it serves; (0, "") when there is no answer."""
        try:
            answer = httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=5, trust_env=False)
        except httpx.TransportError:
            return 0, ""
        return answer.status_code, answer.text

    def figure(self, name: str) -> float | None:
        """A metric without labels; None when there is no answer."""
        for line in self.answer("/metrics")[1].splitlines():
            if line.startswith(f"model_operator_{name} "):
                return float(line.rsplit(" ", 1)[1])
        return None

    @property
    def ended(self) -> int | None:
        """The exit code of a process that ended by itself; None while it runs."""
        return self._process.poll() if self._process else None

    def holds(self, lease: dict[str, Any] | None) -> bool:
        """Whether that Lease names this process."""
        holder = ((lease or {}).get("spec") or {}).get("holderIdentity")
        return bool(holder) and f"{holder} leads from now on" in self.all_words()

    def look_after(self) -> None:
        """Starts it again when it ended by itself."""
        if (code := self.ended) is not None:
            self.exits.append(code)
            self._process = None
            self.start()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process
        os.kill(self._process.pid, number)

    def _end(self, number: signal.Signals) -> int:
        if self._process is not None:
            # a frozen process dies of SIGKILL only
            self._process.send_signal(signal.SIGCONT)
        return super()._end(number)


class Kubelet(threading.Thread):
    """Restarts replicas that end by themselves."""

    def __init__(self, replicas: list[Replica]) -> None:
        super().__init__(daemon=True, name="restarts-replicas")
        self._replicas = replicas
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(0.2):
            for replica in self._replicas:
                replica.look_after()

    def stop(self) -> None:
        """Looks after nobody any more."""
        self._over.set()
        self.join()


def lease(api: ApiClient, namespace: str) -> dict[str, Any] | None:
    """The Lease of the election; None before there is one."""
    return api.get(f"{LEASES.format(namespace)}/{LEASE}")

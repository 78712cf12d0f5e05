"""An operator process as the machine sees it: CPU, memory, how late it answers, what its metrics say."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from tests.cluster.network import free_ports
from tests.integration.lives.operator_process import OperatorProcess
from tests.mlflow_server import MlflowServer

_TICK = os.sysconf("SC_CLK_TCK")
PATIENCE_SECONDS = 120.0
PROBE_SECONDS = 0.05


class ObservedOperator:
    """``python -m model_operator`` in a directory of its own, watched from outside."""

    def __init__(
        self,
        directory: Path,
        kubeconfig: Path,
        mlflow: MlflowServer,
        registries: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        """``registries`` are further ones beside the default, which is ``mlflow``."""
        directory.mkdir(parents=True)
        (self._port,) = free_ports(1)
        self.settings = {
            "registries": {"default": {"url": mlflow.url}, **(registries or {})},
            "metricsPort": self._port,
            **settings,
        }
        self._process = OperatorProcess(directory, kubeconfig, self.settings)
        self._process.log_in(mlflow.username, mlflow.password)
        self.started = 0.0

    def start(self) -> None:
        """Start it."""
        self.started = time.monotonic()
        self._process.start()

    def compete(self) -> None:
        """From its next start on it is one of several replicas, of which one leads."""
        self._process.configure(leaderElection={"enabled": True, "namespace": "default"})

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()

    def stop(self) -> None:
        """SIGTERM, and wait."""
        self._process.stop()

    def words(self) -> str:
        """The end of its log."""
        return self._process.words()

    def wait_until_ready(self) -> float:
        """Wait until it says that it is ready; returns the seconds since its start. Raises TimeoutError."""
        while time.monotonic() < self.started + PATIENCE_SECONDS:
            try:
                if self._get("/readyz").status_code == 200:
                    return time.monotonic() - self.started
            except httpx.HTTPError:
                pass
            time.sleep(0.02)
        raise TimeoutError(f"the operator is not ready:\n{self.words()}")

    def cpu_seconds(self) -> float:
        """CPU time of the process so far."""
        stat = Path(f"/proc/{self._process.pid}/stat").read_text()
        fields = stat[stat.rindex(")") + 2 :].split()
        return (int(fields[11]) + int(fields[12])) / _TICK

    def peak_mib(self) -> float:
        """The largest resident set so far."""
        lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024

    def metrics(self) -> str:
        """Its /metrics."""
        return self._get("/metrics").text

    def _get(self, path: str) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self._port}{path}", timeout=30, trust_env=False)

    @contextmanager
    def probed(self) -> Iterator[list[float]]:
        """While the block runs, ask /healthz again and again; the seconds to each answer are in the list.

        It answers in the event loop and waits for nothing, so they bound how late the loop is.
        """
        taken: list[float] = []
        over = threading.Event()

        def probe() -> None:
            with httpx.Client(
                base_url=f"http://127.0.0.1:{self._port}", timeout=30, trust_env=False
            ) as client:
                while not over.wait(PROBE_SECONDS):
                    asked = time.monotonic()
                    try:
                        client.get("/healthz")
                    except httpx.HTTPError:
                        continue  # it starts or ends
                    taken.append(time.monotonic() - asked)

        thread = threading.Thread(target=probe, daemon=True)
        thread.start()
        try:
            yield taken
        finally:
            over.set()
            thread.join()

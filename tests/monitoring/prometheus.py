"""A real Prometheus on a loopback port that scrapes what a test starts."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.cluster.binaries import ensure
from tests.cluster.network import free_ports
from tests.cluster.process import Daemon, log_tail

PATIENCE_SECONDS = 60


@dataclass(frozen=True)
class Target:
    """One target, and the labels that the chart's monitors add to it."""

    port: int
    labels: Mapping[str, str] = field(default_factory=dict)


class Prometheus:
    """Its HTTP API. Raises AssertionError for queries that it rejects."""

    def __init__(self, port: int, log: Path) -> None:
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=30, trust_env=False)
        self._log = log

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that the expression has now."""
        return list(self._data("query", query=expression)["result"])

    def query_range(
        self, expression: str, start: float, end: float, step_seconds: float
    ) -> list[dict[str, Any]]:
        """The series that the expression has between two moments, in seconds since 1970."""
        given = {"start": str(start), "end": str(end), "step": str(step_seconds)}
        return list(self._data("query_range", query=expression, **given)["result"])

    def rules(self) -> dict[str, dict[str, Any]]:
        """Every alert by name: its state, its health and its last error."""
        groups = self._data("rules")["groups"]
        return {rule["name"]: rule for group in groups for rule in group["rules"]}

    def scrapes(self, number: int) -> bool:
        """Whether that number of targets is up."""
        return sum(series["value"][1] == "1" for series in self.query("up")) == number

    def ready(self) -> bool:
        """Whether it answers at all."""
        try:
            return self._http.get("/status/runtimeinfo").status_code == 200
        except httpx.TransportError:
            return False

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _data(self, path: str, **params: str) -> dict[str, Any]:
        answer = self._http.get(f"/{path}", params=params)
        assert answer.status_code == 200, f"{params}: {answer.text}"
        data: dict[str, Any] = answer.json()["data"]
        return data


@contextmanager
def scraping(
    directory: Path, targets: Sequence[Target], rules: Path, every_seconds: float = 1
) -> Iterator[Prometheus]:
    """Runs Prometheus while the block does; targets need not answer yet."""
    directory.mkdir(parents=True, exist_ok=True)
    (port,) = free_ports(1)
    every = f"{every_seconds:g}s"
    configuration = {
        "global": {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every},
        "rule_files": [str(rules)],
        "scrape_configs": [
            {
                "job_name": "test",
                "honor_labels": True,
                "static_configs": [
                    {"targets": [f"127.0.0.1:{target.port}"], "labels": dict(target.labels)}
                    for target in targets
                ],
            }
        ],
    }
    file = directory / "prometheus.yml"
    file.write_text(yaml.safe_dump(configuration))
    command = [
        str(ensure("prometheus")["prometheus"]),
        f"--config.file={file}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--storage.tsdb.retention.time=1h",
    ]
    log = directory / "prometheus.log"
    daemon = Daemon.start("prometheus", command, log)
    prometheus = Prometheus(port, log)
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not prometheus.ready():
            daemon.check()
            assert time.monotonic() < deadline, log_tail(log)
            time.sleep(0.1)
        yield prometheus
    finally:
        prometheus.close()
        daemon.stop(grace_seconds=5)


def without_patience(rules: Path, directory: Path) -> Path:
    """A copy of a rules file without ``for``, so that each alert fires at once."""
    content = yaml.safe_load(rules.read_text("utf-8"))
    for group in content["groups"]:
        for rule in group["rules"]:
            rule.pop("for", None)
    copy = directory / rules.name
    copy.write_text(yaml.safe_dump(content))
    return copy

"""A few ModelDeployments that go through the failures that the dashboard and the alerts show."""

from __future__ import annotations

import contextlib
import json
import secrets
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

from tests.contract.container import SCRIPTS, Container, running, until
from tests.integration.lives.bench import Bench
from tests.integration.lives.kubelet import Script
from tests.mlflow_env import ensure_python

LOAD_FAILED = Script(50, '{"reason": "LoadFailed", "message": "ValueError: the pickle is broken"}')
OUT_OF_MEMORY = Script(dies="OOMKilled")
WITHOUT_ROOM = Script(stuck=True)
_SAVE_MODELS = Path(__file__).parents[1] / "contract" / "save_models.py"


class Scene:
    """``churn`` has its version 3 rejected, ``fraud`` loses version 2 in its watch, ``price`` finds no room for 2."""

    def __init__(self, bench: Bench, suffix: str | None = None) -> None:
        """Names of models end with ``suffix``; None takes one that no other test has."""
        self._bench = bench
        ending = f"-{secrets.token_hex(3)}" if suffix is None else suffix
        self.models = {name: name + ending for name in ("churn", "fraud", "price")}

    def open(self) -> None:
        """Version 1 serves everywhere."""
        for name, model in self.models.items():
            self._bench.register(model)
            self._bench.alias(model, "champion", 1)
            self._bench.create(name, {"model": {"name": model, "alias": "champion"}, "replicas": 2})
        for name in self.models:
            self._bench.until_serving(name, 1)

    def roll_out(self) -> None:
        """The aliases of churn and fraud move, and version 2 serves."""
        self._bench.until_a_later_second()
        for name in ("churn", "fraud"):
            self._bench.alias(self.models[name], "champion", 2)
        for name in ("churn", "fraud"):
            self._bench.until_serving(name, 2)

    def take_back(self) -> None:
        """Version 2 of fraud runs out of memory in its watch."""
        # the watch window ignores everything in the second in which the version goes live
        self._bench.until_a_later_second()
        self._script("fraud", 2, OUT_OF_MEMORY)
        self._bench.until_condition("fraud", "Current", "False", "VersionRejected")

    def reject(self) -> None:
        """Version 3 of churn does not load."""
        self._script("churn", 3, LOAD_FAILED)
        self._bench.alias(self.models["churn"], "champion", 3)
        self._bench.until_condition("churn", "Current", "False", "VersionRejected")

    def run_out_of_room(self) -> None:
        """Version 2 of price gets no node."""
        self._script("price", 2, WITHOUT_ROOM)
        self._bench.alias(self.models["price"], "champion", 2)
        self._bench.until_condition("price", "Current", "False", "InsufficientCapacity")

    def _script(self, name: str, version: int, script: Script) -> None:
        self._bench.kubelet.scripts[(self.models[name], str(version))] = script


@contextlib.contextmanager
def serving_pod(directory: Path, port: int, model: str) -> Iterator[Container]:
    """The real server of a serving pod, with a model that does what its requests say."""
    saved = directory / "models"
    saved.mkdir(parents=True)
    subprocess.run(
        [str(ensure_python()), str(_SAVE_MODELS), str(saved)],
        cwd=directory,
        env={"PYTHONPATH": str(SCRIPTS), "PYTHONDONTWRITEBYTECODE": "1", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        timeout=240,
        check=True,
    )
    environment = {
        "MODEL_NAME": model,
        "MODEL_VERSION": "2",
        "MODEL_DIR": str(saved / "no-example"),
        "SERVER_PORT": str(port),
    }
    with running("serve.py", directory / "server", environment) as server:
        until(server.listens)
        yield server


@contextlib.contextmanager
def requests(server: Container, every_seconds: float, failing: Callable[[int], bool]) -> Iterator[None]:
    """Sends requests while the block runs. The model raises an error for each request number that ``failing`` names."""
    over = threading.Event()

    def ask() -> None:
        with server.client() as client:
            number = 0
            while not over.wait(every_seconds):
                number += 1
                # the server closes old connections by design
                with contextlib.suppress(httpx.TransportError):
                    client.post(
                        "/invocations", content=_request(-1 if failing(number) else 0.005), headers=_JSON
                    )

    caller = threading.Thread(target=ask, daemon=True)
    caller.start()
    try:
        yield
    finally:
        over.set()
        caller.join()


_JSON = {"Content-Type": "application/json"}


def _request(seconds: float) -> str:
    body: dict[str, Any] = {"dataframe_split": {"columns": ["seconds"], "data": [[seconds]]}}
    return json.dumps(body)

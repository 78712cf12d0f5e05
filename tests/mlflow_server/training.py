"""Has iris classifiers trained and registered, and points aliases at them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, get_args

from tests.mlflow_env import ensure_python
from tests.mlflow_server.server import MlflowServer, client_environment

SCRIPT = Path(__file__).with_name("train_models.py")
TRAIN_SECONDS = 300

Kind = Literal[
    "good",
    "better",
    "load-fails",
    "selftest-fails",
    "slow-load",
    "needs-missing-module",
    "dies",
    "errs-under-load",
    "tampered",
    "streams",
    "sealed",
    "no-files",
    "wrong-shape",
    "eats-memory",
    "hangs-under-load",
    "stalls-under-load",
    "dies-every-minute",
    "other-versions",
    "logs-itself",
]
"""How a version behaves in a pod; the classes of train_models.py say it in words."""
KINDS: tuple[str, ...] = get_args(Kind)


@dataclass(frozen=True)
class Training:
    """One version to train: the registered model's name, and how it will behave in a pod."""

    name: str
    kind: Kind
    seconds: float = 0
    """How long a slow-load takes to load."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Tags of the version."""


@dataclass(frozen=True)
class TrainedVersion:
    """A registered version; ``accuracy`` is on the flowers that were held out."""

    name: str
    kind: str
    version: str
    run_id: str
    accuracy: float


IRIS_STORY = (Training("iris", "good"), Training("iris", "better"), Training("iris", "load-fails"))
"""Versions 1, 2 and 3 of the demo."""


def train(
    server: MlflowServer,
    trainings: Sequence[Training],
    report: Callable[[TrainedVersion], None] = lambda version: None,
) -> list[TrainedVersion]:
    """Train and register these versions, in this order, in one process of MLflow's environment.

    ``report`` is called as each of them is registered. Raises RuntimeError with the trainer's last words.
    """
    trained: list[TrainedVersion] = []
    with subprocess.Popen(
        [str(ensure_python()), str(SCRIPT)],
        env=client_environment(server.url, server.username, server.password),
        cwd=server.directory,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=(log := (server.directory / "training.log").open("w+")),
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps([asdict(training) for training in trainings]))
        process.stdin.close()
        for line in process.stdout:
            # mlflow writes a few lines of its own to standard output
            if line.startswith("{"):
                trained.append(TrainedVersion(**json.loads(line)))
                report(trained[-1])
        process.wait(TRAIN_SECONDS)
    with log:
        if process.returncode != 0 or len(trained) != len(trainings):
            log.seek(0)
            raise RuntimeError(f"training ended with {process.returncode}:\n{log.read()[-3000:]}")
    return trained


def alias(server: MlflowServer, name: str, alias_name: str, version: str | None) -> None:
    """Point an alias at a version, or remove it (``version`` None)."""
    with server.api() as api:
        if version is None:
            api.request("DELETE", "registered-models/alias", json={"name": name, "alias": alias_name})
        else:
            api.post(
                "registered-models/alias", json={"name": name, "alias": alias_name, "version": str(version)}
            )

"""Runs the pods' scripts as the kubelet does: a process of its own, told by its environment, ended by signals.

Either a fresh interpreter, or one that is forked with its imports done, where a case is not about a start.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from tests.fork_server import ForkServer, Process
from tests.mlflow_env import REQUIREMENTS, ensure_python

from model_operator.controller.observe import pod_scripts

SCRIPTS = Path(__file__).parents[2] / "operator" / "model_operator" / "pod"
# a start takes three seconds on an idle machine
PATIENCE_SECONDS = 240


@dataclass
class Container:
    """A running script. ``directory`` is its /tmp, and holds its log and its termination message."""

    process: Process
    directory: Path
    port: int = 0

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text()

    @property
    def last_words(self) -> dict[str, Any]:
        """The termination message, empty if none was left."""
        path = self.directory / "termination-log"
        message = path.read_bytes() if path.exists() else b"{}"
        assert len(message) <= 2048
        return dict(json.loads(message))

    def ended(self) -> int:
        """Waits for the end and returns the exit code."""
        return self.process.wait(PATIENCE_SECONDS)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60, trust_env=False)

    def listens(self) -> bool:
        """Whether the port is open. Raises AssertionError with the log if the script has ended instead."""
        assert self.process.poll() is None, self.log
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False


@functools.cache
def _mount() -> Path:
    """What the operator puts into the ConfigMap, and nothing else, as the kubelet mounts it: behind links."""
    mount = Path(tempfile.mkdtemp(prefix="scripts-"))
    atexit.register(shutil.rmtree, mount)
    (mount / "..2026").mkdir()
    (mount / "..data").symlink_to("..2026")
    for name, text in pod_scripts().items():
        (mount / "..2026" / name).write_text(text)
        (mount / name).symlink_to(Path("..data") / name)
    return mount


IMPORTS = {
    "fetch.py": (
        "mlflow",
        "mlflow.artifacts",
        "mlflow.tracking",
        "mlflow.store.artifact.mlflow_artifacts_repo",
        "boto3",
    ),
    "serve.py": (
        "mlflow.pyfunc.scoring_server",
        "mlflow.sklearn",
        "sklearn.linear_model",
        "uvicorn",
        "fastapi",
    ),
}
"""By script: what a fork server has imported of what it, MLflow and the models of these tests import."""


@functools.cache
def _forks(script: str) -> ForkServer:
    """Forks interpreters of the image's newest MLflow that have imported what the script does."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "PYTHONDONTWRITEBYTECODE": "1",
        # read when MLflow is imported, and set by the scripts before that
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "PROMETHEUS_DISABLE_CREATED_SERIES": "true",
        # a library's threads would not be there in a forked process
        "OPENBLAS_NUM_THREADS": "1",
        # an error may print a set, and tests compare the errors of two processes
        "PYTHONHASHSEED": "0",
    }
    return ForkServer(str(ensure_python()), IMPORTS[script], environment)


@contextlib.contextmanager
def running(
    script: str, directory: Path, env: Mapping[str, str], mlflow: Path = REQUIREMENTS, forked: bool = False
) -> Iterator[Container]:
    """Starts fetch.py or serve.py with this environment and no other; ends it if it has not ended by itself.

    ``mlflow`` is the lock file of the image's MLflow. With ``forked`` the newest one is imported already: for cases
    that are not about the start of an interpreter.
    """
    directory.mkdir(parents=True, exist_ok=True)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "TMPDIR": str(directory),
        "TERMINATION_MESSAGE_PATH": str(directory / "termination-log"),
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "NO_PROXY": "*",
        **env,
    }
    with (directory / "log").open("wb") as log:
        if forked:
            process: Process = _forks(script).start([str(_mount() / script)], environment, directory, log)
        else:
            process = subprocess.Popen(
                [str(ensure_python(mlflow)), str(_mount() / script)],
                env=environment,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
    try:
        port = env.get("SERVER_PORT", "")
        yield Container(process, directory, int(port) if port.isdigit() else 0)
    finally:
        process.kill()
        process.wait()


def run_with_mlflow(script: str, *arguments: str, mlflow: Path = REQUIREMENTS) -> str:
    """What a script beside this one prints when it is run with MLflow's interpreter."""
    # MLflow 2 makes a directory for runs where it stands
    with tempfile.TemporaryDirectory() as directory:
        done = subprocess.run(
            [str(ensure_python(mlflow)), str(Path(__file__).with_name(script)), *arguments],
            cwd=directory,
            env=os.environ | {"PYTHONPATH": str(SCRIPTS), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    return done.stdout


def without_passwd(directory: Path) -> dict[str, str]:
    """Variables with which a script's user has no entry in the image's passwd, as 65532 in most images."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "sitecustomize.py").write_text(
        "import pwd\n\n\ndef getpwuid(uid):\n    raise KeyError(f'getpwuid(): uid not found: {uid}')\n\n\n"
        "pwd.getpwuid = getpwuid\n"
    )
    return {"PYTHONPATH": str(directory)}


def until(condition: Callable[[], bool]) -> None:
    """Waits until the condition holds; a test that waits in vain fails here."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

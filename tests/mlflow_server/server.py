"""Starts and stops an MLflow server: SQLite, proxied artifacts, basic auth, one worker."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import httpx

from tests.mlflow_env import REQUIREMENTS, cache_root, ensure_python

START_SECONDS = 180
STOP_SECONDS = 15
ADMIN = "admin"
WEBHOOKS: Mapping[str, str] = MappingProxyType(
    {
        "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
        "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https",
        "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": base64.urlsafe_b64encode(bytes(32)).decode(),
        # a new webhook counts at once, and not only within a minute
        "MLFLOW_WEBHOOK_CACHE_TTL": "0",
    }
)
"""Variables with which a server sends webhooks to this machine."""
AUTH_INI = """\
[mlflow]
default_permission = NO_PERMISSIONS
database_uri = sqlite:///{directory}/auth.db
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
# without it the server hashes the password on each request: 1.5 requests a second
auth_cache_ttl_seconds = 60
"""


@dataclass(frozen=True)
class MlflowServer:
    """A running server. ``username`` and ``password`` are its administrator's, empty without basic auth."""

    url: str
    username: str
    password: str
    directory: Path
    pid: int
    started: str
    """When the process began, as the kernel counts: tells it from a later process with the same pid."""
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False, compare=False)
    """Only in the process that started it."""

    @classmethod
    def start(
        cls,
        directory: Path,
        host: str = "127.0.0.1",
        port: int = 0,
        basic_auth: bool = True,
        allowed_hosts: Sequence[str] = (),
        requirements: Path = REQUIREMENTS,
        environment: Mapping[str, str] = MappingProxyType({}),
        options: Sequence[str] = (),
        prefix: str = "",
    ) -> MlflowServer:
        """Start a server that keeps everything in ``directory``, and wait until it answers.

        ``host`` is the address to listen on, port 0 takes a free one. ``allowed_hosts`` are further Host
        headers (names, or name:port, or patterns with ``*``) to accept; without any, MLflow's own default
        holds: loopback and private addresses. ``requirements`` is the lock file of the MLflow to run,
        ``environment`` are further variables and ``options`` further options for it, and
        ``prefix`` is the path below which it answers. A server that runs for this directory already is returned.

        Raises RuntimeError with the server's last words when it does not come up.
        """
        directory = directory.resolve()
        if (running := cls.find(directory)) is not None:
            return running
        directory.mkdir(parents=True, exist_ok=True)
        port = port or _free_port(host)
        password = _password(directory) if basic_auth else ""
        python = ensure_python(requirements)
        fresh = not (directory / "mlflow.db").exists()
        # MLflow's own making of an empty database goes through all its migrations: most of a first start
        empty = cache_root() / f"{python.parent.parent.name}-empty.db"
        if fresh and empty.exists():
            shutil.copyfile(empty, directory / "mlflow.db")
        command = [str(python), "-m", "mlflow", "server", "--workers", "1"]
        command += ["--host", host, "--port", str(port)]
        command += ["--backend-store-uri", f"sqlite:///{directory}/mlflow.db"]
        command += ["--artifacts-destination", str(directory / "artifacts")]
        if basic_auth:
            command += ["--app-name", "basic-auth"]
            (directory / "auth.ini").write_text(AUTH_INI.format(directory=directory))
        if allowed_hosts:
            own = [f"{name}:{port}" for name in (host, "127.0.0.1", "localhost")]
            command += ["--allowed-hosts", ",".join(dict.fromkeys([*own, *allowed_hosts]))]
        command += [*options, *(["--static-prefix", prefix] if prefix else [])]
        log = directory / "server.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                cwd=directory,
                env=_environment(directory, password) | environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        server = cls(
            url=f"http://{host}:{port}{prefix}",
            username=ADMIN if basic_auth else "",
            password=password,
            directory=directory,
            pid=process.pid,
            started=_process_start(process.pid),
            process=process,
        )
        server._save()
        try:
            server._wait_until_healthy(process, log)
        except BaseException:
            server.stop()
            raise
        if fresh and not empty.exists():
            _keep_empty(directory / "mlflow.db", empty)
        return server

    @classmethod
    def find(cls, directory: Path) -> MlflowServer | None:
        """The server that runs for this directory, or None."""
        try:
            state = json.loads((directory.resolve() / "server.json").read_text())
        except FileNotFoundError:
            return None
        server = cls(**(state | {"directory": Path(state["directory"])}))
        return server if server.alive() else None

    def alive(self) -> bool:
        """Whether the process that was started is still there (a zombie is not)."""
        return bool(self.started) and _process_start(self.pid) == self.started

    def stop(self) -> None:
        """End the server and all that it started; the directory stays. A stopped server stays stopped."""
        (self.directory / "server.json").unlink(missing_ok=True)
        if not self.alive():
            return
        # children that outlive their leader get the second signal
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)
            deadline = time.monotonic() + STOP_SECONDS
            while self.alive() and time.monotonic() < deadline:
                time.sleep(0.05)
        if self.process is not None:
            self.process.wait(STOP_SECONDS)

    @contextlib.contextmanager
    def api(self) -> Iterator[httpx.Client]:
        """A client for ``/api/2.0/mlflow/`` as the administrator; raises for an answer that is an error."""
        auth = (self.username, self.password) if self.username else None

        def raise_for_status(response: httpx.Response) -> None:
            if response.is_error:
                response.read()
                raise RuntimeError(
                    f"{response.request.url} answered {response.status_code}: {response.text[:500]}"
                )

        with httpx.Client(
            base_url=f"{self.url}/api/2.0/mlflow/",
            auth=auth,
            timeout=30,
            trust_env=False,
            event_hooks={"response": [raise_for_status]},
        ) as client:
            yield client

    @contextlib.contextmanager
    def webhook(self, url: str, secret: str) -> Iterator[str]:
        """Registers a webhook for aliases while the block runs; gives its id."""
        events = [
            {"entity": "MODEL_VERSION_ALIAS", "action": "CREATED"},
            {"entity": "MODEL_VERSION_ALIAS", "action": "DELETED"},
        ]
        with self.api() as api:
            body = {"name": "model-operator", "url": url, "secret": secret, "events": events}
            made = api.post("webhooks", json=body).json()["webhook"]["webhook_id"]
            try:
                yield str(made)
            finally:
                api.delete(f"webhooks/{made}")

    def _save(self) -> None:
        path = self.directory / "server.json"
        path.touch(mode=0o600)
        fields = {"url": self.url, "username": self.username, "password": self.password}
        fields |= {"directory": str(self.directory), "started": self.started}
        path.write_text(json.dumps({**fields, "pid": self.pid}))

    def _wait_until_healthy(self, process: subprocess.Popen[bytes], log: Path) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise RuntimeError(f"the MLflow server ended with {process.returncode}:\n{_tail(log)}")
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/health", timeout=5, trust_env=False).status_code == 200:
                    return
            time.sleep(0.2)
        raise RuntimeError(f"the MLflow server was not healthy after {START_SECONDS} s:\n{_tail(log)}")


def client_environment(url: str, username: str, password: str) -> dict[str, str]:
    """The environment of a program that uses that MLflow server with those credentials, and no other."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PYTHON"))}
    env |= {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "GIT_PYTHON_REFRESH": "quiet",
        "NO_PROXY": "*",
        "no_proxy": "*",
    }
    env |= {"MLFLOW_TRACKING_URI": url, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}
    if username:
        env |= {"MLFLOW_TRACKING_USERNAME": username, "MLFLOW_TRACKING_PASSWORD": password}
    return env


def _environment(directory: Path, password: str) -> dict[str, str]:
    env = client_environment("", "", "")
    del env["MLFLOW_TRACKING_URI"]
    # seven idle processes otherwise
    env["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    if password:
        env["MLFLOW_AUTH_CONFIG_PATH"] = str(directory / "auth.ini")
        env["MLFLOW_AUTH_ADMIN_USERNAME"] = ADMIN
        env["MLFLOW_AUTH_ADMIN_PASSWORD"] = password
        env["MLFLOW_FLASK_SERVER_SECRET_KEY"] = secrets.token_urlsafe(24)
    return env


def _password(directory: Path) -> str:
    """The administrator's password: made once per directory, since the user database outlives a server."""
    path = directory / "admin-password"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(18))
    return path.read_text()


def _keep_empty(database: Path, empty: Path) -> None:
    """Keep a copy of the database that nobody has written to yet."""
    partial = empty.with_suffix(f".{os.getpid()}")
    with (
        contextlib.closing(sqlite3.connect(database)) as source,
        contextlib.closing(sqlite3.connect(partial)) as copy,
    ):
        source.backup(copy)
    partial.replace(empty)


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _process_start(pid: int) -> str:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] == "Z" else fields[19]


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-3000:]

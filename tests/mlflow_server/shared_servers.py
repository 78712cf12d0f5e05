"""MLflow servers that the cases of one test process share: each kind is started once, when it is first asked for.

Who asks registers models of names of its own, and may stop a server with SIGSTOP as long as nothing else runs in the
same test process; whoever must end one starts one of its own.
"""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

from tests.mlflow_server.server import WEBHOOKS, MlflowServer


@functools.cache
def with_users() -> MlflowServer:
    """With basic auth and MLflow's own guard of the Host header; sends webhooks to this machine."""
    directory = _directory()
    return _kept(MlflowServer.start(directory, environment=WEBHOOKS))


@functools.cache
def without_users() -> MlflowServer:
    """Without authentication."""
    directory = _directory()
    return _kept(MlflowServer.start(directory, basic_auth=False))


@functools.cache
def with_allowed_host(host: str) -> MlflowServer:
    """With basic auth; answers on any port to that name, too."""
    directory = _directory()
    return _kept(MlflowServer.start(directory, allowed_hosts=[f"{host}:*"]))


def _directory() -> Path:
    directory = Path(tempfile.mkdtemp(prefix="mlflow-"))
    # called after the server's own end
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory


def _kept(server: MlflowServer) -> MlflowServer:
    atexit.register(server.stop)
    return server

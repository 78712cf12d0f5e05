"""A real MLflow server with basic auth, and registries in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.mlflow_server import MlflowServer, shared_servers

from model_operator.api.reference import ModelReference, parse_reference
from model_operator.domain.registry import Resolution
from model_operator.registry import MlflowClient, resolve
from model_operator.registry.clients.http import Limits

ALLOWED_HOST = "registry.ml.svc"


@dataclass(frozen=True)
class Access:
    """What an entry of the operator's configuration says of a registry."""

    url: str
    credentials_dir: str = ""
    ca_file: str = ""
    workspace: str = ""
    requests_per_second: float = 10_000.0
    type: str = "MLflow"


class Registry:
    """A real registry as its administrator sees it."""

    def __init__(self, server: MlflowServer) -> None:
        self.server = server

    def model(self, name: str, versions: int = 1, **aliases: str) -> None:
        """Register a model with that many versions and these aliases; what it has already stays."""
        with self.server.api() as api:
            api.post("registered-models/create", json={"name": name})
            for _ in range(versions):
                api.post("model-versions/create", json={"name": name, "source": "s3://bucket/model"})
            for alias, version in aliases.items():
                self.alias(name, alias, version)

    def alias(self, name: str, alias: str, version: str) -> None:
        """Point an alias at a version."""
        with self.server.api() as api:
            api.post("registered-models/alias", json={"name": name, "alias": alias, "version": version})

    def post(self, route: str, **body: str) -> None:
        """Any other change."""
        with self.server.api() as api:
            api.post(route, json=body)


@pytest.fixture(scope="session")
def mlflow() -> MlflowServer:
    """One server for all tests; each registers models of its own."""
    return shared_servers.with_allowed_host(ALLOWED_HOST)


@pytest.fixture
def registry(mlflow: MlflowServer) -> Registry:
    return Registry(mlflow)


@pytest.fixture
def credentials(tmp_path: Path) -> Callable[..., Path]:
    """Writes a credentials directory: ``credentials(username=..., password=...)``."""

    def write(**files: str) -> Path:
        directory = tmp_path / "credentials"
        directory.mkdir(exist_ok=True)
        for name, text in files.items():
            (directory / name).write_text(text)
        return directory

    return write


@pytest.fixture
def admin(mlflow: MlflowServer, credentials: Callable[..., Path]) -> Access:
    """The registry with its administrator's credentials."""
    return Access(mlflow.url, str(credentials(username=mlflow.username, password=mlflow.password)))


async def ask(
    access: Access | SimpleNamespace, reference: str | ModelReference, **options: object
) -> Resolution:
    """One reference, asked once, by a client of its own. ``options`` are those of MlflowClient."""
    options.setdefault("limits", Limits(retry_seconds=0.01))
    client = MlflowClient("prod", access, **options)
    try:
        if isinstance(reference, str):
            reference = parse_reference(reference)
        return await resolve(client, reference)
    finally:
        await client.aclose()

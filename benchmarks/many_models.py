"""An MLflow server with thousands of registered models."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.mlflow_server import MlflowServer
from tests.mlflow_server.server import WEBHOOKS

TABLES = ("registered_models", "model_versions", "registered_model_aliases")


def name(number: int) -> str:
    """The name of a registered model."""
    return f"model-{number}"


@contextmanager
def registry(directory: Path, models: int) -> Iterator[MlflowServer]:
    """An MLflow server with so many models, each with two versions and ``champion`` on the first."""
    server = MlflowServer.start(directory, environment=WEBHOOKS)
    with server.api() as api:
        api.post("registered-models/create", json={"name": name(0)})
        for _ in range(2):
            api.post("model-versions/create", json={"name": name(0), "source": "s3://bucket/model"})
        api.post("registered-models/alias", json={"name": name(0), "alias": "champion", "version": "1"})
    server.stop()
    # MLflow would take minutes for what are copies of its own rows
    with closing(sqlite3.connect(directory / "mlflow.db")) as database, database:
        for table in TABLES:
            columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
            values = ", ".join("?" if column == "name" else column for column in columns)
            # names of tables and columns, not values
            copy = f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values} FROM {table} WHERE name = ?"  # noqa: S608
            database.executemany(copy, [(name(number), name(0)) for number in range(1, models)])
    server = MlflowServer.start(directory, environment=WEBHOOKS)
    try:
        yield server
    finally:
        server.stop()

"""A server that answers as Unity Catalog's registry does, from the protocol of MLflow's own client.

Not Databricks: its shapes are those that the client of MLflow 3.17 sends and reads (a test has that client ask it),
its errors those that Databricks documents. Bearer tokens; model files by the workspace's files API.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN, READERS_TOKEN = "dapi-of-the-owner", "dapi-of-a-reader"
REGISTRY = "/api/2.0/mlflow/unity-catalog/"
TRACKING = "/api/2.0/mlflow/"
FILES = "/api/2.0/fs/files/Models/"
DIRECTORIES = "/api/2.0/fs/directories/Models/"


@dataclass
class Version:
    """One version: the fields of its record, its tags and its files."""

    record: dict[str, Any]
    tags: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)


class UnityCatalog:
    """Models by their three-part names; ``requests`` are the routes that were asked for."""

    def __init__(self) -> None:
        self.url = ""
        self.versions: dict[str, dict[str, Version]] = {}
        self.aliases: dict[str, dict[str, str]] = {}
        self.runs: dict[str, dict[str, float]] = {}
        self.requests: list[str] = []

    def add(
        self, name: str, versions: int = 1, files: Mapping[str, bytes] | None = None, **aliases: str
    ) -> None:
        """Register a model with that many versions, these files in each, and these aliases."""
        for number in range(1, versions + 1):
            self.versions.setdefault(name, {})[str(number)] = Version(
                {
                    "name": name,
                    "version": str(number),
                    "creation_timestamp": 1700000000000 + number,
                    "last_updated_timestamp": 1700000000000 + number,
                    "user_id": "ada@example.com",
                    "source": f"dbfs:/databricks/mlflow-tracking/7/run{number}/artifacts/model",
                    "run_id": f"run{number}",
                    "run_tracking_server_id": "1234567890",
                    "status": "READY",
                    "storage_location": f"s3://bucket/models/{name}/{number}",
                },
                files=dict(files or {}),
            )
            self.runs.setdefault(f"run{number}", {"auc": number / 4})
        self.aliases.setdefault(name, {}).update(aliases)

    def answer(
        self, method: str, path: str, query: Mapping[str, str], body: Mapping[str, str], token: str
    ) -> Any:
        """The status and the document, or the bytes of a file."""
        if token not in (TOKEN, READERS_TOKEN):
            return 401, {
                "error_code": 401,
                "message": "Credential was not sent or was of an unsupported type.",
            }
        if path.startswith(REGISTRY):
            return self._registry(method, path.removeprefix(REGISTRY), {**query, **body}, token)
        if path.startswith((FILES, DIRECTORIES)):
            return self._files(path)
        if path == f"{TRACKING}runs/get" and (run := query.get("run_id", "")) in self.runs:
            metrics = [{"key": k, "value": v, "timestamp": 1, "step": 0} for k, v in self.runs[run].items()]
            return 200, {
                "run": {"info": {"run_id": run, "lifecycle_stage": "active"}, "data": {"metrics": metrics}}
            }
        return 404, {"error_code": "ENDPOINT_NOT_FOUND", "message": f"No API found for '{method} {path}'"}

    def _registry(self, method: str, route: str, given: Mapping[str, str], token: str) -> Any:
        name = given.get("name", "")
        if route.endswith("is-databricks-sdk-models-artifact-repository-enabled"):
            return 200, {"is_databricks_sdk_models_artifact_repository_enabled": True}
        if route == "registered-models/search":
            # rows of a listing have neither aliases nor tags
            return 200, {"registered_models": [{"name": known} for known in self.versions]}
        if name.count(".") != 2:
            text = f"'{name}' is not a valid name: it must have three levels"
            return 400, {"error_code": "INVALID_PARAMETER_VALUE", "message": text}
        if name not in self.versions:
            text = f"Routine or Model '{name}' does not exist."
            return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": text}
        if (method, route) == ("GET", "registered-models/get"):
            aliases = [{"alias": a, "version": v} for a, v in self.aliases[name].items()]
            return 200, {"registered_model": {"name": name, "user_id": "ada@example.com", "aliases": aliases}}
        version = self.versions[name].get(given.get("version", ""))
        if version is None:
            text = f"Model version {given.get('version')} of '{name}' does not exist."
            return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": text}
        if (method, route) == ("GET", "model-versions/get"):
            tags = [{"key": key, "value": value} for key, value in version.tags.items()]
            return 200, {"model_version": {**version.record, **({"tags": tags} if tags else {})}}
        if (method, route) == ("POST", "model-versions/set-tag"):
            if token != TOKEN:
                text = f"User does not have APPLY TAG on Routine or Model '{name}'."
                return 403, {"error_code": "PERMISSION_DENIED", "message": text}
            version.tags[given["key"]] = given["value"]
            return 200, {}
        if (method, route) == ("POST", "model-versions/emit-lineage"):
            return 200, {}
        return 404, {"error_code": "ENDPOINT_NOT_FOUND", "message": f"No API found for '{method} {route}'"}

    def _files(self, path: str) -> Any:
        directory = path.startswith(DIRECTORIES)
        parts = path.removeprefix(DIRECTORIES if directory else FILES).split("/")
        name, number, inside = ".".join(parts[:3]), parts[3], "/".join(parts[4:])
        version = self.versions.get(name, {}).get(number)
        files = version.files if version else {}
        if not directory and inside in files:
            return 200, files[inside]
        below = f"{inside}/" if inside else ""
        names = {file.removeprefix(below).split("/")[0] for file in files if file.startswith(below)}
        if not directory or not names:
            return 404, {
                "error_code": "NOT_FOUND",
                "message": f"The file or directory {path} does not exist.",
            }
        base = "/Models/" + "/".join(parts[:4])
        contents = [
            {
                "path": f"{base}/{below}{entry}",
                "name": entry,
                "is_directory": f"{below}{entry}" not in files,
                "file_size": len(files.get(f"{below}{entry}", b"")),
            }
            for entry in sorted(names)
        ]
        return 200, {"contents": contents}


def _handler(catalog: UnityCatalog) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _respond(self) -> None:
            url = urlsplit(self.path)
            path = unquote(url.path)
            catalog.requests.append(f"{self.command} {path}")
            query = {key: values[0] for key, values in parse_qs(url.query, keep_blank_values=True).items()}
            sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = json.loads(sent) if sent else {}
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            status, answer = catalog.answer(self.command, path, query, body, token)
            kind = "application/octet-stream" if isinstance(answer, bytes) else "application/json"
            content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_POST = do_HEAD = _respond  # noqa: N815 - http.server's own names

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    return Handler


@contextmanager
def unity_catalog() -> Iterator[UnityCatalog]:
    """The server on a free loopback port, for the time of the block."""
    catalog = UnityCatalog()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(catalog))
    catalog.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield catalog
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

"""A registry that answers like MLflow from a dict, for what a real one does not show: timing, thousands."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import httpx

from model_operator.api.reference import parse_reference
from model_operator.registry import MlflowClient, RegistryId, WantedModel
from model_operator.registry.clients.http import Limits

URL = "http://mlflow.test:5000"
QUICK = Limits(retry_seconds=0.0)


class Clock:
    """A monotonic clock that only moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class RegistryDouble:
    """Models with versions and aliases; counts requests; can be told to fail."""

    def __init__(self) -> None:
        self.versions: dict[str, dict[str, dict[str, Any]]] = {}
        self.aliases: dict[str, dict[str, str]] = {}
        self.requests: list[str] = []
        self.fail: Callable[[httpx.Request], httpx.Response | Exception | None] = lambda request: None
        self.hidden: set[str] = set()
        """Models that a listing misses, as it can when rows move between two pages."""

    def add(self, name: str, versions: int = 1, **aliases: str) -> None:
        """Register a model with that many versions and these aliases."""
        for number in range(1, versions + 1):
            self.versions.setdefault(name, {})[str(number)] = {
                "name": name,
                "version": str(number),
                "current_stage": "None",
                "status": "READY",
                "run_id": f"run-{name}-{number}",
                "source": f"models:/m-{name}-{number}",
            }
        self.aliases.setdefault(name, {}).update(aliases)

    def client(self) -> MlflowClient:
        """A client of this registry."""
        config = SimpleNamespace(
            url=URL, credentials_dir="", ca_file="", workspace="", requests_per_second=50.0
        )
        return MlflowClient("default", config, QUICK, httpx.MockTransport(self._answer))

    def asked(self) -> list[str]:
        """What was requested since the last call, as ``route`` or ``route name``."""
        asked, self.requests = self.requests, []
        return asked

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        # a network always lets others run
        await asyncio.sleep(0)
        route = request.url.path.removeprefix("/api/2.0/mlflow/")
        query = dict(request.url.params)
        self.requests.append(f"{route} {query['name']}" if "name" in query else route)
        failure = self.fail(request)
        if isinstance(failure, Exception):
            raise failure
        return failure or self._routes(route, query)

    def _routes(self, route: str, query: dict[str, str]) -> httpx.Response:
        if route == "registered-models/get":
            if (name := query["name"]) in self.versions:
                return answer({"registered_model": self._model(name)})
        elif route == "model-versions/get":
            if record := self.versions.get(query["name"], {}).get(query["version"]):
                return answer({"model_version": record})
        elif route == "registered-models/search":
            return self._page(
                "registered_models", [self._model(n) for n in self.versions if n not in self.hidden], query
            )
        elif route == "model-versions/search":
            return self._page(
                "model_versions", [v for model in self.versions.values() for v in model.values()], query
            )
        return answer({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": f"no {query}"}, 404)

    def _model(self, name: str) -> dict[str, Any]:
        return {
            "name": name,
            "aliases": [
                {"alias": alias, "version": version} for alias, version in self.aliases[name].items()
            ],
            "latest_versions": [list(self.versions[name].values())[-1]],
        }

    def _page(self, key: str, rows: list[dict[str, Any]], query: dict[str, str]) -> httpx.Response:
        start, size = int(query.get("page_token", 0)), int(query["max_results"])
        body: dict[str, Any] = {key: rows[start : start + size]}
        if start + size < len(rows):
            body["next_page_token"] = str(start + size)
        return answer(body)


def answer(body: Any, status: int = 200) -> httpx.Response:
    """An answer in JSON."""
    return httpx.Response(status, headers={"content-type": "application/json"}, content=json.dumps(body))


def wanted(uri: str, registry: str = "default") -> WantedModel:
    """What a ModelDeployment with that URI wants."""
    return WantedModel(RegistryId(registry), parse_reference(uri))

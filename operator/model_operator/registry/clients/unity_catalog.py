"""Databricks Unity Catalog's model registry: MLflow's dialect with its own routes and three-part names.

It follows the protocol of MLflow's own client (release 3.17). It is tested with that client against a simulated server,
and has not been run against Databricks. It differs from MLflow's registry in four points. Names are
CATALOG.SCHEMA.MODEL. There are no stages. Listings lack aliases and tags, so each model is read by a single request.
The files of a version come from the workspace's files API.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from urllib.parse import quote

import httpx

from model_operator.domain.registry import Metric, ModelDescription, ResolutionReason
from model_operator.registry.clients.base import (
    ModelRecord,
    RegistryConfig,
    RegistryError,
    VersionRecord,
    shorten,
)
from model_operator.registry.clients.credentials import Access
from model_operator.registry.clients.http import Answer, JsonSource, Limits, site_of
from model_operator.registry.clients.mlflow.files import read_description
from model_operator.registry.clients.mlflow.records import (
    is_version_number,
    parse_model,
    parse_version,
    rename,
)
from model_operator.registry.clients.mlflow.rest import (
    RECORD_BYTES,
    MlflowRest,
    Right,
    Server,
    describe_version,
)
from model_operator.registry.clients.mlflow.runs import read_metrics

API = "/api/2.0/mlflow/unity-catalog"
FILES = "/api/2.0/fs/files/Models"
_SERVER = Server(
    "that of a Databricks workspace, such as https://dbc-example.cloud.databricks.com",
    Right("read", "EXECUTE on the model, USE CATALOG and USE SCHEMA on its catalog and schema"),
    Right("write", "APPLY TAG on the model, USE CATALOG and USE SCHEMA on its catalog and schema"),
)


class UnityCatalogClient:
    """A RegistryClient of one Databricks workspace. The constructor does no I/O and never raises."""

    lists_models = False

    def __init__(
        self,
        entry: str,
        config: RegistryConfig,
        limits: Limits | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        access: Access | None = None,
    ) -> None:
        """``entry`` is the registry's name in the operator's configuration, for messages.
        ``transport`` replaces the network in tests, ``access`` the files of the configuration.
        """
        self._rest = MlflowRest(JsonSource(site_of(entry, config, access), limits, transport), _SERVER)

    @property
    def url(self) -> str:
        """The workspace's URL, without a trailing slash."""
        return self._rest.url

    async def aclose(self) -> None:
        """Close the connections."""
        await self._rest.aclose()

    async def model(self, name: str) -> ModelRecord:
        """See RegistryClient.model."""
        _check_name(name, self.url)
        what = f"model '{shorten(name)}'"
        absent = ResolutionReason.MODEL_NOT_FOUND
        body = await self._rest.get(
            f"{API}/registered-models/get", {"name": name}, RECORD_BYTES, absent, what
        )
        model = rename(self._rest.parse(parse_model, body.get("registered_model")), name)
        return replace(model, newest=(), aliases_only=True)

    async def version(self, name: str, version: str) -> VersionRecord:
        """See RegistryClient.version."""
        _check_name(name, self.url)
        what, absent = describe_version(name, version), ResolutionReason.VERSION_NOT_FOUND
        if not is_version_number(version):
            raise self._rest.not_found(absent, what)
        params = {"name": name, "version": version}
        try:
            body = await self._rest.get(f"{API}/model-versions/get", params, RECORD_BYTES, absent, what)
        except RegistryError as failure:
            if failure.reason is absent:
                # the answer is the same for a missing model, for which this raises ModelNotFound
                await self.model(name)
            raise
        return replace(self._rest.parse(parse_version, body.get("model_version")), model=name)

    async def models(self) -> AsyncGenerator[Sequence[ModelRecord], None]:
        """Empty, because rows of the listing have no aliases (``lists_models``)."""
        nothing: tuple[Sequence[ModelRecord], ...] = ()
        for page in nothing:
            yield page

    async def versions(self) -> AsyncGenerator[Sequence[VersionRecord], None]:
        """Empty, because rows of the listing have no tags (``lists_models``)."""
        nothing: tuple[Sequence[VersionRecord], ...] = ()
        for page in nothing:
            yield page

    async def set_version_tag(self, name: str, version: str, key: str, value: str) -> None:
        """See RegistryClient.set_version_tag."""
        _check_name(name, self.url)
        what, absent = f"tags of {describe_version(name, version)}", ResolutionReason.VERSION_NOT_FOUND
        if not is_version_number(version):
            raise self._rest.not_found(absent, what)
        body = {"name": name, "version": version, "key": key, "value": value}
        await self._rest.post(f"{API}/model-versions/set-tag", body, absent, what)

    async def metrics(self, run_id: str, source: str) -> Sequence[Metric]:
        """See RegistryClient.metrics. Runs and logged models are in the same workspace."""
        return await read_metrics(self._rest, self.version, run_id, source)

    async def description(self, name: str, version: str) -> ModelDescription:
        """See RegistryClient.description."""
        _check_name(name, self.url)
        where = "/".join(quote(part, safe="") for part in (*name.split("."), version))

        async def file(path: str, max_bytes: int) -> Answer:
            return await self._rest.source.get(f"{FILES}/{where}/{path}", {}, max_bytes)

        remedy = "Check the workspace's status"
        return await read_description(self._rest, name, version, file, remedy)


def _check_name(name: str, url: str) -> None:
    parts = name.split(".")
    if len(parts) != 3 or not all(part.strip() for part in parts):
        raise RegistryError(
            ResolutionReason.MODEL_NOT_FOUND,
            f"'{shorten(name)}' can't be a model of Unity Catalog at {url}. Write CATALOG.SCHEMA.MODEL",
        )

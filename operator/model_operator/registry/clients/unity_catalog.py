"""Databricks Unity Catalog's model registry: MLflow's dialect under routes of its own, with three-part names.

Written from the protocol that MLflow's own client speaks (release 3.17), and tested with that client and a server
of ours in between; not run against Databricks. What differs from MLflow's registry: names are
CATALOG.SCHEMA.MODEL; there are no stages; listings leave out aliases and tags, so each model is asked for by
itself; the files of a version come by the workspace's files API.
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
    "a Databricks workspace's, such as https://dbc-example.cloud.databricks.com",
    Right("read", "EXECUTE on the model, USE CATALOG and USE SCHEMA on what it is in"),
    Right("write", "APPLY TAG on the model, USE CATALOG and USE SCHEMA on what it is in"),
)


class UnityCatalogClient:
    """A RegistryClient of one Databricks workspace. Construction does no I/O, and raises nothing."""

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
        ``transport`` replaces the network in tests, ``access`` the files that the configuration names.
        """
        self._rest = MlflowRest(JsonSource(site_of(entry, config, access), limits, transport), _SERVER)

    @property
    def url(self) -> str:
        """The workspace's URL, without a closing slash."""
        return self._rest.url

    async def aclose(self) -> None:
        """Close what is open."""
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
                # the answer is the same for a missing model; this raises ModelNotFound in that case
                await self.model(name)
            raise
        return replace(self._rest.parse(parse_version, body.get("model_version")), model=name)

    async def models(self) -> AsyncGenerator[Sequence[ModelRecord], None]:
        """Empty: rows of its listing have no aliases (``lists_models``)."""
        nothing: tuple[Sequence[ModelRecord], ...] = ()
        for page in nothing:
            yield page

    async def versions(self) -> AsyncGenerator[Sequence[VersionRecord], None]:
        """Empty: rows of its listing have no tags (``lists_models``)."""
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
        """See RegistryClient.metrics; runs and logged models are those of the same workspace."""
        return await read_metrics(self._rest, self.version, run_id, source)

    async def description(self, name: str, version: str) -> ModelDescription:
        """See RegistryClient.description."""
        _check_name(name, self.url)
        where = "/".join(quote(part, safe="") for part in (*name.split("."), version))

        async def file(path: str, max_bytes: int) -> Answer:
            return await self._rest.source.get(f"{FILES}/{where}/{path}", {}, max_bytes)

        remedy = "see the workspace's status"
        return await read_description(self._rest, name, version, file, remedy)


def _check_name(name: str, url: str) -> None:
    parts = name.split(".")
    if len(parts) != 3 or not all(part.strip() for part in parts):
        raise RegistryError(
            ResolutionReason.MODEL_NOT_FOUND,
            f"'{shorten(name)}' can't be a model of Unity Catalog at {url}; write CATALOG.SCHEMA.MODEL",
        )

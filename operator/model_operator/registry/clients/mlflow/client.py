"""MLflow's model registry over its REST API (2.x and 3.x), without the mlflow package.

A model's own record (``registered-models/get``, or a row of ``registered-models/search``) contains the versions of all
aliases and the newest version of each stage. The form is the same for both routes and in all releases. The alias route
is not used, because in 2.x its answer is the same for a missing model and a missing alias.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

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
from model_operator.registry.clients.mlflow.files import GetFile, read_description
from model_operator.registry.clients.mlflow.lineage import Lineage, follow_source
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

API = "/api/2.0/mlflow"
_SERVER = Server(
    "that of an MLflow server, with its static prefix if any",
    Right("read", "READ permission"),
    Right("write", "EDIT permission"),
)


class MlflowClient:
    """A RegistryClient of one MLflow server. The constructor does no I/O and never raises."""

    lists_models = True

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
        """The base URL, without a trailing slash."""
        return self._rest.url

    async def aclose(self) -> None:
        """Close the connections."""
        await self._rest.aclose()

    async def model(self, name: str) -> ModelRecord:
        """See RegistryClient.model."""
        body = await self._rest.get(
            f"{API}/registered-models/get",
            {"name": name},
            RECORD_BYTES,
            ResolutionReason.MODEL_NOT_FOUND,
            f"model '{shorten(name)}'",
        )
        return rename(self._rest.parse(parse_model, body.get("registered_model")), name)

    async def version(self, name: str, version: str) -> VersionRecord:
        """See RegistryClient.version."""
        what = describe_version(name, version)
        absent = ResolutionReason.VERSION_NOT_FOUND
        if not is_version_number(version):
            # MLflow answers a number that its database can't hold with 500
            raise self._rest.not_found(absent, what)
        params = {"name": name, "version": version}
        try:
            body = await self._rest.get(f"{API}/model-versions/get", params, RECORD_BYTES, absent, what)
        except RegistryError as failure:
            if failure.reason is absent:
                # MLflow's answer is the same for a missing model, for which this raises ModelNotFound
                await self.model(name)
            raise
        return replace(self._rest.parse(parse_version, body.get("model_version")), model=name)

    async def models(self) -> AsyncGenerator[Sequence[ModelRecord], None]:
        """See RegistryClient.models. A page has at most 1,000 rows, or fewer if the rows are large."""
        pages = self._rest.pages(f"{API}/registered-models/search", "registered_models")
        async with aclosing(pages):
            async for rows in pages:
                yield self._rest.parse_rows(parse_model, rows)

    async def versions(self) -> AsyncGenerator[Sequence[VersionRecord], None]:
        """See RegistryClient.versions."""
        pages = self._rest.pages(f"{API}/model-versions/search", "model_versions")
        async with aclosing(pages):
            async for rows in pages:
                yield self._rest.parse_rows(parse_version, rows)

    async def set_version_tag(self, name: str, version: str, key: str, value: str) -> None:
        """See RegistryClient.set_version_tag."""
        what = f"tags of {describe_version(name, version)}"
        absent = ResolutionReason.VERSION_NOT_FOUND
        if not is_version_number(version):
            raise self._rest.not_found(absent, what)
        body = {"name": name, "version": version, "key": key, "value": value}
        await self._rest.post(f"{API}/model-versions/set-tag", body, absent, what)

    async def metrics(self, run_id: str, source: str) -> Sequence[Metric]:
        """See RegistryClient.metrics. Returns those of the logged model (MLflow 3), then those of the run."""
        return await read_metrics(self._rest, self.version, run_id, source)

    async def description(self, name: str, version: str) -> ModelDescription:
        """See RegistryClient.description. The tracking server has to serve the version's files."""

        async def file(path: str, max_bytes: int) -> Answer:
            params = {"name": name, "version": version, "path": path}
            return await self._rest.source.get("/model-versions/get-artifact", params, max_bytes)

        remedy = "Check that the tracking server itself can read its artifact store"
        try:
            return await read_description(self._rest, name, version, file, remedy)
        except RegistryError as failure:
            if failure.reason not in (ResolutionReason.REGISTRY_ERROR, ResolutionReason.VERSION_NOT_FOUND):
                raise
            record = await self.version(name, version)
            lineage = await follow_source(self._rest, self.version, record.run_id, record.source)
            if not lineage.by_run:
                raise failure from None
        return await read_description(self._rest, name, version, self._reader_by_run(lineage), remedy)

    def _reader_by_run(self, lineage: Lineage) -> GetFile:
        """A reader for a version whose source is ``runs:/``, whose files the server can't read by the version."""

        async def file(path: str, max_bytes: int) -> Answer:
            inside = f"{lineage.run_path}/{path}".lstrip("/")
            if lineage.model_id:
                route = f"/ajax-api/2.0/mlflow/logged-models/{lineage.model_id}/artifacts/files"
                return await self._rest.source.get(route, {"artifact_file_path": inside}, max_bytes)
            params = {"run_id": lineage.run_id, "path": inside}
            return await self._rest.source.get("/get-artifact", params, max_bytes)

        return file

"""MLflow's model registry over its REST API (2.x and 3.x), without the mlflow package.

A model's own record (``registered-models/get``, or a row of ``registered-models/search``) tells where all its
aliases point and which version is the newest of each stage, in the same form for both and in all releases.
The alias route is not used: in 2.x it answers the same for a missing model and a missing alias.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import httpx

from model_operator.facts import Metric, ModelDescription
from model_operator.registry.client import ModelRecord, RegistryConfig, RegistryError, VersionRecord, shown
from model_operator.registry.http import MIB, Answer, JsonSource, Limits, Site
from model_operator.registry.mlflow_facts import (
    MalformedMetricsError,
    Reading,
    doubtful,
    logged_model_of,
    merged,
    parse_metrics,
    was_nan,
)
from model_operator.registry.mlflow_records import (
    MAX_TEXT,
    ShapeError,
    is_version_number,
    parse_model,
    parse_version,
    part_of,
    renamed,
)
from model_operator.registry.mlmodel import MAX_BYTES as MAX_FILE_BYTES
from model_operator.registry.mlmodel import MalformedModelError, parse_mlmodel
from model_operator.world import ResolutionReason

API = "/api/2.0/mlflow"
RECORD_BYTES = MIB
# JSON takes up to twenty times its size as Python objects
PAGE_BYTES = 8 * MIB
PAGE_ROWS = 1000
SMALLEST_PAGE_ROWS = 50
MAX_PAGES = 500

T = TypeVar("T")


class _Right(NamedTuple):
    """What a request needs, in words and as MLflow calls it."""

    verb: str
    permission: str


_READ = _Right("read", "READ")
_WRITE = _Right("write", "EDIT")


class MlflowClient:
    """A RegistryClient of one MLflow server. Construction does no I/O, and raises nothing."""

    def __init__(
        self,
        entry: str,
        config: RegistryConfig,
        limits: Limits | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """``entry`` is the registry's name in the operator's configuration, for messages.
        ``transport`` replaces the network in tests.
        """
        site = Site(
            entry=entry,
            url=config.url,
            credentials_dir=_path(config.credentials_dir),
            ca_file=_path(config.ca_file),
            workspace=config.workspace,
            requests_per_second=config.requests_per_second,
        )
        self._entry = entry
        self._credentials_dir = site.credentials_dir
        self._source = JsonSource(site, limits, transport)

    @property
    def url(self) -> str:
        """The base URL, without a closing slash."""
        return self._source.base

    async def aclose(self) -> None:
        """Close what is open."""
        await self._source.aclose()

    async def model(self, name: str) -> ModelRecord:
        """See RegistryClient.model."""
        body = await self._get(
            "/registered-models/get",
            {"name": name},
            RECORD_BYTES,
            ResolutionReason.MODEL_NOT_FOUND,
            f"model '{shown(name)}'",
        )
        return renamed(self._parsed(parse_model, body.get("registered_model")), name)

    async def version(self, name: str, version: str) -> VersionRecord:
        """See RegistryClient.version."""
        what = f"version {shown(version)} of model '{shown(name)}'"
        absent = ResolutionReason.VERSION_NOT_FOUND
        if not is_version_number(version):
            # MLflow answers a number that its database can't hold with 500
            raise self._not_found(absent, what)
        try:
            body = await self._get(
                "/model-versions/get", {"name": name, "version": version}, RECORD_BYTES, absent, what
            )
        except RegistryError as failure:
            if failure.reason is absent:
                # MLflow says the same for a missing model; this raises ModelNotFound in that case
                await self.model(name)
            raise
        return replace(self._parsed(parse_version, body.get("model_version")), model=name)

    async def models(self) -> AsyncGenerator[Sequence[ModelRecord], None]:
        """See RegistryClient.models; a page has at most 1,000 rows, fewer where the rows are large."""
        async with aclosing(self._pages("/registered-models/search", "registered_models")) as pages:
            async for rows in pages:
                yield self._parsed_rows(parse_model, rows)

    async def versions(self) -> AsyncGenerator[Sequence[VersionRecord], None]:
        """See RegistryClient.versions."""
        async with aclosing(self._pages("/model-versions/search", "model_versions")) as pages:
            async for rows in pages:
                yield self._parsed_rows(parse_version, rows)

    async def set_version_tag(self, name: str, version: str, key: str, value: str) -> None:
        """See RegistryClient.set_version_tag."""
        what = f"tags of version {shown(version)} of model '{shown(name)}'"
        absent = ResolutionReason.VERSION_NOT_FOUND
        if not is_version_number(version):
            raise self._not_found(absent, what)
        body = {"name": name, "version": version, "key": key, "value": value}
        answer = await self._source.post(f"{API}/model-versions/set-tag", body, RECORD_BYTES)
        self._checked(answer, absent, what, _WRITE)

    async def metrics(self, run_id: str, source: str) -> Sequence[Metric]:
        """See RegistryClient.metrics: those of the logged model (MLflow 3), then those of the run."""
        of_model: list[Metric] = []
        if model_id := logged_model_of(source):
            what = f"logged model {model_id}"
            path = f"/logged-models/{model_id}"
            body = await self._get(path, {}, PAGE_BYTES, ResolutionReason.VERSION_NOT_FOUND, what)
            of_model = await self._without_false_zeros(self._readings_in(body, "model"))
        if not run_id:
            return merged(of_model, ())
        what = f"run {shown(run_id)}"
        absent = ResolutionReason.VERSION_NOT_FOUND
        body = await self._get("/runs/get", {"run_id": run_id}, PAGE_BYTES, absent, what)
        info = self._parsed(part_of, (body.get("run"), "info"))
        if info.get("lifecycle_stage") == "deleted":
            if of_model:
                return merged(of_model, ())
            raise RegistryError(
                absent, f"{what} was deleted at {self.url}; restore it, or log the model again"
            )
        return merged(of_model, [reading.metric for reading in self._readings_in(body, "run")])

    async def _without_false_zeros(self, readings: Sequence[Reading]) -> list[Metric]:
        false: set[Metric] = set()
        for reading in doubtful(readings):
            params = {"run_id": reading.run_id, "metric_key": reading.metric.name}
            what = f"run {shown(reading.run_id)}"
            absent = ResolutionReason.VERSION_NOT_FOUND
            body = await self._get("/metrics/get-history", params, PAGE_BYTES, absent, what)
            try:
                if was_nan(reading, body.get("metrics", [])):
                    false.add(reading.metric)
            except MalformedMetricsError as error:
                raise self._unexpected(f"a history with {error}") from None
        return [replace(metric, value=math.nan) if metric in false else metric for metric, _, _ in readings]

    def _readings_in(self, body: Mapping[str, Any], key: str) -> list[Reading]:
        data = self._parsed(part_of, (body.get(key), "data"))
        try:
            return parse_metrics(data.get("metrics", []))
        except MalformedMetricsError as error:
            raise self._unexpected(f"a {key} with {error}") from None

    async def description(self, name: str, version: str) -> ModelDescription:
        """See RegistryClient.description; the tracking server has to serve the version's files."""
        text = await self._file(name, version, "MLmodel")
        what = f"MLmodel of version {shown(version)} of model '{shown(name)}'"
        if text is None:
            raise self._not_found(ResolutionReason.VERSION_NOT_FOUND, f"the file {what}")
        requirements = await self._file(name, version, "requirements.txt")
        try:
            # not in this thread: a large file takes longer than a turn of the event loop may
            return await asyncio.to_thread(parse_mlmodel, text, requirements)
        except MalformedModelError as error:
            raise RegistryError(
                ResolutionReason.UNEXPECTED_ANSWER,
                f"the file {what} at {self.url} {error}; log the model again",
            ) from None

    async def _file(self, name: str, version: str, path: str) -> bytes | None:
        """One file of a version, None when it does not exist."""
        what = f"the file {path} of version {shown(version)} of model '{shown(name)}'"
        params = {"name": name, "version": version, "path": path}
        answer = await self._source.get("/model-versions/get-artifact", params, MAX_FILE_BYTES)
        if answer.status == 200:
            return answer.body
        if answer.status == 404:
            return None
        if answer.status >= 500:
            # MLflow 3.17 answers 500 for a file that a local store does not have, and for a store that fails
            said = self._source.quote(_error(answer)[1])
            raise RegistryError(
                ResolutionReason.REGISTRY_ERROR,
                f"{self.url} could not read {what} ({answer.status}{': ' + said if said else ''}); "
                "see whether the tracking server itself may read its artifact store",
            )
        self._checked(answer, ResolutionReason.VERSION_NOT_FOUND, what, _READ)
        raise AssertionError("what is no success raises")

    async def _pages(self, path: str, key: str) -> AsyncGenerator[list[Any], None]:
        rows, token = PAGE_ROWS, ""
        for _ in range(MAX_PAGES):
            params = {"max_results": str(rows)} | ({"page_token": token} if token else {})
            try:
                body = await self._get(
                    path, params, PAGE_BYTES, ResolutionReason.UNEXPECTED_ANSWER, "the listing"
                )
            except RegistryError as failure:
                if failure.reason is not ResolutionReason.ANSWER_TOO_LARGE or rows // 4 < SMALLEST_PAGE_ROWS:
                    raise
                rows //= 4
                continue
            listed = body.get(key, [])
            if not isinstance(listed, list):
                raise self._unexpected(f"{path} without a list of {key}")
            yield listed
            following = body.get("next_page_token", "")
            if not isinstance(following, str) or len(following) > MAX_TEXT:
                raise self._unexpected(f"{path} with a malformed next_page_token")
            if not following or following == token:
                return
            token = following

    async def _get(
        self, path: str, params: Mapping[str, str], max_bytes: int, absent: ResolutionReason, what: str
    ) -> Mapping[str, Any]:
        return self._checked(await self._source.get(f"{API}{path}", params, max_bytes), absent, what, _READ)

    def _checked(
        self, answer: Answer, absent: ResolutionReason, what: str, right: _Right
    ) -> Mapping[str, Any]:
        """The object that was answered; raises what any other answer means."""
        if answer.status == 200:
            return self._object(answer)
        code, message = _error(answer)
        if answer.status == 403:
            raise self._refused(answer, what, right)
        if answer.status == 404 and code == "RESOURCE_DOES_NOT_EXIST":
            raise self._not_found(absent, what)
        if answer.status == 400 and code == "INVALID_PARAMETER_VALUE":
            # such as a slash in the name: no such thing can exist there
            raise self._not_found(absent, what, f" (it said: {self._source.quote(message)})")
        if answer.status == 429 or answer.status >= 500:
            said = f": {self._source.quote(message)}" if message else ""
            raise RegistryError(
                ResolutionReason.REGISTRY_ERROR,
                f"{self.url} answered {answer.status}{said}; see the registry's own log",
            )
        raise self._unexpected(f"{answer.status} {code or answer.media_type or 'without content'}", message)

    def _object(self, answer: Answer) -> Mapping[str, Any]:
        if answer.media_type != "application/json":
            raise self._unexpected(f"{answer.media_type or 'no content type'} where JSON was expected")
        try:
            body = answer.json()
        except ValueError:
            raise self._unexpected("malformed JSON") from None
        if not isinstance(body, dict):
            raise self._unexpected("JSON that is not an object")
        return body

    def _parsed(self, parse: Callable[[Any], T], value: Any) -> T:
        try:
            return parse(value)
        except ShapeError as error:
            raise self._unexpected(f"a record of an unexpected shape ({error})") from None

    def _parsed_rows(self, parse: Callable[[Any], T], rows: Sequence[Any]) -> list[T]:
        """The rows that can be read; one odd model must not blind us to a thousand others."""
        parsed = []
        for row in rows:
            with suppress(ShapeError):
                parsed.append(parse(row))
        if rows and not parsed:
            raise self._unexpected("a listing without a single record of the expected shape")
        return parsed

    def _refused(self, answer: Answer, what: str, right: _Right) -> RegistryError:
        said = answer.body.decode("utf-8", "replace")
        if "invalid host header" in said.lower():
            host = httpx.URL(self.url).netloc.decode("ascii", "replace")
            return RegistryError(
                ResolutionReason.HOST_HEADER_REFUSED,
                f"the MLflow server at {self.url} refuses the Host header '{host}'; "
                f"start it with --allowed-hosts {host} (and the other names that it is called by)",
            )
        if self._credentials_dir is None:
            remedy = f"set credentialsDir of registry '{self._entry}' to credentials that may {right.verb} it"
        else:
            remedy = (
                f"give the user (username and password, or token, in {self._credentials_dir}, registry "
                f"'{self._entry}') {right.permission} permission"
            )
        return RegistryError(
            ResolutionReason.FORBIDDEN,
            f"{self.url} does not let us {right.verb} {what} (403); it does not exist, or {remedy}",
        )

    def _not_found(self, reason: ResolutionReason, what: str, detail: str = "") -> RegistryError:
        return RegistryError(reason, f"{what} does not exist at {self.url}{detail}")

    def _unexpected(self, what: str, said: str = "") -> RegistryError:
        quoted = f", saying: {self._source.quote(said)}" if said else ""
        return RegistryError(
            ResolutionReason.UNEXPECTED_ANSWER,
            f"{self.url} answered {self._source.quote(what)}{quoted}; "
            f"is the url of registry '{self._entry}' an MLflow server's, with its static prefix if any?",
        )


def _error(answer: Answer) -> tuple[str, str]:
    """MLflow's error code and message; empty where the answer has none."""
    if answer.media_type != "application/json":
        return "", ""
    try:
        body = answer.json()
    except ValueError:
        return "", ""
    if not isinstance(body, dict):
        return "", ""
    code, message = body.get("error_code"), body.get("message")
    return code if isinstance(code, str) else "", message if isinstance(message, str) else ""


def _path(value: str) -> Path | None:
    return Path(value) if value else None

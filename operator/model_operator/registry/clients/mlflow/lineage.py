"""Follows a version's source to the run and the logged model that its facts belong to.

A version's source is one of five kinds (see utils/models.py and runs_artifact_repo.py in mlflow/store/artifact):
- ``models:/m-0123...``: a logged model of MLflow 3
- ``models:/NAME/VERSION``: another version, which this one is a copy of (``copy_model_version``)
- ``runs:/RUN/NAME``: a model of a run. MLflow 3 looks for a logged model of that name and that run first
- a path in a store, such as ``s3://bucket/1/models/m-0123.../artifacts``, which names the logged model
- any other path: there is no logged model, and the run has the only metrics
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from model_operator.domain.registry import ResolutionReason
from model_operator.registry.clients.base import RegistryError, VersionRecord, shorten
from model_operator.registry.clients.mlflow.records import is_version_number, part_of
from model_operator.registry.clients.mlflow.rest import PAGE_BYTES, TRACKING, MlflowRest

MAX_COPIES = 10
"""Limit for copies of copies."""
_ABSENT = ResolutionReason.VERSION_NOT_FOUND
_LOGGED_MODEL = re.compile(r"models:/+([A-Za-z0-9_-]{1,128})")
_LOGGED_MODEL_PATH = re.compile(r".+/models/(m-[0-9a-f]{32})/artifacts(/.*)?")
_COPY = re.compile(r"models:/+([^/]+)/([^/]+)")
_RUN = re.compile(r"runs:/+([A-Za-z0-9_-]{1,256})/([^/]+)(/.*)?")
# a name within the filter language of MLflow's search: no quote, no backslash, no control character
_PLAIN_NAME = re.compile(r"[\w .:@+~()=-]{1,256}")

ReadVersion = Callable[[str, str], Awaitable[VersionRecord]]
"""Reads the record of one version by model name and number. Raises RegistryError."""


@dataclass(frozen=True, slots=True)
class Lineage:
    """The run and the logged model of a version. An empty text means none."""

    run_id: str
    model_id: str
    """The id of the logged model (MLflow 3)."""
    run_path: str = ""
    """For a source ``runs:/``: the model's path within the logged model or, without one, within the run."""
    by_run: bool = False
    """Whether the source is ``runs:/``. MLflow's server can't read the files of such a version by the version."""


async def follow_source(rest: MlflowRest, read_version: ReadVersion, run_id: str, source: str) -> Lineage:
    """Returns the run and the logged model behind a version with that ``run_id`` and ``source``.

    Raises RegistryError if the source does not exist, can't be read, or is more than ``MAX_COPIES`` copies away. The
    caller must not use the run's metrics in that case, because they may be of another dataset.
    """
    for _ in range(MAX_COPIES + 1):
        if (found := _LOGGED_MODEL.fullmatch(source)) or (found := _LOGGED_MODEL_PATH.fullmatch(source)):
            return Lineage(run_id, found.group(1))
        if found := _RUN.fullmatch(source):
            run_id, name, below = found.group(1), found.group(2), (found.group(3) or "").strip("/")
            model_id = await _find_model_of_run(rest, run_id, name)
            return Lineage(
                run_id, model_id, below if model_id else f"{name}/{below}".rstrip("/"), by_run=True
            )
        if not source.startswith("models:"):
            return Lineage(run_id, "")
        found = _COPY.fullmatch(source)
        if found is None or not is_version_number(found.group(2)):
            raise RegistryError(
                _ABSENT, f"the source {shorten(source)} can't be followed to a version at {rest.url}"
            )
        original = await _read_original(read_version, source, found.group(1), found.group(2))
        run_id, source = original.run_id or run_id, original.source
    raise RegistryError(
        ResolutionReason.UNEXPECTED_ANSWER,
        f"the version is a copy of a copy, more than {MAX_COPIES} times. "
        f"The last source is {shorten(source)} at {rest.url}",
    )


async def _read_original(read_version: ReadVersion, source: str, name: str, number: str) -> VersionRecord:
    try:
        return await read_version(name, number)
    except RegistryError as failure:
        text = f"the version is a copy of {shorten(source)}, which can't be read: {failure.message}"
        raise RegistryError(failure.reason, text) from None


async def _find_model_of_run(rest: MlflowRest, run_id: str, name: str) -> str:
    """Returns the id of the run's newest logged model of that name, or an empty text."""
    what = f"logged model '{shorten(name)}' of run {shorten(run_id)}"
    if not _PLAIN_NAME.fullmatch(name):
        raise RegistryError(
            _ABSENT, f"{what} can't be searched for at {rest.url}: its name has unusual characters"
        )
    body = await rest.get(
        f"{TRACKING}/runs/get", {"run_id": run_id}, PAGE_BYTES, _ABSENT, f"run {shorten(run_id)}"
    )
    experiment = rest.parse(part_of, (body.get("run"), "info")).get("experiment_id")
    query = {"experiment_ids": [experiment], "filter": f"name = '{name}' AND source_run_id = '{run_id}'"}
    answer = await rest.source.post(f"{TRACKING}/logged-models/search", query, PAGE_BYTES)
    if answer.status in (404, 405) and not rest.is_error_of_mlflow(answer):
        return ""  # MLflow 2 has no logged models
    models = rest.check(answer, _ABSENT, what).get("models", [])
    if not isinstance(models, list):
        raise rest.unexpected("a search without a list of models")
    infos = [rest.parse(part_of, (model, "info")) for model in models]
    newest = max((info for info in infos if info.get("name") == name), key=_created, default=None)
    return _read_id(rest, newest) if newest is not None else ""


def _created(info: Mapping[str, Any]) -> int:
    """Milliseconds since 1970, which MLflow writes as a number or as a text."""
    value = info.get("creation_timestamp_ms")
    try:
        return int(value) if isinstance(value, int | str) else 0
    except ValueError:
        return 0


def _read_id(rest: MlflowRest, info: Mapping[str, Any]) -> str:
    found = _LOGGED_MODEL.fullmatch(f"models:/{info.get('model_id')}")
    if found is None:
        raise rest.unexpected("a logged model without a usable id")
    return found.group(1)

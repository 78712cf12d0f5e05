"""Reads the metrics of a run and of a logged model from MLflow's tracking API."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from model_operator.domain.registry import Metric, ResolutionReason
from model_operator.registry.clients.base import RegistryError, shorten
from model_operator.registry.clients.mlflow.facts import (
    MalformedMetricsError,
    Reading,
    find_doubtful,
    merge_metrics,
    parse_metrics,
    was_nan,
)
from model_operator.registry.clients.mlflow.lineage import ReadVersion, follow_source
from model_operator.registry.clients.mlflow.records import part_of
from model_operator.registry.clients.mlflow.rest import PAGE_BYTES, TRACKING, MlflowRest

_ABSENT = ResolutionReason.VERSION_NOT_FOUND


async def read_metrics(
    rest: MlflowRest, read_version: ReadVersion, run_id: str, source: str
) -> Sequence[Metric]:
    """Returns the metrics of the logged model (MLflow 3) behind ``source``, then those of the run.

    Copies are followed to their original with ``read_version``. Raises RegistryError.
    """
    lineage = await follow_source(rest, read_version, run_id, source)
    run_id, model_id = lineage.run_id, lineage.model_id
    of_model: list[Metric] = []
    if model_id:
        body = await rest.get(
            f"{TRACKING}/logged-models/{model_id}", {}, PAGE_BYTES, _ABSENT, f"logged model {model_id}"
        )
        of_model = await _without_false_zeros(rest, _readings_in(rest, body, "model"))
    if not run_id:
        return merge_metrics(of_model, ())
    what = f"run {shorten(run_id)}"
    body = await rest.get(f"{TRACKING}/runs/get", {"run_id": run_id}, PAGE_BYTES, _ABSENT, what)
    info = rest.parse(part_of, (body.get("run"), "info"))
    if info.get("lifecycle_stage") == "deleted":
        if of_model:
            return merge_metrics(of_model, ())
        raise RegistryError(_ABSENT, f"{what} was deleted at {rest.url}. Restore it, or log the model again")
    return merge_metrics(of_model, [reading.metric for reading in _readings_in(rest, body, "run")])


async def _without_false_zeros(rest: MlflowRest, readings: Sequence[Reading]) -> list[Metric]:
    false: set[Metric] = set()
    for reading in find_doubtful(readings):
        params = {"run_id": reading.run_id, "metric_key": reading.metric.name}
        what = f"run {shorten(reading.run_id)}"
        body = await rest.get(f"{TRACKING}/metrics/get-history", params, PAGE_BYTES, _ABSENT, what)
        try:
            if was_nan(reading, body.get("metrics", [])):
                false.add(reading.metric)
        except MalformedMetricsError as error:
            raise rest.unexpected(f"a history with {error}") from None
    return [replace(metric, value=math.nan) if metric in false else metric for metric, _, _ in readings]


def _readings_in(rest: MlflowRest, body: Mapping[str, Any], key: str) -> list[Reading]:
    data = rest.parse(part_of, (body.get(key), "data"))
    try:
        return parse_metrics(data.get("metrics", []))
    except MalformedMetricsError as error:
        raise rest.unexpected(f"a {key} with {error}") from None

"""Parses MLflow's metrics of a run and of a logged model, with the dataset if it is recorded."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from model_operator.domain.registry import Metric

MAX_METRICS = 2000
MAX_NAME = 512
MAX_DOUBTFUL = 32
# MLflow's database can't store infinities, so they become the largest double
_INFINITE = 1.797e308


class MalformedMetricsError(ValueError):
    """The value is not a list of metrics."""


class Reading(NamedTuple):
    """The last value of one name and dataset, with its timestamp (ms) and step."""

    metric: Metric
    run_id: str
    at: tuple[int, int]


def parse_metrics(rows: object) -> list[Reading]:
    """The last value of each name and dataset. Raises MalformedMetricsError.

    A malformed row is left out. Its metric is then missing, and a missing metric never passes a gate.
    """
    if not isinstance(rows, list) or len(rows) > MAX_METRICS * 50:
        raise MalformedMetricsError("no list of metrics")
    newest: dict[tuple[str, str], Reading] = {}
    for row in rows:
        if (metric := _metric(row)) is None:
            continue
        at = (_count(row.get("timestamp")), _count(row.get("step")))
        before = newest.get((metric.name, metric.dataset))
        if before is None or at >= before.at:
            run_id = row.get("run_id")
            newest[metric.name, metric.dataset] = Reading(
                metric, run_id if isinstance(run_id, str) else "", at
            )
    return list(newest.values())[:MAX_METRICS]


def find_doubtful(readings: Iterable[Reading]) -> list[Reading]:
    """Zeros of a logged model. MLflow 3.17 returns a NaN of a logged model as 0. Only the run's history has the NaN."""
    zeros = [reading for reading in readings if reading.metric.value == 0 and reading.run_id]
    return zeros[:MAX_DOUBTFUL]


def was_nan(reading: Reading, history: object) -> bool:
    """Whether the run's history has a NaN at that time and step. Raises MalformedMetricsError."""
    if not isinstance(history, list):
        raise MalformedMetricsError("no list of metrics")
    for row in history:
        metric = _metric(row)
        at = (_count(row.get("timestamp")), _count(row.get("step"))) if metric else None
        if metric and at == reading.at and math.isnan(metric.value):
            return True
    return False


def merge_metrics(of_model: Iterable[Metric], of_run: Iterable[Metric]) -> Sequence[Metric]:
    """The logged model's metrics, and those metrics of the run with other names.

    A run keeps one value per name, the last one of any dataset. The model's own metrics have their dataset.
    """
    own = list(of_model)
    names = {metric.name for metric in own}
    return (*own, *(metric for metric in of_run if metric.name not in names))


def _metric(row: object) -> Metric | None:
    if not isinstance(row, dict):
        return None
    name, value = row.get("key"), _value(row)
    dataset = row.get("dataset_name") or ""
    if not isinstance(name, str) or not isinstance(dataset, str) or value is None:
        return None
    return Metric(name, value, dataset) if 0 < len(name) <= MAX_NAME and len(dataset) <= MAX_NAME else None


def _value(row: Mapping[str, Any]) -> float | None:
    value = row.get("value")
    if isinstance(value, str):
        return {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}.get(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
    return math.copysign(math.inf, number) if abs(number) >= _INFINITE else number


def _count(value: object) -> int:
    """An integer, which MLflow writes as a number or as a text."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 20:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0

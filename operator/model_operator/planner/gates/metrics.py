"""The gate Metrics: whether the metrics are within their bounds and no worse than the serving version's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from model_operator.api.spec import GatesSpec, MetricGate
from model_operator.domain.registry import Metric, VersionFacts
from model_operator.planner.gates.base import (
    OVERRIDE_REMEDY,
    Fact,
    Gate,
    GateResult,
    Subject,
    failed,
    passed,
    pending,
    unreadable,
)

_NAME: Final = "Metrics"
MAX_NAMED = 8


def _is_set(gates: GatesSpec) -> bool:
    return bool(gates.metrics)


def _compares(gates: GatesSpec) -> bool:
    return any(gate.no_worse_than_serving_by is not None for gate in gates.metrics)


def _judge(gates: GatesSpec, subject: Subject) -> GateResult:
    """Fails at the first metric with MetricMissing, MetricNotFinite, MetricOutOfBounds or MetricWorse.

    If a gate names no dataset, the metric has to pass on every dataset, since any of them may be the intended one.
    """
    facts, version = subject.facts, subject.version.version
    if facts.metrics is None:
        return (
            unreadable(_NAME, facts.metrics_problem) if facts.metrics_problem else pending(_NAME, "metrics")
        )
    values = []
    for gate in gates.metrics:
        found = _of(gate, facts.metrics)
        if not found:
            return _missing(gate, version, facts.metrics)
        for metric in found:
            if result := _out_of_bounds(gate, metric, version):
                return result
        if gate.no_worse_than_serving_by is not None and subject.serving is not None:
            result = _compare(gate, found, version, subject.serving)
            if result is not None:
                return result
        values += [f"{_show(metric)} {metric.value:g}" for metric in found]
    return passed(_NAME, f"within their bounds: {', '.join(values[:MAX_NAMED])}")


def _of(gate: MetricGate, metrics: Sequence[Metric]) -> list[Metric]:
    named = [metric for metric in metrics if metric.name == gate.name]
    return [metric for metric in named if metric.dataset == gate.dataset] if gate.dataset else named


def _show(metric: Metric) -> str:
    return f"{metric.name} on {metric.dataset}" if metric.dataset else metric.name


def _missing(gate: MetricGate, version: str, metrics: Sequence[Metric]) -> GateResult:
    where = f" on dataset {gate.dataset}" if gate.dataset else ""
    known = sorted({metric.dataset or "no named dataset" for metric in metrics if metric.name == gate.name})
    if known:
        hint = f" (logged on: {', '.join(known[:MAX_NAMED])})"
    else:
        names = sorted({metric.name for metric in metrics})
        hint = f" (logged metrics: {', '.join(names[:MAX_NAMED])})" if names else " (no metric was logged)"
    text = f"version {version} has no metric {gate.name}{where}{hint}. Log it, {OVERRIDE_REMEDY}"
    return failed(_NAME, "MetricMissing", text)


def _out_of_bounds(gate: MetricGate, metric: Metric, version: str) -> GateResult | None:
    value = metric.value
    if not math.isfinite(value):
        text = f"{_show(metric)} of version {version} is {value}, which never passes. Log a number"
        return failed(_NAME, "MetricNotFinite", f"{text}, {OVERRIDE_REMEDY}")
    bound = ""
    if gate.min is not None and value < gate.min:
        bound = f"below the minimum of {gate.min:g}"
    if gate.max is not None and value > gate.max:
        bound = f"above the maximum of {gate.max:g}"
    if not bound:
        return None
    text = f"{_show(metric)} of version {version} is {value:g}, {bound}"
    return failed(_NAME, "MetricOutOfBounds", f"{text}. {_REMEDY}")


_REMEDY = f"Move the alias to a better version, {OVERRIDE_REMEDY}"


def _compare(
    gate: MetricGate, found: Sequence[Metric], version: str, serving: VersionFacts
) -> GateResult | None:
    if serving.metrics is None:
        if serving.metrics_problem:
            return unreadable(_NAME, f"serving version: {serving.metrics_problem}")
        return pending(_NAME, "metrics of the serving version")
    for metric in found:
        before = [m for m in serving.metrics if (m.name, m.dataset) == (metric.name, metric.dataset)]
        if not before or not math.isfinite(before[0].value):
            text = f"the serving version has no finite {_show(metric)} to compare version {version} with"
            return failed(_NAME, "MetricMissing", f"{text}. Log it there, {OVERRIDE_REMEDY}")
        worse = before[0].value - metric.value if gate.better == "Higher" else metric.value - before[0].value
        allowed = gate.no_worse_than_serving_by or 0.0
        if worse > allowed and not math.isclose(worse, allowed, rel_tol=1e-9, abs_tol=1e-12):
            text = (
                f"{_show(metric)} of version {version} is {metric.value:g}, the serving version has "
                f"{before[0].value:g}: {worse:g} worse, at most {allowed:g} is allowed"
            )
            return failed(_NAME, "MetricWorse", f"{text}. {_REMEDY}")
    return None


METRICS = Gate(_NAME, _is_set, _judge, frozenset({Fact.METRICS}), _compares)

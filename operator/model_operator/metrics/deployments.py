"""The metrics of each ModelDeployment, read from the cache at each scrape.

They are level-triggered: the series show the present statuses, even of changes before this process started. After the
deletion of a ModelDeployment, its series are absent from the next scrape.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from model_operator.api import names
from model_operator.api.choices import DEFAULT_STRATEGY
from model_operator.domain.objects import Object, Report, read_report
from model_operator.metrics.description import PREFIX, MetricDescription

LABEL_LIMIT = 128
"""Longest value of a label, in characters. The names of models and aliases may be longer and are cut off."""

Sample = tuple[str, tuple[str, ...], float]
"""Name of the family, values of its labels except namespace and modeldeployment, and the value."""

_OF_EACH: Mapping[str, tuple[tuple[str, ...], str]] = {
    "info": (
        ("model", "alias", "registry", "strategy", "serving_version", "wanted_version"),
        "Always 1. The labels name the model, the alias and the serving version. wanted_version is the "
        "version that the registry names.",
    ),
    "condition": (
        ("condition", "status", "reason"),
        "Always 1. The labels hold one condition, with status True, False or Unknown. Reconciling and "
        "Stalled are absent unless True. Admitted is absent without gates.",
    ),
    "serving_since_timestamp_seconds": (
        ("version",),
        "When the serving version went live. Absent while no version is serving.",
    ),
    "serving_settled": ((), "1 if the serving version has passed its watch window, 0 during the window."),
    "candidate_since_timestamp_seconds": (
        ("version", "phase", "reason"),
        "When the candidate's rollout began. While the rollout waits to begin, when the candidate was first "
        "wanted. reason: the obstacle, if there is one.",
    ),
    "rejected_timestamp_seconds": (
        ("version", "stage", "side", "reason"),
        "When the version that the registry names was rejected. If it was not rejected, the time of the "
        "newest rejection. stage: rollout (before it went live) or watch (after it went live).",
    ),
    "resolved_timestamp_seconds": (
        ("version",),
        "When the registry first named the version that it names now.",
    ),
    "replicas": ((), "Pods of the serving revision, ready or not."),
    "ready_replicas": ((), "Ready pods of the serving revision."),
    "suspended": ((), "1 if spec.suspend is set."),
}
_OF_ALL: Mapping[str, tuple[tuple[str, ...], str]] = {
    "modeldeployments": ((), "ModelDeployments in the operator's cache."),
    "modeldeployments_by_condition": (
        ("condition", "status"),
        "ModelDeployments by condition and status, including those without their own series.",
    ),
    "modeldeployments_without_series": (
        (),
        "ModelDeployments without their own series, because there are more than metricsMaxModelDeployments.",
    ),
}


class ModelDeployments(Collector):
    """The state of all ModelDeployments as gauges. ``collect`` exports the state of the last ``look``."""

    def __init__(self, known: Callable[[], Sequence[Object]], most: int) -> None:
        """``known`` returns the ModelDeployments in order, and the first ``most`` of them get their own series."""
        self._known = known
        self._most = most
        self._seen: Sequence[Object] = ()

    @property
    def descriptions(self) -> Sequence[MetricDescription]:
        """Every metric of this collector."""
        each = (
            MetricDescription(
                f"{PREFIX}_modeldeployment_{name}",
                "gauge",
                ("namespace", "modeldeployment", *labels),
                meaning,
            )
            for name, (labels, meaning) in _OF_EACH.items()
        )
        of_all = (
            MetricDescription(f"{PREFIX}_{name}", "gauge", labels, meaning)
            for name, (labels, meaning) in _OF_ALL.items()
        )
        return (*each, *of_all)

    def look(self) -> None:
        """Takes the present ModelDeployments from the cache. Call it in the event loop only, which owns the cache."""
        self._seen = self._known()

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Returns the families without samples. A registration therefore needs no ``look``."""
        return iter(self._families().values())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yields the families with the samples of the last ``look``."""
        families, total, counts = self._families(), 0, Counter[tuple[str, str]]()
        for total, raw in enumerate(self._seen, start=1):
            report = read_report(raw)
            counts.update((_label(c.type), _label(c.status)) for c in report.conditions)
            if total <= self._most:
                key = (_label(report.namespace), _label(report.name))
                for name, labels, value in _samples(report):
                    families[f"modeldeployment_{name}"].add_metric((*key, *labels), value)
        families["modeldeployments"].add_metric((), total)
        families["modeldeployments_without_series"].add_metric((), max(0, total - self._most))
        for labels, count in counts.items():
            families["modeldeployments_by_condition"].add_metric(labels, count)
        yield from families.values()

    def _families(self) -> dict[str, GaugeMetricFamily]:
        return {
            d.name.removeprefix(f"{PREFIX}_"): GaugeMetricFamily(d.name, d.meaning, labels=d.labels)
            for d in self.descriptions
        }


def _samples(report: Report) -> Iterator[Sample]:
    serving, candidate, rejected = report.serving, report.candidate, report.rejected
    info = (
        report.model,
        report.alias,
        # all registries in a spec share one label, as in the registries' metrics
        "spec.registry" if report.has_own_registry else report.registry or names.DEFAULT_REGISTRY,
        report.strategy or DEFAULT_STRATEGY,
        serving.version,
        report.resolved.version,
    )
    yield "info", _labels(*info), 1
    for condition in report.conditions:
        yield "condition", _labels(condition.type, condition.status, condition.reason), 1
    if serving.at:
        yield "serving_since_timestamp_seconds", _labels(serving.version), serving.at.timestamp()
        yield "serving_settled", (), float(serving.settled)
    if candidate.at:
        labels = _labels(candidate.version, candidate.phase, candidate.reason)
        yield "candidate_since_timestamp_seconds", labels, candidate.at.timestamp()
    if rejected.at:
        stage = "watch" if rejected.was_live else "rollout"
        labels = _labels(rejected.version, stage, rejected.side, rejected.reason)
        yield "rejected_timestamp_seconds", labels, rejected.at.timestamp()
    if report.resolved.at:
        at = report.resolved.at.timestamp()
        yield "resolved_timestamp_seconds", _labels(report.resolved.version), at
    yield "replicas", (), float(report.replicas)
    yield "ready_replicas", (), float(report.ready_replicas)
    yield "suspended", (), float(report.suspended)


def _labels(*values: str) -> tuple[str, ...]:
    return tuple(map(_label, values))


def _label(value: str) -> str:
    return value[:LABEL_LIMIT]

"""What is told of each ModelDeployment, read off the cache whenever Prometheus asks.

Level-triggered, like everything else: the series tell what the statuses say now, whatever this operator has seen
happen, and those of a ModelDeployment that was deleted are gone with the next scrape.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from model_operator.api import names
from model_operator.api.choices import DEFAULT_STRATEGY
from model_operator.domain.objects import Object, newest, part, read_time
from model_operator.metrics.description import PREFIX, MetricDescription

LABEL_LIMIT = 128
"""Names of models and aliases may be longer; the rest of them is cut off."""

Sample = tuple[str, tuple[str, ...], float]
"""Name of the family, values of its labels after namespace and modeldeployment, value."""

_OF_EACH: Mapping[str, tuple[tuple[str, ...], str]] = {
    "info": (
        ("model", "alias", "registry", "strategy", "serving_version", "wanted_version"),
        "Always 1; what is followed, and what it has come to. wanted_version is the one that the registry names.",
    ),
    "condition": (
        ("condition", "status", "reason"),
        "Always 1; a condition as it stands, with status True, False or Unknown. Reconciling and Stalled are absent "
        "unless True, Admitted is where there are no gates.",
    ),
    "serving_since_timestamp_seconds": (
        ("version",),
        "When what serves went live. Absent while nothing does.",
    ),
    "serving_settled": ((), "1 when what serves outlived its watch, 0 while it is watched."),
    "candidate_since_timestamp_seconds": (
        ("version", "phase", "reason"),
        "When the rollout that is under way or waits began to do so. reason: what is in its way, if anything.",
    ),
    "rejected_timestamp_seconds": (
        ("version", "stage", "side", "reason"),
        "When the version that the registry names was rejected; where it was not, when the newest rejection was. "
        "stage: rollout (it was not live yet) or watch (it had gone live).",
    ),
    "resolved_timestamp_seconds": (
        ("version",),
        "When the registry first named the version that it names now.",
    ),
    "replicas": ((), "Pods of what serves, ready or not."),
    "ready_replicas": ((), "Pods of what serves that are ready."),
    "suspended": ((), "1 when spec.suspend freezes it."),
}
_OF_ALL: Mapping[str, tuple[tuple[str, ...], str]] = {
    "modeldeployments": ((), "ModelDeployments that the operator knows of."),
    "modeldeployments_by_condition": (
        ("condition", "status"),
        "ModelDeployments by what their conditions say; also those that have no series of their own.",
    ),
    "modeldeployments_without_series": (
        (),
        "ModelDeployments that are left out of the series of single ones, because there are more than "
        "metricsMaxModelDeployments.",
    ),
}


class ModelDeployments(Collector):
    """The state of all ModelDeployments, as gauges. ``look`` first: what it saw is what is told."""

    def __init__(self, known: Callable[[], Sequence[Object]], most: int) -> None:
        """``known`` gives the ModelDeployments in order; ``most`` is how many of them get series of their own."""
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
        """Note what there is now. Not for threads: what it looks at belongs to the event loop."""
        self._seen = self._known()

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """The families without samples, so that registering needs no look."""
        return iter(self._families().values())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The families with what was last seen."""
        seen, families = self._seen, self._families()
        shown = seen[: self._most]
        for found in shown:
            for name, labels, value in _samples(found):
                families[f"modeldeployment_{name}"].add_metric((*_key(found), *labels), value)
        families["modeldeployments"].add_metric((), len(seen))
        families["modeldeployments_without_series"].add_metric((), len(seen) - len(shown))
        counts = Counter((c[0], c[1]) for found in seen for c in _conditions(part(found, "status")))
        for labels, count in counts.items():
            families["modeldeployments_by_condition"].add_metric(labels, count)
        yield from families.values()

    def _families(self) -> dict[str, GaugeMetricFamily]:
        return {
            d.name.removeprefix(f"{PREFIX}_"): GaugeMetricFamily(d.name, d.meaning, labels=d.labels)
            for d in self.descriptions
        }


def _samples(found: Object) -> Iterator[Sample]:
    spec, status = part(found, "spec"), part(found, "status")
    serving, candidate = part(status, "serving"), part(status, "candidate")
    resolved, rejected = part(status, "resolved"), _rejection(status)
    yield (
        "info",
        (
            _label(status.get("modelName")),
            _label(status.get("alias")),
            _registry(part(spec, "registry")),
            _label(part(spec, "rollout").get("strategy") or DEFAULT_STRATEGY),
            _label(serving.get("version")),
            _label(resolved.get("version")),
        ),
        1,
    )
    for condition in _conditions(status):
        yield "condition", condition, 1
    version = (_label(serving.get("version")),)
    if since := _seconds(serving.get("since")):
        yield "serving_since_timestamp_seconds", version, since
        yield "serving_settled", (), float(serving.get("settled") is True)
    if since := _seconds(candidate.get("since")):
        labels = (candidate.get("version"), candidate.get("phase"), candidate.get("reason"))
        yield "candidate_since_timestamp_seconds", tuple(map(_label, labels)), since
    if at := _seconds(rejected.get("at")):
        stage = "watch" if _was_live(status, rejected) else "rollout"
        why = (rejected.get("side"), rejected.get("reason"))
        yield "rejected_timestamp_seconds", (_label(rejected.get("version")), stage, *map(_label, why)), at
    if at := _seconds(resolved.get("at")):
        yield "resolved_timestamp_seconds", (_label(resolved.get("version")),), at
    yield "replicas", (), _count(status.get("replicas"))
    yield "ready_replicas", (), _count(status.get("readyReplicas"))
    yield "suspended", (), float(spec.get("suspend") is True)


def _registry(registry: Object) -> str:
    # all that bring a URL of their own share one label, as in the figures of the registries
    return "spec.registry" if registry.get("url") else _label(registry.get("name")) or names.DEFAULT_REGISTRY


def _rejection(status: Object) -> Object:
    """That of the version which is wanted, or else the newest."""
    found, wanted = status.get("rejected"), part(status, "resolved").get("version")
    for rejected in found if isinstance(found, list) else []:
        if isinstance(rejected, Mapping) and rejected.get("version") == wanted:
            return rejected
    return newest(status, "rejected")


def _was_live(status: Object, rejected: Object) -> bool:
    """Whether the rejected revision had served until then; the history was written at the same moment."""
    found = status.get("history")
    return any(
        isinstance(left, Mapping)
        and (left.get("revision"), left.get("to")) == (rejected.get("revision"), rejected.get("at"))
        for left in (found if isinstance(found, list) else [])
    )


def _conditions(status: Object) -> Iterator[tuple[str, str, str]]:
    found = status.get("conditions")
    for condition in found if isinstance(found, list) else []:
        if isinstance(condition, Mapping):
            yield (
                _label(condition.get("type")),
                _label(condition.get("status")),
                _label(condition.get("reason")),
            )


def _seconds(text: object) -> float:
    """The time as seconds since 1970; 0 where there is none."""
    moment = read_time(text)
    return moment.timestamp() if moment else 0.0


def _count(value: object) -> float:
    return float(value) if isinstance(value, int) else 0.0


def _label(value: object) -> str:
    return value[:LABEL_LIMIT] if isinstance(value, str) else ""


def _key(found: Object) -> tuple[str, str]:
    metadata = found["metadata"]
    return (_label(metadata.get("namespace")), _label(metadata.get("name")))

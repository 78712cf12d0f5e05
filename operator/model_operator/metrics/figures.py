"""The counters, gauges and histograms of the operator's own work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from time import monotonic
from typing import assert_never

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

from model_operator.domain.revision import Side
from model_operator.metrics.deployments import ModelDeployments
from model_operator.metrics.description import PREFIX, SECONDS, MetricDescription
from model_operator.planner.health import REASONS
from model_operator.planner.status.transitions import Ended, Followed, Reverted, RolloutTransition, Started

_ROLLOUT_SECONDS = (5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200)


def _counter(name: str, meaning: str, *labels: str) -> MetricDescription:
    return MetricDescription(f"{PREFIX}_{name}", "counter", labels, meaning)


def _gauge(name: str, meaning: str, *labels: str) -> MetricDescription:
    return MetricDescription(f"{PREFIX}_{name}", "gauge", labels, meaning)


def _histogram(
    name: str, meaning: str, *labels: str, buckets: tuple[float, ...] = SECONDS
) -> MetricDescription:
    return MetricDescription(f"{PREFIX}_{name}", "histogram", labels, meaning, buckets)


_FIGURES = (
    _gauge("build_info", "Always 1. version: the version of the running operator.", "version"),
    _histogram(
        "reconcile_seconds",
        "Duration of one reconcile of one ModelDeployment, by result: ok or error.",
        "result",
    ),
    _histogram("queue_wait_seconds", "Time that a ModelDeployment waited for a worker."),
    _gauge("queue_depth", "ModelDeployments that wait for a worker."),
    _gauge("in_work", "ModelDeployments that are being reconciled."),
    _gauge("is_leader", "1 if this replica is the leader, 0 if it is on standby."),
    _gauge("leader_transitions", "Changes of the leader, as the Lease counts them."),
    _gauge("cached_objects", "Objects in the operator's cache."),
    _gauge("tags_waiting", "Verdicts that are not yet written back to their registry."),
    _histogram(
        "api_request_seconds",
        "Requests to the API server, except watches. code 0: no answer.",
        "verb",
        "kind",
        "code",
    ),
    _histogram(
        "registry_request_seconds",
        "Requests to model registries, by the registry's name in the configuration, the operation and the "
        "outcome: ok, left (a listing that was stopped early because it was complete enough), or the reason "
        "of the failure.",
        "registry",
        "operation",
        "outcome",
    ),
    _gauge(
        "registry_last_answer_timestamp_seconds",
        "When a registry last gave a usable answer. time() minus this value is the age of the operator's "
        "data. Absent until the first answer.",
        "registry",
    ),
    _counter(
        "webhooks_total",
        "Webhooks received: ok, not_followed (no ModelDeployment follows that model), or the reason of the "
        "rejection.",
        "registry",
        "outcome",
    ),
    _counter(
        "scrapes_total",
        "Scrapes of pods during a watch window: ok, absent (the pod has no metrics) or failed.",
        "outcome",
    ),
    _counter("rollouts_started_total", "Rollouts that began, including each retry."),
    _counter(
        "rollouts_total",
        "Rollouts that ended: live, rejected, withdrawn (a failure of the environment, retried later) or "
        "cancelled (no longer wanted). reason: why a version was rejected or withdrawn.",
        "outcome",
        "reason",
    ),
    _histogram(
        "rollout_seconds",
        "Duration of a rollout, by outcome: live or rejected.",
        "outcome",
        buckets=_ROLLOUT_SECONDS,
    ),
    _counter(
        "reverts_total",
        "Rejections after which an earlier version serves. stage: rollout (before the rejected version went "
        "live) or watch (after it went live). side: Model, Configuration or Environment.",
        "stage",
        "side",
        "reason",
    ),
    _histogram(
        "alias_move_to_serving_seconds",
        "Time from the registry's first answer with another version until that version goes live. The alias "
        "moved at most one poll interval before that answer, or a moment before it with webhooks. approval: "
        "Manual if a person had to approve, and then the wait is included.",
        "approval",
        buckets=_ROLLOUT_SECONDS,
    ),
)


class Metrics:
    """The operator's own metrics, in their own Prometheus registry.

    The values of labels come from the operator itself or are names of configured registries, and their number is
    therefore bounded. ``population`` adds the metrics of each ModelDeployment and has its own bound.
    """

    def __init__(self, population: ModelDeployments | None = None) -> None:
        self.registry = CollectorRegistry()
        self._population = population or ModelDeployments(lambda: (), 0)
        self.registry.register(self._population)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, Histogram] = {}
        for description in _FIGURES:
            self._register(description)
        self._gauges["build_info"].labels(version("model-operator")).set(1)
        self._begin_at_zero()

    def _register(self, description: MetricDescription) -> None:
        full_name, meaning, labels = description.name, description.meaning, description.labels
        name = full_name.removeprefix(f"{PREFIX}_")
        match description.type:
            case "counter":
                self._counters[name] = Counter(full_name, meaning, labels, registry=self.registry)
            case "gauge":
                self._gauges[name] = Gauge(full_name, meaning, labels, registry=self.registry)
            case "histogram":
                self._histograms[name] = Histogram(
                    full_name, meaning, labels, buckets=description.buckets, registry=self.registry
                )
            case _:
                assert_never(description.type)

    @property
    def descriptions(self) -> Sequence[MetricDescription]:
        """Every metric except those of the process, which all Python programs have."""
        return (*_FIGURES, *self._population.descriptions)

    async def render(self) -> bytes:
        """Returns all metrics in the text format of Prometheus.

        The ModelDeployments are read in the event loop. A thread writes the text, because thousands of lines take a
        while.
        """
        self._population.look()
        return await asyncio.to_thread(generate_latest, self.registry)

    def gauge(self, name: str, value: Callable[[], float]) -> None:
        """Sets the function that returns a gauge's value at each scrape. ``name`` is without ``model_operator_``.

        Raises KeyError for an unknown name.
        """
        self._gauges[name].set_function(value)

    def observe_queue_wait(self, seconds: float) -> None:
        """Records the seconds that a key waited in the queue."""
        self._histograms["queue_wait_seconds"].observe(seconds)

    def observe_api_request(self, verb: str, kind: str, status: int, seconds: float) -> None:
        """Records one request to the API server."""
        self._histograms["api_request_seconds"].labels(verb, kind, str(status)).observe(seconds)

    def observe_registry_request(self, registry: str, operation: str, outcome: str, seconds: float) -> None:
        """Records a request to a registry. ``outcome``: ``ok``, ``left`` (stopped early) or the reason of a failure."""
        self._histograms["registry_request_seconds"].labels(registry, operation, outcome).observe(seconds)
        if outcome == "ok":
            self._gauges["registry_last_answer_timestamp_seconds"].labels(registry).set_to_current_time()

    def count_webhook(self, registry: str, outcome: str) -> None:
        """Records a webhook: ``ok``, ``not_followed`` (no ModelDeployment has its model), or a reason to reject it."""
        self._counters["webhooks_total"].labels(registry, outcome).inc()

    def count_scrape(self, outcome: str) -> None:
        """Records a scrape of a watched pod: ``ok``, ``absent`` or ``failed``."""
        self._counters["scrapes_total"].labels(outcome).inc()

    def count_transition(self, transition: RolloutTransition) -> None:
        """Records a transition of a rollout, after the status has it."""
        match transition:
            case Started():
                self._counters["rollouts_started_total"].inc()
            case Ended(how, reason, seconds):
                self._counters["rollouts_total"].labels(how, reason).inc()
                if seconds is not None:
                    self._histograms["rollout_seconds"].labels(how).observe(seconds)
            case Reverted(stage, side, reason):
                self._counters["reverts_total"].labels(stage, side, reason).inc()
            case Followed(approval, seconds):
                self._histograms["alias_move_to_serving_seconds"].labels(approval).observe(seconds)
            case _:
                assert_never(transition)

    @contextmanager
    def time_reconcile(self) -> Iterator[None]:
        """Times one reconcile. An exception counts as an error and is raised again."""
        started, result = monotonic(), "error"
        try:
            yield
            result = "ok"
        finally:
            self._histograms["reconcile_seconds"].labels(result).observe(monotonic() - started)

    def _begin_at_zero(self) -> None:
        """Creates rare series with 0, because Prometheus sees no increase when a series begins with 1."""
        for outcome in ("live", "cancelled"):
            self._counters["rollouts_total"].labels(outcome, "")
        for outcome in ("live", "rejected"):
            self._histograms["rollout_seconds"].labels(outcome)
        for approval in ("Automatic", "Manual"):
            self._histograms["alias_move_to_serving_seconds"].labels(approval)
        for reason, known in REASONS.items():
            withdrawn = known.side is Side.ENVIRONMENT
            self._counters["rollouts_total"].labels("withdrawn" if withdrawn else "rejected", reason)
            for stage in ("rollout", "watch") if not withdrawn else ():
                self._counters["reverts_total"].labels(stage, known.side.value, reason)

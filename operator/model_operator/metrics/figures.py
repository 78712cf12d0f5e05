"""What the operator counts and times of its own work."""

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
from model_operator.metrics.described import PREFIX, Described
from model_operator.planner.health import REASONS
from model_operator.planner.status.transitions import Ended, Followed, Reverted, RolloutTransition, Started

_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_ROLLOUT_SECONDS = (5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200)

_READ_WHEN_ASKED = {
    "queue_depth": "ModelDeployments that wait for a worker.",
    "in_work": "ModelDeployments in work.",
    "is_leader": "1 where this replica works, 0 where it stands by.",
    "leader_transitions": "How often the Lease of the election has changed hands.",
    "cached_objects": "Objects that the operator knows of.",
    "tags_waiting": "Verdicts that are not written back to their registry yet.",
}


class Metrics:
    """The operator's own figures, in a Prometheus registry of their own.

    Labels take values of the operator's own making only, or the names of configured registries, so their number is
    bounded. What is told of each ModelDeployment comes from ``population``, which has a bound of its own.
    """

    def __init__(self, population: ModelDeployments | None = None) -> None:
        self.registry = CollectorRegistry()
        self._described: list[Described] = []
        self._population = population or ModelDeployments(lambda: (), 0)
        self.registry.register(self._population)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        build = self._gauge("build_info", "Always 1; the version of the operator that runs.", "version")
        build.labels(version("model-operator")).set(1)
        self._reconcile = self._histogram(
            "reconcile_seconds",
            "Time that one look at one ModelDeployment took, by how it ended: ok or error.",
            "result",
        )
        self._wait = self._histogram("queue_wait_seconds", "Time that a ModelDeployment waited for a worker.")
        self._read_when_asked = {
            name: self._gauge(name, meaning) for name, meaning in _READ_WHEN_ASKED.items()
        }
        self._api = self._histogram(
            "api_request_seconds",
            "Requests to the API server without the watches; code 0 means that no answer came.",
            "verb",
            "kind",
            "code",
        )
        self._registry = self._histogram(
            "registry_request_seconds",
            "Questions to model registries, by the registry's name in the configuration, what was asked, and how it "
            "ended: ok, left (a listing that had told enough), or the reason of the failure.",
            "registry",
            "operation",
            "outcome",
        )
        self._registry_answered = self._gauge(
            "registry_last_answer_timestamp_seconds",
            "When a registry last gave a usable answer; what time() is above it is how old our knowledge is. Absent "
            "until the first one.",
            "registry",
        )
        self._webhooks = self._counter(
            "webhooks_total",
            "Webhooks received: ok, not_followed (nobody follows that model), or why they were refused.",
            "registry",
            "outcome",
        )
        self._scrapes = self._counter(
            "scrapes_total",
            "Times that a watched pod was asked for its figures: ok, absent (it has none) or failed.",
            "outcome",
        )
        self._started = self._counter(
            "rollouts_started_total", "Rollouts that began, each further try counted."
        )
        self._ended = self._counter(
            "rollouts_total",
            "Rollouts that ended: live, rejected, withdrawn (the environment's fault, tried again) or cancelled (no "
            "longer wanted); reason says why a version was rejected or withdrawn.",
            "outcome",
            "reason",
        )
        self._rollout = self._histogram(
            "rollout_seconds",
            "Time from the beginning of a rollout to its end, by how it ended: live or rejected.",
            "outcome",
            buckets=_ROLLOUT_SECONDS,
        )
        self._reverts = self._counter(
            "reverts_total",
            "Times that a version was rejected and an earlier one served on or again. stage: rollout (it was not live "
            "yet) or watch (it had gone live); side: Model, Configuration or Environment.",
            "stage",
            "side",
            "reason",
        )
        self._followed = self._histogram(
            "alias_move_to_serving_seconds",
            "Time from the answer of the registry that first named another version to that version going live. The "
            "move itself is older by a poll at most, or a moment with webhooks. approval: Manual where a person had "
            "to agree, which is in it.",
            "approval",
            buckets=_ROLLOUT_SECONDS,
        )
        self._begin_at_nought()

    @property
    def described(self) -> Sequence[Described]:
        """Every metric there is, but those of the process, which all Python programs have."""
        return (*self._described, *self._population.described)

    async def shown(self) -> bytes:
        """All figures in the text format of Prometheus.

        The ModelDeployments are looked at here and now; to write thousands of lines takes a while, which a thread
        spends.
        """
        self._population.look()
        return await asyncio.to_thread(generate_latest, self.registry)

    def gauge(self, name: str, value: Callable[[], float]) -> None:
        """Where a figure is read when somebody asks; ``name`` is what follows ``model_operator_``.

        Raises KeyError for a name that is not described here.
        """
        self._read_when_asked[name].set_function(value)

    def waited(self, seconds: float) -> None:
        """A key stood in line for so long."""
        self._wait.observe(seconds)

    def called(self, verb: str, kind: str, status: int, seconds: float) -> None:
        """One request went to the API server."""
        self._api.labels(verb, kind, str(status)).observe(seconds)

    def asked(self, registry: str, operation: str, outcome: str, seconds: float) -> None:
        """A model registry was asked; ``outcome`` is ``ok``, ``left`` (before its end) or a failure's reason."""
        self._registry.labels(registry, operation, outcome).observe(seconds)
        if outcome == "ok":
            self._registry_answered.labels(registry).set_to_current_time()

    def notified(self, registry: str, outcome: str) -> None:
        """A webhook came: ``ok``, ``not_followed`` (nobody follows its model), or why it was refused."""
        self._webhooks.labels(registry, outcome).inc()

    def scraped(self, outcome: str) -> None:
        """A watched pod was asked for its figures: ``ok``, ``absent`` or ``failed``."""
        self._scrapes.labels(outcome).inc()

    def happened(self, transition: RolloutTransition) -> None:
        """Something came of a rollout, and the status tells of it."""
        match transition:
            case Started():
                self._started.inc()
            case Ended(how, reason, seconds):
                self._ended.labels(how, reason).inc()
                if seconds is not None:
                    self._rollout.labels(how).observe(seconds)
            case Reverted(stage, side, reason):
                self._reverts.labels(stage, side, reason).inc()
            case Followed(approval, seconds):
                self._followed.labels(approval).observe(seconds)
            case _:
                assert_never(transition)

    @contextmanager
    def reconciling(self) -> Iterator[None]:
        """Time one reconcile; an exception counts as an error and goes on."""
        started, result = monotonic(), "error"
        try:
            yield
            result = "ok"
        finally:
            self._reconcile.labels(result).observe(monotonic() - started)

    def _begin_at_nought(self) -> None:
        """Show what is rare before it happens: the first increase of a series that was not there is none."""
        for outcome in ("live", "cancelled"):
            self._ended.labels(outcome, "")
        for outcome in ("live", "rejected"):
            self._rollout.labels(outcome)
        for approval in ("Automatic", "Manual"):
            self._followed.labels(approval)
        for reason, known in REASONS.items():
            withdrawn = known.side is Side.ENVIRONMENT
            self._ended.labels("withdrawn" if withdrawn else "rejected", reason)
            for stage in ("rollout", "watch") if not withdrawn else ():
                self._reverts.labels(stage, known.side.value, reason)

    # --- registration ------------------------------------------------------------------------------

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        self._described.append(Described(f"{PREFIX}_{name}", "counter", labels, meaning))
        return Counter(f"{PREFIX}_{name}", meaning, labels, registry=self.registry)

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        self._described.append(Described(f"{PREFIX}_{name}", "gauge", labels, meaning))
        return Gauge(f"{PREFIX}_{name}", meaning, labels, registry=self.registry)

    def _histogram(
        self, name: str, meaning: str, *labels: str, buckets: Sequence[float] = _SECONDS
    ) -> Histogram:
        self._described.append(Described(f"{PREFIX}_{name}", "histogram", labels, meaning))
        return Histogram(f"{PREFIX}_{name}", meaning, labels, buckets=buckets, registry=self.registry)

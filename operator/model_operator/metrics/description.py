"""The name and the meaning of a metric, for people and for the documentation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PREFIX = "model_operator"
SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


@dataclass(frozen=True, slots=True)
class MetricDescription:
    """One metric, as in docs/reference/metrics.md."""

    name: str
    """The name in Prometheus, with the ``_total`` of counters."""
    type: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    meaning: str
    buckets: tuple[float, ...] = SECONDS
    """The buckets of a histogram."""

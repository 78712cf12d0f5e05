"""What a metric is called and what it means: the part of it that people read, and that the documentation repeats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PREFIX = "model_operator"


@dataclass(frozen=True, slots=True)
class Described:
    """One metric, as docs/metrics.md has it."""

    name: str
    """As Prometheus shows it, ``_total`` of counters included."""
    type: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    meaning: str

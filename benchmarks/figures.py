"""Figures for people: where they were measured, percentiles, histograms, rows of Markdown."""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Sequence

_SAMPLE = re.compile(r"^(?P<name>[a-zA-Z_:]+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)$")
_LE = re.compile(r'le="([^"]+)"')


def machine() -> str:
    """One line on what the figures are measured on, and how busy it is."""
    return f"{platform.platform()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {time.ctime()}"


def percentile(values: Sequence[float], share: float) -> float:
    """The least of the values that is not below so large a share of them."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def row(*cells: object) -> str:
    """One line of a Markdown table."""
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def heading(*cells: str) -> str:
    """The first two lines of a Markdown table."""
    return f"{row(*cells)}\n|{'---|' * len(cells)}"


def samples(text: str, name: str) -> list[tuple[str, float]]:
    """The labels, as they are written, and values of a metric in Prometheus' text format."""
    found = (_SAMPLE.match(line) for line in text.splitlines())
    return [(m["labels"] or "", float(m["value"])) for m in found if m and m["name"] == name]


def buckets(text: str, name: str) -> dict[float, float]:
    """A histogram's cumulated counts by their upper bounds, all labels taken together."""
    counts: dict[float, float] = {}
    for labels, value in samples(text, f"{name}_bucket"):
        if bound := _LE.search(labels):
            counts[float(bound[1])] = counts.get(float(bound[1]), 0.0) + value
    return counts


def quantile(before: dict[float, float], after: dict[float, float], share: float) -> float:
    """The quantile of what was observed between two readings, linear within a bucket; 0 where nothing was.

    What lies above the last bound counts as that bound.
    """
    counts = {bound: after[bound] - before.get(bound, 0.0) for bound in sorted(after)}
    total = counts.get(float("inf"), 0.0)
    rank, lower, below = share * total, 0.0, 0.0
    for bound, count in counts.items():
        if total and count >= rank:
            if bound == float("inf"):
                return lower
            return lower + (bound - lower) * (rank - below) / max(count - below, 1e-9)
        lower, below = bound, count
    return 0.0

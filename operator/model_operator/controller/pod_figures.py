"""Reads the metrics of ``pod/serve.py`` from the text that a pod shows. The text is not trusted."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

MAX_LINES = 200
"""Limit for the metrics that are read. serve.py has one line per status code, and four more."""
MAX_LINE = 512

REQUESTS = "model_server_requests_total"
IN_FLIGHT = "model_server_requests_in_flight"
CONCURRENCY = "model_server_concurrency"
SATURATED = "model_server_saturated_total"
BROKEN_STREAMS = "model_server_stream_failures_total"
_READ = (REQUESTS, IN_FLIGHT, CONCURRENCY, SATURATED, BROKEN_STREAMS)
_LARGEST = 2.0**53
_UNAVAILABLE = "503"


@dataclass(frozen=True, slots=True)
class Figures:
    """The metrics of one pod since its container started."""

    requests: float
    errors: float
    """Answers of 500 or more, without 503."""
    full: bool
    """Whether it handles as many requests at once as it can."""
    unavailable: float = 0.0
    """Answers of 503."""
    broken_streams: float = 0.0
    """Answers of 200 whose stream ended with an error of the model."""
    has_queue: bool = False
    """Whether it counts the requests for which its queue was full. Its answers of 503 are then these requests."""


class UnusableFiguresError(ValueError):
    """The text is not the format of serve.py. The message has the reason without a quote."""


def figures_of(text: str) -> Figures:
    """Parse the metrics of serve.py. Raises UnusableFiguresError if they are missing or impossible."""
    sums: defaultdict[str, float] = defaultdict(float)
    errors = unavailable = 0.0
    for line in _relevant(text):
        for name, labels, value in _samples(line):
            if not (math.isfinite(value) and 0 <= value <= _LARGEST):
                raise UnusableFiguresError(f"{name} is negative, infinite or not a number")
            sums[name] += value
            code = labels.get("code", "") if name == REQUESTS else ""
            if code == _UNAVAILABLE:
                unavailable += value
            elif _is_error(code):
                errors += value
    if not sums:
        raise UnusableFiguresError("none of the metrics is present")
    for name, total in sums.items():
        if total > _LARGEST:
            raise UnusableFiguresError(f"the sum of {name} is impossibly large")
    return Figures(
        requests=sums[REQUESTS],
        errors=errors,
        full=0 < sums[CONCURRENCY] <= sums[IN_FLIGHT],
        unavailable=unavailable,
        broken_streams=sums[BROKEN_STREAMS],
        has_queue=SATURATED in sums,
    )


def _relevant(text: str) -> Iterator[str]:
    """The lines of the metrics that are read. To parse the others would only cost time."""
    count = 0
    for line in text.split("\n"):
        if not line.startswith(_READ):
            continue
        count += 1
        if count > MAX_LINES or len(line) > MAX_LINE:
            raise UnusableFiguresError(
                f"more than {MAX_LINES} lines of metrics, or a line over {MAX_LINE} characters"
            )
        yield line


def _samples(line: str) -> list[tuple[str, dict[str, str], float]]:
    try:
        return [
            (sample.name, sample.labels, float(sample.value))
            for family in text_string_to_metric_families(line)
            for sample in family.samples
            if sample.name in _READ
        ]
    except Exception as error:
        # the parser documents no exception for a malformed text
        raise UnusableFiguresError(f"a line of metrics can't be parsed ({type(error).__name__})") from None


def _is_error(code: str) -> bool:
    return len(code) == 3 and code.isascii() and code.isdecimal() and int(code) >= 500

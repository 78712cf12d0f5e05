"""Counts predictions for Prometheus: a part of serve.py. The operator judges a version by them while it watches."""

from __future__ import annotations

import contextlib
import os
import tempfile
from typing import Any

CONTENT_TYPE = "; ".join(("text/plain", "version=0.0.4", "charset=utf-8"))
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
SHARED = "PROMETHEUS_MULTIPROC_DIR"
# as nginx counts a caller who did not wait for the answer
CLIENT_GONE = 499


def share_metrics() -> str:
    """Has the processes that are forked from now on share the metrics of the model, and returns their directory.

    It is empty if nothing can be written. prometheus_client reads the variable when it is imported. The front, which
    imports it with the variable unset, counts for itself.
    """
    try:
        directory = tempfile.mkdtemp(prefix="metrics-")
    except OSError:
        return ""
    os.environ[SHARED] = directory
    return directory


class RequestMetrics:
    """The counts of the front. Without prometheus_client in the image nothing is counted."""

    def __init__(self, model: str, version: str, mlflow: str, concurrency: int, of_workers: str) -> None:
        """``concurrency`` is how many predictions can be worked on at once.

        ``of_workers`` is the directory with the metrics that the model registers, see share_metrics.
        """
        self._client: Any = None
        self._of_workers: Any = None
        try:
            import prometheus_client
        except ImportError:
            return
        self._client = prometheus_client
        if of_workers:
            from prometheus_client import multiprocess

            self._multiprocess, self._directory = multiprocess, of_workers
            self._of_workers = prometheus_client.CollectorRegistry()
            multiprocess.MultiProcessCollector(self._of_workers, of_workers)  # type: ignore[no-untyped-call,unused-ignore]
        self._requests = prometheus_client.Counter(
            "model_server_requests", "Answered requests for a prediction, by HTTP status.", ["code"]
        )
        self._seconds = prometheus_client.Histogram(
            "model_server_request_seconds",
            "From the arrival of a whole request for a prediction to the end of its answer.",
            buckets=SECONDS,
        )
        self._in_flight = prometheus_client.Gauge(
            "model_server_requests_in_flight", "Predictions that are worked on or wait for their turn."
        )
        prometheus_client.Gauge(
            "model_server_concurrency", "How many predictions can be worked on at once."
        ).set(concurrency)
        prometheus_client.Info(
            "model_server", "The served model and version, and the version of MLflow."
        ).info({"model": model, "version": version, "mlflow": mlflow})

        self._saturated = prometheus_client.Counter(
            "model_server_saturated",
            "Requests turned away with 503, because too many were in work or waited.",
        )
        self._deaths = prometheus_client.Counter(
            "model_server_worker_deaths",
            "Workers that ended, by exit code: 128 and the number of the signal.",
            ["code"],
        )

        self._first_chunk = prometheus_client.Histogram(
            "model_server_first_chunk_seconds",
            "From the arrival of a whole request for a stream to its first event.",
            buckets=SECONDS,
        )
        self._tokens = prometheus_client.Counter(
            "model_server_stream_tokens", "Output tokens that the models of streams reported."
        )
        self._broken = prometheus_client.Counter(
            "model_server_stream_failures", "Streams that ended with an error although their status was 200."
        )

    def begun(self) -> None:
        """A whole request has arrived and goes to the model."""
        if self._client:
            self._in_flight.inc()

    def count_end(self, seconds: float) -> None:
        """A prediction that had begun is over, with or without success."""
        if self._client:
            self._in_flight.dec()
            self._seconds.observe(seconds)

    def count_answer(self, status: int) -> None:
        """A request for a prediction was answered, by the model or in its place."""
        if self._client:
            self._requests.labels(str(status)).inc()

    def count_saturated(self) -> None:
        """A request was turned away."""
        if self._client:
            self._saturated.inc()

    def count_death(self, code: int) -> None:
        """A worker ended with that exit code."""
        if self._client:
            self._deaths.labels(str(code)).inc()

    def count_first_chunk(self, seconds: float) -> None:
        """The first event of a stream came after so many seconds."""
        if self._client:
            self._first_chunk.observe(seconds)

    def count_stream(self, tokens: int, failed: bool) -> None:
        """A stream has ended."""
        if self._client:
            self._tokens.inc(tokens)
            if failed:
                self._broken.inc()

    def forget_worker(self, pid: int) -> None:
        """A worker has ended: its gauges are no longer true. Its counters stay."""
        if self._of_workers is not None:
            with contextlib.suppress(OSError):
                self._multiprocess.mark_process_dead(pid, self._directory)  # type: ignore[no-untyped-call,unused-ignore]

    def text(self) -> bytes | None:
        """All metrics of the process in Prometheus' text format, or None if the image can't count."""
        if not self._client:
            return None
        text: bytes = self._client.generate_latest()
        if self._of_workers is not None:
            text += self._client.generate_latest(self._of_workers)
        return text

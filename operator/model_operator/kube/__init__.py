"""The API server: plain JSON objects in and out, with timeouts, bounded retries and typed errors."""

from model_operator.kube.client import KubeClient, Listing, WriteObserver
from model_operator.kube.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    Fenced,
    Forbidden,
    Invalid,
    NotFound,
    QuotaExceeded,
    Unauthorized,
    Unavailable,
)
from model_operator.kube.events import EventRecorder
from model_operator.kube.resources import API_VERSIONS
from model_operator.kube.transport import CallObserver, Connection, RetryPolicy

__all__ = [
    "API_VERSIONS",
    "AlreadyExists",
    "ApiError",
    "CallObserver",
    "Conflict",
    "Connection",
    "EventRecorder",
    "Fenced",
    "Forbidden",
    "Invalid",
    "KubeClient",
    "Listing",
    "NotFound",
    "QuotaExceeded",
    "RetryPolicy",
    "Unauthorized",
    "Unavailable",
    "WriteObserver",
]

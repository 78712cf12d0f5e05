"""The client for the API server: plain JSON objects, with timeouts, bounded retries and typed errors.

Each name is loaded at its first use. Loading Kubernetes' client is slow, and the help and the lint command of `kubectl
model` only need the errors.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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

_MODULES = {
    "API_VERSIONS": "resources",
    "CallObserver": "transport",
    "Connection": "transport",
    "EventRecorder": "events",
    "KubeClient": "client",
    "Listing": "client",
    "RetryPolicy": "transport",
    "WriteObserver": "client",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'errors')}"), name)

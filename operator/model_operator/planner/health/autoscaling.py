"""Whether the autoscaler of a track can work, by its own conditions.

The conditions ``ScalingActive`` and ``AbleToScale``, their reasons and messages are those of Kubernetes'
pkg/controller/podautoscaler/horizontal.go. The text about a missing request is from replica_calculator.go there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from model_operator.api.names import CONTAINER_SERVER
from model_operator.domain.objects import Autoscaler
from model_operator.domain.objects.conditions import Condition

IDLE_PATIENCE = timedelta(minutes=5)
"""New pods have no metrics for a while: metrics-server scrapes every 15 s, and the autoscaler ignores the CPU of a pod
for up to 5 minutes (--horizontal-pod-autoscaler-cpu-initialization-period)."""

_NOT_A_FAULT = "ScalingDisabled"  # the Deployment has 0 replicas
_NO_REQUEST = re.compile(r'missing request for ([a-z0-9./-]{1,63}) in container "?([a-z0-9-]{1,63})"? ')
_NO_API = (
    "could not find the requested resource",
    "currently unable to handle the request",
    "no matches for",
)
_NO_FIGURES = ("no metrics returned", "did not receive metrics for")


@dataclass(frozen=True, slots=True)
class IdleAutoscaler:
    """An autoscaler that can't work."""

    message: str
    """The cause and the remedy. It has no part that changes from one attempt to the next, such as the name of a pod."""
    report_at: datetime
    """When the problem has lasted long enough for a report."""


def find_idle_autoscaler(scaler: Autoscaler | None) -> IdleAutoscaler | None:
    """The problem of an autoscaler that can't work. None if it can, has no pods to scale, or has not tried yet."""
    if scaler is None:
        return None
    for found in (scaler.able_to_scale, scaler.scaling_active):
        if found.is_false and found.since and found.reason != _NOT_A_FAULT:
            return IdleAutoscaler(_describe(scaler, found), found.since + IDLE_PATIENCE)
    return None


def _describe(scaler: Autoscaler, found: Condition) -> str:
    text = f"its autoscaler can't work ({found.reason})"
    if missing := _NO_REQUEST.search(found.message):
        resource, container = missing.groups()
        where = f"server.resources.requests.{resource}"
        if container != CONTAINER_SERVER:
            where = f"the {resource} request of container {container}"
        return f"{text}: container {container} has no {resource} request. Set {where}"
    if any(sign in found.message for sign in _NO_API):
        return f"{text}: the API server has no metrics API. Install metrics-server, or check it"
    if any(sign in found.message for sign in _NO_FIGURES):
        return f"{text}: there are no metrics of the pods. Check metrics-server"
    return f"{text}. Check its conditions: kubectl describe hpa {scaler.name}"

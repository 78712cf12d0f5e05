"""RollingUpdate: pods are replaced a few at a time within the serving track."""

from __future__ import annotations

import math

from model_operator.api.spec import ModelDeploymentSpec
from model_operator.planner.strategy.base import Strategy


def _extra_pods(spec: ModelDeploymentSpec, number: int) -> int:
    surge = spec.rollout.max_surge
    if isinstance(surge, int):
        return min(surge, number)
    # Kubernetes rounds a surge up
    return min(math.ceil(number * int(surge.rstrip("%")) / 100), number)


def _describe(spec: ModelDeploymentSpec, number: int) -> str:
    surge, missing = spec.rollout.max_surge, spec.rollout.max_unavailable
    if surge not in (0, "0%"):
        return f"pods are replaced in place, up to {surge} above the {number} and {missing} below"
    text = (
        f"there are no extra pods: up to {missing} of {number} pods stop before their replacements start, and are "
        "missing until those are ready"
    )
    return text + (". With a single pod, nothing serves meanwhile" if number == 1 else "")


ROLLING_UPDATE = Strategy("RollingUpdate", beside=False, extra_pods=_extra_pods, describe=_describe)

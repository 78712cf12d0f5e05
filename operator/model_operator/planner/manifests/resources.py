"""The resource requests of a template's pods."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

from model_operator.planner.manifests.quantity import parse_quantity


def sum_requests(template: Mapping[str, Any], pods: int) -> dict[str, str]:
    """The total requests of that number of pods, by resource, as quantities.

    Per pod, it is the sum of the containers or the largest init container, whichever is more. The scheduler counts in
    the same way:
    https://kubernetes.io/docs/concepts/workloads/pods/init-containers/#resource-sharing-within-containers
    """
    spec = template.get("spec") or {}
    running: dict[str, Fraction] = {}
    for container in spec.get("containers", ()):
        for name, amount in _requests(container):
            running[name] = running.get(name, Fraction(0)) + amount
    for container in spec.get("initContainers", ()):
        for name, amount in _requests(container):
            running[name] = max(running.get(name, Fraction(0)), amount)
    return {name: _quantity(name, amount * pods) for name, amount in sorted(running.items()) if amount}


def _requests(container: Mapping[str, Any]) -> Iterable[tuple[str, Fraction]]:
    resources = container.get("resources") or {}
    # without a request, the scheduler reserves the limit
    requested = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    for name, value in requested.items():
        amount = parse_quantity(value)
        if amount is not None and amount > 0:
            yield name, amount


def _quantity(name: str, amount: Fraction) -> str:
    if name == "cpu":
        millis = math.ceil(amount * 1000)
        return f"{millis}m" if millis % 1000 else str(millis // 1000)
    whole = math.ceil(amount)
    for suffix, size in (("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10)):
        if whole % size == 0:
            return f"{whole // size}{suffix}"
    return str(whole)

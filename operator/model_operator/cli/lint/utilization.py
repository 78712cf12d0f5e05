"""An autoscaler that aims for a share of a request that no container has, so that it never scales.

Source: calculatePodRequests of Kubernetes' pkg/controller/podautoscaler/replica_calculator.go. A request that is left
out equals the limit (pkg/apis/core/v1/defaults.go). It is a warning, because a LimitRange can also set the request.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from model_operator.api.names import CONTAINER_SERVER
from model_operator.cli.lint.structure import FieldProblem, Severity

_Object = Mapping[str, Any]


def utilization_problems(spec: Any) -> Iterator[FieldProblem]:
    """Yields a warning for each resource whose use ``spec.autoscaling`` compares with a request that is not set.

    ``spec`` may be of any shape. Parts that can't be read are left out.
    """
    scaling = _part(spec, "autoscaling")
    if not scaling:
        return
    resources = _part(_part(spec, "server"), "resources")
    given = {*_part(resources, "requests"), *_part(resources, "limits")}
    for resource in sorted(_compared(scaling) - given):
        text = f"needs server.resources.requests.{resource}, or it never changes the number of pods: set it"
        yield FieldProblem(("spec", "autoscaling"), text, Severity.WARNING)


def _compared(scaling: _Object) -> set[str]:
    """The resources of the server that are compared with their request."""
    metrics = scaling.get("metrics")
    metrics = metrics if isinstance(metrics, list) else []
    found = {"cpu"} if scaling.get("targetCPUUtilizationPercentage") or not metrics else set[str]()
    for metric in metrics:
        for source in ("resource", "containerResource"):
            wanted = _part(metric, source)
            named = wanted.get("container", CONTAINER_SERVER) == CONTAINER_SERVER
            relative = _part(wanted, "target").get("averageUtilization") is not None
            if named and relative and isinstance(wanted.get("name"), str):
                found.add(wanted["name"])
    return found


def _part(value: Any, name: str) -> _Object:
    found = value.get(name) if isinstance(value, Mapping) else None
    return found if isinstance(found, Mapping) else {}

"""The metrics and the behavior of the autoscaler.

Source: validateMetricSpec and validateScalingRules of Kubernetes' pkg/apis/autoscaling/validation/validation.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from model_operator.cli.lint import texts
from model_operator.cli.lint.documents import Path
from model_operator.cli.lint.resources import name_problem
from model_operator.cli.lint.structure import FieldProblem
from model_operator.planner.manifests import parse_quantity

_Object = Mapping[str, Any]
_SOURCES = {
    "Object": "object",
    "External": "external",
    "Pods": "pods",
    "Resource": "resource",
    "ContainerResource": "containerResource",
}
# for each source, the fields of a target of which one must be set, and whether both may be
_TARGETS = {
    "object": (("value", "averageValue"), True),
    "external": (("value", "averageValue"), False),
    "pods": (("averageValue",), True),
    "resource": (("averageUtilization", "averageValue"), False),
    "containerResource": (("averageUtilization", "averageValue"), False),
}
_LONGEST_WINDOW_SECONDS = 3600
_LONGEST_PERIOD_SECONDS = 1800
_SEGMENT = "must not be '.' or '..' and not contain '/' or '%'"


def metric_problems(metrics: Sequence[_Object], path: Path) -> Iterator[FieldProblem]:
    """Yields the problems of ``spec.autoscaling.metrics``, whose structure is valid."""
    for index, metric in enumerate(metrics):
        here = (*path, index)
        expected = _SOURCES.get(metric.get("type") or "")
        if expected is None:
            yield FieldProblem((*here, "type"), f"must be one of {', '.join(_SOURCES)}")
        elif metric.get(expected) is None:
            yield FieldProblem((*here, expected), f"is missing: type {metric['type']} needs it")
        for kind in _TARGETS:
            if metric.get(kind) is None:
                continue
            if expected not in (None, kind):
                yield FieldProblem((*here, kind), f"must be left out with type {metric['type']}")
            yield from _source_problems(kind, metric[kind], (*here, kind))


def behavior_problems(behavior: _Object, path: Path) -> Iterator[FieldProblem]:
    """Yields the problems of ``spec.autoscaling.behavior``, whose structure is valid."""
    for direction in ("scaleUp", "scaleDown"):
        rules, here = behavior.get(direction) or {}, (*path, direction)
        seconds = rules.get("stabilizationWindowSeconds")
        if seconds is not None and not 0 <= seconds <= _LONGEST_WINDOW_SECONDS:
            message = f"must be from 0 to {_LONGEST_WINDOW_SECONDS}"
            yield FieldProblem((*here, "stabilizationWindowSeconds"), message)
        if rules.get("selectPolicy") not in (None, "Max", "Min", "Disabled"):
            yield FieldProblem((*here, "selectPolicy"), "must be one of Max, Min, Disabled")
        if rules.get("policies") == []:
            yield FieldProblem((*here, "policies"), "must have at least one entry")
        if (parse_quantity(rules.get("tolerance")) or 0) < 0:
            yield FieldProblem((*here, "tolerance"), "must be greater than or equal to 0")
        for index, policy in enumerate(rules.get("policies") or ()):
            yield from _policy_problems(policy, (*here, "policies", index))


def _policy_problems(policy: _Object, path: Path) -> Iterator[FieldProblem]:
    if policy.get("type") not in ("Pods", "Percent"):
        yield FieldProblem((*path, "type"), "must be Pods or Percent")
    if (policy.get("value") or 0) <= 0:
        yield FieldProblem((*path, "value"), "must be greater than 0")
    if not 0 < (policy.get("periodSeconds") or 0) <= _LONGEST_PERIOD_SECONDS:
        yield FieldProblem((*path, "periodSeconds"), f"must be from 1 to {_LONGEST_PERIOD_SECONDS}")


def _source_problems(kind: str, source: _Object, path: Path) -> Iterator[FieldProblem]:
    if kind == "containerResource":
        if problem := name_problem(source.get("name") or ""):
            yield FieldProblem((*path, "name"), problem)
        if not texts.is_dns_label(source.get("container") or ""):
            yield FieldProblem((*path, "container"), "must be the name of a container: server")
    for part, names in (("metric", ("name",)), ("describedObject", ("kind", "name"))):
        for name in names:
            if part in source and not texts.is_path_segment((source[part] or {}).get(name) or ""):
                yield FieldProblem((*path, part, name), _SEGMENT)
    if ((source.get("describedObject") or {}).get("apiVersion") or "").count("/") > 1:
        yield FieldProblem((*path, "describedObject", "apiVersion"), "must be GROUP/VERSION")
    yield from _target_problems(kind, source.get("target") or {}, (*path, "target"))


def _target_problems(kind: str, target: _Object, path: Path) -> Iterator[FieldProblem]:
    if target.get("type") not in ("Utilization", "Value", "AverageValue"):
        yield FieldProblem((*path, "type"), "must be one of Utilization, Value, AverageValue")
    for name in ("value", "averageValue"):
        amount = parse_quantity(target.get(name))
        if amount is not None and amount <= 0:
            yield FieldProblem((*path, name), "must be greater than 0")
    if (target.get("averageUtilization") or 0) < 1 and target.get("averageUtilization") is not None:
        yield FieldProblem((*path, "averageUtilization"), "must be greater than 0")
    names, both = _TARGETS[kind]
    given = [name for name in names if target.get(name) is not None]
    if not given:
        yield FieldProblem((*path, names[0]), f"is missing: set {' or '.join(names)}")
    elif len(given) > 1 and not both:
        yield FieldProblem((*path, given[1]), f"cannot be used together with {given[0]}: remove one")

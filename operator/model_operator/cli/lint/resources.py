"""Amounts of resources: requests, limits and sizes.

Source: validateResourceRequirements of Kubernetes' pkg/apis/core/validation/validation.go, with the names of resources
from pkg/apis/core/helper/helpers.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

from model_operator.cli.lint import texts
from model_operator.cli.lint.documents import Path
from model_operator.cli.lint.structure import FieldProblem, Severity
from model_operator.planner.manifests import parse_quantity

_STANDARD = frozenset({"cpu", "memory", "ephemeral-storage"})
_HUGE_PAGES = "hugepages-"
_COMPUTE = frozenset({"cpu", "memory"})
_MIBIBYTE = 2**20
_OF_BYTES = frozenset({"memory", "ephemeral-storage", "storage"})


def resource_problems(resources: Mapping[str, Any], path: Path) -> Iterator[FieldProblem]:
    """Yields the problems of a container's ``resources``, whose structure is valid."""
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for part, amounts in (("limits", limits), ("requests", requests)):
        for name, value in amounts.items():
            yield from _amount_problems(name, value, (*path, part, name))
    for name, value in requests.items():
        yield from _request_problems(name, value, limits, path)
    named = {*limits, *requests}
    if any(name.startswith(_HUGE_PAGES) for name in named) and not _COMPUTE & named:
        yield FieldProblem(path, "has huge pages, which need an amount of cpu or memory: add one")
    for index in range(len(resources.get("claims") or ())):
        message = "names a claim of the pod, which a ModelDeployment can't have: remove it"
        yield FieldProblem((*path, "claims", index), message)


def size_problems(name: str, value: Any, path: Path) -> Iterator[FieldProblem]:
    """Yields a warning for an amount of bytes below 1 MiB: ``512m`` is half a byte, and ``512`` are 512 bytes."""
    amount = parse_quantity(value)
    if (name not in _OF_BYTES and name != "sizeLimit") or amount is None or not 0 < amount < _MIBIBYTE:
        return
    bytes_ = "less than one byte (m is a thousandth)" if amount < 1 else f"{_round(amount)} bytes"
    yield FieldProblem(path, f"is {bytes_}: write 512Mi for 512 mebibytes", Severity.WARNING)


def worker_problems(workers: int, limit: Any, path: Path) -> Iterator[FieldProblem]:
    """Yields a warning for more ``workers`` than CPUs, rounded up, of the server's CPU ``limit`` (None: no limit)."""
    amount = parse_quantity(limit) if limit is not None else None
    if amount is None or amount <= 0 or workers <= _round(amount):
        return
    message = (
        "is higher than the CPU limit, so workers wait for each other and each takes memory: lower it to "
        f"{_round(amount)} or raise server.resources.limits.cpu"
    )
    yield FieldProblem(path, message, Severity.WARNING)


def _round(amount: Fraction) -> int:
    return -(-amount.numerator // amount.denominator)


def _amount_problems(name: str, value: Any, path: Path) -> Iterator[FieldProblem]:
    if problem := name_problem(name):
        yield FieldProblem(path, problem)
        return
    amount = parse_quantity(value)
    if amount is None:
        return
    if amount < 0:
        yield FieldProblem(path, "must be greater than or equal to 0")
    elif _is_extended(name) and amount.denominator != 1:
        yield FieldProblem(path, "must be a whole number: devices are not divided")
    elif name.startswith(_HUGE_PAGES):
        page = parse_quantity(name.removeprefix(_HUGE_PAGES))
        if not page or page < 0 or page.denominator != 1 or _round(amount) % page:
            yield FieldProblem(path, f"must be a multiple of the page size in its name, {name}")
    else:
        yield from size_problems(name, value, path)


def name_problem(name: str) -> str:
    """The problem of the name of a container's resource, or an empty text."""
    if "/" not in name:
        if name in _STANDARD or (name.startswith(_HUGE_PAGES) and texts.is_label_name(name)):
            return ""
        return "is no resource of a container: use cpu, memory, ephemeral-storage, hugepages-SIZE or VENDOR/DEVICE"
    if not texts.is_label_name(name) or not (_is_native(name) or _is_extended(name)):
        return "is not the name of a device, such as nvidia.com/gpu"
    return ""


def _is_native(name: str) -> bool:
    return "/" not in name or "kubernetes.io/" in name


def _is_extended(name: str) -> bool:
    quota = f"requests.{name}"
    return not _is_native(name) and not name.startswith("requests.") and texts.is_label_name(quota)


def _request_problems(name: str, value: Any, limits: Mapping[str, Any], path: Path) -> Iterator[FieldProblem]:
    shared = _is_native(name) and not name.startswith(_HUGE_PAGES)
    here = (*path, "requests", name)
    if name not in limits:
        if not shared and not name_problem(name):
            yield FieldProblem(
                here, f"needs limits of {name} with the same amount: it can't be overcommitted"
            )
        return
    request, limit = parse_quantity(value), parse_quantity(limits[name])
    if request is None or limit is None:
        return
    if not shared and request != limit:
        yield FieldProblem(here, f"must be equal to limits of {name}: it can't be overcommitted")
    elif request > limit:
        yield FieldProblem(here, f"must be less than or equal to limits of {name}")

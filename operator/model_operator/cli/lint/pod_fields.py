"""Kubernetes' own fields of the spec: types, unknown fields and fixed texts, as the API server's OpenAPI has them.

``pod_fields.json`` is generated from a real API server by tests/integration/pod_fields.py, which also explains its
format. It holds one version of Kubernetes, the one that all tests run on, with the version in which a field came. One
is enough: Kubernetes adds fields and never changes the type of one, so an older server differs only in the fields and
texts that it lacks.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from model_operator.cli.lint.documents import Path as FieldPath
from model_operator.cli.lint.structure import FieldProblem, Severity

FILE = Path(__file__).with_name("pod_fields.json")

_QUANTITY = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?", re.ASCII)
_BOUNDS = {"int32": 2**31, "int64": 2**63}
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
# OpenAPI requires them, and the API server accepts an object without them
_NOT_REQUIRED = frozenset(
    {"HTTPHeader.value", "Sysctl.value", "PreferredSchedulingTerm.preference", "ISCSIVolumeSource.lun"}
)


class EmptyItem(dict[str, Any]):
    """A null in a list: the API server reads it as an empty object or an empty text, whichever the list holds."""


class _Fields(NamedTuple):
    version: str
    since: Mapping[str, str]
    types: Mapping[str, Mapping[str, str]]


@cache
def known_fields() -> _Fields:
    """The version of Kubernetes, the fields that came after the oldest supported version, and all types."""
    content = json.loads(FILE.read_text("utf-8"))
    return _Fields(content["kubernetes"], content["since"], content["types"])


def own_field_problems(value: Any, kind: str, path: FieldPath) -> Iterator[FieldProblem]:
    """Yields the problems of a value that must have a type of ``trim``. A null counts as absent, as on the server."""
    if value is None:
        return
    if kind.startswith("[]"):
        if not isinstance(value, list):
            yield _wrong_type(path, "array", value)
            return
        for index, item in enumerate(value):
            here = (*path, index)
            if item in (None, "", {}) and kind[2] == "=":
                yield FieldProblem(here, f"must be one of {', '.join(kind[3:].split('|'))}")
            elif not isinstance(item, EmptyItem) or kind[2] == "#":
                yield from own_field_problems(item, kind[2:], here)
    elif kind.startswith("{}"):
        if not isinstance(value, dict):
            yield _wrong_type(path, "object", value)
            return
        for name, item in value.items():
            yield from own_field_problems(item, kind[2:], (*path, name))
    elif kind.startswith("#"):
        yield from _object_problems(value, kind[1:], path)
    else:
        yield from _scalar_problems(value, kind, path)


def _object_problems(value: Any, name: str, path: FieldPath) -> Iterator[FieldProblem]:
    if not isinstance(value, dict):
        yield _wrong_type(path, "object", value)
        return
    fields, since = known_fields().types[name], known_fields().since
    for field, item in value.items():
        here = (*path, field)
        if field not in fields:
            yield FieldProblem(here, _explain_unknown(field, list(fields)))
            continue
        kind = fields[field].rstrip("!")
        yield from own_field_problems(item, kind, here)
        came = since.get(f"{name}.{field}") or (since.get(f"{name}.{field}={item}") if "=" in kind else None)
        if came:
            yield FieldProblem(
                here, f"needs Kubernetes {came} or newer: an older API server rejects it", Severity.WARNING
            )
    for field, kind in fields.items():
        if kind.endswith("!") and value.get(field) in (None, "") and f"{name}.{field}" not in _NOT_REQUIRED:
            yield FieldProblem((*path, field), "is missing: add it")


def _scalar_problems(value: Any, kind: str, path: FieldPath) -> Iterator[FieldProblem]:
    if kind == "boolean":
        if not isinstance(value, bool):
            yield _wrong_type(path, "boolean", value)
    elif kind in _BOUNDS:
        if not _is_whole(value):
            yield _wrong_type(path, "integer", value)
        elif not -_BOUNDS[kind] <= value < _BOUNDS[kind]:
            yield FieldProblem(path, f"is too large for {kind}")
    elif kind == "int-or-string":
        if not isinstance(value, str) and not _is_whole(value):
            yield _wrong_type(path, "integer or string", value)
    elif kind == "quantity":
        if isinstance(value, str):
            if not _QUANTITY.fullmatch(value):
                yield FieldProblem(path, "must be a quantity such as 500m, 2 or 1Gi")
        elif isinstance(value, bool) or not isinstance(value, (int, float)):
            yield _wrong_type(path, "number or string", value)
    elif kind != "any":
        yield from _text_problems(value, kind, path)


def _text_problems(value: Any, kind: str, path: FieldPath) -> Iterator[FieldProblem]:
    choices = kind[1:].split("|") if kind.startswith("=") else []
    if not isinstance(value, str):
        yield _wrong_type(path, "string", value)
    elif kind == "date-time" and not _TIME.fullmatch(value):
        yield FieldProblem(path, "must be a time such as 2026-11-20T12:00:00Z")
    elif value and choices and value not in choices:
        yield FieldProblem(path, f"must be one of {', '.join(choice for choice in choices if choice)}")


def _is_whole(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == int(value)


def _wrong_type(path: FieldPath, wanted: str, value: Any) -> FieldProblem:
    names = {dict: "object", list: "array", str: "string", int: "integer", float: "number", bool: "boolean"}
    quotes = ": put it in quotes" if wanted == "string" and isinstance(value, (bool, int, float)) else ""
    return FieldProblem(path, f"must be of type {wanted}, not {names.get(type(value), 'another')}{quotes}")


def _explain_unknown(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    meant = f"did you mean {close[0]}?" if close else f"known here: {', '.join(sorted(known))}"
    return f"is an unknown field: {meant}"

"""The CEL part of the CRD: evaluates its ``x-kubernetes-validations`` with a CEL library."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import celpy
import re2  # type: ignore[import-untyped]
from celpy import celtypes
from celpy.adapter import json_to_cel
from celpy.evaluation import CELEvalError

from model_operator.cli.lint.documents import Path
from model_operator.cli.lint.structure import FieldProblem, Schema

_MEMORY_BYTES = 64 * 1024 * 1024
"""For one pattern. A bounded repetition of a Unicode class needs more than RE2's default of 8 MiB."""


def rule_problems(value: Any, schema: Schema, broken: Sequence[Path]) -> Iterator[FieldProblem]:
    """Yields a problem for each CEL rule that a value with its defaults breaks.

    ``broken`` are the fields with an invalid structure. Objects that contain one of them or are within one are skipped,
    because their rules may rely on the structure.
    """
    yield from _walk(value, schema, (), broken)


def _walk(value: Any, schema: Schema, path: Path, broken: Sequence[Path]) -> Iterator[FieldProblem]:
    rules = schema.get("x-kubernetes-validations", ())
    if not any(_overlap(path, fault) for fault in broken):
        for rule in rules:
            if not _holds(rule["rule"], value):
                yield FieldProblem(path, rule["message"])
    if isinstance(value, dict):
        parts, each = schema.get("properties", {}), schema.get("additionalProperties")
        for name, item in value.items():
            part = parts.get(name, each)
            if isinstance(part, Mapping):
                yield from _walk(item, part, (*path, name), broken)
    elif isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            yield from _walk(item, schema["items"], (*path, index), broken)


def _overlap(path: Path, fault: Path) -> bool:
    short = min(len(path), len(fault))
    return path[:short] == fault[:short]


def _holds(rule: str, value: Any) -> bool:
    try:
        answer = _program(rule).evaluate({"self": json_to_cel(value)})
    except (CELEvalError, ValueError):  # ValueError: a number of more than 64 bits
        return False  # as in the API server, a rule that can't be evaluated rejects the object
    return bool(answer)


@cache
def _program(rule: str) -> celpy.Runner:
    environment = celpy.Environment()
    return environment.program(environment.compile(rule), functions={"matches": _matches})


def _matches(text: celtypes.Value, pattern: celtypes.Value) -> celtypes.Value:
    return celtypes.BoolType(_compile(str(pattern)).search(str(text)) is not None)


@cache
def _compile(pattern: str) -> Any:
    # the library's own function has RE2's default memory limit, and logs to stderr when it is reached
    options = re2.Options()
    options.max_mem = _MEMORY_BYTES
    options.log_errors = False
    return re2.compile(pattern, options)

"""The OpenAPI part of the CRD: types, bounds, required and unknown fields, and defaults.

The CRD's structural schema is converted to a JSON schema for ``jsonschema``. Only the messages are our own.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import jsonschema
import re2  # type: ignore[import-untyped]
from jsonschema.validators import extend

from model_operator.cli.lint.documents import Path

Schema = Mapping[str, Any]

_KEPT = frozenset(
    {"type", "required", "enum", "minimum", "maximum", "minLength", "maxLength", "pattern"}
    | {"minItems", "maxItems", "minProperties", "maxProperties"}
)
_INT32 = {"minimum": -(2**31), "maximum": 2**31 - 1}


class Severity(StrEnum):
    """Whether the API server rejects the manifest, or accepts it although it is nearly always a mistake."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """The problem of one field, with the remedy. The message quotes no value, because it may be a secret."""

    path: Path
    message: str
    severity: Severity = Severity.ERROR


def with_defaults(value: Any, schema: Schema) -> Any:
    """Returns the value as the API server stores it: with defaults for absent fields. A null counts as absent."""
    if isinstance(value, dict):
        parts, each = schema.get("properties", {}), schema.get("additionalProperties")
        schemas = {
            key: parts.get(key, each if isinstance(each, Mapping) else None) for key in {**parts, **value}
        }
        found = {key: item for key, item in value.items() if item is not None or schemas[key] is None}
        for name, part in parts.items():
            if "default" in part:
                found.setdefault(name, copy.deepcopy(part["default"]))
        return {key: with_defaults(item, schemas[key] or {}) for key, item in found.items()}
    if isinstance(value, list):
        return [with_defaults(item, schema.get("items", {})) for item in value]
    return value


def structural_problems(value: Any, schema: Schema) -> list[FieldProblem]:
    """Returns the problems of a value with its defaults: types, bounds, required, unknown and repeated fields."""
    judge = _Judge(_json_schema(schema))
    problems = [problem for error in judge.iter_errors(value) for problem in _describe(error)]
    return [*problems, *_find_repeated(value, schema, ())]


def _json_schema(schema: Schema) -> dict[str, Any]:
    """Converts the schema to a JSON schema. It rejects unknown fields, which the API server would drop."""
    found: dict[str, Any] = {key: value for key, value in schema.items() if key in _KEPT}
    if schema.get("format") == "int32":
        found = {**_INT32, **found}
    if schema.get("x-kubernetes-int-or-string"):
        found["type"] = ["integer", "string"]
    elif "type" not in schema and schema.get("x-kubernetes-preserve-unknown-fields"):
        # a quantity: the only node without a type
        found["type"] = ["number", "string"]
    if "items" in schema:
        found["items"] = _json_schema(schema["items"])
    if "properties" in schema:
        found["properties"] = {name: _json_schema(part) for name, part in schema["properties"].items()}
    each = schema.get("additionalProperties")
    if isinstance(each, Mapping):
        found["additionalProperties"] = _json_schema(each)
    elif schema.get("type") == "object" and not schema.get("x-kubernetes-preserve-unknown-fields"):
        found["additionalProperties"] = False
    return found


def _pattern(_judge: Any, pattern: str, value: Any, _schema: Any) -> Iterator[jsonschema.ValidationError]:
    # RE2 as in the API server: Python's own $ also matches before a line break at the end
    if isinstance(value, str) and not re2.search(pattern, value):
        yield jsonschema.ValidationError("")


_Judge: Any = extend(jsonschema.Draft202012Validator, {"pattern": _pattern})  # type: ignore[no-untyped-call]


def _describe(error: jsonschema.ValidationError) -> Iterator[FieldProblem]:
    path, rule = tuple(error.absolute_path), str(error.validator)
    bound: Any = error.validator_value
    schema: Any = error.schema
    given: Any = error.instance
    if rule == "required":
        # one error for each missing field, and only the library's message has its name
        missing = next(name for name in bound if error.message.startswith(repr(name)))
        yield FieldProblem((*path, missing), "is missing: add it")
    elif rule == "additionalProperties":
        known = schema.get("properties", {})
        for name in given:
            if name not in known:
                yield FieldProblem((*path, name), _explain_unknown(name, list(known)))
    elif rule == "type":
        yield FieldProblem(path, f"must be of type {_type(bound)}, not {_type_of(given)}")
    elif rule == "enum":
        yield FieldProblem(path, f"must be one of {', '.join(str(choice) for choice in bound)}")
    else:
        yield FieldProblem(path, _BOUNDS.get(rule, f"breaks the rule {rule} ({{}})").format(bound))


_BOUNDS = {
    "minimum": "must be greater than or equal to {}",
    "maximum": "must be less than or equal to {}",
    "minLength": "must have at least {} characters",
    "maxLength": "must have at most {} characters",
    "minItems": "must have at least {} entries",
    "maxItems": "must have at most {} entries",
    "minProperties": "must have at least {} entries",
    "maxProperties": "must have at most {} entries",
    "pattern": "must match {}",
}


def _explain_unknown(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    meant = f"did you mean {close[0]}?" if close else f"known here: {', '.join(sorted(known)) or 'none'}"
    return f"is an unknown field: {meant}"


def _type(bound: str | list[str]) -> str:
    return bound if isinstance(bound, str) else " or ".join(bound)


def _type_of(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    names = {dict: "object", list: "array", str: "string", int: "integer", float: "number"}
    return names.get(type(value), type(value).__name__)


def _find_repeated(value: Any, schema: Schema, path: Path) -> Iterator[FieldProblem]:
    """Yields a problem for each duplicate in a list whose entries must be unique."""
    if isinstance(value, dict):
        for name, part in schema.get("properties", {}).items():
            if name in value:
                yield from _find_repeated(value[name], part, (*path, name))
    if not isinstance(value, list):
        return
    keys, seen = schema.get("x-kubernetes-list-map-keys"), []
    for index, item in enumerate(value):
        yield from _find_repeated(item, schema.get("items", {}), (*path, index))
        if schema.get("x-kubernetes-list-type") not in ("map", "set"):
            continue
        identity = [item.get(key) for key in keys] if keys and isinstance(item, dict) else item
        if identity in seen:
            yield FieldProblem((*path, index), "is in the list twice: remove one")
        seen.append(identity)

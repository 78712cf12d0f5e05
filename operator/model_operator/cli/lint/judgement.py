"""Validates one document as a ModelDeployment: the structure of the CRD, then its CEL rules."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from model_operator.api import names
from model_operator.api.crd import custom_resource_definition
from model_operator.cli.lint.documents import Document, Path
from model_operator.cli.lint.pods import pod_problems
from model_operator.cli.lint.rules import rule_problems
from model_operator.cli.lint.structure import (
    FieldProblem,
    Schema,
    Severity,
    structural_problems,
    with_defaults,
)
from model_operator.cli.lint.utilization import utilization_problems

_METADATA = frozenset(
    {"name", "generateName", "namespace", "labels", "annotations", "ownerReferences", "finalizers"}
    # fields that `kubectl get -o yaml` prints and the API server accepts
    | {"uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "selfLink"}
    | {"deletionGracePeriodSeconds", "managedFields"}
)


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem: document and line (both from 1), the object's name, the field, the message and the severity."""

    document: int
    line: int
    name: str
    field: str
    message: str
    severity: Severity = Severity.ERROR


def judge(document: Document) -> list[Problem] | None:
    """Returns the problems of the document, or None if it has no ModelDeployment.

    An error is a problem for which the API server would reject the document, or the pods that the operator makes of it.
    In a ``List``, each item is checked. Problems are in the order of their lines.
    """
    objects = list(_objects(document.value))
    if not objects:
        return None
    found = [
        Problem(
            document.number,
            document.line((*root, *problem.path)),
            _name(value),
            _write_path((*root, *problem.path)),
            problem.message,
            problem.severity,
        )
        for root, value in objects
        for problem in _find_problems(value)
    ]
    return sorted(found, key=lambda problem: (problem.line, problem.field))


def _objects(value: Any, root: Path = ()) -> Iterator[tuple[Path, dict[str, Any]]]:
    if not isinstance(value, dict):
        return
    kind, group = value.get("kind"), str(value.get("apiVersion", "")).partition("/")[0]
    if kind in ("List", names.LIST_KIND) and isinstance(value.get("items"), list):
        for index, item in enumerate(value["items"]):
            yield from _objects(item, (*root, "items", index))
    elif group == names.GROUP or (kind == names.KIND and "/" not in str(value.get("apiVersion", ""))):
        yield root, value


def _find_problems(value: dict[str, Any]) -> list[FieldProblem]:
    if value.get("apiVersion") != names.API_VERSION:
        return [FieldProblem(("apiVersion",), f"must be {names.API_VERSION}")]
    if value.get("kind") != names.KIND:
        return [FieldProblem(("kind",), f"must be {names.KIND}, the only kind of {names.GROUP}")]
    schema = _schema()
    # the API server drops the status in a manifest without reading it
    given = {key: item for key, item in value.items() if key != "status"}
    whole = with_defaults(given, schema)
    faults = [*_find_metadata_problems(value.get("metadata")), *structural_problems(whole, schema)]
    broken = [problem.path for problem in faults]
    own = [*pod_problems(whole.get("spec"), broken), *utilization_problems(whole.get("spec"))]
    return [*faults, *rule_problems(whole, schema, broken), *own]


@cache
def _schema() -> Schema:
    version = custom_resource_definition()["spec"]["versions"][0]
    root = dict(version["schema"]["openAPIV3Schema"])
    properties = {name: part for name, part in root["properties"].items() if name != "status"}
    # the API server has its own checks of metadata, and so has _find_metadata_problems
    properties["metadata"] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {**root, "properties": properties}


def _find_metadata_problems(metadata: Any) -> Iterator[FieldProblem]:
    if not isinstance(metadata, dict):
        yield FieldProblem(("metadata",), "is missing: add it, with a name")
        return
    if not metadata.get("name"):
        yield FieldProblem(("metadata", "name"), "is missing: add it")
    elif not isinstance(metadata["name"], str):
        yield FieldProblem(("metadata", "name"), "must be of type string: put it in quotes")
    for name in metadata:
        if name not in _METADATA:
            yield FieldProblem(
                ("metadata", name), "is an unknown field: does it belong under labels or annotations?"
            )
    for part in ("labels", "annotations"):
        entries = metadata.get(part) or {}
        if not isinstance(entries, dict):
            yield FieldProblem(("metadata", part), "must be of type object")
            continue
        for key, entry in entries.items():
            if not isinstance(entry, str):
                yield FieldProblem(("metadata", part, key), "must be of type string: put it in quotes")


def _name(value: dict[str, Any]) -> str:
    metadata = value.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return name if isinstance(name, str) else ""


def _write_path(path: Path) -> str:
    """Returns a field's path as people write it: ``spec.gates.tags[0].key``. Keys with dots are in quotes."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.fullmatch(r"[A-Za-z0-9_-]+", part):
            text += f".{part}" if text else part
        else:
            text += f'["{part}"]'
    return text or "the document"

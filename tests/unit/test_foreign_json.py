"""Kubernetes' JSON is read in domain/objects, once. Everything above asks the views."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "operator" / "model_operator"
READERS = (
    PACKAGE / "controller" / "observe.py",
    # writes the bodies, and compares them with what the API server stored
    PACKAGE / "planner" / "manifests",
    # judges the text of manifests that people wrote, field by field
    PACKAGE / "cli" / "lint",
)
OBJECTS_FIELDS = frozenset(
    {
        *("metadata", "labels", "annotations", "ownerReferences"),
        *("creationTimestamp", "deletionTimestamp", "resourceVersion"),
        *("spec", "selector", "template", "containers", "initContainers"),
        *("status", "conditions", "containerStatuses", "initContainerStatuses"),
    }
)
RAW_READERS = frozenset({"metadata", "spec", "status", "objects", "mapping"})
OWN_STATUS = PACKAGE / "planner" / "status"
"""Writes a ModelDeployment's status, so it knows the conditions in there, and each one's own status."""


def find_readings(source: str, own: frozenset[str] = frozenset()) -> Iterator[str]:
    """The places at which a source reads fields of Kubernetes' objects, such as ``12: ["metadata"]``."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Subscript(slice=ast.Constant(value=str(field)), ctx=ast.Load()):
                shown = f'["{field}"]'
            case ast.Call(func=ast.Attribute(attr="get"), args=[ast.Constant(value=str(field)), *_]):
                shown = f'.get("{field}")'
            case ast.Call(func=ast.Name(id="part"), args=[_, ast.Constant(value=str(field))]):
                shown = f'part(..., "{field}")'
            case ast.ImportFrom(module="model_operator.domain.objects", names=imported):
                for field in RAW_READERS & {name.name for name in imported}:
                    yield f"{node.lineno}: import of {field}"
                continue
            case _:
                continue
        if field in OBJECTS_FIELDS - own:
            yield f"{node.lineno}: {shown}"


@pytest.mark.parametrize("folder", ["app", "cli", "controller", "metrics", "planner", "webhooks"])
def test_only_the_views_know_how_kubernetes_objects_look(folder: str) -> None:
    found = []
    for path in sorted((PACKAGE / folder).rglob("*.py")):
        if not any(path.is_relative_to(reader) for reader in READERS):
            own = frozenset({"conditions", "status"}) if path.is_relative_to(OWN_STATUS) else frozenset[str]()
            name = path.relative_to(PACKAGE)
            found += [f"{name}:{reading}" for reading in find_readings(path.read_text("utf-8"), own)]
    assert not found, f"read this in domain/objects, as a field of a view, and use that here: {found}"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        pytest.param('live["metadata"]["name"]', ['1: ["metadata"]'], id="a subscript"),
        pytest.param('live.get("spec")', ['1: .get("spec")'], id="a get"),
        pytest.param('part(live, "status")', ['1: part(..., "status")'], id="a part"),
        pytest.param(
            "from model_operator.domain.objects import Kind, metadata",
            ["1: import of metadata"],
            id="a reader of raw objects",
        ),
        pytest.param('body = {"metadata": {}}', [], id="but not a body that is written"),
        pytest.param('status.get("serving")', [], id="nor a field of our own"),
    ],
)
def test_a_reading_is_found_by(source: str, found: list[str]) -> None:
    assert list(find_readings(source)) == found

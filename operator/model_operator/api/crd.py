"""The CustomResourceDefinition, generated from the models: `python -m model_operator.api.crd > FILE`.

`python -m model_operator.api.crd --check FILE` exits 1 with a diff where FILE is not what would be generated.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from model_operator.api import names
from model_operator.api.schema import Rule, rules
from model_operator.api.spec import ModelDeploymentSpec
from model_operator.api.status import ModelDeploymentStatus

HEADER = (
    "# Generated from operator/model_operator/api by `python -m model_operator.api.crd`: change it there.\n"
)

JsonSchema = dict[str, Any]

_NAME_RULE = Rule(
    f"self.metadata.name.size() <= {names.MAX_NAME_LENGTH} "
    "&& self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
    f"metadata.name must be at most {names.MAX_NAME_LENGTH} characters of a-z, 0-9 and '-', start with a "
    "letter and end with a letter or digit: the Service and the pods are named after it",
)

# name, JSONPath, shown only with `-o wide`
_COLUMNS = (
    ("Model", ".status.modelName", True),
    ("Alias", ".status.alias", False),
    ("Serving", ".status.serving.version", False),
    ("Wanted", ".status.resolved.version", False),
    ("Ready", '.status.conditions[?(@.type=="Ready")].status', False),
    ("Current", '.status.conditions[?(@.type=="Current")].status', True),
    ("Reason", '.status.conditions[?(@.type=="Current")].reason', False),
    ("Phase", ".status.candidate.phase", True),
    ("Strategy", ".spec.rollout.strategy", True),
    ("Track", ".status.serving.track", True),
    ("Revision", ".status.serving.revision", True),
    ("Age", ".metadata.creationTimestamp", False),
)

_FIRST_TO_LAST = ("description", "type", "format", "default", "required", "properties", "items")

# What JSON schema knows and structural schemas do not.
_DROPPED = frozenset({"title", "$defs"})


def custom_resource_definition() -> JsonSchema:
    """The CRD as the object that is applied."""
    root: JsonSchema = {
        "description": "Serves one version of a model from an MLflow registry, follows the registry when the "
        "version that is asked for changes, and goes back when the new version does not work.",
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"description": f"Always {names.API_VERSION}.", "type": "string"},
            "kind": {"description": f"Always {names.KIND}.", "type": "string"},
            # the API server describes it itself and refuses anything else here
            "metadata": {"type": "object"},
            "spec": {"description": "What is wanted.", **structural(ModelDeploymentSpec.model_json_schema())},
            "status": {
                "description": "What is; written by the operator.",
                **structural(ModelDeploymentStatus.model_json_schema()),
            },
        },
        **rules(_NAME_RULE),
    }
    version = {
        "name": names.VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": root},
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
        },
        "additionalPrinterColumns": [_column(*column) for column in _COLUMNS],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": names.CRD_NAME},
        "spec": {
            "group": names.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": names.KIND,
                "listKind": names.LIST_KIND,
                "plural": names.PLURAL,
                "singular": names.SINGULAR,
                "shortNames": [names.SHORT_NAME],
                "categories": [names.CATEGORY],
            },
            "versions": [version],
        },
    }


def _column(name: str, path: str, wide: bool) -> JsonSchema:
    kind = "date" if name == "Age" else "string"
    return {"name": name, "type": kind, "jsonPath": path} | ({"priority": 1} if wide else {})


def structural(schema: JsonSchema) -> JsonSchema:
    """Turn a JSON schema made by pydantic into a structural schema as Kubernetes takes it."""
    return _node(schema, schema.get("$defs", {}))


def _node(schema: JsonSchema, definitions: dict[str, JsonSchema]) -> JsonSchema:
    schema = _resolve(_without_null(_resolve(schema, definitions)), definitions)
    result: JsonSchema = {}
    for key, value in schema.items():
        if key in _DROPPED or value is None:
            continue
        if key == "properties":
            result[key] = {name: _node(child, definitions) for name, child in value.items()}
        elif key == "items":
            result[key] = _node(value, definitions)
        elif key == "additionalProperties":
            # false is what the API server does with unknown fields anyway
            if isinstance(value, dict):
                result[key] = _node(value, definitions)
        else:
            result[key] = value
    if result.get("type") == "integer":
        result.setdefault("format", "int32")
    result = _with_default_of_parts(result)
    return {key: result[key] for key in sorted(result, key=_reading_order)}


def _reading_order(key: str) -> tuple[int, str]:
    last = len(_FIRST_TO_LAST)
    return (_FIRST_TO_LAST.index(key) if key in _FIRST_TO_LAST else last, key)


def _resolve(schema: JsonSchema, definitions: dict[str, JsonSchema]) -> JsonSchema:
    if "$ref" not in schema:
        return schema
    target = definitions[schema["$ref"].removeprefix("#/$defs/")]
    return target | {key: value for key, value in schema.items() if key != "$ref"}


def _without_null(schema: JsonSchema) -> JsonSchema:
    if "anyOf" not in schema:
        return schema
    choices = [choice for choice in schema["anyOf"] if choice != {"type": "null"}]
    if len(choices) != 1:
        raise ValueError(f"a structural schema takes one type, not {choices}")
    choice: JsonSchema = choices[0]
    return choice | {key: value for key, value in schema.items() if key != "anyOf"}


def _with_default_of_parts(schema: JsonSchema) -> JsonSchema:
    """Default an object to the defaults of its properties, and to nothing where they have none.

    A default of {} would be filled in the same way, but the API server checks it by the rules as it stands.
    """
    if schema.get("type") != "object" or "default" not in schema:
        return schema
    properties = schema.get("properties", {})
    default = {name: child["default"] for name, child in properties.items() if "default" in child}
    kept = {key: value for key, value in schema.items() if key != "default"}
    return kept | ({"default": default} if default else {})


def render() -> str:
    """The CRD as the YAML text of the file."""
    return HEADER + yaml.safe_dump(
        custom_resource_definition(), sort_keys=False, width=110, allow_unicode=True
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the CRD, or with --check FILE compare it with the file. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m model_operator.api.crd", description=main.__doc__)
    parser.add_argument("--check", metavar="FILE", type=Path, help="exit 1 with a diff where FILE differs")
    path: Path | None = parser.parse_args(arguments).check
    wanted = render()
    if path is None:
        sys.stdout.write(wanted)
        return 0
    found = path.read_text(encoding="utf-8") if path.exists() else ""
    if found == wanted:
        return 0
    differences = difflib.unified_diff(
        found.splitlines(keepends=True), wanted.splitlines(keepends=True), str(path), "generated"
    )
    sys.stdout.writelines(differences)
    sys.stderr.write(f"{path} is not up to date: python -m model_operator.api.crd > {path}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())

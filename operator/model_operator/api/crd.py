"""The CustomResourceDefinition, generated from the models: `python -m model_operator.api.crd > FILE`.

`python -m model_operator.api.crd --check FILE` exits 1 with a diff if FILE is not up to date.
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

# Keywords of JSON schema that a structural schema does not allow.
_DROPPED = frozenset({"title", "$defs"})


def custom_resource_definition() -> JsonSchema:
    """Returns the CRD as an object to apply."""
    root: JsonSchema = {
        "description": "Serves one version of a model from an MLflow registry. When you move the alias, the operator "
        "rolls out the new version. If that version fails, the operator rolls back.",
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"description": f"Always {names.API_VERSION}.", "type": "string"},
            "kind": {"description": f"Always {names.KIND}.", "type": "string"},
            # the API server has its own schema for it and rejects any other here
            "metadata": {"type": "object"},
            "spec": {
                "description": "The desired state: you write it.",
                **structural(ModelDeploymentSpec.model_json_schema()),
            },
            "status": {
                "description": "The observed state: the operator writes it.",
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
    """Converts a JSON schema made by pydantic into a structural schema for Kubernetes."""
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
            # false is implied: the API server drops unknown fields
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
        raise ValueError(f"a structural schema allows one type, not {choices}")
    choice: JsonSchema = choices[0]
    return choice | {key: value for key, value in schema.items() if key != "anyOf"}


def _with_default_of_parts(schema: JsonSchema) -> JsonSchema:
    """Sets an object's default to the defaults of its properties, and removes it if they have none.

    The API server would fill in a default of {} in the same way, but it first checks the default against the rules.
    """
    if schema.get("type") != "object" or "default" not in schema:
        return schema
    properties = schema.get("properties", {})
    default = {name: child["default"] for name, child in properties.items() if "default" in child}
    kept = {key: value for key, value in schema.items() if key != "default"}
    return kept | ({"default": default} if default else {})


def render() -> str:
    """Returns the CRD as the YAML text of the file."""
    return HEADER + yaml.safe_dump(
        custom_resource_definition(), sort_keys=False, width=110, allow_unicode=True
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the CRD, or with --check FILE compares it with the file. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m model_operator.api.crd", description=main.__doc__)
    parser.add_argument(
        "--check",
        metavar="FILE",
        type=Path,
        help="exit 1 with a diff if FILE differs, for example crds/modeldeployments.yaml",
    )
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
    sys.stderr.write(f"{path} is not up to date, run: python -m model_operator.api.crd > {path}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())

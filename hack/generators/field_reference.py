"""Renders the page about every field of a ModelDeployment, from the CRD."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from model_operator.api.crd import custom_resource_definition

_INTRODUCTION = """\
<!-- Generated from operator/model_operator/api by `make generate`: change it there. -->
# Reference: every field of a ModelDeployment

In your cluster, `kubectl explain mdep.spec --recursive` shows the same fields. If you leave out a field, it has its
default. If your manifest breaks a rule, the API server rejects it with the message below. *Kubernetes' own* marks
fields of a pod, a container or a HorizontalPodAutoscaler. The operator passes them on unchanged, and the API server
checks them before a rollout starts. `[]` is an entry of a list, `{}` a value of a map.

- [spec](#spec): the desired state, which you write
- [status](#status): the observed state, which the operator writes

You can request a retry, a rollback and more by annotation: [annotations](../guides/annotations.md).
[failures.md](failures.md) explains conditions and reasons.
"""
_BOUNDS = (
    ("minimum", "at least {}"),
    ("maximum", "at most {}"),
    ("minLength", "at least {} characters"),
    ("maxLength", "at most {} characters"),
    ("maxItems", "at most {} entries"),
    ("maxProperties", "at most {} entries"),
)

Schema = Mapping[str, Any]


def render() -> str:
    """Returns the text of the page."""
    (version,) = custom_resource_definition()["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    lines = [_INTRODUCTION, "Rules on the whole object:", "", *_rules(schema, ""), ""]
    for part in ("spec", "status"):
        lines += [f"## {part}", ""]
        lines += _section(schema["properties"][part], part)
    return "\n".join(lines).rstrip() + "\n"


def _section(schema: Schema, path: str) -> Iterator[str]:
    """Yields the table of the fields directly below ``path``, then a section for each field that has fields itself."""
    required = schema.get("required", [])
    yield from ["| Field | Type | Default | Meaning |", "|---|---|---|---|"]
    nested: list[tuple[str, str, Schema]] = []
    for name, child in schema["properties"].items():
        inner, suffix = _inner(child)
        shown = f"[`{name}`](#{_anchor(f'{path}.{name}')})" if inner.get("properties") else f"`{name}`"
        if inner.get("properties"):
            nested.append((f"{path}.{name}", suffix, inner))
        must = " **Required.**" if name in required else ""
        cells = (shown, _type(child), _default(child), f"{_description(child)}{must}{_limits(child)}")
        yield f"| {' | '.join(cells)} |"
    yield ""
    if rules := [*_rules(schema, path), *_rules_of_leaves(schema, path)]:
        yield from ["Rules:", "", *rules, ""]
    for where, suffix, inner in nested:
        yield from [f"### {where}", ""]
        if suffix:
            yield from [f"Of each `{where}{suffix}`:", ""]
        yield from _section(inner, where)


def _inner(schema: Schema) -> tuple[Schema, str]:
    """Returns the schema of the field, of an entry of its list or of a value of its map, and the suffix of the path."""
    if "items" in schema:
        return schema["items"], "[]"
    if isinstance(schema.get("additionalProperties"), Mapping):
        return schema["additionalProperties"], "{}"
    return schema, ""


def _type(schema: Schema) -> str:
    if schema.get("x-kubernetes-int-or-string"):
        return "number or text"
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    inner, suffix = _inner(schema)
    if suffix:
        whole = "list" if suffix == "[]" else "map"
        return f"{whole} of {_type(inner)}"
    kind = str(schema.get("type", "any"))
    if "type" not in schema:
        return "quantity"
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return "object, Kubernetes' own"
    if schema.get("format") == "date-time":
        return "time"
    return {"string": "text", "integer": "whole number", "boolean": "`true` or `false`"}.get(kind, kind)


def _default(schema: Schema) -> str:
    default = schema.get("default")
    if default is None or isinstance(default, Mapping):
        return ""
    return f"`{json.dumps(default)}`"


def _description(schema: Schema) -> str:
    return str(schema.get("description", "")).replace("|", "\\|").replace("\n", " ")


def _limits(schema: Schema) -> str:
    found = [text.format(schema[key]) for key, text in _BOUNDS if key in schema]
    found = ["not empty" if bound == "at least 1 characters" else bound for bound in found]
    return f" ({', '.join(found)})" if found else ""


def _rules(schema: Schema, path: str) -> list[str]:
    where = f"`{path}`: " if path else ""
    return [f"- {where}{_escaped(rule['message'])}" for rule in schema.get("x-kubernetes-validations", [])]


def _rules_of_leaves(schema: Schema, path: str) -> Iterator[str]:
    for name, child in schema["properties"].items():
        inner, _ = _inner(child)
        if not inner.get("properties"):
            yield from _rules(child, f"{path}.{name}")


def _escaped(text: str) -> str:
    return text.replace("<", "&lt;").replace("*", "\\*")


def _anchor(heading: str) -> str:
    """Returns the anchor that Markdown renderers make from a heading."""
    return heading.lower().replace(".", "")

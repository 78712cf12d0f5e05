"""Building blocks for the models of the spec: the base class, CEL rules, and Kubernetes' own open types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

MAX_LIST_ITEMS = 64
MAX_MAP_ENTRIES = 64


@dataclass(frozen=True, slots=True)
class Rule:
    """One CEL rule of the CRD: the API server rejects the object with `message` if `cel` is false."""

    cel: str
    message: str


def rules(*given: Rule) -> dict[str, Any]:
    """Returns the JSON schema keyword with these CEL rules for the CRD."""
    return {"x-kubernetes-validations": [{"rule": rule.cel, "message": rule.message} for rule in given]}


def without_crd_default(schema: dict[str, Any]) -> None:
    """Leaves the field's default to the operator. For fields and values that were added after the first operators.

    The API server writes the defaults of the CRD into every object, and an older operator, during an upgrade or after
    a return to it, rejects fields and values that it does not know.
    """
    schema.pop("default", None)


class SpecModel(BaseModel):
    """A part of the spec: camelCase in YAML, unknown fields are rejected, and it is immutable."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_alias=True,
        validate_by_name=True,
        serialize_by_alias=True,
        extra="forbid",
        frozen=True,
        strict=True,
    )


def _blank_is_absent(value: object) -> object:
    return None if value == "" else value


def open_object(
    properties: Mapping[str, Any] | None = None, required: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Returns the schema of one of Kubernetes' own objects: the given properties are checked, all others pass."""
    schema: dict[str, Any] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    if properties:
        schema["properties"] = dict(properties)
    if required:
        schema["required"] = list(required)
    return schema


def open_list(key: str | None = None) -> dict[str, Any]:
    """Returns the schema of a list of Kubernetes' own objects. With `key`, entries are merged by that property."""
    if key is None:
        return {
            "type": "array",
            "items": open_object(),
            "maxItems": MAX_LIST_ITEMS,
            "x-kubernetes-list-type": "atomic",
        }
    name = {
        "type": "string",
        "minLength": 1,
        "maxLength": 1024,
        "description": f"The {key}, unique in the list. The other fields are Kubernetes' own.",
    }
    return {
        "type": "array",
        "items": open_object({key: name}, required=(key,)),
        "maxItems": MAX_LIST_ITEMS,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": [key],
    }


# The same pattern as in the API server's own schema: 500m, 1Gi, 1e3, 2. A Deployment also takes a fraction without
# quotes (cpu: 0.5). x-kubernetes-int-or-string does not, and a structural schema has no other node of two types. A node
# without a type takes any value, so the other keywords leave numbers and texts: each is about one type of JSON only.
_QUANTITY: dict[str, Any] = {
    "x-kubernetes-preserve-unknown-fields": True,
    "pattern": r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$",
    "maxProperties": 0,
    "maxItems": 0,
    "not": {"enum": [True, False, {}, []]},
}


def _quantities(description: str) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": _QUANTITY,
        "maxProperties": 32,
        "description": description,
    }


_RESOURCES = open_object(
    {
        "requests": _quantities("Amounts that the scheduler reserves, such as cpu: 250m and memory: 512Mi."),
        "limits": _quantities(
            "Amounts that the container cannot exceed. Put devices such as nvidia.com/gpu here."
        ),
    }
)


Text = Annotated[str, Field(min_length=1, max_length=1024)]
# Empty counts as absent: templates render "" for a value that is left out.
OptionalText = Annotated[Annotated[str, Field(max_length=1024)] | None, BeforeValidator(_blank_is_absent)]
TextList = Annotated[
    list[str],
    Field(max_length=256),
    WithJsonSchema(
        {
            "type": "array",
            "items": {"type": "string", "maxLength": 32768},
            "maxItems": 256,
            "x-kubernetes-list-type": "atomic",
        }
    ),
]
TextMap = Annotated[
    dict[str, str],
    Field(max_length=MAX_MAP_ENTRIES),
    WithJsonSchema(
        {
            "type": "object",
            "additionalProperties": {"type": "string", "maxLength": 262144},
            "maxProperties": MAX_MAP_ENTRIES,
        }
    ),
]
LabelMap = Annotated[
    dict[str, str],
    Field(max_length=MAX_MAP_ENTRIES),
    WithJsonSchema(
        {
            "type": "object",
            "additionalProperties": {
                "type": "string",
                "maxLength": 63,
                "pattern": r"^(([A-Za-z0-9][A-Za-z0-9_.-]*)?[A-Za-z0-9])?$",
            },
            "maxProperties": MAX_MAP_ENTRIES,
        }
    ),
]
Port = Annotated[int, Field(ge=1, le=65535)]

# Kubernetes' own types: passed on unchanged. The API server checks them in a dry run before a rollout.
OpenObject = Annotated[dict[str, Any], WithJsonSchema(open_object())]
OpenList = Annotated[list[dict[str, Any]], Field(max_length=MAX_LIST_ITEMS), WithJsonSchema(open_list())]
NamedList = Annotated[
    list[dict[str, Any]], Field(max_length=MAX_LIST_ITEMS), WithJsonSchema(open_list("name"))
]
MountList = Annotated[
    list[dict[str, Any]], Field(max_length=MAX_LIST_ITEMS), WithJsonSchema(open_list("mountPath"))
]
Resources = Annotated[dict[str, Any], WithJsonSchema(_RESOURCES)]

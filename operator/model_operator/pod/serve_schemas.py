"""JSON Schemas of MLflow's types, for the OpenAPI document. A part of serve.py.

Sources: mlflow/types/schema.py (types of columns and their JSON), JSON Schema 2020-12.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model_operator.pod.serve_signature import Field, Param
else:
    from serve_signature import Field, Param

Json = dict[str, Any]

SINGLE: Mapping[str, Json] = {
    "boolean": {"type": "boolean"},
    "integer": {"type": "integer", "format": "int32"},
    "long": {"type": "integer", "format": "int64"},
    # null is NaN
    "float": {"type": ["number", "null"], "format": "float"},
    "double": {"type": ["number", "null"], "format": "double"},
    "string": {"type": "string"},
    "binary": {"type": "string", "contentEncoding": "base64"},
    "datetime": {"type": "string"},
}


def tensors_schema(fields: Sequence[Field]) -> Json:
    if not fields[0].name:
        return nested_schema(fields[0].shape or (), fields[0].dtype)
    properties = {field.name: nested_schema(field.shape or (), field.dtype) for field in fields}
    return {"type": "object", "required": list(properties), "properties": properties}


def nested_schema(shape: Sequence[int], dtype: str) -> Json:
    """Returns lists in lists, as deep as the shape is long."""
    if dtype.startswith(("float", "complex")):
        schema: Json = {"type": ["number", "null"]}
    elif dtype.startswith(("int", "uint")):
        schema = {"type": "integer"}
    else:
        schema = {"type": "boolean"} if dtype == "bool" else {"type": "string"} if dtype == "str" else {}
    for size in reversed(shape):
        schema = list_schema(schema)
        if size >= 0:
            schema |= {"minItems": size, "maxItems": size}
    return schema


def object_schema(fields: Sequence[Field]) -> Json:
    required = [field.name for field in fields if field.required and field.name]
    schema: Json = {"type": "object", "properties": {f.name: column_schema(f) for f in fields if f.name}}
    return schema | ({"required": required} if required else {})


def column_schema(field: Field) -> Json:
    """Returns the schema of a value in a column. An optional one may be null."""
    return _optional(type_schema(field.spec), field.required)


def _optional(schema: Json, required: bool) -> Json:
    kind = schema.get("type")
    return schema if required or not isinstance(kind, str) else schema | {"type": [kind, "null"]}


def type_schema(spec: Any) -> Json:
    """Returns the schema of MLflow's type of a column, an item or a property."""
    if not isinstance(spec, Mapping):
        return {}
    kind = str(spec.get("type"))
    if kind == "array":
        return list_schema(type_schema(spec.get("items")))
    if kind == "map":
        return {"type": "object", "additionalProperties": type_schema(spec.get("values"))}
    if kind == "object":
        properties: Mapping[str, Any] = spec.get("properties") or {}
        required = [key for key, part in properties.items() if part.get("required", True)]
        parts = {key: _optional(type_schema(part), key in required) for key, part in properties.items()}
        schema: Json = {"type": "object", "properties": parts}
        return schema | ({"required": required} if required else {})
    return dict(SINGLE.get(kind, {}))


def param_schema(param: Param) -> Json:
    schema = type_schema(param.spec)
    if param.is_list:
        schema = list_schema(schema)
    default = without_nan(param.default)
    return schema | ({} if default is None else {"default": default})


def without_nan(value: Any) -> Any:
    """Returns the value with null for NaN and the infinities."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): without_nan(part) for key, part in value.items()}
    return [without_nan(part) for part in value] if isinstance(value, list) else value


def list_schema(items: Json) -> Json:
    return {"type": "array", "items": items} if items else {"type": "array"}

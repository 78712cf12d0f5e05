"""Signatures as MLflow writes them, and stand-ins for ``mlflow.models.Model``."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

COLUMNS = [
    {"type": "long", "name": "age", "required": True},
    {"type": "string", "name": "city", "required": False},
    {"type": "array", "items": {"type": "double"}, "name": "scores", "required": True},
]
TENSOR = [{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 3]}}]
NAMED_TENSORS = [
    {"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}, "name": "ids"},
    {"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 2]}, "name": "points"},
]
MESSAGES = [
    {
        "type": "array",
        "name": "messages",
        "required": True,
        "items": {"type": "object", "properties": {"role": {"type": "string", "required": True}}},
    },
    {"type": "map", "values": {"type": "any"}, "name": "custom_inputs", "required": False},
]
PARAMS = [
    {"name": "threshold", "default": 0.5, "shape": None, "type": "double"},
    {"name": "labels", "default": ["a"], "shape": [-1], "type": "string"},
    {"name": "limit", "default": float("nan"), "shape": None, "type": "double"},
]


def metadata(
    inputs: Any = None, outputs: Any = None, params: Any = None, loader: str = "mlflow.sklearn"
) -> Any:
    """A model with that signature, or without one."""
    parts = {
        key: json.dumps(part) if part else None
        for key, part in {"inputs": inputs, "outputs": outputs, "params": params}.items()
    }
    signature = SimpleNamespace(to_dict=lambda: parts) if any(parts.values()) else None
    return SimpleNamespace(signature=signature, flavors={"python_function": {"loader_module": loader}})

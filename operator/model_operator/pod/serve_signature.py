"""The MLflow signature of a model as plain data. A part of serve.py.

It is read from the JSON that MLflow writes into MLmodel, so nothing here needs MLflow, NumPy or pandas.
Source: mlflow/types/schema.py (ColSpec, TensorSpec, ParamSpec: to_dict), the same in MLflow 2.22 and 3.17.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LLM_COLUMNS = ("messages", "prompt", "input")
"""A body with one of these keys goes to the model as it is: SUPPORTED_LLM_FORMATS in mlflow/pyfunc/utils."""


@dataclass(frozen=True)
class Field:
    """A column or a tensor. ``name`` is "" if it has none, and ``spec`` is the type of a column as MLflow writes it.

    ``shape`` and ``dtype`` are those of a tensor. ``shape`` is None for a column.
    """

    name: str
    spec: Mapping[str, Any]
    required: bool = True
    shape: tuple[int, ...] | None = None
    dtype: str = ""

    @property
    def type(self) -> str:
        """The MLflow type of a column (long, string, array, ...), or a NumPy type with a shape."""
        if self.shape is not None:
            sizes = ", ".join("any" if size == -1 else str(size) for size in self.shape)
            return f"{self.dtype} of shape ({sizes})"
        if self.spec.get("type") == "array":
            return f"array of {(self.spec.get('items') or {}).get('type', 'any')}"
        return str(self.spec.get("type", "any"))


@dataclass(frozen=True)
class Param:
    """A parameter of a model. ``is_list`` is whether it takes a list."""

    name: str
    spec: Mapping[str, Any]
    default: Any
    is_list: bool


@dataclass(frozen=True)
class Signature:
    """The parts of a signature. Each is empty if the signature lacks it, or if there is no signature."""

    inputs: tuple[Field, ...] = ()
    outputs: tuple[Field, ...] = ()
    params: tuple[Param, ...] = ()

    @property
    def has_columns(self) -> bool:
        """Whether the model takes a table."""
        return bool(self.inputs) and self.inputs[0].shape is None

    @property
    def has_tensors(self) -> bool:
        """Whether the model takes arrays."""
        return bool(self.inputs) and self.inputs[0].shape is not None

    @property
    def llm_column(self) -> str:
        """The column that makes MLflow hand the body to the model as it is, or "" for other models."""
        names = {field.name for field in self.inputs if field.required} if self.has_columns else set()
        return next((name for name in LLM_COLUMNS if name in names), "")


def read_signature(metadata: Any) -> Signature:
    """Returns the signature in an ``mlflow.models.Model``, or an empty one if it has none."""
    signature = getattr(metadata, "signature", None)
    if signature is None:
        return Signature()
    parts = signature.to_dict()
    return Signature(
        tuple(_read_field(part) for part in _read_json(parts.get("inputs"))),
        tuple(_read_field(part) for part in _read_json(parts.get("outputs"))),
        tuple(
            Param(str(part["name"]), part, part.get("default"), part.get("shape") is not None)
            for part in _read_json(parts.get("params"))
        ),
    )


def _read_json(text: Any) -> list[dict[str, Any]]:
    return list(json.loads(text)) if isinstance(text, str) and text else []


def _read_field(part: Mapping[str, Any]) -> Field:
    name = part.get("name")
    tensor = part.get("tensor-spec")
    if part.get("type") == "tensor" and isinstance(tensor, Mapping):
        shape = tuple(int(size) for size in tensor["shape"])
        return Field(
            "" if name is None else str(name),
            part,
            bool(part.get("required", True)),
            shape,
            str(tensor["dtype"]),
        )
    required = bool(part.get("required", not part.get("optional", False)))
    return Field("" if name is None else str(name), part, required)

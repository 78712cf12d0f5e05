"""The gate ModelSize: whether the size in the model's file MLmodel is at most ``spec.gates.maxModelBytes``."""

from __future__ import annotations

from typing import Final

from model_operator.api.spec import GatesSpec
from model_operator.planner.gates.base import (
    OVERRIDE_REMEDY,
    Fact,
    Gate,
    GateResult,
    Subject,
    failed,
    find_description,
    passed,
)
from model_operator.planner.manifests import parse_quantity

_NAME: Final = "ModelSize"


def _is_set(gates: GatesSpec) -> bool:
    return gates.max_model_bytes is not None


def _judge(gates: GatesSpec, subject: Subject) -> GateResult:
    model = find_description(_NAME, subject.facts)
    if isinstance(model, GateResult):
        return model
    limit = parse_quantity(gates.max_model_bytes) or 0
    number = subject.version.version
    if model.size_bytes is None:
        text = (
            f"the size of version {number} is unknown. Log the model with a newer MLflow, {OVERRIDE_REMEDY}"
        )
        return failed(_NAME, "ModelSizeUnknown", text)
    if model.size_bytes > limit:
        text = (
            f"version {number} has {model.size_bytes} bytes, more than spec.gates.maxModelBytes "
            f"({gates.max_model_bytes}). Raise the limit, {OVERRIDE_REMEDY}"
        )
        return failed(_NAME, "ModelTooLarge", text)
    return passed(_NAME, f"{model.size_bytes} bytes of at most {gates.max_model_bytes}")


MODEL_SIZE = Gate(_NAME, _is_set, _judge, frozenset({Fact.DESCRIPTION}))

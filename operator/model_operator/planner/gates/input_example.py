"""The gate InputExample: whether the model has an input example for its self-test."""

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

_NAME: Final = "InputExample"


def _is_set(gates: GatesSpec) -> bool:
    return gates.input_example == "Required"


def _judge(_gates: GatesSpec, subject: Subject) -> GateResult:
    model = find_description(_NAME, subject.facts)
    if isinstance(model, GateResult):
        return model
    if model.input_example:
        return passed(_NAME, "the model has an input example")
    text = (
        f"version {subject.version.version} has no input example, so its self-test could only load it. Log the "
        f"model with input_example, {OVERRIDE_REMEDY}"
    )
    return failed(_NAME, "InputExampleMissing", text)


INPUT_EXAMPLE = Gate(_NAME, _is_set, _judge, frozenset({Fact.DESCRIPTION}))

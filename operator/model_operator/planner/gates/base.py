"""The types of a gate, of its input and of its result, and their constructors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from model_operator.api.spec import GatesSpec
from model_operator.domain.registry import ImageContents, ModelDescription, ResolvedVersion, VersionFacts

OVERRIDE_REMEDY = "or let this one pass with an entry in spec.gates.overrides"


class GateOutcome(StrEnum):
    """The outcome of a gate."""

    PASSED = "Passed"
    FAILED = "Failed"
    OVERRIDDEN = "Overridden"
    """It failed, and an override lets this version pass."""
    WARNED = "Warned"
    """It failed or could not be judged, and does not block the version."""
    PENDING = "Pending"
    """The facts have not been read from the registry yet."""


@dataclass(frozen=True, slots=True)
class GateResult:
    """The result of one gate. ``reason`` is for a condition, ``message`` has the value and the bound."""

    gate: str
    outcome: GateOutcome
    message: str
    reason: str = ""
    differences: Sequence[str] = ()
    """Only for the signature: the differences, as lines of a diff."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The input of a gate: the version that is to start, and the serving version and image to compare it with."""

    version: ResolvedVersion
    revision: str
    """The name of its revision."""
    facts: VersionFacts
    serving: VersionFacts | None = None
    """The facts of the serving version. None if no version serves."""
    image: ImageContents | None = None
    """The contents of the serving image. None if the operator's configuration doesn't list them."""


class Fact(StrEnum):
    """The kinds of facts of a version in the registry. Only the kinds that a gate needs are read."""

    METRICS = "metrics"
    DESCRIPTION = "description"


def _never(_gates: GatesSpec) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Gate:
    """One gate. It runs if the spec sets it, and gets the facts that it needs or the reason why they are missing."""

    name: str
    """The name in ``spec.gates.overrides`` and in the status: a key of ``GATES`` in api/choices.py."""
    is_set: Callable[[GatesSpec], bool]
    """Whether the spec sets it."""
    judge: Callable[[GatesSpec, Subject], GateResult]
    """Judges a version. It is pure, and called only if the spec sets the gate."""
    needs: frozenset[Fact] = field(default_factory=frozenset)
    """The facts that it needs of the version. Empty: it needs only the tags."""
    compares: Callable[[GatesSpec], bool] = _never
    """Whether it needs the same facts of the serving version."""
    only_compares: bool = False
    """Whether it needs no facts at all while no version is serving."""


def passed(gate: str, message: str) -> GateResult:
    """The result for a version that passes."""
    return GateResult(gate, GateOutcome.PASSED, message)


def failed(gate: str, reason: str, message: str) -> GateResult:
    """The result for a version that does not pass."""
    return GateResult(gate, GateOutcome.FAILED, message, reason)


def pending(gate: str, what: str) -> GateResult:
    """The result while ``what``, the name of some facts, is not read yet."""
    return GateResult(gate, GateOutcome.PENDING, f"waiting for {what} from the registry", "GatesPending")


def unreadable(gate: str, problem: str) -> GateResult:
    """The result if the facts can't be read: the version does not pass."""
    message = f"the facts for this gate can't be read: {problem}"
    return failed(gate, "FactsUnreadable", f"{message}. Fix the cause, {OVERRIDE_REMEDY}")


def warned(result: GateResult, *, only_warn: bool) -> GateResult:
    """The same result, with Warned in place of Failed if ``only_warn``."""
    failed = result.outcome is GateOutcome.FAILED
    return replace(result, outcome=GateOutcome.WARNED) if only_warn and failed else result


def find_description(gate: str, facts: VersionFacts) -> ModelDescription | GateResult:
    """The model's description, or the gate's result if it is missing."""
    if facts.description is not None:
        return facts.description
    if facts.description_problem:
        return unreadable(gate, facts.description_problem)
    return pending(gate, "the model's description")

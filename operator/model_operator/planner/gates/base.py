"""What a gate is, what it judges, and what it says of one version."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from model_operator.api.spec import GatesSpec
from model_operator.domain.registry import ImageContents, ModelDescription, ResolvedVersion, VersionFacts

OVERRIDE_REMEDY = "or let this one pass with an entry in spec.gates.overrides"


class GateOutcome(StrEnum):
    """How a gate decided."""

    PASSED = "Passed"
    FAILED = "Failed"
    OVERRIDDEN = "Overridden"
    """It failed, and a person let this version pass all the same."""
    WARNED = "Warned"
    """It would have failed, or could not be judged, and only tells."""
    PENDING = "Pending"
    """The registry has not yet answered what it needs to know."""


@dataclass(frozen=True, slots=True)
class GateResult:
    """The decision of one gate; ``reason`` is one word, ``message`` names the value and the bound."""

    gate: str
    outcome: GateOutcome
    message: str
    reason: str = ""
    differences: Sequence[str] = ()
    """For the signature: what differs, like a diff."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The version that wants to start, and what it is judged against."""

    version: ResolvedVersion
    revision: str
    """The name of the revision that it would be."""
    facts: VersionFacts
    serving: VersionFacts | None = None
    """What is known of the version that serves; None while nothing serves."""
    image: ImageContents | None = None
    """What is in the serving image; None where nobody says."""


class Fact(StrEnum):
    """What the registry can be asked of one version; of what is not asked for, nothing is read."""

    METRICS = "metrics"
    DESCRIPTION = "description"


def _never(_gates: GatesSpec) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Gate:
    """One gate. It is asked when the spec sets it, and gets the facts that it needs, or why they can't be had."""

    name: str
    """As ``spec.gates.overrides`` and the status call it; a row of ``GATES`` in api/spec_gates.py."""
    is_set: Callable[[GatesSpec], bool]
    """Whether the spec asks for it."""
    judge: Callable[[GatesSpec, Subject], GateResult]
    """Its decision. Pure, and asked only where the spec sets it."""
    needs: frozenset[Fact] = field(default_factory=frozenset)
    """The facts of the version that it judges. Empty: the tags will do."""
    compares: Callable[[GatesSpec], bool] = _never
    """Whether it needs the same facts of the serving version."""


def passed(gate: str, message: str) -> GateResult:
    """The version passes."""
    return GateResult(gate, GateOutcome.PASSED, message)


def failed(gate: str, reason: str, message: str) -> GateResult:
    """The version does not pass."""
    return GateResult(gate, GateOutcome.FAILED, message, reason)


def pending(gate: str, what: str) -> GateResult:
    """It is not known yet."""
    return GateResult(gate, GateOutcome.PENDING, f"waiting for {what} from the registry", "GatesPending")


def unreadable(gate: str, problem: str) -> GateResult:
    """The registry does not tell; without knowing, nothing passes."""
    message = f"the facts for this gate can't be read: {problem}"
    return failed(gate, "FactsUnreadable", f"{message}. Fix the cause, {OVERRIDE_REMEDY}")


def warned(result: GateResult, *, only_warn: bool) -> GateResult:
    """The same decision, where a failure is only to be told: Warned in place of Failed."""
    failed = result.outcome is GateOutcome.FAILED
    return replace(result, outcome=GateOutcome.WARNED) if only_warn and failed else result


def find_description(gate: str, facts: VersionFacts) -> ModelDescription | GateResult:
    """The description, or what a gate says that does not get it."""
    if facts.description is not None:
        return facts.description
    if facts.description_problem:
        return unreadable(gate, facts.description_problem)
    return pending(gate, "the model's description")

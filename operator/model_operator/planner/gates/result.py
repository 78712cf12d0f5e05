"""What one gate says of one version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from model_operator.api.spec import GateName

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

    gate: GateName
    outcome: GateOutcome
    message: str
    reason: str = ""
    differences: Sequence[str] = ()
    """For the signature: what differs, like a diff."""


def passed(gate: GateName, message: str) -> GateResult:
    """The version passes."""
    return GateResult(gate, GateOutcome.PASSED, message)


def failed(gate: GateName, reason: str, message: str) -> GateResult:
    """The version does not pass."""
    return GateResult(gate, GateOutcome.FAILED, message, reason)


def pending(gate: GateName, what: str) -> GateResult:
    """It is not known yet."""
    return GateResult(gate, GateOutcome.PENDING, f"the registry is asked for {what}", "GatesPending")


def unreadable(gate: GateName, problem: str) -> GateResult:
    """The registry does not tell; without knowing, nothing passes."""
    message = f"what this gate has to know can't be read: {problem}"
    return failed(gate, "FactsUnreadable", f"{message}; mend that, {OVERRIDE_REMEDY}")

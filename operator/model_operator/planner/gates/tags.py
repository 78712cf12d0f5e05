"""The gate Tags: whether the version's tags have the required values."""

from __future__ import annotations

from typing import Final

from model_operator.api.spec import GatesSpec, TagGate
from model_operator.planner.gates.base import OVERRIDE_REMEDY, Gate, GateResult, Subject, failed, passed

_NAME: Final = "Tags"

MAX_SHOWN = 100


def _is_set(gates: GatesSpec) -> bool:
    return bool(gates.tags)


def _judge(gates: GatesSpec, subject: Subject) -> GateResult:
    """Fails at the first wrong tag, with the reason TagMissing or TagMismatch."""
    number = subject.version.version
    for gate in gates.tags:
        found = subject.version.tags.get(gate.key)
        if complaint := _complaint(gate, found):
            reason = "TagMissing" if found is None else "TagMismatch"
            return failed(_NAME, reason, f"version {number} {complaint}. Correct its tags, {OVERRIDE_REMEDY}")
    names = ", ".join(gate.key for gate in gates.tags)
    return passed(_NAME, f"as required: {names}")


def _complaint(gate: TagGate, found: str | None) -> str:
    """The fault of the tag, as the rest of a sentence. Empty if it has none."""
    if gate.value is not None and found != gate.value:
        has = "has no tag" if found is None else f"has the tag {gate.key}={_show(found)}, not"
        return f"{has} {gate.key}={_show(gate.value)}"
    if gate.not_value is not None and found == gate.not_value:
        return f"has the tag {gate.key}={_show(found)}, which it must not have"
    if gate.exists is True and found is None:
        return f"has no tag {gate.key}"
    if gate.exists is False and found is not None:
        return f"has the tag {gate.key}, which it must not have"
    return ""


def _show(value: str) -> str:
    """An untrusted text, printable and short enough for a message."""
    clean = "".join(c if c.isprintable() else " " for c in value[:MAX_SHOWN])
    return clean + ("..." if len(value) > MAX_SHOWN else "")


TAGS = Gate(_NAME, _is_set, _judge)

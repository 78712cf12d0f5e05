"""Sums up a ModelDeployment in one sentence, for people and for a pipeline that waits. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from model_operator.api import names
from model_operator.api.status import Condition
from model_operator.cli.snapshot import Snapshot


class Verdict(StrEnum):
    """Whether to keep waiting."""

    CURRENT = "Current"
    """The wanted version is serving."""
    PENDING = "Pending"
    """It may still come by itself, or it waits for an approval."""
    FAILED = "Failed"
    """Nothing changes until a person acts."""


@dataclass(frozen=True, slots=True)
class Summary:
    """The verdict, its reason in one word, an explanation, and the next command or step."""

    verdict: Verdict
    reason: str
    message: str
    remedy: str = ""

    @property
    def icon(self) -> str:
        """The name of its sign. A state that a person chose or has to approve is no failure."""
        if self.reason in (_APPROVAL, "RevisionHeld", "Suspended"):
            return "waiting"
        return {Verdict.CURRENT: "good", Verdict.PENDING: "moving", Verdict.FAILED: "bad"}[self.verdict]


_APPROVAL = "WaitingForApproval"
# reasons of Current that end only when a person acts, even if something else is under way
_HELD = frozenset({"RevisionHeld", "RevisionNotFound", "Suspended"})
_ON_THEIR_WAY = frozenset(
    {"RollingOut", "WaitingForSlot", "Switching", "Pending", "GatesPending", "WaitingForDeletion", _APPROVAL}
)
# the next poll of the registry may end these
_POLLED_AGAIN = frozenset({"RegistryUnreachable", "RegistryError", "UnexpectedAnswer", "AnswerTooLarge"})


def summarise(snapshot: Snapshot, version: str = "", flags: str = "") -> Summary:
    """Returns the summary of the status. ``flags`` are added to suggested commands.

    With ``version``, the summary is about that version. It is pending until the operator wants that version.
    """
    status = snapshot.status
    if status.observed_generation is None:
        text = "the operator has not seen it yet"
        return Summary(Verdict.PENDING, "NotObserved", text, "if that lasts: kubectl model doctor")
    if status.observed_generation < snapshot.generation:
        return Summary(
            Verdict.PENDING, "NotObserved", "the operator has not seen the last change of the spec yet"
        )
    resolved = status.resolved.version if status.resolved else ""
    if version and resolved != version:
        return _explain_unwanted(snapshot, version, resolved)
    ready, current = snapshot.condition("Ready"), snapshot.condition("Current")
    if ready is None or current is None:
        return Summary(Verdict.PENDING, "NotObserved", "the operator has not reported its state yet")
    if ready.status == current.status == "True":
        return Summary(Verdict.CURRENT, ready.reason, ready.message)
    told = current if current.status != "True" else ready
    return Summary(_verdict(snapshot, told), told.reason, told.message, _remedy(snapshot, told.reason, flags))


def _explain_unwanted(snapshot: Snapshot, version: str, resolved: str) -> Summary:
    found = snapshot.condition("Resolved")
    if found and found.status != "True":
        return Summary(Verdict.PENDING, found.reason, found.message)
    text = f"{snapshot.reference} is still version {resolved or '?'} for the operator, not {version}"
    return Summary(
        Verdict.PENDING,
        "NotWanted",
        text,
        "move the alias or change the manifest, then wait for the next poll of the registry",
    )


def _verdict(snapshot: Snapshot, told: Condition) -> Verdict:
    if told.reason in _HELD:
        return Verdict.FAILED
    if told.reason == "VersionRejected":
        return Verdict.PENDING if _comes_again(snapshot) else Verdict.FAILED
    if snapshot.is_true("Stalled"):
        return Verdict.FAILED
    if told.reason in _ON_THEIR_WAY | _POLLED_AGAIN or snapshot.is_true("Reconciling"):
        return Verdict.PENDING
    if told.type == "Ready":
        return Verdict.PENDING  # not stalled: pods may become ready again, or a drift is repaired
    # a gate, an error of the registry, missing credentials: a person has to act, although a version serves
    return Verdict.FAILED


def _comes_again(snapshot: Snapshot) -> bool:
    """Whether the wanted version was rejected with a time for the next try."""
    wanted = snapshot.status.resolved
    newest = next(
        (found for found in snapshot.status.rejected if wanted and found.version == wanted.version), None
    )
    return newest is not None and newest.retry_at is not None


def _remedy(snapshot: Snapshot, reason: str, flags: str) -> str:
    name = snapshot.name
    candidate = snapshot.status.candidate
    if reason == _APPROVAL:
        return f"kubectl model approve {name} {candidate.version if candidate else 'VERSION'}{flags}"
    if reason in ("RevisionHeld", "RevisionNotFound"):
        return f"kubectl model release {name}{flags}"
    if reason == "Suspended":
        return f"kubectl model resume {name}{flags}"
    if reason in ("VersionRejected", "FirstVersionFailed"):
        return f"move the alias to a fixed version, or retry the same one: kubectl model retry {name}{flags}"
    if candidate and candidate.phase == "Withdrawn":
        return f"wait for the next try, or retry now: kubectl model retry {name}{flags}"
    if reason == "NameConflict":
        return f"rename one of the two, or let the operator take it over: annotation {names.REQUEST_ADOPT}"
    return ""

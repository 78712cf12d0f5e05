"""What a ModelDeployment amounts to in one sentence, for people, and for the pipeline that waits. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from model_operator.api import names
from model_operator.api.status import Condition
from model_operator.cli.snapshot import Snapshot


class Verdict(StrEnum):
    """Whether waiting is over."""

    CURRENT = "Current"
    """What is wanted serves."""
    PENDING = "Pending"
    """It may yet come by itself, or a person is expected to agree."""
    FAILED = "Failed"
    """It stays so until somebody acts."""


@dataclass(frozen=True, slots=True)
class Summary:
    """The verdict, its reason in one word, what happened, and the command or deed that comes next."""

    verdict: Verdict
    reason: str
    message: str
    remedy: str = ""

    @property
    def icon(self) -> str:
        """The name of its sign: what a person holds, or has to agree to, is no failure."""
        if self.reason in (_APPROVAL, "RevisionHeld", "Suspended"):
            return "waiting"
        return {Verdict.CURRENT: "good", Verdict.PENDING: "moving", Verdict.FAILED: "bad"}[self.verdict]


_APPROVAL = "WaitingForApproval"
# said of Current; nothing comes of these by itself, whatever else is under way
_HELD = frozenset({"RevisionHeld", "RevisionNotFound", "Suspended"})
_ON_THEIR_WAY = frozenset(
    {"RollingOut", "WaitingForSlot", "Switching", "Pending", "GatesPending", "WaitingForDeletion", _APPROVAL}
)
# the registry may be asked again with another answer: an alias is set, a version becomes ready
_ASKED_AGAIN = frozenset({"RegistryUnreachable", "RegistryError", "UnexpectedAnswer", "AnswerTooLarge"})


def summarise(snapshot: Snapshot, version: str = "", flags: str = "") -> Summary:
    """What the status amounts to. ``flags`` go into the commands that are suggested.

    With ``version`` it is about that version: until the operator has seen that it is wanted, nothing is decided.
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
        return Summary(Verdict.PENDING, "NotObserved", "the operator has not judged it yet")
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
        Verdict.PENDING, "NotWanted", text, "move the alias, or change the manifest; the registry is polled"
    )


def _verdict(snapshot: Snapshot, told: Condition) -> Verdict:
    if told.reason in _HELD:
        return Verdict.FAILED
    if told.reason == "VersionRejected":
        return Verdict.PENDING if _comes_again(snapshot) else Verdict.FAILED
    if snapshot.is_true("Stalled"):
        return Verdict.FAILED
    if told.reason in _ON_THEIR_WAY | _ASKED_AGAIN or snapshot.is_true("Reconciling"):
        return Verdict.PENDING
    if told.type == "Ready":
        return Verdict.PENDING  # not stalled: pods come back, a field is put right again
    # a gate, a registry that says no, missing credentials: what serves is well, and somebody has to act
    return Verdict.FAILED


def _comes_again(snapshot: Snapshot) -> bool:
    """Whether the rejection of what is wanted has a time when it is tried again."""
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
        return f"move the alias to a fixed version; the same one again: kubectl model retry {name}{flags}"
    if candidate and candidate.phase == "Withdrawn":
        return f"it is tried again by itself; at once: kubectl model retry {name}{flags}"
    if reason == "NameConflict":
        return f"rename one of the two, or give it away with the annotation {names.REQUEST_ADOPT}"
    return ""

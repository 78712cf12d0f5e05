"""Events for conditions that became unhealthy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from model_operator.domain.objects import part
from model_operator.domain.plan import Apply, Event
from model_operator.domain.rollout import Phase
from model_operator.planner.manifests import ANNOTATION_BODY, differences

_PATHS_SHOWN = 3


def event_for_repair(apply: Apply, answer: Mapping[str, Any]) -> Event | None:
    """The event about drift that ``apply`` corrected. ``answer`` is the object that the API server returned.

    None if the operator itself had a new body, or if the apply changed nothing, because admission makes the same
    differences again.
    """
    if not apply.repair or any(ANNOTATION_BODY in path for path, _ in apply.drift):
        return None
    left = differences(apply.body, answer)
    corrected = [path for path, value in apply.drift if (path, value) not in left]
    if not corrected:
        return None
    more = len(corrected) - _PATHS_SHOWN
    shown = ", ".join(corrected[:_PATHS_SHOWN]) + (f" and {more} more" if more > 0 else "")
    return Event(False, "DriftRepaired", f"{apply.ref}: another client changed {shown}, and it is set back")


def events_for(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Event]:
    """Events for conditions that became unhealthy since the status ``before``, one per reason.

    Reasons for which the planner emits its own event (a revert, a first failure) are skipped.
    """
    skipped = {
        "RollingOut",
        "WaitingForSlot",
        "Switching",
        "WaitingForApproval",
        "Pending",
        "FirstVersionFailed",
        "Suspended",
        "GatesPending",
    }
    skipped |= {"RevisionHeld", str(part(after, "serving").get("reason"))}
    candidate = part(after, "candidate")
    if candidate.get("phase") == Phase.READY:
        skipped.add(str(candidate.get("reason")))  # the normal wait before the Service moves
    if after.get("rejected") != before.get("rejected"):
        skipped.add("VersionRejected")
    contest, fought = _find(after, "Reconciling"), _find(before, "Reconciling")
    if contest.get("reason") == "DriftContested" != fought.get("reason"):
        yield Event(True, "DriftContested", str(contest.get("message")))
    ready, was = _find(after, "Ready"), _find(before, "Ready")
    if ready.get("status") == "True" and ready.get("reason") not in (
        was.get("reason"),
        "Serving",
        "ScaledToZero",
    ):
        yield Event(True, str(ready.get("reason")), str(ready.get("message")))
    for kind in ("Resolved", "Stalled", "Current"):
        now, then = _find(after, kind), _find(before, kind)
        bad = now.get("status") == "True" if kind == "Stalled" else now.get("status") != "True"
        reason = str(now.get("reason"))
        if kind == "Current" and reason == "VersionRejected" and then.get("status") == "Unknown":
            continue  # emitted before the registry was unreachable
        if now and bad and reason != then.get("reason") and reason not in skipped:
            skipped.add(reason)
            yield Event(True, reason, str(now.get("message")))


def _find(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    conditions = status.get("conditions")
    for condition in conditions if isinstance(conditions, list) else []:
        if isinstance(condition, Mapping) and condition.get("type") == kind:
            return condition
    return {}

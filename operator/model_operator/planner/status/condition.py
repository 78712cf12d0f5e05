"""One condition, and how it is merged into the status."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from model_operator.domain.objects import rfc3339

MESSAGE_LIMIT = 1024
Status = Literal["True", "False", "Unknown"]


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition as it should be in the next status."""

    type: str
    status: Status
    reason: str
    message: str


def merge(
    previous: Iterable[object], desired: Sequence[Condition], generation: int, now: datetime
) -> list[dict[str, Any]]:
    """Returns ``desired`` as status conditions.

    ``lastTransitionTime`` comes from ``previous`` if the condition's status is unchanged, and is ``now`` otherwise.
    Conditions that are not in ``desired`` are removed.
    """
    known = {str(p.get("type")): p for p in previous if isinstance(p, Mapping)}
    merged = []
    for condition in desired:
        before = known.get(condition.type, {})
        same = before.get("status") == condition.status
        since = before.get("lastTransitionTime") if same else None
        merged.append(
            {
                "type": condition.type,
                "status": condition.status,
                "observedGeneration": generation,
                "lastTransitionTime": since if isinstance(since, str) else rfc3339(now),
                "reason": condition.reason if _REASON.fullmatch(condition.reason) else "Unknown",
                "message": condition.message[:MESSAGE_LIMIT],
            }
        )
    return merged


_REASON = re.compile(r"[A-Za-z]([A-Za-z0-9_,:]{0,254}[A-Za-z0-9_])?")

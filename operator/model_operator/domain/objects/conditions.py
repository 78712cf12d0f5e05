"""The conditions of an object's status."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from model_operator.domain.objects.fields import Object, objects, read_time, text


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition. A missing one has an empty status, so it is neither true nor false."""

    status: str = ""
    reason: str = ""
    message: str = ""
    since: datetime | None = None
    """The time of its last change of status."""

    @property
    def is_true(self) -> bool:
        """Whether its status is True."""
        return self.status == "True"

    @property
    def is_false(self) -> bool:
        """Whether its status is False. A missing condition isn't false."""
        return self.status == "False"


MISSING = Condition()


def read_conditions(status: Object) -> Mapping[str, Condition]:
    """The conditions of a status by type. Of several with one type, the first counts."""
    found: dict[str, Condition] = {}
    for raw in objects(status.get("conditions")):
        if (kind := text(raw.get("type"))) not in found:
            found[kind] = Condition(
                text(raw.get("status")),
                text(raw.get("reason")),
                text(raw.get("message")),
                read_time(raw.get("lastTransitionTime")),
            )
    return found

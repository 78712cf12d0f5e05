"""What was written to the API server, and by whom, as its own audit log tells."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

OPERATOR = "model-operator/"
"""How the operator's user agent begins."""


@dataclass(frozen=True, slots=True)
class Write:
    """One writing request that was answered."""

    agent: str
    verb: str
    resource: str
    """With its subresource, as in ``modeldeployments/status``."""
    namespace: str
    name: str
    code: int
    uri: str
    began: float
    ended: float
    """Seconds since the epoch."""
    body: Any

    @property
    def kind_of_write(self) -> tuple[str, str]:
        """Verb and resource."""
        return self.verb, self.resource

    @property
    def by_operator(self) -> bool:
        """Whether the operator made it."""
        return self.agent.startswith(OPERATOR)


def writes(log: Path) -> Iterator[Write]:
    """All writes in the order of their ends, also refused ones."""
    with log.open("rb") as lines:
        for line in lines:
            # the last line may be under way
            if not line.endswith(b"\n"):
                return
            event = json.loads(line)
            what = event.get("objectRef") or {}
            parts = [what.get("resource", ""), what.get("subresource", "")]
            yield Write(
                agent=event.get("userAgent", ""),
                verb=event["verb"],
                resource="/".join(part for part in parts if part),
                namespace=what.get("namespace", ""),
                name=what.get("name", ""),
                code=(event.get("responseStatus") or {}).get("code", 0),
                uri=event["requestURI"],
                began=_seconds(event["requestReceivedTimestamp"]),
                ended=_seconds(event["stageTimestamp"]),
                body=event.get("requestObject"),
            )


def counted(found: list[Write]) -> Counter[tuple[str, str]]:
    """How many writes there were of each verb and resource."""
    return Counter(write.kind_of_write for write in found)


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()

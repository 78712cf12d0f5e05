"""The life of a simulated pod: what the kubelet would say of it at a given age."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from model_operator.api import names
from model_operator.memory import rfc3339

Json = dict[str, Any]


@dataclass(frozen=True)
class Behaviour:
    """How pods of a version live: seconds after their creation at which things happen; None is never."""

    scheduled: float | None = 1
    fetched: float | None = 6
    ready: float | None = 14
    exit_code: int | None = None
    """With it, the server (or, when ``fetched`` is None, the fetch container) ends at ``exits``, again and again."""
    exits: float = 10
    last_words: str = ""
    waits: str = ""
    """Reason for which the server (or the fetch) container waits instead of running, such as ErrImagePull."""
    unschedulable: str = "0/1 nodes are available: 1 Insufficient cpu."


GOOD = Behaviour()


@dataclass
class Pod:
    """One pod; ``life`` is how it fares, which a story may change under it."""

    name: str
    revision: str
    version: str
    image: str
    created: datetime
    life: Behaviour = GOOD

    def age(self, now: datetime) -> float:
        """Seconds since its creation."""
        return (now - self.created).total_seconds()

    def is_ready(self, now: datetime) -> bool:
        """Whether it answers requests."""
        life = self.life
        if None in (life.scheduled, life.fetched, life.ready) or life.exit_code is not None or life.waits:
            return False
        return self.age(now) >= (life.ready or 0)

    def as_object(self, now: datetime) -> Json:
        """The pod as the API server would have it."""
        conditions, containers = self._status(now)
        return {
            "metadata": {
                "name": self.name,
                "creationTimestamp": rfc3339(self.created),
                "labels": {names.LABEL_REVISION: self.revision},
            },
            "status": {"phase": "Running", "conditions": conditions, **containers},
        }

    def _status(self, now: datetime) -> tuple[list[Json], dict[str, list[Json]]]:
        life, age = self.life, self.age(now)
        conditions: list[Json] = []
        containers: dict[str, list[Json]] = {"initContainerStatuses": [], "containerStatuses": []}

        def happened(kind: str, after: float | None, **fields: Any) -> bool:
            true = after is not None and age >= after
            since = self.created + timedelta(seconds=after or 0) if true else self.created
            status = {
                "type": kind,
                "status": "True" if true else "False",
                "lastTransitionTime": rfc3339(since),
            }
            conditions.append(status | ({} if true else fields))
            return true

        waits = {"reason": "Unschedulable", "message": life.unschedulable}
        if not happened("PodScheduled", life.scheduled, **(waits if life.scheduled is None else {})):
            return conditions, containers
        fetched = happened("Initialized", life.fetched)
        words = {"exitCode": 0, "message": '{"inputExample": true}'}
        state: Json = {"terminated": words} if fetched else {"running": {}}
        fetch: Json = {"name": "fetch", "image": "fetch:1", "state": state, "restartCount": 0}
        server: Json = {"name": "server", "image": self.image, "state": {"running": {}}, "restartCount": 0}
        troubled = server if fetched else fetch
        if life.waits:
            troubled["state"] = {"waiting": {"reason": life.waits, "message": life.last_words}}
        elif life.exit_code is not None and age >= life.exits:
            troubled.update(_exited(life, age))
        containers["initContainerStatuses"].append(fetch)
        if fetched:
            containers["containerStatuses"].append(server)
        happened("Ready", life.ready if self.is_ready(now) else None)
        return conditions, containers


def _exited(life: Behaviour, age: float) -> Json:
    """Ended once and running again at first; ended twice and waiting from then on."""
    ended = {"terminated": {"exitCode": life.exit_code, "message": life.last_words, "reason": "Error"}}
    waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}
    if age < 2 * life.exits:
        return {"restartCount": 1, "state": {"running": {}}, "lastState": ended}
    return {"restartCount": 1, "state": waiting, "lastState": ended}

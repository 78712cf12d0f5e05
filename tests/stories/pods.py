"""The life of a simulated pod: what the kubelet would say of it at a given age."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from model_operator.api import names
from model_operator.domain.objects import rfc3339

Json = dict[str, Any]

DRAINS = 5.0
"""Seconds for which a pod that has to go still answers: the sleep of its preStop hook."""
TERMINATES = 7.0
"""Seconds after which it is gone."""
OUT_OF_MEMORY = 137


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
    end_reason: str = ""
    """The kubelet's reason for the end with ``exit_code``; by default Error."""
    held_by: str = ""
    """What others added and keeps the pod from being ready: ``init``, ``sidecar``, ``gate`` or ``volume``."""
    unschedulable: str = "0/1 nodes are available: 1 Insufficient cpu."
    sick_after: float | None = None
    """When the readiness probe begins to fail, with the server running on."""
    dies_after: float | None = None
    """When a server that was ready ends for the first time, with ``dies_with``; it comes back and ends again."""
    dies_with: int = 1
    """Its exit code; 137 is a kill for using too much memory."""
    lives_again: float = 5
    """For how long a server that came back is ready before it ends again."""
    error_ratio: float = 0.0
    """The part of the requests that it answers with a status of 500."""
    turned_away_ratio: float = 0.0
    """The part of the requests that find its queue full and get a status of 503."""
    broken_stream_ratio: float = 0.0
    """The part of the requests whose stream ends with an error, after a status of 200."""
    saturated: bool = False
    """Whether it has as many requests at once as it can work on."""
    node_lost_after: float | None = None
    """When its node stops to report; five minutes later the pod is deleted."""
    evicted_after: float | None = None


GOOD = Behaviour()
GOOD_START = 8.0
"""Seconds that a server needs when it comes back."""
NODE_LOSS_NOTICED = 300.0
_HOLD_A_READY_SERVER = frozenset({"sidecar", "gate"})
_GATE: Json = {
    "reason": "ReadinessGatesNotReady",
    "message": 'corresponding condition of pod readiness gate "target-health.elbv2.k8s.aws/churn" does not exist.',
}
_MOMENTS = (
    "scheduled",
    "fetched",
    "ready",
    "exits",
    "sick_after",
    "dies_after",
    "node_lost_after",
    "evicted_after",
)


@dataclass
class Pod:
    """One pod; ``life`` is how it fares, which a story may change under it."""

    name: str
    track: str
    """The Deployment that it belongs to."""
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    image: str
    created: datetime
    life: Behaviour = GOOD
    deleted: datetime | None = None
    held: float = 0.0
    """Seconds for which no node had room for it."""
    waits_for_room: bool = False

    @property
    def version(self) -> str:
        """The model version that it runs."""
        return self.annotations[names.ANNOTATION_VERSION]

    @property
    def revision(self) -> str:
        """The revision that it runs."""
        return self.labels[names.LABEL_REVISION]

    def fare(self, life: Behaviour, now: datetime) -> None:
        """From now on it lives like this; what would have happened before now happens now."""
        before, age = self.life, self.age(now)
        late = {
            name: age
            for name in _MOMENTS
            if (moment := getattr(life, name)) is not None
            and moment < age
            and moment != getattr(before, name)
        }
        was_sick = before.exit_code is not None or before.waits or _reached(before.sick_after, age)
        if was_sick and life.ready is not None and life.sick_after is None:
            late["ready"] = max(age, life.ready)
        self.life = replace(life, **late)

    def age(self, now: datetime) -> float:
        """Seconds since its creation, without those in which it waited for room."""
        return (now - self.created).total_seconds() - self.held

    def is_scheduled(self, now: datetime) -> bool:
        """Whether a node has it."""
        if self.waits_for_room or self.life.scheduled is None:
            return False
        return self.age(now) >= self.life.scheduled

    def is_evicted(self, now: datetime) -> bool:
        """Whether the kubelet has thrown it out."""
        return _reached(self.life.evicted_after, self.age(now))

    def is_lost(self, now: datetime) -> bool:
        """Whether its node no longer reports."""
        return _reached(self.life.node_lost_after, self.age(now))

    def is_gone(self, now: datetime) -> bool:
        """Whether the API server no longer has it."""
        return self.deleted is not None and (now - self.deleted).total_seconds() >= TERMINATES

    def is_ready(self, now: datetime) -> bool:
        """Whether its readiness probe succeeds; a pod that is deleted counts no longer."""
        return self.deleted is None and self._could_answer(now)

    def answers(self, now: datetime) -> bool:
        """Whether a request that reaches it is answered, also while it drains."""
        if self.deleted is not None and (now - self.deleted).total_seconds() >= DRAINS:
            return False
        return self._could_answer(now)

    def _could_answer(self, now: datetime) -> bool:
        # asked for each pod several times a second: fields that are mostly unset come first, one age serves all
        life = self.life
        if life.exit_code is not None or life.waits or self.waits_for_room:
            return False
        if life.scheduled is None or life.fetched is None or life.ready is None:
            return False
        age = self.age(now)
        if age < life.scheduled or age < life.ready:
            return False
        if any(_reached(end, age) for end in (life.sick_after, life.evicted_after, life.node_lost_after)):
            return False
        return life.dies_after is None or self._death(age)[0] == "ready"

    @property
    def _starts_in(self) -> float:
        return min((self.life.ready or 0.0) - (self.life.fetched or 0.0), GOOD_START)

    def _death(self, age: float) -> tuple[str, int, float]:
        """``ready``, ``starting`` or ``waiting``; how often it ended; at which age it last changed."""
        life = self.life
        since, ends = life.ready or 0.0, life.dies_after
        if ends is None or age < ends:
            return "ready", 0, since
        starts_in = self._starts_in
        deaths = 0
        while True:
            deaths += 1
            states = ("waiting", _pause(deaths)), ("starting", starts_in), ("ready", life.lives_again)
            for state, lasts in states:
                if age < ends + lasts:
                    return state, deaths, ends
                ends += lasts

    def as_object(self, now: datetime) -> Json:
        """The pod as the API server would have it."""
        metadata: Json = {
            "name": self.name,
            "uid": f"uid-{self.name}",
            "creationTimestamp": rfc3339(self.created),
            "labels": dict(self.labels),
            "annotations": dict(self.annotations),
        }
        if self.deleted is not None:
            metadata["deletionTimestamp"] = rfc3339(self.deleted + timedelta(seconds=60))
            metadata["deletionGracePeriodSeconds"] = 60
        if self.is_evicted(now):
            text = "The node was low on resource: memory."
            return {
                "metadata": metadata,
                "status": {"phase": "Failed", "reason": "Evicted", "message": text},
            }
        conditions, containers = self._status(now)
        status: Json = {"phase": "Running", "conditions": conditions, **containers}
        if self.is_lost(now):
            status["reason"] = "NodeLost" if self.deleted is not None else ""
        spec = {"volumes": [{"name": "tls", "secret": {"secretName": "churn-tls"}}]}
        return {"metadata": metadata, "status": status} | (
            {"spec": spec} if self.life.held_by == "volume" else {}
        )

    def _since(self, moment: float) -> str:
        """The time at that age."""
        return rfc3339(self.created + timedelta(seconds=(self.held if moment else 0) + moment))

    def _status(self, now: datetime) -> tuple[list[Json], dict[str, list[Json]]]:
        life, age = self.life, self.age(now)
        conditions: list[Json] = []
        containers: dict[str, list[Json]] = {"initContainerStatuses": [], "containerStatuses": []}

        def happened(kind: str, after: float | None, **fields: Any) -> bool:
            true = after is not None and age >= after
            status = {
                "type": kind,
                "status": "True" if true else "False",
                "lastTransitionTime": self._since((after or 0.0) if true else 0.0),
            }
            conditions.append(status | ({} if true else fields))
            return true

        waits = {"reason": "Unschedulable", "message": life.unschedulable}
        stuck = life.scheduled is None or self.waits_for_room
        scheduled = None if self.waits_for_room else life.scheduled
        if not happened("PodScheduled", scheduled, **(waits if stuck else {})):
            return conditions, containers
        fetched = happened("Initialized", life.fetched)
        words = {"exitCode": 0, "message": '{"inputExample": true}'}
        state: Json = {"terminated": words} if fetched else {"running": {}}
        fetch: Json = {"name": "fetch", "image": "fetch:1", "state": state, "restartCount": 0}
        started = {"running": {"startedAt": self._since(life.fetched or 0.0)}}
        server: Json = {"name": "server", "image": self.image, "state": started, "restartCount": 0}
        troubled = server if fetched else fetch
        if life.waits:
            troubled["state"] = {"waiting": {"reason": life.waits, "message": life.last_words}}
        elif life.exit_code is not None and age >= life.exits:
            troubled.update(self._exited(age))
        elif life.dies_after is not None and age >= life.dies_after:
            server.update(self._died(age))
        if life.held_by:
            self._hold(conditions, containers, fetch)
        containers["initContainerStatuses"].append(fetch)
        if fetched:
            containers["containerStatuses"].append(server)
        ready = self._could_answer(now)
        # of a node that does not report, the last that its kubelet said stands there
        held = fetched and life.held_by in _HOLD_A_READY_SERVER
        server["ready"] = ready or held or self.is_lost(now)
        conditions.append(self._readiness(ready, age) | (_GATE if life.held_by == "gate" else {}))
        return conditions, containers

    def _hold(self, conditions: list[Json], containers: dict[str, list[Json]], fetch: Json) -> None:
        """What the kubelet says of a pod that others hold up."""
        if self.life.held_by in ("init", "volume"):
            fetch["state"] = {"waiting": {"reason": "PodInitializing"}}
        if self.life.held_by == "init":
            end = {"exitCode": 1, "reason": "Error", "message": "iptables: permission denied"}
            crashed = {"waiting": {"reason": "CrashLoopBackOff"}}
            init = {
                "name": "istio-init",
                "state": crashed,
                "lastState": {"terminated": end},
                "restartCount": 2,
            }
            containers["initContainerStatuses"].append(init)
        if self.life.held_by == "sidecar":
            running = {"running": {"startedAt": self._since(self.life.fetched or 0.0)}}
            containers["containerStatuses"].append({"name": "istio-proxy", "ready": False, "state": running})
        prepared = "False" if self.life.held_by == "volume" else "True"
        conditions.append({"type": "PodReadyToStartContainers", "status": prepared})

    def _readiness(self, ready: bool, age: float) -> Json:
        """The condition, with the time of its last change."""
        life = self.life
        if _reached(life.node_lost_after, age):
            since = self._since(life.node_lost_after or 0)
            return {"type": "Ready", "status": "False", "lastTransitionTime": since}
        moment = 0.0
        if ready or (life.ready is not None and age >= life.ready and life.exit_code is None):
            moment = self._death(age)[2]
        if not ready and _reached(life.sick_after, age):
            moment = max(moment, life.sick_after or 0.0, life.ready or 0.0)
        state = {"type": "Ready", "status": "True" if ready else "False"}
        if not ready and moment:
            state["reason"] = "ContainersNotReady"
        return state | {"lastTransitionTime": self._since(moment)}

    def _exited(self, age: float) -> Json:
        """Ended once and running again at first; ended twice and waiting from then on."""
        life = self.life
        at = life.exits if age < 2 * life.exits else 2 * life.exits
        began = life.scheduled if life.fetched is None else life.fetched
        ended = {"terminated": self._end(life.exit_code or 0, at)}
        ended["terminated"]["startedAt"] = self._since((began or 0.0) if at == life.exits else life.exits)
        waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}
        if age < 2 * life.exits:
            again = {"running": {"startedAt": self._since(life.exits)}}
            return {"restartCount": 1, "state": again, "lastState": ended}
        return {"restartCount": 1, "state": waiting, "lastState": ended}

    def _died(self, age: float) -> Json:
        """A server that had been ready and ended; the kubelet starts it again after a pause."""
        state, deaths, since = self._death(age)
        running = {"running": {"startedAt": self._since(since)}}
        waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}
        # what came after the last end is the pause, then the start, then a while in which it is ready
        starts_in = self._starts_in
        pause = _pause(deaths)
        ended_at = since - {"waiting": 0.0, "starting": pause, "ready": pause + starts_in}[state]
        began = (self.life.fetched or 0.0) if deaths == 1 else ended_at - self.life.lives_again - starts_in
        ended = self._end(self.life.dies_with, ended_at) | {"startedAt": self._since(began)}
        return {
            "restartCount": deaths if state != "waiting" else deaths - 1,
            "state": waiting if state == "waiting" else running,
            "lastState": {"terminated": ended},
        }

    def _end(self, code: int, at: float) -> Json:
        reason = self.life.end_reason or ("OOMKilled" if code == OUT_OF_MEMORY else "Error")
        return {
            "exitCode": code,
            "message": self.life.last_words,
            "reason": reason,
            "finishedAt": self._since(at),
        }


def _pause(deaths: int) -> float:
    """The first comes back at once, then the kubelet doubles its pauses."""
    return 0.0 if deaths == 1 else min(10.0 * 2 ** (deaths - 2), 300.0)


def _reached(moment: float | None, age: float) -> bool:
    return moment is not None and age >= moment

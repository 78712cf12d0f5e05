"""Kubernetes' side of the simulation: what its controllers and proxies do with the objects that the operator made.

A Deployment controller for each track, an endpoints controller that may lag behind, a HorizontalPodAutoscaler that
wants what the story says, and clients whose requests show whether anybody ever stood without a server.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tests.stories.pods import NODE_LOSS_NOTICED, Behaviour, Pod

from model_operator.domain.objects import Kind
from model_operator.domain.world import Traffic

Json = dict[str, Any]
SERVICE_NAME = "kubernetes.io/service-name"
SCRAPE_SECONDS = 10


@dataclass(frozen=True)
class Endpoint:
    """A pod as the EndpointSlice of a Service has it."""

    pod: str
    ready: bool
    serving: bool
    terminating: bool

    def as_json(self) -> Json:
        """One entry of ``endpoints``."""
        return {
            "addresses": ["10.0.0.1"],
            "conditions": {"ready": self.ready, "serving": self.serving, "terminating": self.terminating},
            "targetRef": {"kind": "Pod", "name": self.pod, "uid": f"uid-{self.pod}"},
        }


@dataclass
class Endpoints:
    """What is known of the pods behind one Service, and what is on its way."""

    known: tuple[Endpoint, ...] = ()
    coming: list[tuple[datetime, tuple[Endpoint, ...]]] = field(default_factory=list)

    def publish(self, now: datetime) -> bool:
        """What is due becomes known; returns whether that changed anything."""
        before = self.known
        while self.coming and self.coming[0][0] <= now:
            self.known = self.coming.pop(0)[1]
        return self.known != before

    def expect(self, endpoints: tuple[Endpoint, ...], due: datetime) -> bool:
        """Notes what the pods are now; returns whether that is news."""
        if endpoints == (self.coming[-1][1] if self.coming else self.known):
            return False
        self.coming.append((due, endpoints))
        return True


@dataclass
class Kubernetes:
    """The controllers' own memory; ``objects`` is shared with the simulation, which carries out the writes."""

    name: str
    objects: dict[tuple[Kind, str], Json]
    numbers: itertools.count[int]
    behaviour: Callable[[str, str], Behaviour]
    """How a pod with that image and model version lives."""
    pods: list[Pod] = field(default_factory=list)
    endpoints: dict[str, Endpoints] = field(default_factory=dict)
    endpoints_lag: float = 0.0
    """Seconds by which EndpointSlices and proxies are behind; 0 is one step of a controller."""
    room: int | None = None
    """How many pods fit on the nodes, where that is limited."""
    quota: int | None = None
    """How many pods the namespace may have, where that is limited."""
    autoscaled: int | None = None
    """How many replicas the autoscaler wants, where there is one."""
    requests_per_second: float = 0.0
    """What clients send beyond the one request for each step of time, as the pods count it."""
    requests_lost: int = 0
    fewest_ready: int = 0
    watched: str = ""
    counted: Traffic = field(default_factory=Traffic)
    traffic: Traffic = field(default_factory=Traffic)
    metrics_are_unreadable: str = ""
    """Why the operator can't read the metrics of the pods."""
    """What was counted when the pods were last asked."""

    def step(self, now: datetime) -> bool:
        """One step of every controller; returns whether anything moved."""
        published = [endpoints.publish(now) for endpoints in self.endpoints.values()]
        self._schedule(now)
        moved = self._autoscale(now)
        for (kind, name), deployment in list(self.objects.items()):
            if kind is Kind.DEPLOYMENT:
                moved |= self._roll(name, deployment, now)
        moved |= self._clean_up(now)
        noticed = [self._notice_pods(name, now) for name in self._services()]
        self.fewest_ready = min(self.fewest_ready, len(self.reached(now)))
        return moved or any(published) or any(noticed)

    # --- pods -----------------------------------------------------------------------------------

    def _schedule(self, now: datetime) -> None:
        """Pods for which no node has room do not grow older."""
        if self.room is None:
            return
        taken = sum(pod.is_scheduled(now) and not pod.is_evicted(now) for pod in self.pods)
        for pod in self.pods:
            if pod.is_scheduled(now):
                continue
            pod.waits_for_room = taken >= self.room
            taken += not pod.waits_for_room
            if pod.waits_for_room:
                pod.held = (now - pod.created).total_seconds()

    def _roll(self, track: str, deployment: Json, now: datetime) -> bool:
        """Replaces pods one after the other, within maxSurge and maxUnavailable, as far as it can go now."""
        spec, status = deployment["spec"], deployment["status"]
        wanted, template = spec["replicas"], spec["template"]
        surge, unavailable = _limits(spec["strategy"]["rollingUpdate"], wanted)
        mine = [p for p in self.pods if p.track == track and p.deleted is None and not p.is_evicted(now)]
        labels, before = template["metadata"]["labels"], [p.name for p in mine]
        new = [p for p in mine if p.labels == labels]
        old = [p for p in mine if p.labels != labels]
        # pods that do not serve are the first to go
        for pod in [p for p in old if not p.is_ready(now)]:
            self._end(pod, now)
            old.remove(pod)
        available = sum(p.is_ready(now) for p in new + old)
        while old and available > wanted - unavailable:
            self._end(old.pop(0), now)
            available -= 1
        while len(new) > wanted:
            leaving = next((p for p in new if not p.is_ready(now)), new[-1])
            new.remove(leaving)
            self._end(leaving, now)
        refused = False
        if len(new) < wanted and len(new) + len(old) < wanted + surge:
            refused = self.quota is not None and len(self.pods) >= self.quota
            if not refused:
                new.append(self._new_pod(track, template, now))
        ready = sum(p.is_ready(now) for p in new + old)
        deployment["status"] = {
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": len(new) + len(old),
            "updatedReplicas": len(new),
            "readyReplicas": ready,
            "availableReplicas": ready,
        }
        if refused:
            failure = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate"}
            failure["message"] = f'pods "{track}-x" is forbidden: exceeded quota: pods'
            deployment["status"]["conditions"] = [failure]
        now_there = [p.name for p in self.pods if p in new or p in old]
        return status != deployment["status"] or before != now_there

    def _new_pod(self, track: str, template: Mapping[str, Any], now: datetime) -> Pod:
        metadata, image = template["metadata"], template["spec"]["containers"][0]["image"]
        pod = Pod(
            f"{track}-{next(self.numbers)}", track, metadata["labels"], metadata["annotations"], image, now
        )
        pod.life = self.behaviour(image, pod.version)
        self.pods.append(pod)
        return pod

    def _end(self, pod: Pod, now: datetime) -> None:
        """Deletes a pod; one that runs takes a few seconds to go."""
        if pod.is_scheduled(now):
            pod.deleted = pod.deleted or now
        elif pod in self.pods:
            self.pods.remove(pod)

    def _clean_up(self, now: datetime) -> bool:
        """The garbage collector, the node controller and the kubelet take away what has to go."""
        before = [(p.name, p.deleted) for p in self.pods]
        for pod in list(self.pods):
            if (Kind.DEPLOYMENT, pod.track) not in self.objects and pod.deleted is None:
                self._end(pod, now)
            lost = pod.life.node_lost_after
            if lost is not None and pod.age(now) >= lost + NODE_LOSS_NOTICED and pod.deleted is None:
                pod.deleted = now
        self.pods[:] = [p for p in self.pods if not p.is_gone(now)]
        return before != [(p.name, p.deleted) for p in self.pods]

    def _autoscale(self, now: datetime) -> bool:
        """Wants what the story says of the Deployment that it is told to scale; one at 0 is left alone."""
        autoscaler = self.objects.get((Kind.AUTOSCALER, self.name))
        if autoscaler is None or self.autoscaled is None:
            return False
        spec = autoscaler["spec"]
        target = self.objects.get((Kind.DEPLOYMENT, spec["scaleTargetRef"]["name"]))
        if target is None or target["spec"]["replicas"] == 0:
            return False
        wanted = max(spec["minReplicas"], min(self.autoscaled, spec["maxReplicas"]))
        before = target["spec"]["replicas"], dict(autoscaler["status"])
        limited = {"type": "ScalingLimited", "status": "False", "reason": "DesiredWithinRange"}
        if self.autoscaled > spec["maxReplicas"]:
            limited |= {"status": "True", "reason": "TooManyReplicas"}
        autoscaler["status"] = {
            "currentReplicas": target["spec"]["replicas"],
            "desiredReplicas": wanted,
            "conditions": [limited],
        }
        if target["spec"]["replicas"] != wanted:
            target["spec"]["replicas"] = wanted
            target["metadata"]["generation"] += 1
            target["metadata"]["resourceVersion"] = str(next(self.numbers))
        return before != (wanted, autoscaler["status"])

    # --- endpoints and requests -----------------------------------------------------------------

    def _services(self) -> list[str]:
        names = [name for (kind, name) in self.objects if kind is Kind.SERVICE]
        for name in set(self.endpoints) - set(names):
            del self.endpoints[name]
        return names

    def _notice_pods(self, service: str, now: datetime) -> bool:
        """The endpoints controller looks at the pods that the selector of a Service matches."""
        selector = self.objects[(Kind.SERVICE, service)]["spec"].get("selector")
        found = []
        for pod in self.pods if selector else ():
            matches = all(pod.labels.get(key) == value for key, value in selector.items())
            if matches and pod.is_scheduled(now) and not pod.is_evicted(now):
                leaving = pod.deleted is not None
                found.append(Endpoint(pod.name, pod.is_ready(now), pod.answers(now), leaving))
        due = now + timedelta(seconds=self.endpoints_lag)
        endpoints = self.endpoints.setdefault(service, Endpoints())
        return bool(selector) and endpoints.expect(tuple(found), due)

    def slices(self) -> tuple[Json, ...]:
        """The EndpointSlices of all Services; they inherit the labels of their Service."""
        return tuple(
            {
                "metadata": {
                    "name": f"{name}-abcde",
                    "labels": {
                        **self.objects[(Kind.SERVICE, name)]["metadata"]["labels"],
                        SERVICE_NAME: name,
                    },
                },
                "endpoints": [endpoint.as_json() for endpoint in endpoints.known],
            }
            for name, endpoints in self.endpoints.items()
            if (Kind.SERVICE, name) in self.objects
        )

    def _routes(self, service: str) -> list[str]:
        """The pods to which the proxies send requests: ready ones, or for want of these draining ones."""
        known = self.endpoints.get(service, Endpoints()).known
        return [e.pod for e in known if e.ready] or [e.pod for e in known if e.serving]

    def reached(self, now: datetime, service: str = "") -> list[Pod]:
        """The pods that requests to the Service reach, and that answer them."""
        routes = self._routes(service or self.name)
        return [pod for pod in self.pods if pod.name in routes and pod.answers(now)]

    def send_requests(self, now: datetime, seconds: float) -> None:
        """Clients send at least one request to each endpoint; it is lost when the pod is gone, or none answers.

        A pod that breaks down takes the requests that it had with it, whatever an operator does; such a request
        counts as lost only when no other pod could have taken it.
        """
        routes, reached = self._routes(self.name), self.reached(now)
        exists = {pod.name for pod in self.pods}
        self.requests_lost += not reached or any(name not in exists for name in routes)
        watched = [pod for pod in reached if pod.revision == self.watched]
        if self.watched and self.metrics_are_unreadable:
            self.traffic = Traffic(unread=self.metrics_are_unreadable)
            return
        if self.traffic.unread:
            self.traffic = Traffic(read=True)
        if not watched or not self.requests_per_second:
            return
        each = self.requests_per_second * seconds / len(reached)
        self.counted = Traffic(
            self.counted.requests + round(each * len(watched)),
            self.counted.errors + round(sum(each * pod.life.error_ratio for pod in watched)),
            any(pod.life.saturated for pod in watched),
            turned_away=self.counted.turned_away
            + round(sum(each * pod.life.turned_away_ratio for pod in watched)),
            broken_streams=self.counted.broken_streams
            + round(sum(each * pod.life.broken_stream_ratio for pod in watched)),
        )
        if int(now.timestamp()) % SCRAPE_SECONDS == 0:
            self.traffic = self.counted

    def watch(self, revision: str) -> None:
        """From now on the requests to pods of that revision are counted."""
        if revision != self.watched:
            self.watched, self.counted, self.traffic = revision, Traffic(), Traffic()


def _limits(rolling_update: Mapping[str, Any], wanted: int) -> tuple[int, int]:
    """How many pods more, and how many fewer, than ``wanted``; percents as Kubernetes rounds them."""

    def count(value: int | str, rounded: Callable[[float], int]) -> int:
        return rounded(int(value.removesuffix("%")) * wanted / 100) if isinstance(value, str) else value

    surge = count(rolling_update["maxSurge"], math.ceil)
    unavailable = count(rolling_update["maxUnavailable"], math.floor)
    return surge, unavailable or (0 if surge else 1)

"""Lets the operator of every ModelDeployment come to its n-th write, and no further."""

from __future__ import annotations

import json
import re
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from tests.wire.faults import done_but, reset
from tests.wire.wire import Exchange, Trick

_OBJECT = re.compile(r"/namespaces/[^/]+/[^/]+/(?P<name>[^/]+)")


class Moment(StrEnum):
    """When the operator dies, seen from a write."""

    BEFORE = "before the write reached the API server"
    AFTER = "when the write was carried out and its answer was on the way"


@dataclass(frozen=True)
class Stop:
    """At which write of a ModelDeployment its operator dies, from 1, and when."""

    write: int
    moment: Moment


class WriteGate:
    """A fault that counts the writes of each ModelDeployment, and from its stop on lets none of them through.

    The writes of one ModelDeployment come one after the other. So what stands in the cluster when all have come to
    their stops, or have nothing left to write, is what an operator leaves that dies at each of them; and then one
    SIGKILL is the death of all.
    """

    def __init__(self, owner: Callable[[str], str | None]) -> None:
        self._owner = owner
        self._lock = threading.Lock()
        self._stops: dict[str, Stop] = {}
        self.told: dict[str, list[str]] = defaultdict(list)
        """The writes of each ModelDeployment since ``count`` was called, up to its stop."""
        self.stopped: dict[str, str] = {}
        """Those that have come to their stop, and the write that it was."""

    def count(self, stops: Mapping[str, Stop] | None = None) -> None:
        """Counts from here on, and stops where ``stops`` says; without any, everything passes."""
        with self._lock:
            self._stops = dict(stops or {})
            self.told.clear()
            self.stopped.clear()

    def __call__(self, exchange: Exchange) -> Trick | None:
        """Counts a write and lets it through; from the stop on none. See Fault."""
        name = self._owner(written(exchange)) if exchange.writes else None
        if name is None:
            return None
        with self._lock:
            if name in self.stopped:
                return reset
            self.told[name].append(f"{exchange.method} {exchange.path}")
            stop = self._stops.get(name)
            if stop is None or len(self.told[name]) < stop.write:
                return None
            self.stopped[name] = self.told[name][-1]
        return done_but() if stop.moment is Moment.AFTER else reset


@dataclass
class WriteCount:
    """A fault that is none: it only counts."""

    writes: int = 0
    """How many requests have come so far that may change something."""

    def __call__(self, exchange: Exchange) -> None:
        """See Fault."""
        self.writes += exchange.writes


def written(exchange: Exchange) -> str:
    """The name of the object that a request writes; for an event, of the object that it is about."""
    if exchange.method == "POST":
        body = json.loads(exchange.body)
        about = body.get("involvedObject") or body.get("metadata", {})
        return str(about.get("name", ""))
    found = _OBJECT.search(exchange.path)
    return found["name"] if found else ""

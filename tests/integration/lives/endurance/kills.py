"""Every life is lived once undisturbed, then again and again with an operator that dies at one of its writes."""

from __future__ import annotations

import re
import secrets
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.integration.lives.bench import PLURALS, Bench
from tests.integration.lives.endurance.likeness import Remains, differences, remains
from tests.integration.lives.endurance.whole_lives import LOOK_SECONDS, Cast, Life, serves
from tests.integration.lives.endurance.write_gate import Moment, Stop, WriteGate

Json = dict[str, Any]
Casts = Mapping[Life, Cast]
Chosen = Mapping[Life, Mapping[str, Stop]]
"""Where each life's operator dies, by the end of the ModelDeployment's name."""
KINDS = [kind for kind in PLURALS if kind not in ("Event", "Secret", "EndpointSlice")]
CHILDREN = [kind for kind in KINDS if kind != "ModelDeployment"]
UNDISTURBED = "00u"
PATIENCE_SECONDS = 600
QUIET_SECONDS = 2.0
AT_ONCE = 64
"""So many are lived at once: more would only wait for the machine."""
_LETTERS = {Moment.BEFORE: "b", Moment.AFTER: "a"}
_NAME = re.compile(r"(?P<name>[a-z]+-\d\d[abu])(?![a-z0-9])")
_OBJECT = re.compile(r"(/namespaces/[^/]+/[^/]+)/[^/]+")
_DURATION = re.compile(r"\d+ s\b")
_BY_TIME = ("RegistryUnreachable", "ErrorsNotJudged")
"""Reasons of events that depend on how long a life took."""


def owner(name: str) -> str | None:
    """The ModelDeployment that an object belongs to, by its name; None when it is none of ours."""
    found = _NAME.match(name)
    return found["name"] if found else None


@dataclass(frozen=True)
class Outcome:
    """What became of one ModelDeployment: what stands in the cluster, and which events told of it, how often."""

    remains: Remains
    events: Counter[str]


@dataclass
class Record:
    """All that was seen."""

    undisturbed: dict[str, Outcome] = field(default_factory=dict)
    """By life."""
    writes: dict[str, list[str]] = field(default_factory=dict)
    """By life: the writes after its turn, when nobody disturbed it."""
    points: Counter[str] = field(default_factory=Counter)
    """By life: how many points were chosen for a kill."""
    kills: dict[str, list[tuple[Stop, str]]] = field(default_factory=lambda: defaultdict(list))
    """By life: the points at which the operator was killed, and the writes that they were."""
    complaints: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """By life: how lives with a kill ended differently."""
    orphans: list[str] = field(default_factory=list)
    """What was left after everything was deleted while no operator ran."""
    words: str = ""
    """The operator's log."""


def every_write(writes: Sequence[str]) -> Iterator[Stop]:
    """Before and after every write."""
    for number in range(1, len(writes) + 1):
        yield from (Stop(number, moment) for moment in Moment)


def first_of_each_kind(writes: Sequence[str]) -> Iterator[Stop]:
    """Before the very first write, and after the first one of each verb, resource and subresource."""
    yield Stop(1, Moment.BEFORE)
    kinds = [_OBJECT.sub(r"\1", write) for write in writes]
    for number, kind in enumerate(kinds, 1):
        if kind not in kinds[: number - 1]:
            yield Stop(number, Moment.AFTER)


class Scaffold:
    """Lives many lives at once under one operator, whose writes pass the gate."""

    def __init__(self, bench: Bench, gate: WriteGate, lives: Sequence[Life]) -> None:
        self.bench = bench
        self.gate = gate
        self.lives = lives
        self.record = Record()

    def run(self, choose: Callable[[Sequence[str]], Iterator[Stop]], times: int = 1) -> Record:
        """Lives every life undisturbed, then once for each stop that is chosen among its writes.

        Who was killed is killed again, up to so many ``times`` in all, each time at the same number of writes.
        """
        self._live_undisturbed()
        chosen = [(life, stop) for life in self.lives for stop in choose(self.record.writes[life.name])]
        self.record.points = Counter(life.name for life, _ in chosen)
        for first in range(0, len(chosen), AT_ONCE):
            part: dict[Life, dict[str, Stop]] = {}
            for life, stop in chosen[first : first + AT_ONCE]:
                part.setdefault(life, {})[_suffix(stop)] = stop
            self.bench.operator.start()
            self._live_with_kills(part, times)
        self.record.words = self.bench.operator.all_words()
        return self.record

    # --- steps ------------------------------------------------------------------------------------

    def _live_undisturbed(self) -> None:
        casts = {life: self._cast(life, [UNDISTURBED]) for life in self.lives}
        self._come_to_the_turn(casts)
        self.gate.count()
        for life, cast in casts.items():
            life.turn(cast)
        self._until_ended(casts)
        outcomes = self._outcomes(casts)
        for life, cast in casts.items():
            self.record.writes[life.name] = list(self.gate.told[cast.names[0]])
            self.record.undisturbed[life.name] = outcomes[cast.names[0]]

    def _live_with_kills(self, chosen: Chosen, times: int) -> None:
        casts = {life: self._cast(life, list(stops)) for life, stops in chosen.items()}
        named = {f"{life.name}-{end}": stop for life, stops in chosen.items() for end, stop in stops.items()}
        self._come_to_the_turn(casts)
        self.gate.count(named)
        for life, cast in casts.items():
            life.turn(cast)
        for _ in range(times):
            self._until_stopped(casts)
            self.bench.operator.kill()
            for life, cast in casts.items():
                reached = [(named[n], self.gate.stopped[n]) for n in cast.names if n in self.gate.stopped]
                self.record.kills[life.name] += reached
            self.gate.count(named)
            self.bench.operator.start()
        # the last one lives on
        self.gate.count()
        self._until_ended(casts)
        self._compare(casts)
        self._delete_without_an_operator(casts)

    def _cast(self, life: Life, suffixes: Sequence[str]) -> Cast:
        model = f"model-{secrets.token_hex(4)}"
        self.bench.register(model)
        self.bench.alias(model, "champion", 1)
        return Cast(self.bench, model, [f"{life.name}-{suffix}" for suffix in suffixes])

    def _come_to_the_turn(self, casts: Casts) -> None:
        begun = {life: cast for life, cast in casts.items() if not life.begins_with_turn}
        for life, cast in begun.items():
            cast.create(life.spec)
        for life, cast in begun.items():
            settled = life.spec["rollout"]["watchSeconds"] < PATIENCE_SECONDS
            cast.until(f"{life.name}: version 1 serves", serves(1, settled), PATIENCE_SECONDS)
        for life, cast in begun.items():
            life.before(cast)
        self._until_quiet("before the turn")

    def _until_stopped(self, casts: Casts) -> None:
        def all_are() -> bool:
            found = {
                o["metadata"]["name"]: o.get("status") or {} for o in self.bench.items("ModelDeployment")
            }
            return all(
                name in self.gate.stopped or life.ends(found.get(name, {}))
                for life, cast in casts.items()
                for name in cast.names
            )

        self.bench.until("all have come to their stop, or their end", all_are, PATIENCE_SECONDS, LOOK_SECONDS)
        self._until_quiet("at the stops")

    def _until_ended(self, casts: Casts) -> None:
        for life, cast in casts.items():
            cast.until(f"{life.name} comes to its end", life.ends, PATIENCE_SECONDS)
        self._until_quiet("at the end")

    def _until_quiet(self, when: str) -> None:
        """Waits until no write has come for a while."""

        def writes() -> int:
            return sum(map(len, self.gate.told.values()))

        what = f"the operator is quiet {when}"
        self.bench.until_still(what, writes, QUIET_SECONDS, PATIENCE_SECONDS, LOOK_SECONDS)

    # --- what is left -----------------------------------------------------------------------------

    def _compare(self, casts: Casts) -> None:
        complaints: dict[str, list[str]] = {}

        def all_equal() -> bool:
            complaints.clear()
            outcomes = self._outcomes(casts)
            for life, cast in casts.items():
                wanted = self.record.undisturbed[life.name]
                for name in cast.names:
                    told = outcomes[name].events - wanted.events
                    found = differences(wanted.remains, outcomes[name].remains)
                    found += [f"told {n} times more: {text}" for text, n in told.items()]
                    if found:
                        where = f"{name}, killed at {self._killed_at(life, name)}: "
                        complaints.setdefault(life.name, []).extend(f"{where}{line}" for line in found)
            return not complaints

        # Kubernetes' own controllers may still have to remove a pod
        deadline = time.monotonic() + 30
        while not all_equal() and time.monotonic() < deadline:
            time.sleep(1)
        for name, lines in complaints.items():
            self.record.complaints[name] += lines

    def _killed_at(self, life: Life, name: str) -> str:
        return ", ".join(w for stop, w in self.record.kills[life.name] if name.endswith(_suffix(stop)))

    def _delete_without_an_operator(self, casts: Casts) -> None:
        self.bench.operator.kill()
        names = {name for cast in casts.values() for name in cast.names}
        for cast in casts.values():
            cast.delete()

        def left() -> list[str]:
            found = [(kind, o["metadata"]["name"]) for kind in CHILDREN for o in self.bench.items(kind)]
            return [f"{kind} {name}" for kind, name in found if owner(name) in names]

        deadline = time.monotonic() + PATIENCE_SECONDS
        while left() and time.monotonic() < deadline:
            time.sleep(0.5)
        self.record.orphans += left()

    def _outcomes(self, casts: Casts) -> dict[str, Outcome]:
        """What has become of each, by its name."""
        names = {name for cast in casts.values() for name in cast.names}
        found: dict[str, dict[str, list[Json]]] = {name: {kind: [] for kind in KINDS} for name in names}
        for kind in KINDS:
            for obj in self.bench.items(kind):
                if (name := owner(obj["metadata"]["name"])) in names:
                    found[name][kind].append(obj)
        events: dict[str, Counter[str]] = defaultdict(Counter)
        for event in self.bench.items("Event"):
            # no kill brings these about: the registry's answer is late on a machine without a free core, and a minute
            # without metrics is told
            if event["involvedObject"]["kind"] == "ModelDeployment" and event["reason"] not in _BY_TIME:
                text = f"{event['reason']}: {_DURATION.sub('N s', event['message'])}"
                events[event["involvedObject"]["name"]][text] += event.get("count") or 1
        outcomes = {}
        for cast in casts.values():
            for name in cast.names:
                words = {name: "NAME", cast.model: "MODEL"}
                # the hash is of a template that names the ModelDeployment
                sets = found[name]["ReplicaSet"]
                words |= {s["metadata"]["labels"]["pod-template-hash"]: "HASH" for s in sets}
                words |= {o["metadata"]["uid"]: "UID" for o in found[name]["ModelDeployment"]}
                words |= _revisions(found[name]["ControllerRevision"])
                told = Counter({text.replace(cast.model, "MODEL"): n for text, n in events[name].items()})
                outcomes[name] = Outcome(remains(found[name], words), told)
        return outcomes


def _suffix(stop: Stop) -> str:
    """The end of the name of who dies there."""
    return f"{stop.write:02d}{_LETTERS[stop.moment]}"


def _revisions(kept: Sequence[Json]) -> dict[str, str]:
    """Revisions by their age: their names have a hash of a wish that names the model."""
    in_order = sorted(kept, key=lambda revision: revision["revision"])
    return {r["data"]["name"]: f"REVISION-{number}" for number, r in enumerate(in_order, 1)}

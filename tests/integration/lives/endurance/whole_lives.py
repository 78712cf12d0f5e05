"""Whole lives of ModelDeployments, each with the turn in which the operator is killed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml
from tests.integration.lives.bench import Bench
from tests.integration.lives.kubelet import Script

Json = dict[str, Any]
LOAD_FAILED = Script(50, '{"reason": "LoadFailed", "message": "ValueError: the pickle is broken"}')
OUT_OF_MEMORY = Script(dies="OOMKilled")
STUCK = Script(stuck=True)
SHORT_WATCH, LONG_WATCH = 1, 3600
LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class Cast:
    """Those that live one life together: they follow one model's alias, so one move of it moves them all."""

    bench: Bench
    model: str
    names: Sequence[str]

    def moves(self, version: int) -> None:
        """The alias moves."""
        self.bench.alias(self.model, "champion", version)

    def behaves(self, version: int, script: Script) -> None:
        """From now on the pods of that version behave so."""
        self.bench.kubelet.scripts[(self.model, str(version))] = script

    def create(self, spec: Json) -> None:
        """All come into being."""
        followed = {"model": {"name": self.model, "alias": "champion"}, **spec}
        for name in self.names:
            self.bench.create(name, followed)

    def commit(self, change: Json) -> None:
        """A merge patch on the spec of each."""
        for name in self.names:
            self.bench.patch("ModelDeployment", name, {"spec": change})

    def delete(self) -> None:
        """All are deleted."""
        for name in self.names:
            self.bench.delete("ModelDeployment", name)

    def statuses(self) -> dict[str, Json]:
        """The status of each that is there."""
        found = {o["metadata"]["name"]: o for o in self.bench.items("ModelDeployment")}
        return {name: found[name].get("status") or {} for name in self.names if name in found}

    def unlike(self, true: Callable[[Json], object]) -> dict[str, Json]:
        """The statuses of which it is not true (an empty one for who is not there)."""
        found = self.statuses()
        return {n: status for n in self.names if not true(status := found.get(n, {}))}

    def until(self, what: str, true: Callable[[Json], object], seconds: float = 120) -> None:
        """Waits until it is true of the status of each. Raises AssertionError with those of the others."""
        deadline = time.monotonic() + seconds
        while others := self.unlike(true):
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {seconds} s: {what}\n{yaml.safe_dump(others)}")
            time.sleep(LOOK_SECONDS)


@dataclass(frozen=True, eq=False)
class Life:
    """One life: how it comes to its turn, the turn, and what the status says in the end."""

    name: str
    sentence: str
    spec: Json
    turn: Callable[[Cast], None]
    ends: Callable[[Json], bool]
    before: Callable[[Cast], None] = field(default=lambda cast: None)
    begins_with_turn: bool = False
    """The turn is the creation itself."""


def condition(status: Json, kind: str) -> tuple[str, str]:
    """Status and reason of a condition; ("", "") when it is absent."""
    for found in status.get("conditions", []):
        if found["type"] == kind:
            return found["status"], found["reason"]
    return "", ""


def serves(version: int, settled: bool = True) -> Callable[[Json], bool]:
    """Whether that version is wanted and serves, has outlived its watch if asked, and nothing is under way."""

    def check(status: Json) -> bool:
        serving = status.get("serving", {})
        return (
            condition(status, "Current")[0] == "True"
            and condition(status, "Reconciling") == ("", "")
            and serving.get("version") == str(version)
            and bool(serving.get("settled")) is settled
        )

    return check


def rejected(version: int, serving: int) -> Callable[[Json], bool]:
    """Whether that version was rejected, the other serves, and nothing is under way."""

    def check(status: Json) -> bool:
        return (
            condition(status, "Current") == ("False", "VersionRejected")
            and condition(status, "Reconciling") == ("", "")
            and status.get("serving", {}).get("version") == str(serving)
            and [r["version"] for r in status.get("rejected", [])] == [str(version)]
        )

    return check


def shape(strategy: str, watch: int = SHORT_WATCH, **more: Any) -> Json:
    """A spec of one pod."""
    rollout = {"strategy": strategy, "watchSeconds": watch, "warmSeconds": 0}
    return {"replicas": 1, "rollout": rollout, **more}


ROLLING, BLUE_GREEN = "RollingUpdate", "BlueGreen"


def _moves(version: int) -> Callable[[Cast], None]:
    return lambda cast: cast.moves(version)


def _version_3_does_not_load(cast: Cast) -> None:
    cast.behaves(3, LOAD_FAILED)


def _version_2_is_live(cast: Cast) -> None:
    cast.moves(2)
    cast.until("version 2 serves", serves(2, settled=False))
    cast.bench.until_a_later_second()


def _version_2_gets_sick(cast: Cast) -> None:
    cast.behaves(2, OUT_OF_MEMORY)


def _more_env_and_an_autoscaler(cast: Cast) -> None:
    env = [{"name": "THREADS", "value": "2"}]
    autoscaling = {"minReplicas": 1, "maxReplicas": 3, "targetCPUUtilizationPercentage": 70}
    cast.commit({"server": {"env": env}, "replicas": None, "autoscaling": autoscaling})


def _grows(cast: Cast) -> None:
    cast.commit({"replicas": 2})


def _is_made_anew(cast: Cast) -> None:
    cast.delete()
    cast.create(shape(BLUE_GREEN))


LIVES = (
    Life(
        "first",
        "the first version comes up",
        shape(ROLLING),
        lambda cast: cast.create(shape(ROLLING)),
        serves(1),
        begins_with_turn=True,
    ),
    Life("move", "the alias moves, with RollingUpdate", shape(ROLLING), _moves(2), serves(2)),
    Life("switch", "the alias moves, with BlueGreen", shape(BLUE_GREEN), _moves(2), serves(2)),
    Life(
        "bad",
        "a version that does not load, with RollingUpdate",
        shape(ROLLING),
        _moves(3),
        rejected(3, 1),
        _version_3_does_not_load,
    ),
    Life(
        "beside",
        "a version that does not load, with BlueGreen",
        shape(BLUE_GREEN),
        _moves(3),
        rejected(3, 1),
        _version_3_does_not_load,
    ),
    Life(
        "sick",
        "a version that gets sick in its watch, with RollingUpdate",
        shape(ROLLING, LONG_WATCH),
        _version_2_gets_sick,
        rejected(2, 1),
        _version_2_is_live,
    ),
    Life(
        "back",
        "a version that gets sick in its watch, with BlueGreen",
        shape(BLUE_GREEN, LONG_WATCH),
        _version_2_gets_sick,
        rejected(2, 1),
        _version_2_is_live,
    ),
    Life(
        "commit",
        "a commit changes the pods and brings an autoscaler",
        shape(ROLLING),
        _more_env_and_an_autoscaler,
        serves(1),
    ),
    Life(
        "grow",
        "the number of replicas is raised",
        shape(ROLLING),
        _grows,
        lambda s: serves(1)(s) and s.get("readyReplicas") == 2,
    ),
    Life(
        "anew", "it is deleted and made anew under the same name", shape(BLUE_GREEN), _is_made_anew, serves(1)
    ),
)

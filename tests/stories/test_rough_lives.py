"""Lives in which everything goes wrong at once: versions that fail live, lost children, an operator that dies.

Requests may be lost then. What must hold all the same: it ends well once all is mended, and rests.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from tests.stories.conftest import strategy
from tests.stories.pods import Behaviour
from tests.stories.simulation import SimulatedCluster, outage, serving

from model_operator.api import names
from model_operator.domain.objects import Kind

Json = dict[str, Any]
Event = Callable[[SimulatedCluster, random.Random], None]

LIVES = {
    "3": Behaviour(exit_code=50, last_words='{"reason":"LoadFailed","message":"KeyError: weights"}'),
    "4": Behaviour(exit_code=1, exits=5, ready=None, last_words="Segmentation fault"),
    "5": Behaviour(dies_after=60, dies_with=137),
    "6": Behaviour(sick_after=50),
    "7": Behaviour(fetched=None, exit_code=42, last_words='{"reason":"StoreUnreachable"}'),
    "8": Behaviour(scheduled=None),
    "server:typo": Behaviour(ready=None, waits="ErrImagePull", last_words="server:typo: not found"),
}


def set_size(replicas: int) -> Callable[[Json], None]:
    def change(spec: Json) -> None:
        spec.pop("autoscaling", None)
        spec["replicas"] = replicas

    return change


def autoscale(cluster: SimulatedCluster, dice: random.Random) -> None:
    def change(spec: Json) -> None:
        spec.pop("replicas", None)
        spec["autoscaling"] = {"minReplicas": 1, "maxReplicas": 4}

    cluster.commit("autoscaling", change)
    cluster.autoscale(dice.choice([1, 2, 4, 6]))


def commit_variable(cluster: SimulatedCluster, dice: random.Random) -> None:
    server = {"env": [{"name": "X", "value": dice.choice("ab")}]}
    cluster.commit("server.env", lambda spec: spec.update(server=server))


def change_rollout(cluster: SimulatedCluster, dice: random.Random) -> None:
    change = dice.choice(
        [
            {"strategy": "RollingUpdate"},
            {"strategy": "BlueGreen"},
            {"watchSeconds": 0},
            {"watchSeconds": 30},
            {"watchSeconds": 600},
        ]
    )
    cluster.commit(f"rollout: {change}", lambda spec: spec["rollout"].update(change))


def lose_child(cluster: SimulatedCluster, dice: random.Random) -> None:
    kinds = (Kind.CONFIG_MAP, Kind.DEPLOYMENT)
    if keys := sorted(key for key in cluster.objects if key[0] in kinds):
        key = dice.choice(keys)
        cluster.tell(f"somebody deletes the {key[0]} {key[1]}")
        del cluster.objects[key]
        cluster.settle()


def hold(cluster: SimulatedCluster, dice: random.Random) -> None:
    kept = cluster.api.all(Kind.REVISION)
    cluster.annotate("revert", dice.choice(kept)["metadata"]["labels"][names.LABEL_REVISION])


def release(cluster: SimulatedCluster, _: random.Random) -> None:
    if names.REQUEST_REVERT in cluster.annotations:
        cluster.annotate("revert", None)


def toggle_registry(cluster: SimulatedCluster, _: random.Random) -> None:
    cluster.registry_failure = None if cluster.registry_failure else outage()
    cluster.settle()


def toggle_slot(cluster: SimulatedCluster, _: random.Random) -> None:
    cluster.slot_free = not cluster.slot_free
    cluster.settle()


def die(cluster: SimulatedCluster, dice: random.Random) -> None:
    cluster.dies_after_actions = dice.randint(0, 4)
    cluster.restart_operator(str(dice.randint(1, 3)))


def die_between_word_and_deed(cluster: SimulatedCluster, dice: random.Random) -> None:
    cluster.actions_are_lost = True
    cluster.pass_time(dice.choice([1, 3, 10]))
    cluster.actions_are_lost = False
    cluster.restart_operator()


def suspend(cluster: SimulatedCluster, _: random.Random) -> None:
    cluster.commit("suspend", lambda spec: spec.update(suspend=not spec.get("suspend", False)))


EVENTS: list[Event] = [
    *[lambda cluster, dice: cluster.move_alias("champion", dice.choice("12345678"))] * 6,
    *[commit_variable] * 3,
    lambda cluster, dice: cluster.commit("typo", lambda spec: spec.update(server={"image": "server:typo"})),
    lambda cluster, dice: cluster.commit("replicas", set_size(dice.choice([0, 1, 2, 3]))),
    lambda cluster, dice: cluster.annotate(dice.choice(["retry", "restart"]), f"day {dice.randint(1, 5)}"),
    lambda cluster, dice: cluster.lose_status(),
    autoscale,
    change_rollout,
    lose_child,
    hold,
    release,
    toggle_registry,
    toggle_slot,
    die,
    die_between_word_and_deed,
    suspend,
]


def all_is_mended(cluster: SimulatedCluster) -> None:
    """The manifest is as it was at first, and everything around the ModelDeployment works."""
    cluster.dies_after_actions, cluster.registry_failure, cluster.slot_free = -1, None, True

    def as_at_first(spec: Json) -> None:
        set_size(2)(spec)
        for part in ("suspend", "server"):
            spec.pop(part, None)

    cluster.commit("all is mended", as_at_first)


@pytest.mark.parametrize("seed", range(6))
def test_whatever_goes_wrong_it_ends_well_and_rests(manifest: Json, seed: int) -> None:
    dice = random.Random(2000 + seed)
    waits = {"watchSeconds": dice.choice([0, 60, 600]), "warmSeconds": dice.choice([0, 60, 600])}
    limits = {"schedulingSeconds": 60, "fetchSeconds": 60}
    spec = strategy(manifest, dice.choice(["RollingUpdate", "BlueGreen"]), **waits, **limits)
    cluster = serving(spec, "1", behaviours=dict(LIVES), endpoints_lag=dice.choice([0, 0, 3, 20]))
    for _ in range(dice.randint(4, 16)):
        dice.choice(EVENTS)(cluster, dice)
        cluster.pass_time(dice.choice([1, 2, 5, 9, 15, 20, 40, 90, 200]))
    release(cluster, dice)
    all_is_mended(cluster)
    cluster.move_alias("champion", "9")
    cluster.pass_time(250)
    story = "\n".join(cluster.transcript)
    assert cluster.serving_versions() == {"9": 2}, story
    assert (cluster.condition("Ready"), cluster.condition("Current")) == (
        ("True", "Serving"),
        ("True", "Serving"),
    ), story
    cluster.pass_time(1300, step=30)
    assert sum(cluster.sizes().values()) == 2, "nothing is kept for ever"
    cluster.move_alias("champion", "3")
    cluster.pass_time(100)
    commit_variable(cluster, dice)
    cluster.pass_time(900, step=3)
    assert cluster.condition("Ready") == ("True", "Serving"), story
    assert cluster.serving_versions() == {"9": 2}
    cluster.wakes_always = True
    before = cluster.writes, cluster.status_writes
    cluster.pass_time(300, step=20)
    assert (cluster.writes, cluster.status_writes) == before, "at rest nothing is written"

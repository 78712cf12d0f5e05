"""Lives in which everything goes wrong at once: versions that fail live, lost children, an operator that dies.

Requests may be lost then. What must hold all the same: it ends well once all is mended, and rests.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from tests.stories.behaviours import (
    CRASHES,
    FAILS_TO_LOAD,
    FINDS_NO_ROOM,
    FINDS_NO_STORE,
    image_is_missing,
    runs_out_of_memory,
    stops_answering,
)
from tests.stories.story import Story

from model_operator.api import names
from model_operator.domain.objects import Kind

Event = Callable[[Story, random.Random], None]

LIVES = {
    "3": FAILS_TO_LOAD,
    "4": CRASHES,
    "5": runs_out_of_memory(60),
    "6": stops_answering(50),
    "7": FINDS_NO_STORE,
    "8": FINDS_NO_ROOM,
    "server:typo": image_is_missing("server:typo"),
}


def autoscale(story: Story, dice: random.Random) -> None:
    autoscaling = {"minReplicas": 1, "maxReplicas": 4}
    story.when.commit_changes("autoscaling", replicas=None, autoscaling=autoscaling)
    story.when.autoscaler_wants(dice.choice([1, 2, 4, 6]))


def commit_variable(story: Story, dice: random.Random) -> None:
    server = {"env": [{"name": "X", "value": dice.choice("ab")}], "image": None}
    story.when.commit_changes("server.env", server=server)


def change_rollout(story: Story, dice: random.Random) -> None:
    change = dice.choice(
        [
            {"strategy": "RollingUpdate"},
            {"strategy": "BlueGreen"},
            {"watchSeconds": 0},
            {"watchSeconds": 30},
            {"watchSeconds": 600},
        ]
    )
    story.when.commit_changes(f"rollout: {change}", rollout=change)


def lose_child(story: Story, dice: random.Random) -> None:
    kinds = (Kind.CONFIG_MAP, Kind.DEPLOYMENT)
    if keys := sorted((kind, name) for kind in kinds for name in story.names(kind)):
        kind, name = dice.choice(keys)
        story.when.narrated(f"somebody deletes the {kind} {name}")
        story.given.child_is_gone(kind, name)
        story.cluster.settle()


def hold(story: Story, dice: random.Random) -> None:
    story.when.annotated("revert", dice.choice(story.revisions()))


def release(story: Story, _: random.Random) -> None:
    if names.REQUEST_REVERT in story.cluster.annotations:
        story.when.annotation_is_removed("revert")


def toggle_registry(story: Story, _: random.Random) -> None:
    if story.cluster.registry_failure:
        story.given.registry_answers()
    else:
        story.given.registry_is_away()
    story.cluster.settle()


def toggle_slot(story: Story, _: random.Random) -> None:
    story.cluster.slot_free = not story.cluster.slot_free
    story.cluster.settle()


def die(story: Story, dice: random.Random) -> None:
    story.given.operator_dies_after(dice.randint(0, 4))
    story.when.operator_restarts(str(dice.randint(1, 3)))


def die_between_word_and_deed(story: Story, dice: random.Random) -> None:
    story.given.actions_are_lost()
    story.when.time_passes(dice.choice([1, 3, 10]))
    story.given.actions_are_lost(False)
    story.when.operator_restarts()


def suspend(story: Story, _: random.Random) -> None:
    story.when.commit_changes("suspend", suspend=not story.cluster.spec.get("suspend", False))


EVENTS: list[Event] = [
    *[lambda story, dice: story.when.alias_moves_to(dice.choice("12345678"))] * 6,
    *[commit_variable] * 3,
    lambda story, dice: story.when.commit_changes("typo", server={"image": "server:typo", "env": None}),
    lambda story, dice: story.when.commit_changes(
        "replicas", replicas=dice.choice([0, 1, 2, 3]), autoscaling=None
    ),
    lambda story, dice: story.when.annotated(dice.choice(["retry", "restart"]), f"day {dice.randint(1, 5)}"),
    lambda story, dice: story.when.status_is_lost(),
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


def all_is_mended(story: Story) -> None:
    """The manifest is as it was at first, and everything around the ModelDeployment works."""
    story.given.operator_dies_after(-1)
    story.given.registry_answers()
    story.cluster.slot_free = True
    story.when.commit_changes("all is mended", replicas=2, autoscaling=None, suspend=None, server=None)


@pytest.mark.parametrize("seed", range(6))
def test_whatever_goes_wrong_it_ends_well_and_rests(story: Story, seed: int) -> None:
    dice = random.Random(2000 + seed)
    waits = {"watchSeconds": dice.choice([0, 60, 600]), "warmSeconds": dice.choice([0, 60, 600])}
    limits = {"schedulingSeconds": 60, "fetchSeconds": 60}
    given, when, then = story.given, story.when, story.then
    given.strategy(dice.choice(["RollingUpdate", "BlueGreen"]))
    given.rollout(**waits, **limits)
    for version, life in LIVES.items():
        given.version(version, life)
    given.proxies_lag(dice.choice([0, 0, 3, 20]))
    given.version_serves("1")
    for _ in range(dice.randint(4, 16)):
        dice.choice(EVENTS)(story, dice)
        when.time_passes(dice.choice([1, 2, 5, 9, 15, 20, 40, 90, 200]))
    release(story, dice)
    all_is_mended(story)
    when.alias_moves_to("9", wait=250)
    then.version_serves("9")
    then.condition_is("Ready", "True", "Serving")
    then.condition_is("Current", "True", "Serving")
    when.time_passes(1300, step=30)
    then.replicas_add_up_to(2, why="nothing is kept for ever")
    when.alias_moves_to("3", wait=100)
    commit_variable(story, dice)
    when.time_passes(900, step=3)
    then.condition_is("Ready", "True", "Serving")
    then.version_serves("9")
    then.it_rests(300)

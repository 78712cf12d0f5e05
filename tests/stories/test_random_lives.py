"""Lives that nobody thought of: people and the registry do this and that, and clients must not notice."""

from __future__ import annotations

import random
from math import nan

import pytest
from tests.stories.behaviours import CRASHES, FAILS_TO_LOAD
from tests.stories.story import Story

from model_operator.api import names
from model_operator.domain.registry import Metric, VersionFacts

LIVES = {"3": FAILS_TO_LOAD, "4": CRASHES}
"""Of the versions 1 to 5 these never start; none of them fails after it went live."""


def something_happens(story: Story, dice: random.Random, may_change_strategy: bool) -> None:
    """One event, and some time after it."""
    when, spec = story.when, story.cluster.spec
    events = ["alias"] * 6 + [
        "shape",
        "suspend",
        "restart",
        "retry",
        "revert",
        "release",
        "status",
        "operator",
    ]
    events += ["strategy"] * may_change_strategy
    events += ["tag", "measured"] * 3 if "gates" in spec else []
    match dice.choice(events):
        case "alias":
            when.alias_moves_to(dice.choice("12345"))
        case "shape":
            value = {"env": [{"name": "X", "value": dice.choice("ab")}]}
            when.commit_changes("server.env", server=value)
        case "suspend":
            when.commit_changes("suspend", suspend=not spec.get("suspend", False))
        case "restart" | "retry" as request:
            when.annotated(request, f"day {dice.randint(1, 5)}")
        case "revert":
            when.annotated("revert", dice.choice(story.revisions()))
        case "release":
            release(story)
        case "status":
            when.status_is_lost()
        case "operator":
            story.given.operator_dies_after(dice.randint(0, 4))
            when.operator_restarts(str(dice.randint(1, 3)))
        case "tag":
            when.version_is_tagged(dice.choice("12345"), quality=dice.choice(["good", "bad"]))
        case "measured":
            metrics = (Metric("auc", dice.choice([0.5, 0.9, nan])),)
            when.registry_learns(version := dice.choice("12345"), f"auc of {version}", VersionFacts(metrics))
        case "strategy":
            before = spec["rollout"].get("strategy")
            other = "RollingUpdate" if before == "BlueGreen" else "BlueGreen"
            when.commit_changes("rollout.strategy", rollout={"strategy": other})
    when.time_passes(dice.choice([1, 2, 5, 9, 15, 20, 40, 90]))


def release(story: Story) -> None:
    if names.REQUEST_REVERT in story.cluster.annotations:
        story.when.annotation_is_removed("revert")


def version_1_serves(story: Story, strategy: str, lag: float = 0, **waits: int) -> None:
    story.given.strategy(strategy)
    story.given.rollout(**waits)
    for version, life in LIVES.items():
        story.given.version(version, life)
    story.given.proxies_lag(lag)
    story.given.version_serves("1")


def version_9_comes(story: Story) -> None:
    """Nothing is held or suspended any more, and the alias moves to a good version."""
    release(story)
    story.given.operator_dies_after(-1)
    if story.cluster.spec.get("suspend"):
        story.when.commit_changes("suspend: false", suspend=False)
    story.when.alias_moves_to("9", wait=150)


@pytest.mark.parametrize(
    "may_change_strategy",
    [pytest.param(True, id="in_both_strategies"), pytest.param(False, id="in_blue_green_with_late_proxies")],
)
@pytest.mark.parametrize("seed", range(5))
def test_whatever_people_do_nobody_waits_for_an_answer(
    story: Story, seed: int, may_change_strategy: bool
) -> None:
    dice = random.Random(seed)
    waits = {"watchSeconds": dice.choice([0, 60, 600]), "warmSeconds": dice.choice([0, 60, 600])}
    how = dice.choice(["RollingUpdate", "BlueGreen"]) if may_change_strategy else "BlueGreen"
    lag = dice.choice([0, 3]) if may_change_strategy else 20
    version_1_serves(story, how, lag, **waits)
    for _ in range(dice.randint(5, 14)):
        something_happens(story, dice, may_change_strategy)
    version_9_comes(story)
    story.then.no_request_is_lost()
    story.then.version_serves("9")
    story.when.time_passes(1300, step=30)
    story.then.condition_is("Current", "True", "Serving")
    story.then.serving_has(settled=True)
    assert max(story.cluster.sizes().values()) == 2
    story.then.replicas_add_up_to(2, why="nothing is kept for ever")


GOOD_AUC = VersionFacts((Metric("auc", 0.9),))
GATES = {
    "tags": [{"key": "quality", "notValue": "bad"}],
    "metrics": [{"name": "auc", "min": 0.8}, {"name": "auc", "noWorseThanServingBy": 1, "better": "Higher"}],
}


@pytest.mark.parametrize("seed", range(8))
def test_whatever_people_do_at_a_gate_nobody_waits_for_an_answer(story: Story, seed: int) -> None:
    dice = random.Random(1000 + seed)
    how = dice.choice(["RollingUpdate", "BlueGreen"])
    version_1_serves(story, how, watchSeconds=60, warmSeconds=60)
    story.given.facts("1", GOOD_AUC)
    story.when.commit_changes("gates", gates=GATES)
    for _ in range(dice.randint(5, 20)):
        something_happens(story, dice, may_change_strategy=True)
    for version in "123459":
        story.when.registry_learns(version, f"auc of {version} is mended", GOOD_AUC)
    version_9_comes(story)
    story.then.no_request_is_lost()
    story.then.version_serves("9")
    story.then.condition_is("Admitted", "True", "Admitted")

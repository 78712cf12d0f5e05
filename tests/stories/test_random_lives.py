"""Lives that nobody thought of: people and the registry do this and that, and clients must not notice."""

from __future__ import annotations

import random
from math import nan
from typing import Any

import pytest
from tests.stories.conftest import strategy
from tests.stories.pods import Behaviour
from tests.stories.simulation import SimulatedCluster, serving

from model_operator.api import names
from model_operator.domain.objects import Kind
from model_operator.domain.registry import Metric, VersionFacts

Json = dict[str, Any]

LIVES = {
    "3": Behaviour(exit_code=50, last_words='{"reason":"LoadFailed","message":"KeyError: weights"}'),
    "4": Behaviour(exit_code=1, exits=5, ready=None, last_words="Segmentation fault"),
}
"""Of the versions 1 to 5 these never start; none of them fails after it went live."""


def something_happens(cluster: SimulatedCluster, dice: random.Random, may_change_strategy: bool) -> None:
    """One event, and some time after it."""

    def other_strategy(spec: Json) -> None:
        before = spec["rollout"].get("strategy")
        spec["rollout"]["strategy"] = "RollingUpdate" if before == "BlueGreen" else "BlueGreen"

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
    events += ["tag", "measured"] * 3 if "gates" in cluster.spec else []
    match dice.choice(events):
        case "alias":
            cluster.move_alias("champion", dice.choice("12345"))
        case "shape":
            value = {"env": [{"name": "X", "value": dice.choice("ab")}]}
            cluster.commit("server.env", lambda spec: spec.update(server=value))
        case "suspend":
            cluster.commit("suspend", lambda spec: spec.update(suspend=not spec.get("suspend", False)))
        case "restart" | "retry" as request:
            cluster.annotate(request, f"day {dice.randint(1, 5)}")
        case "revert":
            kept = cluster.api.all(Kind.REVISION)
            cluster.annotate("revert", dice.choice(kept)["metadata"]["labels"][names.LABEL_REVISION])
        case "release":
            release(cluster)
        case "status":
            cluster.lose_status()
        case "operator":
            cluster.dies_after_actions = dice.randint(0, 4)
            cluster.restart_operator(str(dice.randint(1, 3)))
        case "tag":
            cluster.tag(dice.choice("12345"), quality=dice.choice(["good", "bad"]))
        case "measured":
            metrics = (Metric("auc", dice.choice([0.5, 0.9, nan])),)
            cluster.learn(version := dice.choice("12345"), f"auc of {version}", VersionFacts(metrics))
        case "strategy":
            cluster.commit("rollout.strategy", other_strategy)
    cluster.pass_time(dice.choice([1, 2, 5, 9, 15, 20, 40, 90]))


def release(cluster: SimulatedCluster) -> None:
    if names.REQUEST_REVERT in cluster.annotations:
        cluster.annotate("revert", None)


@pytest.mark.parametrize(
    "may_change_strategy",
    [pytest.param(True, id="in_both_strategies"), pytest.param(False, id="in_blue_green_with_late_proxies")],
)
@pytest.mark.parametrize("seed", range(5))
def test_whatever_people_do_nobody_waits_for_an_answer(
    manifest: Json, seed: int, may_change_strategy: bool
) -> None:
    dice = random.Random(seed)
    waits = {"watchSeconds": dice.choice([0, 60, 600]), "warmSeconds": dice.choice([0, 60, 600])}
    how = dice.choice(["RollingUpdate", "BlueGreen"]) if may_change_strategy else "BlueGreen"
    lag = dice.choice([0, 3]) if may_change_strategy else 20
    cluster = serving(strategy(manifest, how, **waits), "1", behaviours=dict(LIVES), endpoints_lag=lag)
    for _ in range(dice.randint(5, 14)):
        something_happens(cluster, dice, may_change_strategy)
    release(cluster)
    cluster.dies_after_actions = -1
    if cluster.spec.get("suspend"):
        cluster.commit("suspend: false", lambda spec: spec.update(suspend=False))
    cluster.move_alias("champion", "9")
    cluster.pass_time(150)
    story = "\n".join(cluster.transcript)
    assert cluster.requests_lost == 0, story
    assert cluster.fewest_ready >= 2, story
    assert cluster.serving_versions() == {"9": 2}, story
    cluster.pass_time(1300, step=30)
    assert cluster.condition("Current") == ("True", "Serving")
    assert cluster.status["serving"]["settled"] is True
    assert sorted(cluster.sizes().values())[-1:] == [2]
    assert sum(cluster.sizes().values()) == 2, "nothing is kept for ever"


GATES = {
    "tags": [{"key": "quality", "notValue": "bad"}],
    "metrics": [{"name": "auc", "min": 0.8}, {"name": "auc", "noWorseThanServingBy": 1, "better": "Higher"}],
}


@pytest.mark.parametrize("seed", range(8))
def test_whatever_people_do_at_a_gate_nobody_waits_for_an_answer(manifest: Json, seed: int) -> None:
    dice = random.Random(1000 + seed)
    how = dice.choice(["RollingUpdate", "BlueGreen"])
    cluster = serving(strategy(manifest, how, watchSeconds=60, warmSeconds=60), "1", behaviours=dict(LIVES))
    cluster.facts["1"] = VersionFacts((Metric("auc", 0.9),))
    cluster.commit("gates", lambda spec: spec.update(gates=GATES))
    for _ in range(dice.randint(5, 20)):
        something_happens(cluster, dice, may_change_strategy=True)
    release(cluster)
    cluster.dies_after_actions = -1
    if cluster.spec.get("suspend"):
        cluster.commit("suspend: false", lambda spec: spec.update(suspend=False))
    for version in "123459":
        cluster.learn(version, f"auc of {version} is mended", VersionFacts((Metric("auc", 0.9),)))
    cluster.move_alias("champion", "9")
    cluster.pass_time(150)
    story = "\n".join(cluster.transcript)
    assert cluster.requests_lost == 0, story
    assert cluster.serving_versions() == {"9": 2}, story
    assert cluster.condition("Admitted") == ("True", "Admitted"), story

"""Lives with two tracks: the candidate comes up beside what serves, and the Service moves."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from tests.stories.conftest import Told, strategy
from tests.stories.pods import Behaviour
from tests.stories.simulation import SimulatedCluster, outage, serving

from model_operator.domain.objects import Kind

Json = dict[str, Any]

LOAD_FAILS = Behaviour(exit_code=50, last_words='{"reason":"LoadFailed","message":"KeyError: weights"}')
RUNS_OUT_OF_MEMORY = Behaviour(dies_after=60, dies_with=137)
AUTOSCALING = {"minReplicas": 2, "maxReplicas": 8}


def blue_green(manifest: Json, **rollout: Any) -> Json:
    return strategy(manifest, "BlueGreen", **rollout)


def autoscaled(manifest: Json) -> Json:
    return {key: value for key, value in manifest.items() if key != "replicas"} | {"autoscaling": AUTOSCALING}


def was_harmless(cluster: SimulatedCluster, pods: int = 2) -> None:
    """Nobody who sent requests noticed anything."""
    assert cluster.requests_lost == 0
    assert cluster.fewest_ready >= pods


def test_a_whole_life_in_blue_and_green(manifest: Json, told: Told) -> None:
    cluster = serving(blue_green(manifest, watchSeconds=300, warmSeconds=600), "1")
    cluster.move_alias("champion", "2")
    cluster.pass_time(60)
    assert cluster.sizes() == {"churn": 2, "churn-green": 2}
    cluster.pass_time(300)
    assert cluster.sizes() == {"churn": 1, "churn-green": 2}, "one stays warm"
    cluster.pass_time(300)
    assert cluster.sizes() == {"churn": 0, "churn-green": 2}
    cluster.move_alias("champion", "3")
    cluster.pass_time(60)
    told(cluster)
    was_harmless(cluster)
    assert cluster.serving_versions() == {"3": 2}


@pytest.mark.parametrize("lag", [0, 3, 20])
def test_the_proxies_hear_of_the_switch_late(manifest: Json, told: Told, lag: int) -> None:
    spec = blue_green(manifest, watchSeconds=0, warmSeconds=0)
    cluster = serving(spec, "1", endpoints_lag=lag)
    cluster.move_alias("champion", "2")
    cluster.pass_time(120)
    told(cluster)
    was_harmless(cluster)
    assert cluster.serving_versions() == {"2": 2}
    assert cluster.sizes() == {"churn": 0, "churn-green": 2}


def test_the_alias_moves_again_before_the_proxies_have_heard_of_the_switch(
    manifest: Json, told: Told
) -> None:
    cluster = serving(blue_green(manifest), "1", endpoints_lag=20)
    cluster.move_alias("champion", "2")
    cluster.pass_time(16)
    cluster.move_alias("champion", "3")
    assert cluster.condition("Current") == ("False", "Switching")
    cluster.pass_time(120)
    told(cluster)
    was_harmless(cluster)
    assert cluster.serving_versions() == {"3": 2}


def test_a_bad_version_never_takes_requests(manifest: Json, told: Told) -> None:
    cluster = serving(blue_green(manifest), "1", behaviours={"2": LOAD_FAILS})
    cluster.move_alias("champion", "2")
    cluster.pass_time(60)
    told(cluster)
    was_harmless(cluster)
    assert cluster.serving_versions() == {"1": 2}
    assert cluster.sizes() == {"churn": 2, "churn-green": 0}


def test_a_warm_revert_is_immediate(manifest: Json, told: Told) -> None:
    cluster = serving(blue_green(manifest), "1", behaviours={"2": RUNS_OUT_OF_MEMORY})
    cluster.move_alias("champion", "2")
    cluster.pass_until(lambda: "Reverted" in cluster.announced)
    assert cluster.serving_versions() == {"1": 2}, "in the same second"
    cluster.pass_time(60)
    told(cluster)
    assert cluster.status["rejected"][0]["reason"] == "OutOfMemory"
    assert cluster.sizes() == {"churn": 2, "churn-green": 0}
    assert cluster.status["history"][0]["version"] == "2"


def test_a_cold_revert_waits_for_the_old_version_to_come_up(manifest: Json, told: Told) -> None:
    # the watch is longer than the old track is kept, and somebody has scaled that down
    cluster = serving(blue_green(manifest), "1", behaviours={"2": Behaviour(dies_after=90, dies_with=137)})
    cluster.move_alias("champion", "2")
    cluster.pass_time(40)
    cluster.tell("somebody deletes the Deployment churn")
    del cluster.objects[(Kind.DEPLOYMENT, "churn")]
    cluster.pass_until(lambda: "Reverted" in cluster.announced)
    cluster.pass_time(60)
    told(cluster)
    assert cluster.serving_versions() == {"1": 2}
    assert cluster.status["rejected"][0]["reason"] == "OutOfMemory"


def test_a_fault_after_the_watch_is_not_put_down_to_the_version(manifest: Json, told: Told) -> None:
    cluster = serving(blue_green(manifest, watchSeconds=60, warmSeconds=60), "1")
    cluster.behaviours["2"] = Behaviour(dies_after=300, dies_with=137)
    cluster.move_alias("champion", "2")
    cluster.pass_time(400)
    assert cluster.serving_versions().keys() <= {"2"}
    assert cluster.announced.count("Reverted") == 0
    cluster.tell("the leak is mended")
    cluster.mend("2")
    cluster.pass_time(60)
    told(cluster)


def test_the_candidate_comes_up_at_the_size_that_the_autoscaler_had_reached(
    manifest: Json, told: Told
) -> None:
    cluster = serving(blue_green(autoscaled(manifest)), "1")
    cluster.autoscale(5)
    cluster.pass_time(30)
    cluster.watch_ready()
    cluster.move_alias("champion", "2")
    cluster.pass_time(60)
    told(cluster)
    was_harmless(cluster, pods=5)
    assert cluster.serving_versions() == {"2": 5}
    assert cluster.live(Kind.AUTOSCALER)["spec"]["scaleTargetRef"]["name"] == "churn-green"


def test_the_autoscaler_grows_what_serves_while_the_candidate_comes_up(manifest: Json, told: Told) -> None:
    cluster = serving(blue_green(autoscaled(manifest)), "1")
    cluster.move_alias("champion", "2")
    cluster.pass_time(9)
    cluster.autoscale(6)
    cluster.pass_time(90)
    told(cluster)
    was_harmless(cluster)
    assert cluster.serving_versions() == {"2": 6}


def test_the_warm_track_follows_a_scale_up(manifest: Json, told: Told) -> None:
    cluster = serving(blue_green(autoscaled(manifest)), "1", behaviours={"2": Behaviour(sick_after=120)})
    cluster.move_alias("champion", "2")
    cluster.pass_time(40)
    cluster.autoscale(5)
    cluster.pass_time(40)
    assert cluster.sizes() == {"churn": 5, "churn-green": 5}
    cluster.pass_until(lambda: "Reverted" in cluster.announced)
    assert cluster.serving_versions() == {"1": 5}
    cluster.pass_time(30)
    told(cluster)
    assert cluster.sizes() == {"churn": 5, "churn-green": 0}
    assert cluster.live(Kind.AUTOSCALER)["spec"]["scaleTargetRef"]["name"] == "churn"


def test_a_track_that_is_scaled_to_nothing_by_a_person_stays_there(manifest: Json, told: Told) -> None:
    cluster = serving(blue_green(manifest), "1")
    cluster.commit("replicas: 0", lambda spec: spec.update(replicas=0))
    cluster.pass_time(30)
    cluster.move_alias("champion", "2")
    cluster.pass_time(30)
    assert cluster.condition("Ready") == ("True", "ScaledToZero")
    assert sum(cluster.sizes().values()) == 0
    cluster.commit("replicas: 2", lambda spec: spec.update(replicas=2))
    cluster.pass_time(60)
    told(cluster)
    assert cluster.serving_versions() == {"2": 2}


# --- approval ----------------------------------------------------------------------------------------


def with_approval(manifest: Json) -> Json:
    return blue_green(manifest) | {"gates": {"approval": {"mode": "Manual", "at": "BeforeTraffic"}}}


def approve(spec: Json, version: str) -> None:
    spec["gates"]["approval"]["approved"] = version


def test_a_person_tries_the_candidate_before_it_takes_requests(manifest: Json, told: Told) -> None:
    spec = with_approval(manifest)
    approve(spec, "1")
    cluster = serving(spec, "1")
    cluster.move_alias("champion", "2")
    cluster.pass_time(600)
    assert cluster.serving_versions() == {"1": 2}
    assert cluster.previewed_versions() == {"2": 2}
    assert cluster.status["candidate"]["reason"] == "WaitingForApproval"
    cluster.commit('gates.approval.approved: "2"', lambda spec: approve(spec, "2"))
    cluster.pass_time(30)
    told(cluster)
    was_harmless(cluster)
    assert cluster.serving_versions() == {"2": 2}
    assert cluster.previewed_versions() == {}
    assert (Kind.SERVICE, "churn-candidate") not in cluster.objects


def test_the_alias_moves_while_a_candidate_waits_for_a_person(manifest: Json, told: Told) -> None:
    spec = with_approval(manifest)
    approve(spec, "1")
    cluster = serving(spec, "1")
    cluster.move_alias("champion", "2")
    cluster.pass_time(60)
    cluster.move_alias("champion", "3")
    cluster.pass_time(60)
    assert cluster.previewed_versions() == {"3": 2}
    cluster.commit('gates.approval.approved: "2"', lambda spec: approve(spec, "2"))
    cluster.pass_time(60)
    assert cluster.serving_versions() == {"1": 2}, "that is not the version which waits"
    cluster.move_alias("champion", "1")
    cluster.pass_time(60)
    told(cluster)
    was_harmless(cluster)
    assert (Kind.SERVICE, "churn-candidate") not in cluster.objects


def test_a_first_version_waits_for_a_person_without_requests(manifest: Json, told: Told) -> None:
    cluster = SimulatedCluster(with_approval(manifest), {"champion": "1"})
    cluster.settle()
    cluster.pass_time(60)
    assert cluster.serving_versions() == {}
    assert cluster.previewed_versions() == {"1": 2}
    cluster.commit('gates.approval.approved: "1"', lambda spec: approve(spec, "1"))
    cluster.pass_time(60)
    told(cluster)
    assert cluster.serving_versions() == {"1": 2}


def test_a_candidate_falls_ill_while_it_waits_for_a_person(manifest: Json, told: Told) -> None:
    spec = with_approval(manifest)
    approve(spec, "1")
    cluster = serving(spec, "1", behaviours={"2": Behaviour(dies_after=60, dies_with=137)})
    cluster.move_alias("champion", "2")
    cluster.pass_time(200)
    told(cluster)
    was_harmless(cluster)
    assert cluster.serving_versions() == {"1": 2}
    assert cluster.condition("Current") == ("False", "VersionRejected")


# --- another strategy --------------------------------------------------------------------------------


def test_from_rolling_update_to_blue_green_and_back(manifest: Json, told: Told) -> None:
    cluster = serving(manifest, "1")
    cluster.commit("rollout.strategy: BlueGreen", lambda spec: spec.update(rollout={"strategy": "BlueGreen"}))
    cluster.pass_time(30)
    cluster.move_alias("champion", "2")
    cluster.pass_time(60)
    assert cluster.sizes() == {"churn": 2, "churn-green": 2}
    cluster.commit("rollout.strategy is taken out", lambda spec: spec.pop("rollout"))
    cluster.pass_time(30)
    assert cluster.serving_versions() == {"2": 2}
    cluster.move_alias("champion", "3")
    cluster.pass_time(60)
    cluster.pass_watch()
    told(cluster)
    was_harmless(cluster)
    assert cluster.serving_versions() == {"3": 2}
    assert len(cluster.sizes()) == 1


@pytest.mark.parametrize(
    ("before", "after"), [("RollingUpdate", "BlueGreen"), ("BlueGreen", "RollingUpdate")]
)
def test_the_strategy_changes_in_mid_rollout(manifest: Json, told: Told, before: str, after: str) -> None:
    cluster = serving(strategy(manifest, before), "1")
    cluster.move_alias("champion", "2")
    cluster.pass_time(9 if before == "BlueGreen" else 20)
    cluster.commit(f"rollout.strategy: {after}", lambda spec: spec.update(rollout={"strategy": after}))
    cluster.pass_time(90)
    cluster.pass_watch()
    told(cluster)
    was_harmless(cluster)
    assert cluster.serving_versions() == {"2": 2}


def test_the_strategy_changes_in_the_watch_and_the_version_fails(manifest: Json, told: Told) -> None:
    cluster = serving(blue_green(manifest), "1", behaviours={"2": Behaviour(dies_after=90, dies_with=137)})
    cluster.move_alias("champion", "2")
    cluster.pass_time(40)
    cluster.commit(
        "rollout.strategy: RollingUpdate", lambda spec: spec.update(rollout={"strategy": "RollingUpdate"})
    )
    cluster.pass_until(lambda: "Reverted" in cluster.announced)
    cluster.pass_time(60)
    told(cluster)
    assert cluster.serving_versions() == {"1": 2}


# --- wherever the operator dies ----------------------------------------------------------------------


def dies_before_action(settled: SimulatedCluster, number: int) -> SimulatedCluster:
    """A move to another version in which the operator dies once, before its action of that number."""
    cluster = copy.deepcopy(settled)
    cluster.dies_after_actions = number
    cluster.move_alias("champion", "2")
    cluster.pass_time(120)
    cluster.pass_watch(step=30)
    return cluster


@pytest.mark.parametrize(
    ("life", "serves"),
    [
        pytest.param(Behaviour(), "2", id="when_all_goes_well"),
        pytest.param(LOAD_FAILS, "1", id="when_the_version_does_not_load"),
        pytest.param(RUNS_OUT_OF_MEMORY, "1", id="when_the_version_fails_in_the_watch"),
    ],
)
def test_wherever_the_operator_dies_between_blue_and_green_the_end_is_the_same(
    manifest: Json, life: Behaviour, serves: str
) -> None:
    settled = serving(blue_green(manifest), "1", behaviours={"2": life})
    undisturbed = dies_before_action(settled, -1)
    number = 0
    while (end := dies_before_action(settled, number)).deaths:
        for part in ("serving", "rejected", "history"):
            assert end.status.get(part) == undisturbed.status.get(part), f"after {number} actions: {part}"
        assert end.announced.count("Reverted") == undisturbed.announced.count("Reverted")
        assert end.serving_versions() == {serves: 2}
        assert end.sizes() == undisturbed.sizes()
        assert end.requests_lost == undisturbed.requests_lost
        number += 1
    assert number > 3


@pytest.mark.parametrize("life", [Behaviour(), LOAD_FAILS], ids=["a_good_version", "a_bad_version"])
def test_whenever_the_status_is_lost_between_blue_and_green_nobody_notices(
    manifest: Json, life: Behaviour
) -> None:
    settled = serving(blue_green(manifest), "1", behaviours={"2": life}, endpoints_lag=3)
    for moment in range(0, 24, 2):
        cluster = copy.deepcopy(settled)
        cluster.move_alias("champion", "2")
        cluster.pass_time(moment)
        cluster.lose_status()
        cluster.pass_time(60)
        was_harmless(cluster)
        assert cluster.serving_versions() == {"2" if life == Behaviour() else "1": 2}, (
            f"lost after {moment} s"
        )


def test_the_registry_is_away_for_a_warm_revert(manifest: Json, told: Told) -> None:
    cluster = serving(blue_green(manifest), "1", behaviours={"2": RUNS_OUT_OF_MEMORY})
    cluster.move_alias("champion", "2")
    cluster.pass_time(30)
    cluster.tell("the registry stops answering")
    cluster.registry_failure = outage()
    cluster.restart_operator()
    cluster.lose_status()
    cluster.pass_until(lambda: "Reverted" in cluster.announced)
    assert cluster.serving_versions() == {"1": 2}
    cluster.pass_time(60)
    told(cluster)

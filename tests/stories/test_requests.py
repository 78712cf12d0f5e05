"""Lives in which a person takes the wheel: by annotation, by approval, by suspending."""

from __future__ import annotations

from typing import Any

import pytest
from tests.stories.conftest import Told, strategy
from tests.stories.pods import Behaviour
from tests.stories.simulation import SimulatedCluster, outage, serving

from model_operator.domain.objects import Kind
from model_operator.domain.world import RefusalKind

Json = dict[str, Any]

LOAD_FAILS = Behaviour(exit_code=50, last_words='{"reason":"LoadFailed","message":"KeyError: weights"}')

both_strategies = pytest.mark.parametrize("how", ["RollingUpdate", "BlueGreen"])


def was_harmless(cluster: SimulatedCluster, pods: int = 2) -> None:
    """Nobody who sent requests noticed anything."""
    assert cluster.requests_lost == 0
    assert cluster.fewest_ready >= pods


def scripts(cluster: SimulatedCluster) -> set[str]:
    return {
        volume["configMap"]["name"]
        for deployment in cluster.api.all(Kind.DEPLOYMENT)
        if deployment["spec"]["replicas"]
        for volume in deployment["spec"]["template"]["spec"]["volumes"]
        if volume["name"] == "scripts"
    }


# --- restart -----------------------------------------------------------------------------------------


@both_strategies
def test_a_person_asks_for_a_restart(manifest: Json, told: Told, how: str) -> None:
    cluster = serving(strategy(manifest, how), "1")
    pods = {pod.name for pod in cluster.pods}
    cluster.annotate("restart", "monday")
    cluster.pass_time(60)
    assert not pods & {pod.name for pod in cluster.kubernetes.reached(cluster.now)}
    assert cluster.status["handledRequests"] == {"restart": "monday"}
    cluster.pass_watch()
    told(cluster)
    was_harmless(cluster)
    assert cluster.serving_versions() == {"1": 2}


@both_strategies
def test_a_restart_brings_in_what_a_newer_operator_renders(manifest: Json, told: Told, how: str) -> None:
    cluster = serving(strategy(manifest, how), "1")
    pods, old = {pod.name for pod in cluster.pods}, scripts(cluster)
    cluster.restart_operator("2")
    cluster.pass_time(300)
    assert {pod.name for pod in cluster.pods} == pods
    cluster.annotate("restart", "monday")
    cluster.pass_time(60)
    cluster.pass_watch()
    told(cluster)
    was_harmless(cluster)
    assert not old & scripts(cluster)


@both_strategies
def test_the_restart_annotation_is_old_news(manifest: Json, told: Told, how: str) -> None:
    cluster = serving(strategy(manifest, how), "1")
    cluster.annotate("restart", "monday")
    cluster.pass_time(60)
    pods = [pod.name for pod in cluster.kubernetes.reached(cluster.now)]
    cluster.restart_operator()
    cluster.lose_status()
    cluster.pass_time(60)
    assert [pod.name for pod in cluster.kubernetes.reached(cluster.now)] == pods, "one value, one restart"
    cluster.move_alias("champion", "2")
    cluster.pass_time(60)
    cluster.annotate("restart", None)
    cluster.pass_time(60)
    told(cluster)
    was_harmless(cluster)
    assert cluster.serving_versions() == {"2": 2}
    assert cluster.announced.count("RolloutStarted") == 3, "version 1, its restart, version 2"


@both_strategies
def test_the_alias_moves_in_a_restart(manifest: Json, told: Told, how: str) -> None:
    cluster = serving(strategy(manifest, how), "1")
    cluster.move_alias("champion", "2")
    cluster.pass_time(60)
    cluster.annotate("restart", "monday")
    cluster.pass_time(9)
    cluster.move_alias("champion", "1")
    cluster.pass_time(60)
    cluster.pass_watch()
    told(cluster)
    was_harmless(cluster)
    assert cluster.serving_versions() == {"1": 2}


@both_strategies
def test_a_restart_while_a_rejected_version_is_wanted(manifest: Json, told: Told, how: str) -> None:
    cluster = serving(strategy(manifest, how), "1", behaviours={"2": LOAD_FAILS})
    cluster.move_alias("champion", "2")
    cluster.pass_time(60)
    pods = {pod.name for pod in cluster.pods}
    cluster.annotate("restart", "monday")
    cluster.pass_time(60)
    cluster.pass_watch()
    told(cluster)
    was_harmless(cluster)
    assert cluster.serving_versions() == {"1": 2}
    assert not pods & {pod.name for pod in cluster.kubernetes.reached(cluster.now)}
    assert cluster.condition("Current") == ("False", "VersionRejected")


# --- adopt -------------------------------------------------------------------------------------------


def test_a_person_gives_us_the_service_that_was_there(manifest: Json, told: Told) -> None:
    cluster = SimulatedCluster(manifest, {"champion": "1"})
    cluster.refused[Kind.SERVICE] = (RefusalKind.NAME_TAKEN, "it was there before")
    cluster.settle()
    cluster.pass_time(60)
    assert cluster.condition("Stalled") == ("True", "NameConflict")
    cluster.annotate("adopt", "Service/churn")
    cluster.pass_time(60)
    told(cluster)
    assert cluster.condition("Ready") == ("True", "Serving")
    assert cluster.status["handledRequests"] == {"adopt": "Service/churn"}


# --- revert ------------------------------------------------------------------------------------------


@both_strategies
def test_a_person_holds_the_version_before_and_lets_go(manifest: Json, told: Told, how: str) -> None:
    cluster = serving(strategy(manifest, how), "1")
    before = cluster.status["serving"]["revision"]
    cluster.move_alias("champion", "2")
    cluster.pass_time(60)
    cluster.annotate("revert", before)
    cluster.pass_time(60)
    assert cluster.serving_versions() == {"1": 2}
    left = cluster.status["history"][0]
    assert (left["version"], left["message"]) == ("2", "by version 1, which the annotation revert holds")
    cluster.move_alias("champion", "3")
    cluster.pass_time(60)
    assert cluster.serving_versions() == {"1": 2}, "held, whatever the alias does"
    cluster.annotate("revert", None)
    cluster.pass_time(60)
    cluster.pass_watch()
    told(cluster)
    was_harmless(cluster)
    assert cluster.serving_versions() == {"3": 2}


@both_strategies
def test_a_person_goes_back_long_after_with_the_registry_away(manifest: Json, told: Told, how: str) -> None:
    cluster = serving(strategy(manifest, how), "1")
    before = cluster.status["serving"]["revision"]
    cluster.move_alias("champion", "2")
    cluster.pass_time(60)
    cluster.pass_watch()
    assert sum(cluster.sizes().values()) == 2, "nothing is kept warm any more"
    cluster.tell("the registry stops answering")
    cluster.registry_failure = outage()
    cluster.pass_time(5)
    cluster.annotate("revert", before)
    cluster.pass_time(60)
    told(cluster)
    was_harmless(cluster)
    assert cluster.serving_versions() == {"1": 2}


@both_strategies
def test_a_person_holds_a_version_that_was_rejected(manifest: Json, told: Told, how: str) -> None:
    cluster = serving(strategy(manifest, how), "1", behaviours={"2": LOAD_FAILS})
    cluster.move_alias("champion", "2")
    cluster.pass_time(30)
    rejected = cluster.status["rejected"][0]["revision"]
    cluster.move_alias("champion", "1")
    cluster.pass_time(30)
    cluster.annotate("revert", rejected)
    cluster.pass_time(60)
    assert cluster.announced.count("Reverted") == 2, "tried once more, not again and again"
    assert cluster.serving_versions() == {"1": 2}
    cluster.annotate("revert", None)
    cluster.pass_time(60)
    told(cluster)
    was_harmless(cluster)
    assert cluster.condition("Current") == ("True", "Serving")


def test_a_person_holds_a_revision_that_is_not_kept(manifest: Json, told: Told) -> None:
    cluster = serving(manifest, "1")
    cluster.annotate("revert", "v9-0123456789")
    cluster.move_alias("champion", "2")
    cluster.pass_time(60)
    assert cluster.serving_versions() == {"1": 2}
    assert cluster.condition("Current") == ("False", "RevisionNotFound")
    cluster.annotate("revert", None)
    cluster.pass_time(60)
    told(cluster)
    was_harmless(cluster)
    assert cluster.serving_versions() == {"2": 2}


@both_strategies
def test_the_status_is_lost_while_a_person_holds_a_version(manifest: Json, told: Told, how: str) -> None:
    cluster = serving(strategy(manifest, how), "1")
    before = cluster.status["serving"]["revision"]
    cluster.move_alias("champion", "2")
    cluster.pass_time(60)
    cluster.annotate("revert", before)
    cluster.pass_time(60)
    cluster.lose_status()
    cluster.restart_operator()
    cluster.pass_time(60)
    told(cluster)
    was_harmless(cluster)
    assert cluster.serving_versions() == {"1": 2}


# --- retry -------------------------------------------------------------------------------------------


@both_strategies
def test_a_person_asks_to_try_again_what_failed_in_its_watch(manifest: Json, told: Told, how: str) -> None:
    cluster = serving(strategy(manifest, how), "1", behaviours={"2": Behaviour(dies_after=60, dies_with=137)})
    cluster.move_alias("champion", "2")
    cluster.pass_until(lambda: "Reverted" in cluster.announced)
    cluster.pass_time(60)
    del cluster.behaviours["2"]
    cluster.ask_to_retry("monday")
    cluster.pass_time(60)
    cluster.pass_watch()
    told(cluster)
    assert cluster.serving_versions() == {"2": 2}
    assert "rejected" not in cluster.status


def test_a_person_asks_to_try_again_before_the_pause_is_over(manifest: Json, told: Told) -> None:
    no_room = Behaviour(scheduled=None)
    cluster = serving(manifest | {"rollout": {"schedulingSeconds": 60}}, "1", behaviours={"2": no_room})
    cluster.move_alias("champion", "2")
    cluster.pass_until(lambda: "Withdrawn" in cluster.announced)
    cluster.tell("a node is added")
    cluster.mend("2")
    cluster.ask_to_retry("monday")
    cluster.pass_time(30)
    told(cluster)
    was_harmless(cluster)
    assert cluster.serving_versions() == {"2": 2}


# --- approval before the start -----------------------------------------------------------------------


@both_strategies
def test_nothing_starts_before_a_person_agrees(manifest: Json, told: Told, how: str) -> None:
    manifest["gates"] = {"approval": {"mode": "Manual", "approved": "1"}}
    cluster = serving(strategy(manifest, how), "1")
    cluster.move_alias("champion", "2")
    pods = len(cluster.pods)
    cluster.pass_time(300)
    assert len(cluster.pods) == pods
    assert cluster.status["candidate"]["phase"] == "WaitingForApproval"
    cluster.commit(
        'gates.approval.approved: "2"', lambda spec: spec["gates"]["approval"].update(approved="2")
    )
    cluster.pass_time(60)
    told(cluster)
    was_harmless(cluster)
    assert cluster.serving_versions() == {"2": 2}


# --- suspended ---------------------------------------------------------------------------------------


@both_strategies
def test_suspended_in_the_watch_while_the_version_fails(manifest: Json, told: Told, how: str) -> None:
    life = Behaviour(dies_after=60, dies_with=137)
    cluster = serving(strategy(manifest, how), "1", behaviours={"2": life})
    cluster.move_alias("champion", "2")
    cluster.pass_time(40)
    cluster.commit("suspend: true", lambda spec: spec.update(suspend=True))
    writes = cluster.writes
    cluster.pass_time(120)
    assert cluster.writes == writes
    cluster.commit("suspend: false", lambda spec: spec.update(suspend=False))
    cluster.pass_time(60)
    told(cluster)
    assert cluster.serving_versions() == {"1": 2}


# --- no spare room -----------------------------------------------------------------------------------


def test_without_a_spare_the_plan_states_the_outage(manifest: Json, told: Told) -> None:
    tight = {"maxSurge": 0, "maxUnavailable": 1}
    cluster = serving(manifest | {"rollout": tight}, "1")
    cluster.kubernetes.room = 2
    cluster.move_alias("champion", "2")
    assert cluster.status["plan"]["message"]
    cluster.pass_time(90)
    told(cluster)
    was_harmless(cluster, pods=1)
    assert cluster.serving_versions() == {"2": 2}


def test_with_a_surge_and_no_spare_the_candidate_is_withdrawn(manifest: Json, told: Told) -> None:
    cluster = serving(manifest | {"rollout": {"schedulingSeconds": 60}}, "1")
    cluster.kubernetes.room = 2
    cluster.move_alias("champion", "2")
    cluster.pass_time(100)
    assert cluster.condition("Current") == ("False", "InsufficientCapacity")
    cluster.tell("a node is added")
    cluster.kubernetes.room = None
    cluster.pass_time(120)
    told(cluster)
    was_harmless(cluster)
    assert cluster.serving_versions() == {"2": 2}


def test_two_tracks_do_not_fit(manifest: Json, told: Told) -> None:
    spec = strategy(manifest, "BlueGreen", schedulingSeconds=60)
    cluster = serving(spec, "1")
    cluster.kubernetes.room = 3
    cluster.move_alias("champion", "2")
    cluster.pass_time(100)
    assert cluster.condition("Current") == ("False", "InsufficientCapacity")
    assert cluster.serving_versions() == {"1": 2}
    cluster.tell("a node is added")
    cluster.kubernetes.room = None
    cluster.pass_time(120)
    told(cluster)
    was_harmless(cluster)
    assert cluster.serving_versions() == {"2": 2}

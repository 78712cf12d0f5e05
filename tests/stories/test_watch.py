"""Lives in which a version fails after it went live, and those in which that is not its fault."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from tests.stories.conftest import Told, strategy
from tests.stories.pods import Behaviour
from tests.stories.simulation import SimulatedCluster, serving

from model_operator.domain.objects import Kind

Json = dict[str, Any]

LOAD_FAILS = Behaviour(exit_code=50, last_words='{"reason":"LoadFailed","message":"KeyError: weights"}')
CRASHES = Behaviour(exit_code=1, exits=5, ready=None, last_words="Segmentation fault")

both_strategies = pytest.mark.parametrize("how", ["RollingUpdate", "BlueGreen"])


def is_settled(cluster: SimulatedCluster) -> bool:
    return bool(cluster.status["serving"]["settled"])


@both_strategies
@pytest.mark.parametrize(
    ("life", "reason"),
    [
        pytest.param(Behaviour(dies_after=70, dies_with=139), "CrashLoop", id="it_crashes"),
        pytest.param(Behaviour(dies_after=70, dies_with=137), "OutOfMemory", id="it_runs_out_of_memory"),
        pytest.param(Behaviour(sick_after=70), "ReadinessLost", id="it_hangs"),
        pytest.param(Behaviour(error_ratio=0.3), "ServerErrors", id="it_answers_with_errors"),
    ],
)
def test_a_version_is_reverted_in_its_watch_because(
    manifest: Json, told: Told, how: str, life: Behaviour, reason: str
) -> None:
    cluster = serving(strategy(manifest, how), "1", behaviours={"2": life})
    cluster.kubernetes.requests_per_second = 10
    cluster.move_alias("champion", "2")
    cluster.pass_until(lambda: "Reverted" in cluster.announced)
    cluster.pass_time(55)
    assert cluster.serving_versions() == {"1": 2}
    assert cluster.status["rejected"][0]["reason"] == reason
    assert cluster.status["history"][0]["reason"] == reason
    assert is_settled(cluster)
    told(cluster, quiet="retryAt" not in cluster.status["rejected"][0])


@both_strategies
def test_a_few_errors_are_no_reason(manifest: Json, told: Told, how: str) -> None:
    cluster = serving(strategy(manifest, how), "1", behaviours={"2": Behaviour(error_ratio=0.02)})
    cluster.kubernetes.requests_per_second = 10
    cluster.move_alias("champion", "2")
    cluster.pass_time(60)
    cluster.pass_watch()
    told(cluster)
    assert cluster.serving_versions() == {"2": 2}
    assert is_settled(cluster)


def test_too_many_requests_only_warn(manifest: Json, told: Told) -> None:
    cluster = serving(manifest, "1", behaviours={"2": Behaviour(saturated=True)})
    cluster.kubernetes.requests_per_second = 10
    cluster.move_alias("champion", "2")
    cluster.pass_time(60)
    cluster.befall("one pod is too busy to answer its probe", 1, sick_after=0)
    cluster.pass_time(120)
    assert cluster.announced.count("Reverted") == 0
    assert cluster.serving_versions() == {"2": 1}
    cluster.tell("fewer requests come")
    cluster.mend("2")
    cluster.pass_time(60)
    told(cluster)
    assert cluster.serving_versions() == {"2": 2}


@both_strategies
@pytest.mark.parametrize(
    ("what", "change"),
    [
        pytest.param("a node is lost", {"node_lost_after": 0}, id="a_node_is_lost"),
        pytest.param("a pod is evicted", {"evicted_after": 0}, id="a_pod_is_evicted"),
    ],
)
def test_the_version_is_not_to_blame_when(
    manifest: Json, told: Told, how: str, what: str, change: Json
) -> None:
    cluster = serving(strategy(manifest, how), "1")
    cluster.move_alias("champion", "2")
    cluster.pass_time(60)
    cluster.befall(what, 1, **change)
    cluster.pass_time(400)
    assert cluster.serving_versions() == {"2": 2}
    cluster.pass_watch()
    told(cluster)
    assert cluster.announced.count("Reverted") == 0
    assert cluster.requests_lost == 0
    assert is_settled(cluster)


@both_strategies
def test_back_to_the_last_version_that_settled(manifest: Json, told: Told, how: str) -> None:
    cluster = serving(
        strategy(manifest, how), "1", behaviours={"3": Behaviour(dies_after=100, dies_with=137)}
    )
    cluster.move_alias("champion", "2")
    cluster.pass_time(60)
    cluster.move_alias("champion", "3")
    cluster.pass_until(lambda: "Reverted" in cluster.announced)
    cluster.pass_time(60)
    told(cluster)
    assert cluster.serving_versions() == {"1": 2}, "nobody knows yet how good version 2 is"


@both_strategies
def test_the_first_version_fails_in_its_watch(manifest: Json, told: Told, how: str) -> None:
    lives = {"1": Behaviour(dies_after=60, dies_with=137, lives_again=60)}
    cluster = SimulatedCluster(strategy(manifest, how), {"champion": "1"}, lives)
    cluster.settle()
    cluster.pass_time(100)
    assert cluster.announced.count("OutOfMemory") == 1
    assert cluster.status["serving"]["reason"] == "OutOfMemory"
    assert "rejected" not in cluster.status
    cluster.move_alias("champion", "2")
    cluster.pass_time(120)
    told(cluster)
    assert cluster.serving_versions() == {"2": 2}


@both_strategies
def test_the_verdict_is_taken_back_when_the_old_version_fails_too(
    manifest: Json, told: Told, how: str
) -> None:
    cluster = serving(strategy(manifest, how), "1", behaviours={"2": Behaviour(sick_after=60)})
    cluster.move_alias("champion", "2")
    cluster.pass_time(50)
    cluster.tell("the database that every version needs for each request goes away")
    cluster.pass_until(lambda: "Reverted" in cluster.announced)
    cluster.pass_time(20)
    cluster.mend("1", Behaviour(sick_after=0))
    cluster.pass_time(40)
    assert cluster.announced.count("VerdictTakenBack") == 1
    assert "rejected" not in cluster.status
    cluster.tell("the database is back")
    cluster.mend("1")
    cluster.mend("2")
    cluster.pass_time(200)
    told(cluster)
    assert cluster.serving_versions() == {"2": 2}


@both_strategies
def test_the_restored_version_can_not_start(manifest: Json, told: Told, how: str) -> None:
    lives = {"2": Behaviour(dies_after=90, dies_with=137)}
    cluster = serving(strategy(manifest, how, fetchSeconds=120), "1", behaviours=lives)
    cluster.move_alias("champion", "2")
    cluster.pass_time(60)
    cluster.tell("the artifact store goes away, and with it what was kept warm")
    store_is_away = Behaviour(fetched=None, exit_code=42, last_words='{"reason":"StoreUnreachable"}')
    cluster.behaviours["1"] = store_is_away
    if how == "BlueGreen":
        del cluster.objects[(Kind.DEPLOYMENT, "churn")]
    cluster.pass_until(lambda: "Reverted" in cluster.announced)
    cluster.pass_time(300)
    assert cluster.condition("Stalled") == ("True", "RevertBlocked")
    assert cluster.condition("Ready")[0] == "False"
    assert cluster.announced.count("Reverted") == 1, "a revert target is never reverted further"
    assert cluster.announced.count("RevertBlocked") == 1
    cluster.tell("the store is back")
    cluster.mend("1")
    cluster.pass_time(60)
    told(cluster)
    assert cluster.serving_versions() == {"1": 2}
    assert cluster.condition("Stalled") == ("", "")


@both_strategies
def test_what_may_be_an_accident_is_tried_three_times(manifest: Json, told: Told, how: str) -> None:
    cluster = serving(strategy(manifest, how), "1", behaviours={"2": CRASHES})
    cluster.move_alias("champion", "2")
    cluster.pass_time(600)
    told(cluster)
    assert cluster.requests_lost == 0
    assert cluster.announced.count("Reverted") == 3
    assert cluster.status["rejected"][0]["attempts"] == 3
    assert "retryAt" not in cluster.status["rejected"][0]
    assert cluster.written_tags["2"] == "Rejected: CrashLoop"
    cluster.pass_time(7200, step=60)
    assert cluster.announced.count("Reverted") == 3


@both_strategies
def test_an_accident_passes(manifest: Json, told: Told, how: str) -> None:
    cluster = serving(strategy(manifest, how), "1", behaviours={"2": CRASHES})
    cluster.move_alias("champion", "2")
    cluster.pass_time(30)
    cluster.tell("the database that the server needs at its start is back")
    cluster.mend("2")
    cluster.pass_time(120)
    told(cluster)
    assert cluster.requests_lost == 0
    assert cluster.serving_versions() == {"2": 2}
    assert "rejected" not in cluster.status


@both_strategies
def test_the_status_is_lost_between_attempts(manifest: Json, how: str) -> None:
    cluster = serving(strategy(manifest, how), "1", behaviours={"2": CRASHES})
    cluster.move_alias("champion", "2")
    for _ in range(20):
        cluster.pass_time(47)
        cluster.lose_status()
    assert cluster.announced.count("Reverted") <= 3
    assert cluster.serving_versions() == {"1": 2}
    assert cluster.requests_lost == 0


@both_strategies
@pytest.mark.parametrize("moment", [0, 30, 50, 62, 63, 70, 90])
def test_the_status_is_lost_around_a_fault_in_the_watch(manifest: Json, how: str, moment: int) -> None:
    cluster = serving(strategy(manifest, how), "1", behaviours={"2": Behaviour(dies_after=60, dies_with=137)})
    cluster.move_alias("champion", "2")
    cluster.pass_time(moment)
    cluster.lose_status()
    cluster.pass_time(120)
    assert cluster.serving_versions() == {"1": 2}
    assert cluster.announced.count("Reverted") == 1
    assert [r["version"] for r in cluster.status["rejected"]] == ["2"]


@both_strategies
def test_wherever_the_operator_dies_around_a_fault_in_the_watch(manifest: Json, how: str) -> None:
    number, deaths = 0, 1
    lives = {"2": Behaviour(dies_after=60, dies_with=137)}
    settled = serving(strategy(manifest, how), "1", behaviours=lives)
    while deaths:
        cluster = copy.deepcopy(settled)
        cluster.dies_after_actions = number
        cluster.move_alias("champion", "2")
        cluster.pass_time(150)
        deaths, number = cluster.deaths, number + 1
        assert cluster.serving_versions() == {"1": 2}, f"after {number} actions"
        assert cluster.announced.count("Reverted") == 1
        assert cluster.status["rejected"][0]["attempts"] == 1
        assert len(cluster.status["history"]) == 2
    assert number > 4


# --- reported only -----------------------------------------------------------------------------------


@both_strategies
def test_a_candidate_fails_and_nobody_wants_a_revert(manifest: Json, told: Told, how: str) -> None:
    manifest["revert"] = {"policy": "Never"}
    cluster = serving(strategy(manifest, how), "1", behaviours={"2": LOAD_FAILS})
    cluster.move_alias("champion", "2")
    cluster.pass_time(120)
    assert cluster.serving_versions() == {"1": 2}
    assert cluster.announced.count("Reverted") == 0
    assert cluster.announced.count("LoadFailed") == 1
    cluster.move_alias("champion", "3")
    cluster.pass_time(60)
    told(cluster)
    assert cluster.requests_lost == 0
    assert cluster.serving_versions() == {"3": 2}


@both_strategies
def test_what_serves_fails_and_nobody_wants_a_revert(manifest: Json, told: Told, how: str) -> None:
    manifest["revert"] = {"policy": "Never"}
    life = Behaviour(dies_after=60, dies_with=137, lives_again=200)
    cluster = serving(strategy(manifest, how), "1", behaviours={"2": life})
    cluster.move_alias("champion", "2")
    cluster.pass_time(100)
    assert cluster.announced.count("Reverted") == 0
    assert cluster.announced.count("OutOfMemory") == 1
    assert cluster.status["serving"]["reason"] == "OutOfMemory"
    assert cluster.serving_versions().keys() <= {"2"}
    cluster.commit("revert.policy: Automatic", lambda spec: spec.pop("revert"))
    cluster.pass_time(60)
    told(cluster)
    assert cluster.serving_versions() == {"1": 2}


# --- a commit in the watch ---------------------------------------------------------------------------


@both_strategies
def test_a_bad_commit_of_memory_is_undone_in_the_watch(manifest: Json, told: Told, how: str) -> None:
    cluster = serving(strategy(manifest, how), "1")
    cluster.behaviours["server:small"] = Behaviour(dies_after=60, dies_with=137)
    cluster.commit("server.image: server:small", lambda spec: spec.update(server={"image": "server:small"}))
    cluster.pass_until(lambda: "Reverted" in cluster.announced)
    cluster.pass_time(60)
    assert cluster.serving_versions() == {"1": 2}
    assert cluster.condition("Stalled") == ("True", "VersionRejected")
    cluster.commit("server is taken out", lambda spec: spec.pop("server"))
    cluster.pass_time(60)
    told(cluster)
    assert cluster.condition("Ready") == ("True", "Serving")

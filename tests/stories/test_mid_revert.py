"""Lives in which something changes while what serves is being sent back, in both strategies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.stories.conftest import Told, strategy
from tests.stories.pods import Behaviour
from tests.stories.simulation import SimulatedCluster, outage, serving

from model_operator.domain.objects import Kind

Json = dict[str, Any]

both_strategies = pytest.mark.parametrize("how", ["RollingUpdate", "BlueGreen"])
MORE = {"resources": {"requests": {"memory": "1Gi"}}}


def in_a_revert(manifest: Json, how: str, life: Behaviour | None = None) -> SimulatedCluster:
    """Version 2 served, fell ill, and was sent back a moment ago; nothing of version 1 was kept warm."""
    lives = {"2": life or Behaviour(sick_after=60)}
    cluster = serving(strategy(manifest, how), "1", behaviours=lives)
    cluster.move_alias("champion", "2")
    cluster.pass_time(50)
    if how == "BlueGreen":
        cluster.tell("somebody deletes the Deployment churn")
        del cluster.objects[(Kind.DEPLOYMENT, "churn")]
    cluster.pass_until(lambda: "Reverted" in cluster.announced)
    cluster.pass_time(3)
    assert cluster.serving_versions().get("1", 0) == 0, "the revert is still under way"
    return cluster


def went_back(cluster: SimulatedCluster) -> bool:
    """Version 1 serves, and version 2 was sent back once, for what it did."""
    return (
        cluster.serving_versions() == {"1": 2}
        and cluster.announced.count("Reverted") == 1
        and [r["version"] for r in cluster.status["rejected"]] == ["2"]
        and cluster.status["serving"]["version"] == "1"
    )


@both_strategies
def test_the_alias_moves_back_in_a_revert(manifest: Json, told: Told, how: str) -> None:
    cluster = in_a_revert(manifest, how)
    cluster.move_alias("champion", "1")
    cluster.pass_time(90)
    told(cluster)
    assert went_back(cluster)
    assert cluster.condition("Current") == ("True", "Serving")


@both_strategies
def test_a_commit_changes_the_shape_in_a_revert(manifest: Json, told: Told, how: str) -> None:
    cluster = in_a_revert(manifest, how)
    cluster.commit("server.resources: 1Gi", lambda spec: spec.update(server=MORE))
    cluster.pass_time(120)
    cluster.pass_watch()
    told(cluster)
    assert cluster.serving_versions() == {"1": 2}
    assert cluster.announced.count("Reverted") == 1
    assert cluster.condition("Ready") == ("True", "Serving"), "the commit is in force"
    assert cluster.condition("Current") == ("False", "VersionRejected")


@both_strategies
def test_a_commit_changes_the_size_in_a_revert(manifest: Json, told: Told, how: str) -> None:
    cluster = in_a_revert(manifest, how)
    cluster.commit("replicas: 4", lambda spec: spec.update(replicas=4))
    cluster.pass_time(120)
    told(cluster)
    assert cluster.serving_versions() == {"1": 4}
    assert cluster.announced.count("Reverted") == 1


@both_strategies
def test_a_revert_is_suspended_and_resumed(manifest: Json, told: Told, how: str) -> None:
    cluster = in_a_revert(manifest, how)
    cluster.commit("suspend: true", lambda spec: spec.update(suspend=True))
    writes = cluster.writes
    cluster.pass_time(120)
    assert cluster.writes == writes, "nothing is touched"
    cluster.commit("suspend: false", lambda spec: spec.update(suspend=False))
    cluster.pass_time(90)
    told(cluster)
    assert went_back(cluster)


@both_strategies
def test_the_strategy_changes_in_a_revert(manifest: Json, told: Told, how: str) -> None:
    cluster = in_a_revert(manifest, how)
    other = "RollingUpdate" if how == "BlueGreen" else "BlueGreen"
    cluster.commit(f"rollout.strategy: {other}", lambda spec: spec.update(rollout={"strategy": other}))
    cluster.pass_time(90)
    cluster.pass_watch()
    told(cluster)
    assert went_back(cluster)
    assert sum(cluster.sizes().values()) == 2


@both_strategies
def test_the_modeldeployment_is_deleted_and_made_again_in_a_revert(
    manifest: Json, told: Told, how: str
) -> None:
    cluster = in_a_revert(manifest, how)
    cluster.tell("kubectl delete mdep churn; kubectl apply")
    cluster.uid, cluster.status, cluster.generation = "uid-again", {}, 1
    cluster.pass_time(10)
    assert cluster.condition("Ready") == ("False", "WaitingForDeletion")
    cluster.tell("the garbage collector has come; the alias names version 3 by now")
    cluster.objects.clear()
    cluster.move_alias("champion", "3")
    cluster.pass_time(60)
    told(cluster)
    assert cluster.serving_versions() == {"3": 2}
    assert "rejected" not in cluster.status, "that was another life"


@both_strategies
@pytest.mark.parametrize(
    "what",
    [
        pytest.param(SimulatedCluster.lose_status, id="the_status_is_lost"),
        pytest.param(SimulatedCluster.restart_operator, id="the_operator_is_restarted"),
    ],
)
def test_the_memory_goes_in_a_revert(
    manifest: Json, told: Told, how: str, what: Callable[[SimulatedCluster], None]
) -> None:
    cluster = in_a_revert(manifest, how)
    cluster.tell("the registry stops answering")
    cluster.registry_failure = outage()
    what(cluster)
    cluster.pass_time(90)
    cluster.tell("the registry is back")
    cluster.registry_failure = None
    cluster.pass_time(30)
    told(cluster)
    assert went_back(cluster)
    assert cluster.condition("Current") == ("False", "VersionRejected")


@both_strategies
def test_a_person_asks_to_try_again_in_a_revert(manifest: Json, told: Told, how: str) -> None:
    cluster = in_a_revert(manifest, how)
    cluster.behaviours["2"] = Behaviour()
    cluster.ask_to_retry("monday")
    cluster.pass_time(120)
    cluster.pass_watch()
    told(cluster)
    assert cluster.serving_versions() == {"2": 2}
    assert "rejected" not in cluster.status


@both_strategies
def test_the_version_that_is_gone_back_to_is_deleted_in_a_revert(
    manifest: Json, told: Told, how: str
) -> None:
    cluster = in_a_revert(manifest, how)
    # its files are gone, too
    gone = Behaviour(
        fetched=None, exit_code=41, last_words='{"reason":"ArtifactMissing","message":"no MLmodel"}'
    )
    cluster.delete_version("1")
    cluster.mend("1", gone)
    cluster.pass_time(120)
    assert cluster.condition("Ready")[0] == "False"
    assert cluster.announced.count("Reverted") == 1, "a revert target is never reverted further"
    cluster.move_alias("champion", "3")
    cluster.pass_time(90)
    told(cluster)
    assert cluster.serving_versions() == {"3": 2}

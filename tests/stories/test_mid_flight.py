"""Lives in which the target changes while something is under way, in both strategies."""

from __future__ import annotations

from typing import Any

import pytest
from tests.stories.conftest import Told, strategy
from tests.stories.pods import Behaviour
from tests.stories.simulation import SimulatedCluster, outage, serving

from model_operator.domain.objects import Kind

Json = dict[str, Any]

LOAD_FAILS = Behaviour(exit_code=50, last_words='{"reason":"LoadFailed","message":"KeyError: weights"}')
FALLS_ILL = Behaviour(sick_after=30)
"""Ready at first, and not for long."""

both_strategies = pytest.mark.parametrize("how", ["RollingUpdate", "BlueGreen"])


def was_harmless(cluster: SimulatedCluster, pods: int = 2) -> None:
    """Nobody who sent requests noticed anything."""
    assert cluster.requests_lost == 0
    assert cluster.fewest_ready >= pods


@both_strategies
def test_the_alias_moves_again_in_a_rollout(manifest: Json, told: Told, how: str) -> None:
    cluster = serving(strategy(manifest, how), "1")
    cluster.move_alias("champion", "2")
    cluster.pass_time(9)
    cluster.move_alias("champion", "3")
    cluster.pass_time(60)
    told(cluster)
    was_harmless(cluster)
    assert cluster.serving_versions() == {"3": 2}
    assert "rejected" not in cluster.status


@both_strategies
def test_the_alias_moves_again_in_the_watch(manifest: Json, told: Told, how: str) -> None:
    cluster = serving(strategy(manifest, how), "1")
    cluster.move_alias("champion", "2")
    cluster.pass_time(60)
    cluster.move_alias("champion", "3")
    cluster.pass_time(60)
    told(cluster)
    was_harmless(cluster)
    assert cluster.serving_versions() == {"3": 2}


@both_strategies
def test_the_alias_moves_again_in_the_watch_to_a_bad_version(manifest: Json, told: Told, how: str) -> None:
    cluster = serving(strategy(manifest, how), "1", behaviours={"3": LOAD_FAILS})
    cluster.move_alias("champion", "2")
    cluster.pass_time(60)
    cluster.move_alias("champion", "3")
    cluster.pass_time(60)
    assert cluster.serving_versions() == {"2": 2}, "a new target never drops a healthy revision"
    cluster.pass_watch()
    told(cluster)
    was_harmless(cluster)
    assert cluster.status["serving"]["settled"] is True, "the watch of version 2 went on"
    assert cluster.written_tags == {"1": "Settled", "2": "Settled", "3": "Rejected: LoadFailed"}


@both_strategies
def test_the_alias_moves_again_in_a_revert(manifest: Json, told: Told, how: str) -> None:
    cluster = serving(strategy(manifest, how), "1", behaviours={"2": FALLS_ILL})
    cluster.move_alias("champion", "2")
    cluster.pass_until(lambda: "Reverted" in cluster.announced)
    cluster.pass_time(3)
    cluster.move_alias("champion", "3")
    cluster.pass_time(90)
    told(cluster)
    assert cluster.serving_versions() == {"3": 2}
    assert [r["version"] for r in cluster.status["rejected"]] == ["2"]


@both_strategies
def test_the_alias_moves_back_in_a_rollout(manifest: Json, told: Told, how: str) -> None:
    cluster = serving(strategy(manifest, how), "1")
    since = cluster.status["serving"]["since"]
    cluster.move_alias("champion", "2")
    cluster.pass_time(9)
    cluster.move_alias("champion", "1")
    cluster.pass_time(60)
    told(cluster)
    was_harmless(cluster)
    assert cluster.serving_versions() == {"1": 2}
    assert cluster.status["serving"]["since"] == since


@both_strategies
def test_the_alias_moves_back_in_the_watch(manifest: Json, told: Told, how: str) -> None:
    cluster = serving(strategy(manifest, how), "1")
    cluster.move_alias("champion", "2")
    cluster.pass_time(60)
    cluster.move_alias("champion", "1")
    cluster.pass_time(60)
    told(cluster)
    was_harmless(cluster)
    assert cluster.serving_versions() == {"1": 2}
    assert [past["version"] for past in cluster.status["history"]] == ["2", "1"]


@both_strategies
def test_a_commit_changes_the_shape_in_a_rollout(manifest: Json, told: Told, how: str) -> None:
    cluster = serving(strategy(manifest, how), "1")
    cluster.move_alias("champion", "2")
    cluster.pass_time(9)
    more = {"resources": {"requests": {"memory": "1Gi"}}}
    cluster.commit("server.resources: 1Gi", lambda spec: spec.update(server=more))
    cluster.pass_time(60)
    told(cluster)
    was_harmless(cluster)
    assert cluster.serving_versions() == {"2": 2}


@both_strategies
def test_a_commit_changes_the_size_in_a_rollout(manifest: Json, told: Told, how: str) -> None:
    cluster = serving(strategy(manifest, how), "1")
    cluster.move_alias("champion", "2")
    cluster.pass_time(9)
    cluster.commit("replicas: 4", lambda spec: spec.update(replicas=4))
    cluster.pass_time(90)
    told(cluster)
    was_harmless(cluster)
    assert cluster.serving_versions() == {"2": 4}


@both_strategies
def test_a_rollout_is_suspended_and_resumed(manifest: Json, told: Told, how: str) -> None:
    cluster = serving(strategy(manifest, how), "1", behaviours={"2": LOAD_FAILS})
    cluster.move_alias("champion", "2")
    cluster.pass_time(3)
    cluster.commit("suspend: true", lambda spec: spec.update(suspend=True))
    writes = cluster.writes
    cluster.pass_time(300)
    assert cluster.writes == writes, "nothing is touched"
    assert cluster.serving_versions() == {"1": 2}
    cluster.commit("suspend: false", lambda spec: spec.update(suspend=False))
    cluster.pass_time(60)
    told(cluster)
    was_harmless(cluster)
    assert cluster.serving_versions() == {"1": 2}
    assert cluster.condition("Current") == ("False", "VersionRejected")


@both_strategies
def test_suspended_before_the_alias_moves(manifest: Json, told: Told, how: str) -> None:
    cluster = serving(strategy(manifest, how), "1")
    cluster.commit("suspend: true", lambda spec: spec.update(suspend=True))
    cluster.move_alias("champion", "2")
    cluster.change(Kind.SERVICE, "somebody changes the Service", lambda live: live["spec"].update(ports=[]))
    writes = cluster.writes
    cluster.pass_time(300)
    assert cluster.writes == writes
    cluster.commit("suspend: false", lambda spec: spec.update(suspend=False))
    cluster.pass_time(60)
    told(cluster)
    was_harmless(cluster)
    assert cluster.serving_versions() == {"2": 2}


@both_strategies
def test_the_modeldeployment_is_deleted_and_made_again_in_a_rollout(
    manifest: Json, told: Told, how: str
) -> None:
    cluster = serving(strategy(manifest, how), "1")
    cluster.move_alias("champion", "2")
    cluster.pass_time(9)
    cluster.tell("kubectl delete mdep churn; kubectl apply")
    cluster.uid, cluster.status, cluster.generation = "uid-again", {}, 1
    cluster.pass_time(10)
    assert cluster.condition("Ready") == ("False", "WaitingForDeletion")
    cluster.tell("the garbage collector has come")
    cluster.objects.clear()
    cluster.pass_time(60)
    told(cluster)
    assert cluster.serving_versions() == {"2": 2}


@both_strategies
def test_the_modeldeployment_is_replaced_without_its_children_in_a_rollout(
    manifest: Json, told: Told, how: str
) -> None:
    cluster = serving(strategy(manifest, how), "1")
    cluster.move_alias("champion", "2")
    cluster.pass_time(9)
    cluster.tell("kubectl delete mdep churn --cascade=orphan; kubectl apply")
    cluster.uid, cluster.status, cluster.generation = "uid-again", {}, 1
    for child in cluster.objects.values():
        del child["metadata"]["ownerReferences"]
    cluster.settle()
    cluster.pass_time(60)
    told(cluster)
    was_harmless(cluster)
    assert cluster.serving_versions() == {"2": 2}
    for child in cluster.objects.values():
        assert child["metadata"]["ownerReferences"][0]["uid"] == "uid-again"


@both_strategies
def test_the_old_version_is_deleted_while_it_serves(manifest: Json, told: Told, how: str) -> None:
    cluster = serving(strategy(manifest, how), "1", behaviours={"2": LOAD_FAILS})
    cluster.delete_version("1")
    cluster.pass_time(60)
    assert cluster.condition("Ready") == ("True", "Serving")
    assert cluster.condition("Resolved") == ("False", "AliasNotFound")
    cluster.move_alias("champion", "2")
    cluster.pass_time(60)
    assert cluster.serving_versions() == {"1": 2}
    cluster.move_alias("champion", "3")
    cluster.pass_time(60)
    told(cluster)
    was_harmless(cluster)
    assert cluster.serving_versions() == {"3": 2}


@both_strategies
def test_the_registry_goes_away_before_a_revert(manifest: Json, told: Told, how: str) -> None:
    cluster = serving(strategy(manifest, how), "1", behaviours={"2": FALLS_ILL})
    cluster.move_alias("champion", "2")
    cluster.pass_time(28)
    cluster.tell("the registry stops answering")
    cluster.registry_failure = outage()
    cluster.pass_time(300)
    assert cluster.serving_versions() == {"1": 2}
    cluster.tell("the registry is back")
    cluster.registry_failure = None
    cluster.pass_time(60)
    told(cluster)
    assert cluster.serving_versions() == {"1": 2}
    assert cluster.condition("Current") == ("False", "VersionRejected")


def test_two_modeldeployments_share_a_model(manifest: Json, told: Told) -> None:
    aliases = {"champion": "1"}
    first = SimulatedCluster(manifest, aliases, {"2": LOAD_FAILS})
    # the same version loads where there is more memory, say
    second = SimulatedCluster(strategy(manifest, "BlueGreen"), aliases, name="churn-batch")
    for cluster in (first, second):
        cluster.settle()
        cluster.pass_time(60)
        cluster.pass_watch()
        cluster.watch_ready()
    for cluster in (first, second):
        cluster.move_alias("champion", "2")
        cluster.pass_time(60)
    assert first.serving_versions() == {"1": 2}
    assert second.serving_versions() == {"2": 2}
    assert first.written_tags["2"] == "Rejected: LoadFailed"
    assert second.written_tags["2"] == "Serving"
    first.transcript += ["--- the other one ---", *second.transcript]
    told(first)
    was_harmless(first)
    was_harmless(second)

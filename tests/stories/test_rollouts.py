"""Lives without a lasting failure: the alias moves, the spec changes, the registry goes and comes."""

from __future__ import annotations

from typing import Any

from tests.stories.conftest import Told
from tests.stories.pods import Behaviour
from tests.stories.simulation import SimulatedCluster, outage, serving

Json = dict[str, Any]

LOAD_FAILS = Behaviour(exit_code=50, last_words='{"reason":"LoadFailed","message":"KeyError: weights"}')


def test_from_alias_to_pods_and_back(manifest: Json, told: Told) -> None:
    cluster = SimulatedCluster(manifest, {"champion": "1"}, {"3": LOAD_FAILS})
    cluster.settle()
    cluster.pass_time(60)
    cluster.watch_ready()
    cluster.move_alias("champion", "2")
    cluster.pass_time(60)
    cluster.move_alias("champion", "3")
    cluster.pass_time(60)
    assert cluster.condition("Ready") == ("True", "Serving")
    cluster.move_alias("champion", "2")
    cluster.pass_time(30)
    told(cluster)
    assert cluster.fewest_ready >= 2
    assert cluster.serving_versions() == {"2": 2}
    assert cluster.condition("Current") == ("True", "Serving")
    assert cluster.status["serving"]["since"] == "2026-11-20T09:01:28Z"
    assert [r["version"] for r in cluster.status["rejected"]] == ["3"]


def test_the_alias_moves_again_while_a_version_is_rolled_out(manifest: Json, told: Told) -> None:
    cluster = serving(manifest, "1")
    cluster.move_alias("champion", "2")
    cluster.pass_time(20)
    cluster.move_alias("champion", "3")
    cluster.pass_time(60)
    told(cluster)
    assert cluster.fewest_ready >= 2
    assert cluster.serving_versions() == {"3": 2}


def test_the_alias_moves_back_while_a_version_is_rolled_out(manifest: Json, told: Told) -> None:
    cluster = serving(manifest, "1")
    since = cluster.status["serving"]["since"]
    cluster.move_alias("champion", "2")
    cluster.pass_time(20)
    cluster.move_alias("champion", "1")
    cluster.pass_time(60)
    told(cluster)
    assert cluster.fewest_ready >= 2
    assert cluster.serving_versions() == {"1": 2}
    assert cluster.status["serving"]["since"] == since
    assert "rejected" not in cluster.status


def test_a_commit_changes_the_resources(manifest: Json, told: Told) -> None:
    cluster = serving(manifest, "1")
    memory = {"requests": {"memory": "1Gi"}}
    cluster.commit("server.resources: 1Gi", lambda spec: spec.update(server={"resources": memory}))
    assert cluster.condition("Ready") == ("False", "RollingOut")
    assert cluster.condition("Stalled") == ("", "")
    cluster.pass_time(60)
    told(cluster)
    assert cluster.fewest_ready >= 2
    assert cluster.condition("Ready") == ("True", "Serving")


def test_the_registry_is_away_while_nothing_moves(manifest: Json, told: Told) -> None:
    cluster = serving(manifest, "1")
    cluster.tell("the registry stops answering")
    cluster.registry_failure = outage()
    cluster.pass_time(300)
    assert cluster.condition("Ready") == ("True", "Serving")
    assert cluster.condition("Resolved") == ("Unknown", "RegistryUnreachable")
    cluster.tell("the registry is back")
    cluster.registry_failure = None
    cluster.pass_time(10)
    told(cluster)
    assert cluster.fewest_ready >= 2
    assert cluster.condition("Current") == ("True", "Serving")


def test_the_registry_goes_away_in_mid_rollout(manifest: Json, told: Told) -> None:
    cluster = serving(manifest, "1")
    cluster.move_alias("champion", "2")
    cluster.pass_time(5)
    cluster.tell("the registry stops answering")
    cluster.registry_failure = outage()
    cluster.pass_time(60)
    assert cluster.serving_versions() == {"2": 2}
    cluster.tell("the registry is back")
    cluster.registry_failure = None
    cluster.pass_time(10)
    told(cluster)
    assert cluster.fewest_ready >= 2


def test_the_alias_is_deleted_and_set_again(manifest: Json, told: Told) -> None:
    cluster = serving(manifest, "1")
    cluster.tell("@champion is deleted in the registry")
    del cluster.aliases["champion"]
    cluster.pass_time(120)
    assert cluster.condition("Ready") == ("True", "Serving")
    assert cluster.condition("Current") == ("False", "AliasNotFound")
    cluster.move_alias("champion", "2")
    cluster.pass_time(60)
    told(cluster)
    assert cluster.fewest_ready >= 2
    assert cluster.serving_versions() == {"2": 2}


def test_a_rollout_waits_for_its_slot(manifest: Json, told: Told) -> None:
    cluster = serving(manifest, "1")
    cluster.slot_free = False
    cluster.move_alias("champion", "2")
    cluster.pass_time(60)
    assert cluster.condition("Current") == ("False", "WaitingForSlot")
    cluster.tell("another rollout ends, a slot is free")
    cluster.slot_free = True
    cluster.pass_time(60)
    told(cluster)
    assert cluster.serving_versions() == {"2": 2}


def test_credentials_are_missing_and_then_there(manifest: Json, told: Told) -> None:
    cluster = serving(manifest, "1")
    cluster.credentials_error = "there is no Secret mlflow in namespace crm; make one"
    cluster.move_alias("champion", "2")
    cluster.pass_time(60)
    assert cluster.condition("Ready") == ("True", "Serving")
    assert cluster.condition("Current") == ("False", "CredentialsMissing")
    assert cluster.announced.count("CredentialsMissing") == 1
    cluster.tell("somebody makes the Secret")
    cluster.credentials_error = ""
    cluster.pass_time(60)
    told(cluster)
    assert cluster.serving_versions() == {"2": 2}


def test_a_first_deployment_without_credentials(manifest: Json, told: Told) -> None:
    cluster = SimulatedCluster(manifest, {"champion": "1"})
    cluster.credentials_error = "there is no Secret mlflow in namespace crm; make one"
    cluster.settle()
    cluster.pass_time(60)
    assert cluster.condition("Stalled") == ("True", "CredentialsMissing")
    assert cluster.announced.count("CredentialsMissing") == 1
    assert cluster.pods == []
    cluster.tell("somebody makes the Secret")
    cluster.credentials_error = ""
    cluster.pass_time(60)
    told(cluster)
    assert cluster.serving_versions() == {"1": 2}


def test_an_alias_moves_while_scaled_to_nothing(manifest: Json, told: Told) -> None:
    cluster = serving(manifest, "1")
    cluster.commit("replicas: 0", lambda spec: spec.update(replicas=0))
    cluster.pass_time(10)
    cluster.move_alias("champion", "2")
    cluster.pass_time(10)
    assert cluster.condition("Ready") == ("True", "ScaledToZero")
    assert "selfTest" not in cluster.status["serving"]
    cluster.commit("replicas: 2", lambda spec: spec.update(replicas=2))
    cluster.pass_time(60)
    told(cluster)
    assert cluster.serving_versions() == {"2": 2}

"""Lives in which somebody commits while the version that the alias names may not serve."""

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
TAMPERED = Behaviour(
    fetched=None, exit_code=40, last_words='{"reason":"DigestMismatch","message":"sha256:0"}'
)
ERRS = Behaviour(error_ratio=0.3)
LEAKS = Behaviour(dies_after=60, dies_with=137)
NO_IMAGE = Behaviour(ready=None, waits="ErrImagePull", last_words="server:typo: not found")
GATES = {"tags": [{"key": "validated", "value": "yes"}]}

both_strategies = pytest.mark.parametrize("how", ["RollingUpdate", "BlueGreen"])


def was_harmless(cluster: SimulatedCluster, pods: int = 2) -> None:
    """Nobody who sent requests noticed anything."""
    assert cluster.requests_lost == 0
    assert cluster.fewest_ready >= pods


def variable(value: str) -> Json:
    return {"env": [{"name": "LOG_LEVEL", "value": value}]}


def has_variable(cluster: SimulatedCluster, value: str) -> bool:
    """Whether the pods that the Service reaches are all shaped by the commit that set the variable."""
    live = cluster.live(Kind.DEPLOYMENT, cluster.status["serving"]["track"])
    container = live["spec"]["template"]["spec"]["containers"][0]
    return {"name": "LOG_LEVEL", "value": value} in container.get("env", ())


def is_refused(cluster: SimulatedCluster) -> bool:
    """Version 2 is still rejected, and the spec is in force all the same."""
    return (
        cluster.condition("Current") == ("False", "VersionRejected")
        and cluster.condition("Ready") == ("True", "Serving")
        and cluster.condition("Stalled") == ("", "")
    )


@both_strategies
def test_a_commit_after_a_rejection_is_tried_with_the_wanted_version_and_then_with_what_serves(
    manifest: Json, told: Told, how: str
) -> None:
    cluster = serving(strategy(manifest, how), "1", behaviours={"2": LOAD_FAILS})
    cluster.move_alias("champion", "2")
    cluster.pass_time(60)
    cluster.commit("server.env", lambda spec: spec.update(server=variable("debug")))
    assert cluster.condition("Ready") == ("False", "RollingOut")
    cluster.pass_time(90)
    assert is_refused(cluster)
    cluster.pass_watch()
    told(cluster)
    was_harmless(cluster)
    assert cluster.serving_versions() == {"1": 2}
    assert has_variable(cluster, "debug")
    assert cluster.announced.count("Reverted") == 2, "once for each commit"


@both_strategies
def test_a_commit_that_mends_the_wanted_version_lets_it_in(manifest: Json, told: Told, how: str) -> None:
    cluster = serving(strategy(manifest, how), "1", behaviours={"2": LOAD_FAILS, "server:2": Behaviour()})
    cluster.move_alias("champion", "2")
    cluster.pass_time(60)
    cluster.commit("server.image: server:2", lambda spec: spec.update(server={"image": "server:2"}))
    cluster.pass_time(60)
    told(cluster)
    was_harmless(cluster)
    assert cluster.serving_versions() == {"2": 2}
    assert cluster.condition("Current") == ("True", "Serving")


@both_strategies
def test_a_commit_can_not_mend_the_files_of_a_version(manifest: Json, told: Told, how: str) -> None:
    cluster = serving(strategy(manifest, how), "1", behaviours={"2": TAMPERED})
    cluster.move_alias("champion", "2")
    cluster.pass_time(60)
    cluster.commit("server.env", lambda spec: spec.update(server=variable("debug")))
    cluster.pass_time(60)
    assert is_refused(cluster)
    cluster.lose_status()
    cluster.pass_watch()
    told(cluster)
    was_harmless(cluster)
    assert cluster.serving_versions() == {"1": 2}
    assert has_variable(cluster, "debug")
    assert cluster.announced.count("Reverted") == 1, "the files are what they were"


@both_strategies
def test_a_commit_brings_nothing_back_that_failed_on_live_requests(
    manifest: Json, told: Told, how: str
) -> None:
    cluster = serving(strategy(manifest, how), "1", behaviours={"2": ERRS})
    cluster.kubernetes.requests_per_second = 10
    cluster.move_alias("champion", "2")
    cluster.pass_until(lambda: "Reverted" in cluster.announced)
    cluster.pass_time(60)
    cluster.commit("server.env", lambda spec: spec.update(server=variable("debug")))
    cluster.pass_time(90)
    assert is_refused(cluster)
    assert has_variable(cluster, "debug")
    assert cluster.announced.count("Reverted") == 1
    cluster.tell("the feature store is mended")
    cluster.mend("2")
    cluster.ask_to_retry("monday")
    cluster.pass_time(60)
    cluster.pass_watch()
    told(cluster)
    assert cluster.serving_versions() == {"2": 2}
    assert "rejected" not in cluster.status


@both_strategies
def test_more_memory_is_tried_with_the_version_that_ran_out_of_it(
    manifest: Json, told: Told, how: str
) -> None:
    lives = {"2": LEAKS}
    cluster = serving(strategy(manifest, how), "1", behaviours=lives)
    cluster.move_alias("champion", "2")
    cluster.pass_until(lambda: "Reverted" in cluster.announced)
    cluster.pass_time(60)
    del lives["2"]
    more = {"resources": {"limits": {"memory": "2Gi"}}}
    cluster.commit("server.resources.limits.memory: 2Gi", lambda spec: spec.update(server=more))
    cluster.pass_time(60)
    cluster.pass_watch()
    told(cluster)
    assert cluster.serving_versions() == {"2": 2}
    assert cluster.condition("Current") == ("True", "Serving")


@both_strategies
def test_a_bad_commit_after_a_rejection_changes_nothing_that_serves(
    manifest: Json, told: Told, how: str
) -> None:
    cluster = serving(strategy(manifest, how), "1", behaviours={"2": LOAD_FAILS, "server:typo": NO_IMAGE})
    cluster.move_alias("champion", "2")
    cluster.pass_time(60)
    cluster.commit("server.image: server:typo", lambda spec: spec.update(server={"image": "server:typo"}))
    cluster.pass_time(60)
    assert cluster.condition("Ready") == ("False", "VersionRejected")
    assert cluster.condition("Stalled") == ("True", "VersionRejected")
    assert cluster.serving_versions() == {"1": 2}
    cluster.commit("server.image is taken out", lambda spec: spec.pop("server"))
    cluster.pass_time(60)
    told(cluster)
    was_harmless(cluster)
    assert is_refused(cluster)


@both_strategies
def test_a_commit_that_names_the_version_itself_is_rejected_as_a_whole(
    manifest: Json, told: Told, how: str
) -> None:
    manifest["model"] = {"name": "churn", "version": "1"}
    cluster = serving(strategy(manifest, how), "1", behaviours={"2": LOAD_FAILS})
    cluster.commit(
        "model.version: 2, server.env",
        lambda spec: spec.update(model={"name": "churn", "version": "2"}, server=variable("debug")),
    )
    cluster.pass_time(120)
    told(cluster)
    was_harmless(cluster)
    assert cluster.condition("Stalled") == ("True", "VersionRejected")
    assert not has_variable(cluster, "debug")


@both_strategies
def test_a_commit_while_a_gate_keeps_the_wanted_version_out(manifest: Json, told: Told, how: str) -> None:
    cluster = serving(strategy(manifest, how), "1")
    cluster.commit("gates", lambda spec: spec.update(gates=GATES))
    cluster.move_alias("champion", "2")
    cluster.pass_time(30)
    cluster.commit("server.env", lambda spec: spec.update(server=variable("debug")))
    cluster.pass_time(60)
    assert cluster.serving_versions() == {"1": 2}
    assert has_variable(cluster, "debug")
    assert cluster.condition("Ready") == ("True", "Serving")
    assert cluster.condition("Current") == ("False", "TagMissing")
    cluster.tag("2", validated="yes")
    cluster.pass_time(60)
    told(cluster)
    was_harmless(cluster)
    assert cluster.serving_versions() == {"2": 2}


@both_strategies
def test_a_commit_while_nobody_has_approved_the_wanted_version(manifest: Json, told: Told, how: str) -> None:
    manifest["gates"] = {"approval": {"mode": "Manual", "approved": "1"}}
    cluster = serving(strategy(manifest, how), "1")
    cluster.move_alias("champion", "2")
    cluster.pass_time(30)
    cluster.commit("server.env", lambda spec: spec.update(server=variable("debug")))
    assert cluster.condition("Current") == ("False", "WaitingForApproval")
    cluster.pass_time(60)
    assert cluster.serving_versions() == {"1": 2}
    assert has_variable(cluster, "debug")
    assert cluster.status["candidate"]["phase"] == "WaitingForApproval"
    cluster.commit("approved: 2", lambda spec: spec["gates"]["approval"].update(approved="2"))
    cluster.pass_time(60)
    told(cluster)
    was_harmless(cluster)
    assert cluster.serving_versions() == {"2": 2}


@both_strategies
def test_the_operator_dies_while_a_commit_is_brought_in(manifest: Json, how: str) -> None:
    number, deaths = 0, 1
    rejected = serving(strategy(manifest, how), "1", behaviours={"2": LOAD_FAILS})
    rejected.move_alias("champion", "2")
    rejected.pass_time(40)
    while deaths:
        cluster = copy.deepcopy(rejected)
        cluster.dies_after_actions = number
        cluster.commit("server.env", lambda spec: spec.update(server=variable("debug")))
        cluster.pass_time(90)
        deaths, number = cluster.deaths, number + 1
        assert is_refused(cluster), f"after {number} actions"
        assert has_variable(cluster, "debug")
        assert cluster.announced.count("Reverted") == 2
        was_harmless(cluster)
    assert number > 5


@both_strategies
def test_the_status_is_lost_again_and_again_while_a_commit_is_brought_in(manifest: Json, how: str) -> None:
    cluster = serving(strategy(manifest, how), "1", behaviours={"2": LOAD_FAILS})
    cluster.move_alias("champion", "2")
    cluster.pass_time(40)
    cluster.commit("server.env", lambda spec: spec.update(server=variable("debug")))
    for _ in range(8):
        cluster.pass_time(5)
        cluster.lose_status()
    cluster.pass_time(90)
    assert is_refused(cluster)
    assert has_variable(cluster, "debug")
    was_harmless(cluster)


@both_strategies
def test_verdicts_on_what_is_wanted_outlive_a_short_history(manifest: Json, how: str) -> None:
    manifest["revert"] = {"historyLimit": 1}
    cluster = serving(strategy(manifest, how), "1", behaviours=dict.fromkeys("23456", LOAD_FAILS))
    for version in "23456":
        cluster.move_alias("champion", version)
        cluster.pass_time(30)
    cluster.commit("server.env", lambda spec: spec.update(server=variable("debug")))
    cluster.pass_time(100)
    cluster.lose_status()
    reverted = cluster.announced.count("Reverted")
    cluster.pass_time(900, step=10)
    assert is_refused(cluster)
    assert cluster.announced.count("Reverted") == reverted, "nothing is tried that is known to fail"


@both_strategies
def test_what_failed_on_live_requests_does_not_come_back_when_a_person_lets_go_of_it(
    manifest: Json, how: str
) -> None:
    cluster = serving(strategy(manifest, how), "1", behaviours={"2": LEAKS})
    cluster.move_alias("champion", "2")
    cluster.pass_until(lambda: "Reverted" in cluster.announced)
    cluster.pass_time(60)
    cluster.annotate("revert", cluster.status["rejected"][0]["revision"])
    cluster.pass_time(150)
    cluster.annotate("revert", None)
    cluster.pass_time(300)
    assert cluster.serving_versions() == {"1": 2}
    assert cluster.announced.count("Reverted") == 2, "once for the alias, once for the person"


# --- the scripts of an earlier build are gone ----------------------------------------------------------


def lose_scripts(cluster: SimulatedCluster) -> None:
    """A newer build takes over, and somebody tidies up the ConfigMaps."""
    cluster.restart_operator("2")
    cluster.remove(Kind.CONFIG_MAP)


@both_strategies
def test_the_scripts_of_what_serves_are_deleted_after_an_upgrade(
    manifest: Json, told: Told, how: str
) -> None:
    cluster = serving(strategy(manifest, how), "1")
    pods = {pod.name for pod in cluster.pods}
    lose_scripts(cluster)
    cluster.pass_time(60)
    assert {pod.name for pod in cluster.pods} == pods
    assert cluster.condition("Ready") == ("True", "ScriptsMissing")
    cluster.annotate("restart", "monday")
    cluster.pass_time(60)
    told(cluster)
    was_harmless(cluster)
    assert cluster.condition("Ready") == ("True", "Serving")


@both_strategies
@pytest.mark.parametrize("by", ["itself", "a_person", "the_alias"])
def test_what_is_gone_back_to_had_its_scripts_deleted(manifest: Json, told: Told, how: str, by: str) -> None:
    cluster = serving(strategy(manifest, how, warmSeconds=0), "1")
    before = cluster.status["serving"]["revision"]
    cluster.restart_operator("2")
    cluster.behaviours["2"] = Behaviour(dies_after=90, dies_with=137) if by == "itself" else Behaviour()
    cluster.move_alias("champion", "2")
    cluster.pass_time(60)
    if by != "itself":
        cluster.pass_watch()
    old = next(key for key in cluster.objects if key[0] is Kind.CONFIG_MAP)
    cluster.tell("somebody deletes the scripts of version 1")
    del cluster.objects[old]
    cluster.tell("and what was kept warm is gone")
    for track, size in cluster.sizes().items():
        if how == "BlueGreen" and track != cluster.status["serving"]["track"] and size:
            del cluster.objects[(Kind.DEPLOYMENT, track)]
    if by == "a_person":
        cluster.registry_failure = outage()
        cluster.annotate("revert", before)
    elif by == "the_alias":
        cluster.move_alias("champion", "1")
    cluster.pass_time(120)
    told(cluster)
    assert cluster.serving_versions() == {"1": 2}
    mounted = {
        v["configMap"]["name"]
        for (kind, _), obj in cluster.objects.items()
        if kind is Kind.DEPLOYMENT and obj["spec"]["replicas"]
        for v in obj["spec"]["template"]["spec"]["volumes"]
        if v["name"] == "scripts"
    }
    assert mounted <= {name for kind, name in cluster.objects if kind is Kind.CONFIG_MAP}

"""Lives in which a version, a manifest or the surroundings fail."""

from __future__ import annotations

from typing import Any

import pytest
from tests.stories.conftest import Told
from tests.stories.pods import Behaviour
from tests.stories.simulation import SimulatedCluster, serving

Json = dict[str, Any]


def words(reason: str, message: str) -> str:
    return f'{{"reason": "{reason}", "message": "{message}"}}'


LOAD_FAILS = Behaviour(exit_code=50, last_words=words("LoadFailed", "KeyError: weights"))
SELF_TEST_FAILS = Behaviour(exit_code=52, last_words=words("SelfTestFailed", "the example gave NaN"))
CRASHES = Behaviour(exit_code=1, exits=5, ready=None, last_words="Segmentation fault")
HANGS = Behaviour(ready=None)
NO_ARTIFACT = Behaviour(fetched=None, exit_code=41, last_words=words("ArtifactMissing", "no MLmodel"))
STORE_DOWN = Behaviour(fetched=None, exit_code=42, last_words=words("StoreUnreachable", "no answer from s3"))
NO_ROOM = Behaviour(scheduled=None)
NO_IMAGE = Behaviour(ready=None, waits="ErrImagePull", last_words="server:2: not found")


@pytest.mark.parametrize(
    ("life", "reason", "side", "within"),
    [
        pytest.param(LOAD_FAILS, "LoadFailed", "Model", 11, id="its_load_fails"),
        pytest.param(SELF_TEST_FAILS, "SelfTestFailed", "Model", 11, id="its_self_test_fails"),
        pytest.param(CRASHES, "CrashLoop", "Model", 11, id="it_crashes_twice_without_a_word"),
        pytest.param(HANGS, "StartupDeadline", "Configuration", 607, id="it_misses_its_startup_deadline"),
        pytest.param(NO_ARTIFACT, "ArtifactMissing", "Model", 11, id="its_files_are_missing"),
    ],
)
def test_a_version_is_reverted_because(
    manifest: Json, told: Told, life: Behaviour, reason: str, side: str, within: int
) -> None:
    cluster = serving(manifest, "1", behaviours={"2": life})
    since = cluster.status["serving"]["since"]
    cluster.move_alias("champion", "2")
    cluster.pass_time(within - 1)
    cluster.pass_time(10)
    told(cluster, quiet="retryAt" not in cluster.status["rejected"][0])
    assert cluster.fewest_ready >= 2
    assert cluster.serving_versions() == {"1": 2}
    assert cluster.status["serving"]["since"] == since
    assert cluster.condition("Ready") == ("True", "Serving")
    assert cluster.condition("Current") == ("False", "VersionRejected")
    rejected = cluster.status["rejected"][0]
    assert (rejected["version"], rejected["reason"], rejected["side"]) == ("2", reason, side)
    assert cluster.announced.count("Reverted") == 1


def test_a_crash_loop_is_judged_at_the_second_exit(manifest: Json) -> None:
    cluster = serving(manifest, "1", behaviours={"2": CRASHES})
    cluster.move_alias("champion", "2")
    cluster.pass_time(9)
    assert "candidate" in cluster.status
    cluster.pass_time(1)
    assert "candidate" not in cluster.status


def test_a_longer_startup_deadline_lets_the_version_in(manifest: Json, told: Told) -> None:
    cluster = serving(manifest, "1", behaviours={"2": Behaviour(ready=900)})
    cluster.move_alias("champion", "2")
    cluster.pass_time(640, step=2)
    assert cluster.condition("Current") == ("False", "VersionRejected")
    cluster.commit("rollout.startupSeconds: 1200", lambda spec: spec.update(rollout={"startupSeconds": 1200}))
    assert cluster.status["candidate"]["attempts"] == 2
    cluster.pass_time(2000, step=2)
    told(cluster)
    assert cluster.fewest_ready >= 2
    assert cluster.serving_versions() == {"2": 2}
    assert "rejected" not in cluster.status


def test_the_store_is_away_then_back(manifest: Json, told: Told) -> None:
    cluster = serving(manifest | {"rollout": {"fetchSeconds": 120}}, "1", behaviours={"2": STORE_DOWN})
    cluster.move_alias("champion", "2")
    cluster.pass_time(100)
    assert cluster.condition("Current") == ("False", "StoreUnreachable")
    cluster.pass_time(25)
    assert cluster.status["candidate"]["phase"] == "Withdrawn"
    # the pauses: 60 s, 120 s, 240 s
    cluster.pass_time(60 + 121 + 120 + 121 + 50)
    assert cluster.status["candidate"]["attempts"] == 3
    assert cluster.announced.count("Withdrawn") == 3
    cluster.tell("the store is back")
    cluster.mend("2")
    cluster.pass_time(240)
    told(cluster)
    assert cluster.fewest_ready >= 2
    assert "rejected" not in cluster.status
    assert cluster.serving_versions() == {"2": 2}


def test_no_node_has_room(manifest: Json, told: Told) -> None:
    cluster = serving(manifest | {"rollout": {"schedulingSeconds": 300}}, "1", behaviours={"2": NO_ROOM})
    cluster.move_alias("champion", "2")
    cluster.pass_time(60)
    assert cluster.condition("Current") == ("False", "InsufficientCapacity")
    assert cluster.condition("Ready") == ("True", "Serving")
    cluster.pass_time(260)
    assert "rejected" not in cluster.status
    cluster.tell("a node is added")
    cluster.mend("2")
    cluster.pass_time(100)
    told(cluster)
    assert cluster.fewest_ready >= 2
    assert cluster.serving_versions() == {"2": 2}


def test_no_room_without_a_surge_waits_for_a_commit(manifest: Json, told: Told) -> None:
    tight = {"maxSurge": 0, "maxUnavailable": 1, "schedulingSeconds": 300}
    cluster = serving(manifest | {"rollout": tight}, "1", behaviours={"2": NO_ROOM})
    cluster.move_alias("champion", "2")
    cluster.pass_time(320)
    assert cluster.status["candidate"]["phase"] == "Withdrawn"
    assert "retryAt" not in cluster.status["candidate"]
    cluster.pass_time(7200, step=60)
    assert cluster.announced.count("Withdrawn") == 1
    assert cluster.serving_versions() == {"1": 2}
    cluster.tell("a node is added")
    cluster.mend("2")
    cluster.commit("rollout.maxSurge: 1", lambda spec: spec["rollout"].update(maxSurge=1))
    cluster.pass_time(60)
    told(cluster)
    assert cluster.fewest_ready >= 1
    assert cluster.serving_versions() == {"2": 2}


def test_a_first_version_fails_until_the_alias_moves(manifest: Json, told: Told) -> None:
    cluster = SimulatedCluster(manifest, {"champion": "1"}, {"1": LOAD_FAILS})
    cluster.settle()
    cluster.pass_time(60)
    assert cluster.condition("Ready") == ("False", "FirstVersionFailed")
    assert cluster.condition("Stalled") == ("True", "FirstVersionFailed")
    assert cluster.announced.count("LoadFailed") == 1
    cluster.move_alias("champion", "2")
    cluster.pass_time(60)
    assert cluster.serving_versions() == {"2": 2}
    cluster.move_alias("champion", "1")
    cluster.pass_time(10)
    told(cluster)
    assert cluster.serving_versions() == {"2": 2}
    assert cluster.condition("Current") == ("False", "VersionRejected")


def test_a_first_version_fails_until_the_manifest_is_mended(manifest: Json, told: Told) -> None:
    manifest["server"] = {"image": "server:2"}
    cluster = SimulatedCluster(manifest, {"champion": "1"}, {"server:2": NO_IMAGE})
    cluster.settle()
    cluster.pass_time(60)
    assert cluster.condition("Stalled") == ("True", "FirstVersionFailed")
    cluster.commit("server.image: server:3", lambda spec: spec["server"].update(image="server:3"))
    cluster.pass_time(60)
    told(cluster)
    assert cluster.serving_versions() == {"1": 2}
    assert cluster.condition("Ready") == ("True", "Serving")


def test_a_first_version_heals_by_itself(manifest: Json, told: Told) -> None:
    cluster = SimulatedCluster(manifest, {"champion": "1"}, {"1": CRASHES})
    cluster.settle()
    cluster.pass_time(60)
    assert cluster.condition("Stalled") == ("True", "FirstVersionFailed")
    cluster.tell("the database that the server needs at its start is back")
    cluster.mend("1")
    cluster.pass_time(30)
    told(cluster)
    assert cluster.serving_versions() == {"1": 2}
    assert "rejected" not in cluster.status


def test_a_first_version_finds_no_room(manifest: Json, told: Told) -> None:
    cluster = SimulatedCluster(manifest | {"rollout": {"schedulingSeconds": 300}}, {"champion": "1"})
    cluster.behaviours["1"] = NO_ROOM
    cluster.settle()
    cluster.pass_time(400)
    assert cluster.condition("Ready") == ("False", "InsufficientCapacity")
    assert cluster.condition("Stalled") == ("True", "InsufficientCapacity")
    assert "rejected" not in cluster.status
    cluster.tell("a node is added")
    cluster.mend("1")
    cluster.pass_time(60)
    told(cluster)
    assert cluster.serving_versions() == {"1": 2}


def test_a_bad_commit_is_reverted_and_then_mended(manifest: Json, told: Told) -> None:
    cluster = serving(manifest, "1", behaviours={"server:2": NO_IMAGE})
    cluster.commit("server.image: server:2", lambda spec: spec.update(server={"image": "server:2"}))
    cluster.pass_time(60)
    assert cluster.condition("Ready") == ("False", "VersionRejected")
    assert cluster.condition("Stalled") == ("True", "VersionRejected")
    assert cluster.serving_versions() == {"1": 2}
    cluster.commit("server.image: server:3", lambda spec: spec.update(server={"image": "server:3"}))
    assert cluster.condition("Stalled") == ("", "")
    cluster.pass_time(60)
    told(cluster)
    assert cluster.fewest_ready >= 2
    assert cluster.condition("Ready") == ("True", "Serving")


def test_a_bad_commit_of_a_version_is_reverted(manifest: Json, told: Told) -> None:
    manifest["model"] = {"name": "churn", "version": "1"}
    cluster = serving(manifest, "1", behaviours={"2": LOAD_FAILS})
    cluster.commit("model.version: 2", lambda spec: spec["model"].update(version="2"))
    cluster.pass_time(60)
    assert cluster.condition("Stalled") == ("True", "VersionRejected")
    cluster.lose_status()
    cluster.pass_time(10)
    assert cluster.condition("Stalled") == ("True", "VersionRejected")
    cluster.commit("model.version: 1", lambda spec: spec["model"].update(version="1"))
    cluster.pass_time(30)
    told(cluster)
    assert cluster.fewest_ready >= 2
    assert cluster.condition("Ready") == ("True", "Serving")


def test_a_rejected_version_stays_rejected_when_the_alias_comes_back(manifest: Json, told: Told) -> None:
    cluster = serving(manifest, "1", behaviours={"2": LOAD_FAILS})
    cluster.move_alias("champion", "2")
    cluster.pass_time(30)
    cluster.move_alias("champion", "3")
    cluster.pass_time(60)
    cluster.move_alias("champion", "2")
    cluster.pass_time(60)
    told(cluster)
    assert cluster.fewest_ready >= 2
    assert cluster.serving_versions() == {"3": 2}
    assert cluster.announced.count("Reverted") == 1
    assert cluster.announced.count("VersionRejected") == 1
    assert cluster.status["rejected"][0]["attempts"] == 1


def test_a_person_asks_to_try_a_rejected_version_again(manifest: Json, told: Told) -> None:
    cluster = serving(manifest, "1", behaviours={"2": LOAD_FAILS})
    cluster.move_alias("champion", "2")
    cluster.pass_time(60)
    assert cluster.condition("Current") == ("False", "VersionRejected")
    cluster.ask_to_retry("monday")
    cluster.pass_time(60)
    assert cluster.status["handledRequests"] == {"retry": "monday"}
    assert cluster.status["rejected"][0]["attempts"] == 2
    assert cluster.announced.count("Reverted") == 2, "tried once more, not again and again"
    del cluster.behaviours["2"]
    cluster.ask_to_retry("tuesday")
    cluster.pass_time(60)
    told(cluster)
    assert cluster.fewest_ready >= 2
    assert cluster.serving_versions() == {"2": 2}
    assert "rejected" not in cluster.status


def test_a_request_to_try_again_of_what_serves_changes_nothing(manifest: Json, told: Told) -> None:
    cluster = serving(manifest, "1")
    writes = cluster.writes
    cluster.ask_to_retry("monday")
    cluster.pass_time(30)
    assert cluster.writes == writes
    told(cluster)
    assert cluster.status["handledRequests"] == {"retry": "monday"}

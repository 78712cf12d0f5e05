"""Lives in which the status is lost, the operator dies, or is replaced by a newer build."""

from __future__ import annotations

from typing import Any

import pytest
from tests.stories.conftest import Told
from tests.stories.pods import Behaviour
from tests.stories.simulation import SimulatedCluster, serving

from model_operator.api import names
from model_operator.domain.objects import Kind
from model_operator.domain.registry import Resolution, ResolutionReason

Json = dict[str, Any]

LOAD_FAILS = Behaviour(exit_code=50, last_words='{"reason":"LoadFailed","message":"KeyError: weights"}')


def test_the_status_is_lost_while_nothing_moves(manifest: Json, told: Told) -> None:
    cluster = serving(manifest, "1")
    since = cluster.status["serving"]["since"]
    writes = cluster.writes
    cluster.lose_status()
    cluster.pass_time(60)
    assert cluster.writes == writes
    told(cluster)
    assert cluster.status["serving"] == {
        "version": "1",
        "revision": cluster.status["serving"]["revision"],
        "alias": "@champion",
        "since": since,
        # the pods still tell
        "selfTest": "Passed",
        "track": "churn",
        "settled": True,
    }
    assert cluster.condition("Current") == ("True", "Serving")


def test_the_status_is_lost_in_mid_rollout(manifest: Json, told: Told) -> None:
    cluster = serving(manifest, "1", behaviours={"2": LOAD_FAILS})
    cluster.move_alias("champion", "2")
    cluster.pass_time(5)
    cluster.lose_status()
    cluster.pass_time(60)
    told(cluster)
    assert cluster.fewest_ready >= 2
    assert cluster.serving_versions() == {"1": 2}
    assert cluster.condition("Current") == ("False", "VersionRejected")


def test_the_status_is_lost_right_after_a_revert(manifest: Json, told: Told) -> None:
    cluster = serving(manifest, "1", behaviours={"2": LOAD_FAILS})
    cluster.move_alias("champion", "2")
    cluster.pass_time(10)
    cluster.lose_status()
    cluster.pass_time(60)
    told(cluster)
    assert cluster.fewest_ready >= 2
    assert cluster.serving_versions() == {"1": 2}
    assert cluster.announced.count("Reverted") == 1
    assert cluster.announced.count("RolloutStarted") == 2, "the first deployment and version 2, once each"
    assert cluster.status["rejected"][0]["reason"] == "LoadFailed"


def test_the_status_of_a_first_version_that_failed_is_lost(manifest: Json, told: Told) -> None:
    cluster = SimulatedCluster(manifest, {"champion": "1"}, {"1": LOAD_FAILS})
    cluster.settle()
    cluster.pass_time(30)
    cluster.lose_status()
    cluster.pass_time(30)
    told(cluster)
    assert cluster.condition("Ready") == ("False", "FirstVersionFailed")
    assert cluster.announced.count("RolloutStarted") == 1


@pytest.mark.parametrize(
    ("after", "lost_for"),
    [
        pytest.param(0, 1, id="when_the_rollout_was_announced"),
        pytest.param(9, 3, id="when_the_revert_was_decided"),
    ],
)
def test_the_operator_dies_between_word_and_deed(
    manifest: Json, told: Told, after: int, lost_for: int
) -> None:
    cluster = serving(manifest, "1", behaviours={"2": LOAD_FAILS})
    cluster.actions_are_lost = after == 0
    cluster.move_alias("champion", "2")
    cluster.pass_time(after)
    cluster.actions_are_lost = True
    cluster.pass_time(lost_for)
    cluster.actions_are_lost = False
    cluster.restart_operator()
    cluster.pass_time(60)
    told(cluster)
    assert cluster.fewest_ready >= 2
    assert cluster.serving_versions() == {"1": 2}
    assert cluster.condition("Current") == ("False", "VersionRejected")
    assert cluster.announced.count("Reverted") == 1
    assert cluster.status["rejected"][0]["attempts"] == 1


def dies_before_action(manifest: Json, number: int) -> SimulatedCluster:
    """A move to a bad version in which the operator dies once, before its action of that number."""
    cluster = serving(manifest, "1", behaviours={"2": LOAD_FAILS})
    cluster.dies_after_actions = number
    cluster.move_alias("champion", "2")
    cluster.pass_time(40)
    return cluster


def test_wherever_the_operator_dies_the_end_is_the_same(manifest: Json) -> None:
    undisturbed = dies_before_action(dict(manifest), -1)
    ends = [dies_before_action(dict(manifest), number) for number in range(5)]
    assert [end.deaths for end in ends] == [1, 1, 1, 1, 0], "there are four actions to die before"
    for end in ends:
        assert end.status["serving"] == undisturbed.status["serving"]
        assert [r["reason"] for r in end.status["rejected"]] == ["LoadFailed"]
        assert end.announced.count("Reverted") == 1
        assert end.serving_versions() == {"1": 2}
        assert end.fewest_ready >= 2


def test_the_operator_dies_when_a_rejected_version_is_live_again(manifest: Json, told: Told) -> None:
    hangs = Behaviour(ready=None)
    cluster = serving(manifest | {"rollout": {"startupSeconds": 60}}, "1", behaviours={"2": hangs})
    cluster.move_alias("champion", "2")
    cluster.pass_time(100)
    assert cluster.condition("Current") == ("False", "VersionRejected")
    cluster.mend("2")
    cluster.commit("rollout.startupSeconds: 600", lambda spec: spec["rollout"].update(startupSeconds=600))
    cluster.pass_time(25)
    cluster.actions_are_lost = True
    cluster.pass_time(10)
    assert cluster.status["serving"]["version"] == "2"
    cluster.actions_are_lost = False
    cluster.restart_operator()
    cluster.pass_time(30)
    told(cluster)
    assert "rejected" not in cluster.status
    cluster.lose_status()
    assert "rejected" not in cluster.status
    assert cluster.condition("Current") == ("True", "Serving")


def test_a_newer_operator_restarts_nothing(manifest: Json, told: Told) -> None:
    def scripts() -> str:
        template = cluster.live(Kind.DEPLOYMENT)["spec"]["template"]
        return next(v["configMap"]["name"] for v in template["spec"]["volumes"] if v["name"] == "scripts")

    cluster = serving(manifest, "1", behaviours={"3": LOAD_FAILS})
    pods, old = [pod.name for pod in cluster.pods], scripts()
    cluster.restart_operator("2")
    cluster.pass_time(60)
    assert [pod.name for pod in cluster.pods] == pods
    assert scripts() == old
    cluster.move_alias("champion", "3")
    cluster.pass_time(30)
    assert scripts() == old, "a revert brings back what ran before, as it was rendered"
    cluster.move_alias("champion", "2")
    cluster.pass_time(60)
    told(cluster)
    assert scripts() != old
    assert cluster.fewest_ready >= 2


def test_only_so_many_revisions_are_kept(manifest: Json, told: Told) -> None:
    cluster = serving(manifest | {"revert": {"historyLimit": 2}}, "1", behaviours={"2": LOAD_FAILS})
    for version in ("2", "3", "4", "2"):
        cluster.move_alias("champion", version)
        cluster.pass_time(40)
    told(cluster)
    kept = sorted(
        o["metadata"]["annotations"][names.ANNOTATION_VERSION]
        for (kind, _), o in cluster.objects.items()
        if kind is Kind.REVISION
    )
    assert kept == ["1", "2", "3", "4"], (
        "two by number, the verdict on what is wanted now, and what settled last"
    )
    cluster.lose_status()
    assert cluster.condition("Current") == ("False", "VersionRejected")


def test_a_new_operator_waits_for_the_registrys_first_answer(manifest: Json, told: Told) -> None:
    cluster = serving(manifest, "1", behaviours={"2": LOAD_FAILS})
    pending = Resolution(ResolutionReason.PENDING, "the registry has not been asked yet")
    before = cluster.writes, cluster.status_writes
    cluster.registry_failure = pending
    cluster.restart_operator()
    cluster.pass_time(30)
    cluster.registry_failure = None
    cluster.pass_time(30)
    assert (cluster.writes, cluster.status_writes) == before
    cluster.move_alias("champion", "2")
    cluster.pass_time(5)
    cluster.registry_failure = pending
    cluster.restart_operator()
    cluster.pass_time(30)
    assert cluster.serving_versions() == {"1": 2}, "to go back needs no registry"
    cluster.tell("the registry answers")
    cluster.registry_failure = None
    cluster.pass_time(30)
    told(cluster)
    assert cluster.fewest_ready >= 2
    assert cluster.condition("Current") == ("False", "VersionRejected")

"""Lives with two tracks: the candidate comes up beside what serves, and the Service moves."""

from __future__ import annotations

from typing import Any

import pytest
from tests.stories.behaviours import FAILS_TO_LOAD, runs_out_of_memory, stops_answering
from tests.stories.pods import GOOD, Behaviour
from tests.stories.simulation import SimulatedCluster
from tests.stories.story import Given, Story, Then, When

from model_operator.domain.objects import Kind

Json = dict[str, Any]

AUTOSCALING = {"minReplicas": 2, "maxReplicas": 8}


def test_a_whole_life_in_blue_and_green(given: Given, when: When, then: Then) -> None:
    given.blue_green(watchSeconds=300, warmSeconds=600)
    given.version_serves("1")
    when.alias_moves_to("2", wait=60)
    then.tracks_are({"churn": 2, "churn-green": 2})
    when.time_passes(300)
    then.tracks_are({"churn": 1, "churn-green": 2}, why="one stays warm")
    when.time_passes(300)
    then.tracks_are({"churn": 0, "churn-green": 2})
    when.alias_moves_to("3", wait=60)
    then.transcript_matches()
    then.no_request_is_lost()
    then.version_serves("3")


@pytest.mark.parametrize("lag", [0, 3, 20])
def test_the_proxies_hear_of_the_switch_late(given: Given, when: When, then: Then, lag: int) -> None:
    given.blue_green(watchSeconds=0, warmSeconds=0)
    given.proxies_lag(lag)
    given.version_serves("1")
    when.alias_moves_to("2", wait=120)
    then.transcript_matches()
    then.no_request_is_lost()
    then.version_serves("2")
    then.tracks_are({"churn": 0, "churn-green": 2})


def test_the_alias_moves_again_before_the_proxies_have_heard_of_the_switch(
    given: Given, when: When, then: Then
) -> None:
    given.blue_green()
    given.proxies_lag(20)
    given.version_serves("1")
    when.alias_moves_to("2", wait=16)
    when.alias_moves_to("3")
    then.condition_is("Current", "False", "Switching")
    when.time_passes(120)
    then.transcript_matches()
    then.no_request_is_lost()
    then.version_serves("3")


def test_a_bad_version_never_takes_requests(given: Given, when: When, then: Then) -> None:
    given.blue_green()
    given.version("2", FAILS_TO_LOAD)
    given.version_serves("1")
    when.alias_moves_to("2", wait=60)
    then.transcript_matches()
    then.no_request_is_lost()
    then.version_serves("1")
    then.tracks_are({"churn": 2, "churn-green": 0})


def test_a_warm_revert_is_immediate(given: Given, when: When, then: Then) -> None:
    given.blue_green()
    given.version("2", runs_out_of_memory(60))
    given.version_serves("1")
    when.alias_moves_to("2")
    when.operator_emits("Reverted")
    then.version_serves("1", why="in the same second")
    when.time_passes(60)
    then.transcript_matches()
    then.rejection_has(reason="OutOfMemory")
    then.tracks_are({"churn": 2, "churn-green": 0})
    then.last_departure_has(version="2")


def test_a_cold_revert_waits_for_the_old_version_to_come_up(given: Given, when: When, then: Then) -> None:
    # the watch is longer than the old track is kept, and somebody has scaled that down
    given.blue_green()
    given.version("2", runs_out_of_memory(90))
    given.version_serves("1")
    when.alias_moves_to("2", wait=40)
    when.narrated("somebody deletes the Deployment churn")
    given.child_is_gone(Kind.DEPLOYMENT, "churn")
    when.operator_emits("Reverted", wait=60)
    then.transcript_matches()
    then.version_serves("1")
    then.rejection_has(reason="OutOfMemory")


def test_a_fault_after_the_watch_is_not_put_down_to_the_version(given: Given, when: When, then: Then) -> None:
    given.blue_green(watchSeconds=60, warmSeconds=60)
    given.version_serves("1")
    given.version("2", runs_out_of_memory(300))
    when.alias_moves_to("2", wait=400)
    then.no_other_version_serves("2")
    then.operator_emitted("Reverted", times=0)
    when.version_recovers("2", "the leak is mended", wait=60)
    then.transcript_matches()


def test_the_candidate_comes_up_at_the_size_that_the_autoscaler_had_reached(
    given: Given, when: When, then: Then
) -> None:
    given.autoscaling(**AUTOSCALING)
    given.blue_green()
    given.version_serves("1")
    when.autoscaler_wants(5, wait=30)
    given.requests_are_counted_anew()
    when.alias_moves_to("2", wait=60)
    then.transcript_matches()
    then.no_request_is_lost(pods=5)
    then.version_serves("2", pods=5)
    then.autoscaler_scales("churn-green")


def test_the_autoscaler_grows_what_serves_while_the_candidate_comes_up(
    given: Given, when: When, then: Then
) -> None:
    given.autoscaling(**AUTOSCALING)
    given.blue_green()
    given.version_serves("1")
    when.alias_moves_to("2", wait=9)
    when.autoscaler_wants(6, wait=90)
    then.transcript_matches()
    then.no_request_is_lost()
    then.version_serves("2", pods=6)


def test_the_warm_track_follows_a_scale_up(given: Given, when: When, then: Then) -> None:
    given.autoscaling(**AUTOSCALING)
    given.blue_green()
    given.version("2", stops_answering(120))
    given.version_serves("1")
    when.alias_moves_to("2", wait=40)
    when.autoscaler_wants(5, wait=40)
    then.tracks_are({"churn": 5, "churn-green": 5})
    when.operator_emits("Reverted")
    then.version_serves("1", pods=5)
    when.time_passes(30)
    then.transcript_matches()
    then.tracks_are({"churn": 5, "churn-green": 0})
    then.autoscaler_scales("churn")


def test_a_track_that_is_scaled_to_nothing_by_a_person_stays_there(
    given: Given, when: When, then: Then
) -> None:
    given.blue_green()
    given.version_serves("1")
    when.commit_changes("replicas: 0", replicas=0, wait=30)
    when.alias_moves_to("2", wait=30)
    then.condition_is("Ready", "True", "ScaledToZero")
    then.replicas_add_up_to(0)
    when.commit_changes("replicas: 2", replicas=2, wait=60)
    then.transcript_matches()
    then.version_serves("2")


# --- approval ----------------------------------------------------------------------------------------


def approval(**approved: str) -> Json:
    return {"approval": {"mode": "Manual", "at": "BeforeTraffic", **approved}}


def test_a_person_tries_the_candidate_before_it_takes_requests(given: Given, when: When, then: Then) -> None:
    given.blue_green()
    given.spec(gates=approval(approved="1"))
    given.version_serves("1")
    when.alias_moves_to("2", wait=600)
    then.version_serves("1")
    then.preview_shows("2")
    then.candidate_has(reason="WaitingForApproval")
    when.commit_changes('gates.approval.approved: "2"', gates={"approval": {"approved": "2"}}, wait=30)
    then.transcript_matches()
    then.no_request_is_lost()
    then.version_serves("2")
    then.there_is_no_preview()


def test_the_alias_moves_while_a_candidate_waits_for_a_person(given: Given, when: When, then: Then) -> None:
    given.blue_green()
    given.spec(gates=approval(approved="1"))
    given.version_serves("1")
    when.alias_moves_to("2", wait=60)
    when.alias_moves_to("3", wait=60)
    then.preview_shows("3")
    when.commit_changes('gates.approval.approved: "2"', gates={"approval": {"approved": "2"}}, wait=60)
    then.version_serves("1", why="that is not the version which waits")
    when.alias_moves_to("1", wait=60)
    then.transcript_matches()
    then.no_request_is_lost()
    then.there_is_no_preview()


def test_a_first_version_waits_for_a_person_without_requests(given: Given, when: When, then: Then) -> None:
    given.blue_green()
    given.spec(gates=approval())
    when.first_version_is_deployed("1", wait=60)
    then.nothing_serves()
    then.preview_shows("1")
    when.commit_changes('gates.approval.approved: "1"', gates={"approval": {"approved": "1"}}, wait=60)
    then.transcript_matches()
    then.version_serves("1")


def test_a_candidate_falls_ill_while_it_waits_for_a_person(given: Given, when: When, then: Then) -> None:
    given.blue_green()
    given.spec(gates=approval(approved="1"))
    given.version("2", runs_out_of_memory(60))
    given.version_serves("1")
    when.alias_moves_to("2", wait=200)
    then.transcript_matches()
    then.no_request_is_lost()
    then.version_serves("1")
    then.condition_is("Current", "False", "VersionRejected")


# --- another strategy --------------------------------------------------------------------------------


def test_from_rolling_update_to_blue_green_and_back(
    story: Story, given: Given, when: When, then: Then
) -> None:
    given.version_serves("1")
    when.commit_changes("rollout.strategy: BlueGreen", rollout={"strategy": "BlueGreen"}, wait=30)
    when.alias_moves_to("2", wait=60)
    then.tracks_are({"churn": 2, "churn-green": 2})
    when.commit_changes("rollout.strategy is taken out", rollout=None, wait=30)
    then.version_serves("2")
    when.alias_moves_to("3", wait=60)
    when.watch_window_passes()
    then.transcript_matches()
    then.no_request_is_lost()
    then.version_serves("3")
    assert len(story.cluster.sizes()) == 1


@pytest.mark.parametrize(
    ("before", "after"), [("RollingUpdate", "BlueGreen"), ("BlueGreen", "RollingUpdate")]
)
def test_the_strategy_changes_in_mid_rollout(
    given: Given, when: When, then: Then, before: str, after: str
) -> None:
    given.strategy(before)
    given.version_serves("1")
    when.alias_moves_to("2", wait=9 if before == "BlueGreen" else 20)
    when.commit_changes(f"rollout.strategy: {after}", rollout={"strategy": after}, wait=90)
    when.watch_window_passes()
    then.transcript_matches()
    then.no_request_is_lost()
    then.version_serves("2")


def test_the_strategy_changes_in_the_watch_and_the_version_fails(
    given: Given, when: When, then: Then
) -> None:
    given.blue_green()
    given.version("2", runs_out_of_memory(90))
    given.version_serves("1")
    when.alias_moves_to("2", wait=40)
    when.commit_changes("rollout.strategy: RollingUpdate", rollout={"strategy": "RollingUpdate"})
    when.operator_emits("Reverted", wait=60)
    then.transcript_matches()
    then.version_serves("1")


# --- wherever the operator dies ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("life", "serves"),
    [
        pytest.param(GOOD, "2", id="when_all_goes_well"),
        pytest.param(FAILS_TO_LOAD, "1", id="when_the_version_does_not_load"),
        pytest.param(runs_out_of_memory(60), "1", id="when_the_version_fails_in_the_watch"),
    ],
)
def test_wherever_the_operator_dies_between_blue_and_green_the_end_is_the_same(
    story: Story, given: Given, life: Behaviour, serves: str
) -> None:
    given.blue_green()
    given.version("2", life)
    given.version_serves("1")

    def to_the_end(story: Story) -> SimulatedCluster:
        story.when.alias_moves_to("2", wait=120)
        story.when.watch_window_passes(step=30)
        return story.cluster

    undisturbed = to_the_end(story.again())
    for number, again in story.with_deaths():
        end = to_the_end(again)
        for part in ("serving", "rejected", "history"):
            assert end.status.get(part) == undisturbed.status.get(part), f"after {number} actions: {part}"
        again.then.operator_emitted("Reverted", times=undisturbed.announced.count("Reverted"))
        again.then.version_serves(serves)
        again.then.tracks_are(undisturbed.sizes())
        assert end.requests_lost == undisturbed.requests_lost
    assert number > 3


@pytest.mark.parametrize("life", [GOOD, FAILS_TO_LOAD], ids=["a_good_version", "a_bad_version"])
def test_whenever_the_status_is_lost_between_blue_and_green_nobody_notices(
    story: Story, given: Given, life: Behaviour
) -> None:
    given.blue_green()
    given.proxies_lag(3)
    given.version("2", life)
    given.version_serves("1")
    for moment in range(0, 24, 2):
        again = story.again()
        again.when.alias_moves_to("2", wait=moment)
        again.when.status_is_lost(wait=60)
        again.then.no_request_is_lost()
        again.then.version_serves("2" if life == GOOD else "1", why=f"lost after {moment} s")


def test_the_registry_is_away_for_a_warm_revert(given: Given, when: When, then: Then) -> None:
    given.blue_green()
    given.version("2", runs_out_of_memory(60))
    given.version_serves("1")
    when.alias_moves_to("2", wait=30)
    when.registry_goes_away()
    when.operator_restarts()
    when.status_is_lost()
    when.operator_emits("Reverted")
    then.version_serves("1")
    when.time_passes(60)
    then.transcript_matches()

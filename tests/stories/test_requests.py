"""Lives in which a person takes the wheel: by annotation, by approval, by suspending."""

from __future__ import annotations

from typing import Any

from tests.stories.behaviours import FAILS_TO_LOAD, FINDS_NO_ROOM, runs_out_of_memory
from tests.stories.pods import GOOD
from tests.stories.story import Given, Story, Then, When, both_strategies

from model_operator.domain.objects import Kind

Json = dict[str, Any]


# --- restart -----------------------------------------------------------------------------------------


@both_strategies
def test_a_person_asks_for_a_restart(story: Story, given: Given, when: When, then: Then) -> None:
    given.version_serves("1")
    pods = story.pods()
    when.annotated("restart", "monday", wait=60)
    then.pods_are_new(pods)
    then.handled_requests_are(restart="monday")
    when.watch_window_passes()
    then.transcript_matches()
    then.no_request_is_lost()
    then.version_serves("1")


@both_strategies
def test_a_restart_brings_in_what_a_newer_operator_renders(
    story: Story, given: Given, when: When, then: Then
) -> None:
    given.version_serves("1")
    pods, old = story.pods(), story.scripts()
    when.operator_restarts("2", wait=300)
    then.pods_are(pods)
    when.annotated("restart", "monday", wait=60)
    when.watch_window_passes()
    then.transcript_matches()
    then.no_request_is_lost()
    assert not old & story.scripts()


@both_strategies
def test_the_restart_annotation_is_old_news(story: Story, given: Given, when: When, then: Then) -> None:
    given.version_serves("1")
    when.annotated("restart", "monday", wait=60)
    pods = story.reached_pods()
    when.operator_restarts()
    when.status_is_lost(wait=60)
    assert story.reached_pods() == pods, "one value, one restart"
    when.alias_moves_to("2", wait=60)
    when.annotation_is_removed("restart", wait=60)
    then.transcript_matches()
    then.no_request_is_lost()
    then.version_serves("2")
    then.operator_emitted("RolloutStarted", times=3, why="version 1, its restart, version 2")


@both_strategies
def test_the_alias_moves_in_a_restart(given: Given, when: When, then: Then) -> None:
    given.version_serves("1")
    when.alias_moves_to("2", wait=60)
    when.annotated("restart", "monday", wait=9)
    when.alias_moves_to("1", wait=60)
    when.watch_window_passes()
    then.transcript_matches()
    then.no_request_is_lost()
    then.version_serves("1")


@both_strategies
def test_a_restart_while_a_rejected_version_is_wanted(
    story: Story, given: Given, when: When, then: Then
) -> None:
    given.version("2", FAILS_TO_LOAD)
    given.version_serves("1")
    when.alias_moves_to("2", wait=60)
    pods = story.pods()
    when.annotated("restart", "monday", wait=60)
    when.watch_window_passes()
    then.transcript_matches()
    then.no_request_is_lost()
    then.version_serves("1")
    then.pods_are_new(pods)
    then.condition_is("Current", "False", "VersionRejected")


# --- adopt -------------------------------------------------------------------------------------------


def test_a_person_gives_us_the_service_that_was_there(given: Given, when: When, then: Then) -> None:
    given.name_is_taken(Kind.SERVICE)
    when.first_version_is_deployed("1", wait=60)
    then.condition_is("Stalled", "True", "NameConflict")
    when.annotated("adopt", "Service/churn", wait=60)
    then.transcript_matches()
    then.condition_is("Ready", "True", "Serving")
    then.handled_requests_are(adopt="Service/churn")


# --- revert ------------------------------------------------------------------------------------------


@both_strategies
def test_a_person_holds_the_version_before_and_lets_go(
    story: Story, given: Given, when: When, then: Then
) -> None:
    given.version_serves("1")
    before = story.status["serving"]["revision"]
    when.alias_moves_to("2", wait=60)
    when.annotated("revert", before, wait=60)
    then.version_serves("1")
    then.last_departure_has(version="2", message="by version 1, held by the annotation revert")
    when.alias_moves_to("3", wait=60)
    then.version_serves("1", why="held, whatever the alias does")
    when.annotation_is_removed("revert", wait=60)
    when.watch_window_passes()
    then.transcript_matches()
    then.no_request_is_lost()
    then.version_serves("3")


@both_strategies
def test_a_person_goes_back_long_after_with_the_registry_away(
    story: Story, given: Given, when: When, then: Then
) -> None:
    given.version_serves("1")
    before = story.status["serving"]["revision"]
    when.alias_moves_to("2", wait=60)
    when.watch_window_passes()
    then.replicas_add_up_to(2, why="nothing is kept warm any more")
    when.registry_goes_away(wait=5)
    when.annotated("revert", before, wait=60)
    then.transcript_matches()
    then.no_request_is_lost()
    then.version_serves("1")


@both_strategies
def test_a_person_holds_a_version_that_was_rejected(
    story: Story, given: Given, when: When, then: Then
) -> None:
    given.version("2", FAILS_TO_LOAD)
    given.version_serves("1")
    when.alias_moves_to("2", wait=30)
    rejected = story.status["rejected"][0]["revision"]
    when.alias_moves_to("1", wait=30)
    when.annotated("revert", rejected, wait=60)
    then.operator_emitted("Reverted", times=2, why="tried once more, not again and again")
    then.version_serves("1")
    when.annotation_is_removed("revert", wait=60)
    then.transcript_matches()
    then.no_request_is_lost()
    then.condition_is("Current", "True", "Serving")


def test_a_person_holds_a_revision_that_is_not_kept(given: Given, when: When, then: Then) -> None:
    given.version_serves("1")
    when.annotated("revert", "v9-0123456789")
    when.alias_moves_to("2", wait=60)
    then.version_serves("1")
    then.condition_is("Current", "False", "RevisionNotFound")
    when.annotation_is_removed("revert", wait=60)
    then.transcript_matches()
    then.no_request_is_lost()
    then.version_serves("2")


@both_strategies
def test_the_status_is_lost_while_a_person_holds_a_version(
    story: Story, given: Given, when: When, then: Then
) -> None:
    given.version_serves("1")
    before = story.status["serving"]["revision"]
    when.alias_moves_to("2", wait=60)
    when.annotated("revert", before, wait=60)
    when.status_is_lost()
    when.operator_restarts(wait=60)
    then.transcript_matches()
    then.no_request_is_lost()
    then.version_serves("1")


# --- retry -------------------------------------------------------------------------------------------


@both_strategies
def test_a_person_asks_to_try_again_what_failed_in_its_watch(given: Given, when: When, then: Then) -> None:
    given.version("2", runs_out_of_memory(60))
    given.version_serves("1")
    when.alias_moves_to("2")
    when.operator_emits("Reverted", wait=60)
    given.version("2", GOOD)
    when.retry_is_requested("monday", wait=60)
    when.watch_window_passes()
    then.transcript_matches()
    then.version_serves("2")
    then.rejections_are()


def test_a_person_asks_to_try_again_before_the_pause_is_over(given: Given, when: When, then: Then) -> None:
    given.rollout(schedulingSeconds=60)
    given.version("2", FINDS_NO_ROOM)
    given.version_serves("1")
    when.alias_moves_to("2")
    when.operator_emits("Withdrawn")
    when.version_recovers("2", "a node is added")
    when.retry_is_requested("monday", wait=30)
    then.transcript_matches()
    then.no_request_is_lost()
    then.version_serves("2")


# --- approval before the start -----------------------------------------------------------------------


@both_strategies
def test_nothing_starts_before_a_person_agrees(story: Story, given: Given, when: When, then: Then) -> None:
    given.spec(gates={"approval": {"mode": "Manual", "approved": "1"}})
    given.version_serves("1")
    when.alias_moves_to("2")
    pods = story.pods()
    when.time_passes(300)
    then.pods_are(pods)
    then.candidate_has(phase="WaitingForApproval")
    when.commit_changes('gates.approval.approved: "2"', gates={"approval": {"approved": "2"}}, wait=60)
    then.transcript_matches()
    then.no_request_is_lost()
    then.version_serves("2")


# --- suspended ---------------------------------------------------------------------------------------


@both_strategies
def test_suspended_in_the_watch_while_the_version_fails(given: Given, when: When, then: Then) -> None:
    given.version("2", runs_out_of_memory(60))
    given.version_serves("1")
    when.alias_moves_to("2", wait=40)
    when.commit_changes("suspend: true", suspend=True)
    then.no_child_is_written_for(120)
    when.commit_changes("suspend: false", suspend=False, wait=60)
    then.transcript_matches()
    then.version_serves("1")


# --- no spare room -----------------------------------------------------------------------------------


def test_without_a_spare_the_plan_states_the_outage(
    story: Story, given: Given, when: When, then: Then
) -> None:
    given.rollout(maxSurge=0, maxUnavailable=1)
    given.version_serves("1")
    given.room_for_pods(2)
    when.alias_moves_to("2")
    assert story.status["plan"]["message"]
    when.time_passes(90)
    then.transcript_matches()
    then.no_request_is_lost(pods=1)
    then.version_serves("2")


def test_with_a_surge_and_no_spare_the_candidate_is_withdrawn(given: Given, when: When, then: Then) -> None:
    given.rollout(schedulingSeconds=60)
    given.version_serves("1")
    given.room_for_pods(2)
    when.alias_moves_to("2", wait=100)
    then.condition_is("Current", "False", "InsufficientCapacity")
    when.node_is_added(wait=120)
    then.transcript_matches()
    then.no_request_is_lost()
    then.version_serves("2")


def test_two_tracks_do_not_fit(given: Given, when: When, then: Then) -> None:
    given.blue_green(schedulingSeconds=60)
    given.version_serves("1")
    given.room_for_pods(3)
    when.alias_moves_to("2", wait=100)
    then.condition_is("Current", "False", "InsufficientCapacity")
    then.version_serves("1")
    when.node_is_added(wait=120)
    then.transcript_matches()
    then.no_request_is_lost()
    then.version_serves("2")

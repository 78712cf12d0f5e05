"""Lives in which a version fails after it went live, and those in which that is not its fault."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.stories.behaviours import (
    ANSWERS_WITH_ERRORS,
    BREAKS_STREAMS,
    CRASHES,
    FAILS_TO_LOAD,
    FINDS_NO_STORE,
    IS_OVERRUN,
    last_words,
    runs_out_of_memory,
    stops_answering,
)
from tests.stories.pods import Behaviour
from tests.stories.story import Given, Story, Then, When, both_strategies
from tests.stories.then import ABSENT

from model_operator.domain.objects import Kind

Json = dict[str, Any]


@both_strategies
@pytest.mark.parametrize(
    ("life", "reason"),
    [
        pytest.param(Behaviour(dies_after=70, dies_with=139), "CrashLoop", id="it_crashes"),
        pytest.param(runs_out_of_memory(70), "OutOfMemory", id="it_runs_out_of_memory"),
        pytest.param(stops_answering(70), "ReadinessLost", id="it_hangs"),
        pytest.param(ANSWERS_WITH_ERRORS, "ServerErrors", id="it_answers_with_errors"),
        pytest.param(BREAKS_STREAMS, "ServerErrors", id="its_streams_break"),
    ],
)
def test_a_version_is_reverted_in_its_watch_because(
    story: Story, given: Given, when: When, then: Then, life: Behaviour, reason: str
) -> None:
    given.version("2", life)
    given.version_serves("1")
    given.requests_per_second(10)
    when.alias_moves_to("2")
    when.operator_emits("Reverted", wait=55)
    then.version_serves("1")
    then.rejection_has(reason=reason)
    then.last_departure_has(reason=reason)
    then.serving_has(settled=True)
    then.transcript_matches(rests="retryAt" not in story.status["rejected"][0])


@both_strategies
def test_a_few_errors_are_no_reason(given: Given, when: When, then: Then) -> None:
    given.version("2", Behaviour(error_ratio=0.02))
    given.version_serves("1")
    given.requests_per_second(10)
    when.alias_moves_to("2", wait=60)
    when.watch_window_passes()
    then.transcript_matches()
    then.version_serves("2")
    then.serving_has(settled=True)


@both_strategies
def test_requests_beyond_the_queue_are_no_reason(given: Given, when: When, then: Then) -> None:
    given.version("2", IS_OVERRUN)
    given.version_serves("1")
    given.requests_per_second(10)
    when.alias_moves_to("2", wait=60)
    when.watch_window_passes()
    then.transcript_matches()
    then.operator_emitted("Reverted", times=0)
    then.version_serves("2")
    then.serving_has(settled=True)


def test_a_full_queue_hides_no_error(given: Given, when: When, then: Then) -> None:
    given.version("2", replace(IS_OVERRUN, error_ratio=0.05))
    given.version_serves("1")
    given.requests_per_second(20)
    when.alias_moves_to("2")
    when.operator_emits("Reverted", wait=120)
    then.version_serves("1")
    then.rejection_has(reason="ServerErrors")
    then.transcript_matches()


def test_too_many_requests_only_warn(given: Given, when: When, then: Then) -> None:
    given.version("2", Behaviour(saturated=True))
    given.version_serves("1")
    given.requests_per_second(10)
    when.alias_moves_to("2", wait=60)
    when.pods_suffer("one pod is too busy to answer its probe", 1, sick_after=0, wait=120)
    then.operator_emitted("Reverted", times=0)
    then.version_serves("2", pods=1)
    when.version_recovers("2", "fewer requests come", wait=60)
    then.transcript_matches()
    then.version_serves("2")


@both_strategies
@pytest.mark.parametrize(
    ("what", "change"),
    [
        pytest.param("a node is lost", {"node_lost_after": 0}, id="a_node_is_lost"),
        pytest.param("a pod is evicted", {"evicted_after": 0}, id="a_pod_is_evicted"),
    ],
)
def test_the_version_is_not_to_blame_when(
    given: Given, when: When, then: Then, what: str, change: Json
) -> None:
    given.version_serves("1")
    when.alias_moves_to("2", wait=60)
    when.pods_suffer(what, 1, **change, wait=400)
    then.version_serves("2")
    when.watch_window_passes()
    then.transcript_matches()
    then.operator_emitted("Reverted", times=0)
    then.no_request_is_lost(pods=1)
    then.serving_has(settled=True)


@both_strategies
def test_back_to_the_last_version_that_settled(given: Given, when: When, then: Then, strategy: str) -> None:
    given.version("3", runs_out_of_memory(100))
    given.version_serves("1")
    when.alias_moves_to("2", wait=60)
    when.alias_moves_to("3")
    when.operator_emits("Reverted", wait=60)
    then.transcript_matches()
    then.version_serves("1", why="nobody knows yet strategy good version 2 is")


@both_strategies
def test_the_first_version_fails_in_its_watch(given: Given, when: When, then: Then) -> None:
    given.version("1", runs_out_of_memory(60, lives_again=60))
    when.first_version_is_deployed("1", wait=100)
    then.operator_emitted("OutOfMemory", times=1)
    then.serving_has(reason="OutOfMemory")
    then.rejections_are()
    when.alias_moves_to("2", wait=120)
    then.transcript_matches()
    then.version_serves("2")


@both_strategies
def test_the_verdict_is_taken_back_when_the_old_version_fails_too(
    given: Given, when: When, then: Then
) -> None:
    given.version("2", stops_answering(60))
    given.version_serves("1")
    when.alias_moves_to("2", wait=50)
    when.narrated("the database that every version needs for each request goes away")
    when.operator_emits("Reverted", wait=20)
    when.pods_change("1", stops_answering(0), wait=40)
    then.operator_emitted("VerdictTakenBack", times=1)
    then.rejections_are()
    when.version_recovers("1", "the database is back")
    when.version_recovers("2", wait=200)
    then.transcript_matches()
    then.version_serves("2")


@both_strategies
def test_the_restored_version_can_not_start(given: Given, when: When, then: Then, strategy: str) -> None:
    given.rollout(fetchSeconds=120)
    given.version("2", runs_out_of_memory(90))
    given.version_serves("1")
    when.alias_moves_to("2", wait=60)
    when.narrated("the artifact store goes away, and with it what was kept warm")
    given.version("1", replace(FINDS_NO_STORE, last_words=last_words("StoreUnreachable")))
    if strategy == "BlueGreen":
        given.child_is_gone(Kind.DEPLOYMENT, "churn")
    when.operator_emits("Reverted", wait=300)
    then.condition_is("Stalled", "True", "RevertBlocked")
    then.is_not_ready()
    then.operator_emitted("Reverted", times=1, why="a revert target is never reverted further")
    then.operator_emitted("RevertBlocked", times=1)
    when.version_recovers("1", "the store is back", wait=60)
    then.transcript_matches()
    then.version_serves("1")
    then.condition_is_absent("Stalled")


@both_strategies
def test_what_may_be_an_accident_is_tried_three_times(given: Given, when: When, then: Then) -> None:
    given.version("2", CRASHES)
    given.version_serves("1")
    when.alias_moves_to("2", wait=600)
    then.transcript_matches()
    then.no_request_is_lost()
    then.operator_emitted("Reverted", times=3)
    then.rejection_has(attempts=3)
    then.rejection_has(retryAt=ABSENT)
    then.tag_is("2", "Rejected: CrashLoop")
    when.time_passes(7200, step=60)
    then.operator_emitted("Reverted", times=3)


@both_strategies
def test_an_accident_passes(given: Given, when: When, then: Then) -> None:
    given.version("2", CRASHES)
    given.version_serves("1")
    when.alias_moves_to("2", wait=30)
    when.version_recovers("2", "the database that the server needs at its start is back", wait=120)
    then.transcript_matches()
    then.no_request_is_lost()
    then.version_serves("2")
    then.rejections_are()


@both_strategies
def test_the_status_is_lost_between_attempts(given: Given, when: When, then: Then) -> None:
    given.version("2", CRASHES)
    given.version_serves("1")
    when.alias_moves_to("2")
    for _ in range(20):
        when.time_passes(47)
        when.status_is_lost()
    then.operator_emitted_at_most("Reverted", times=3)
    then.version_serves("1")
    then.no_request_is_lost()


@both_strategies
@pytest.mark.parametrize("moment", [0, 30, 50, 62, 63, 70, 90])
def test_the_status_is_lost_around_a_fault_in_the_watch(
    given: Given, when: When, then: Then, moment: int
) -> None:
    given.version("2", runs_out_of_memory(60))
    given.version_serves("1")
    when.alias_moves_to("2", wait=moment)
    when.status_is_lost(wait=120)
    then.version_serves("1")
    then.operator_emitted("Reverted", times=1)
    then.rejections_are("2")


@both_strategies
def test_wherever_the_operator_dies_around_a_fault_in_the_watch(story: Story, given: Given) -> None:
    given.version("2", runs_out_of_memory(60))
    given.version_serves("1")
    for number, again in story.with_deaths():
        again.when.alias_moves_to("2", wait=150)
        again.then.version_serves("1", why=f"after {number} actions")
        again.then.operator_emitted("Reverted", times=1)
        again.then.rejection_has(attempts=1)
        again.then.history_is("2", "1")
    assert number >= 4


# --- metrics that can't be read -----------------------------------------------------------------------


@both_strategies
def test_errors_that_nobody_can_count_are_not_judged(
    story: Story, given: Given, when: When, then: Then
) -> None:
    given.version("2", ANSWERS_WITH_ERRORS)
    given.version_serves("1")
    given.requests_per_second(10)
    given.metrics_are_unreadable("no answer (ConnectTimeout)")
    when.alias_moves_to("2", wait=100)
    then.operator_emitted("ErrorsNotJudged", times=1)
    since = story.status["serving"]["errorsNotJudgedSince"]
    when.operator_restarts(wait=60)
    then.serving_has(errorsNotJudgedSince=since, settled=False)
    when.watch_window_passes()
    then.transcript_matches()
    then.operator_emitted("ErrorsNotJudged", times=1)
    then.serving_has(errorsNotJudgedSince=since, settled=True)
    then.operator_emitted("Reverted", times=0)


def test_errors_are_judged_once_the_metrics_can_be_read(given: Given, when: When, then: Then) -> None:
    given.version("2", ANSWERS_WITH_ERRORS)
    given.version_serves("1")
    given.requests_per_second(10)
    given.metrics_are_unreadable("no answer (ConnectTimeout)")
    when.alias_moves_to("2", wait=100)
    when.narrated("the network policy is corrected")
    given.metrics_are_unreadable("")
    when.operator_emits("Reverted", wait=30)
    then.version_serves("1")
    then.serving_has(errorsNotJudged=ABSENT, errorsNotJudgedSince=ABSENT)


# --- reported only -----------------------------------------------------------------------------------


@both_strategies
def test_a_candidate_fails_and_nobody_wants_a_revert(given: Given, when: When, then: Then) -> None:
    given.spec(revert={"policy": "Never"})
    given.version("2", FAILS_TO_LOAD)
    given.version_serves("1")
    when.alias_moves_to("2", wait=120)
    then.version_serves("1")
    then.operator_emitted("Reverted", times=0)
    then.operator_emitted("LoadFailed", times=1)
    when.alias_moves_to("3", wait=60)
    then.transcript_matches()
    then.no_request_is_lost()
    then.version_serves("3")


@both_strategies
def test_what_serves_fails_and_nobody_wants_a_revert(given: Given, when: When, then: Then) -> None:
    given.spec(revert={"policy": "Never"})
    given.version("2", runs_out_of_memory(60, lives_again=200))
    given.version_serves("1")
    when.alias_moves_to("2", wait=100)
    then.operator_emitted("Reverted", times=0)
    then.operator_emitted("OutOfMemory", times=1)
    then.serving_has(reason="OutOfMemory")
    then.no_other_version_serves("2")
    when.commit_changes("revert.policy: Automatic", revert=None, wait=60)
    then.transcript_matches()
    then.version_serves("1")


# --- a commit in the watch ---------------------------------------------------------------------------


@both_strategies
def test_a_bad_commit_of_memory_is_undone_in_the_watch(given: Given, when: When, then: Then) -> None:
    given.version_serves("1")
    given.version("server:small", runs_out_of_memory(60))
    when.commit_changes("server.image: server:small", server={"image": "server:small"})
    when.operator_emits("Reverted", wait=60)
    then.version_serves("1")
    then.condition_is("Stalled", "True", "VersionRejected")
    when.commit_changes("server is taken out", server=None, wait=60)
    then.transcript_matches()
    then.condition_is("Ready", "True", "Serving")

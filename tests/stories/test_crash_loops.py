"""Lives in which servers crash: at the end of the watch window, and long after it."""

from __future__ import annotations

import pytest
from tests.stories.behaviours import FINDS_NO_STORE, runs_out_of_memory
from tests.stories.pods import Behaviour
from tests.stories.story import Given, Story, Then, When, both_strategies

DIES_EVERY_MINUTE = Behaviour(dies_after=66, dies_with=7, lives_again=52)
"""The server exits 60 s after each of its starts."""
DIES_ONCE = Behaviour(dies_after=66, dies_with=7, lives_again=1e9)
DIES_AFTER_ITS_WINDOW = Behaviour(dies_after=400, dies_with=7, lives_again=40)


@both_strategies
def test_a_version_that_dies_every_minute_never_settles(given: Given, when: When, then: Then) -> None:
    given.rollout(watchSeconds=90)
    given.version("2", DIES_EVERY_MINUTE)
    given.version_serves("1")
    when.alias_moves_to("2")
    when.operator_emits("Reverted", wait=60)
    then.operator_emitted("Settled", times=1, why="only version 1 settled")
    then.rejection_has(reason="CrashLoop")
    then.version_serves("1")
    then.transcript_matches()


@both_strategies
@pytest.mark.parametrize("every", [7, 20, 45])
@pytest.mark.parametrize("loses", ["process", "status"])
def test_the_evidence_outlives_the_operator_and_the_status(
    given: Given, when: When, then: Then, every: int, loses: str
) -> None:
    given.rollout(watchSeconds=90)
    given.version("2", DIES_EVERY_MINUTE)
    given.version_serves("1")
    when.alias_moves_to("2")
    for _ in range(300 // every):
        when.operator_restarts() if loses == "process" else when.status_is_lost()
        when.time_passes(every)
    then.operator_emitted("Reverted", times=1)
    then.version_serves("1")


@both_strategies
def test_wherever_the_operator_dies_around_crashes_at_the_end_of_the_window(
    story: Story, given: Given
) -> None:
    given.rollout(watchSeconds=90)
    given.version("2", DIES_EVERY_MINUTE)
    given.version_serves("1")
    for number, again in story.with_deaths():
        again.when.alias_moves_to("2", wait=240)
        again.then.version_serves("1", why=f"after {number} actions")
        again.then.operator_emitted("Reverted", times=1)
    assert number >= 4


@both_strategies
def test_an_accident_lengthens_the_window(given: Given, when: When, then: Then) -> None:
    given.rollout(watchSeconds=90)
    given.version("2", DIES_ONCE)
    given.version_serves("1")
    when.alias_moves_to("2", wait=150)
    then.serving_has(settled=False)
    when.time_passes(60)
    then.serving_has(settled=True)
    then.operator_emitted("Reverted", times=0)
    then.condition_is("Ready", "True", "Serving")
    then.transcript_matches()


def test_the_window_stays_long_when_the_pod_that_crashed_is_gone(
    given: Given, when: When, then: Then
) -> None:
    given.rollout(watchSeconds=90)
    given.version("2", DIES_ONCE)
    given.version_serves("1")
    when.alias_moves_to("2", wait=100)
    given.version("2", Behaviour())
    when.pods_suffer("the pods that crashed are evicted", 2, evicted_after=0, wait=35)
    then.serving_has(settled=False)
    when.time_passes(60)
    then.serving_has(settled=True)


# --- after the window --------------------------------------------------------------------------------


@both_strategies
def test_a_settled_version_in_a_crash_loop_is_reported_until_it_is_calm(
    given: Given, when: When, then: Then
) -> None:
    given.rollout(watchSeconds=90)
    given.version("2", DIES_AFTER_ITS_WINDOW)
    given.version_serves("1")
    when.alias_moves_to("2", wait=600)
    then.no_other_version_serves("2")
    then.operator_emitted("Reverted", times=0)
    then.operator_emitted("CrashLoop", times=1, why="the pods come and go, and the report stays")
    then.condition_is("Stalled", "True", "CrashLoop")
    then.serving_has(settled=True, reason="CrashLoop")
    when.operator_restarts(wait=60)
    then.operator_emitted("CrashLoop", times=1)
    when.version_recovers("2", "the file that it reads each hour is right again", wait=120)
    then.condition_is("Ready", "True", "Serving")
    then.condition_is_absent("Stalled")
    then.transcript_matches()


@both_strategies
def test_a_settled_version_in_a_crash_loop_is_reverted_if_the_spec_allows_it(
    story: Story, given: Given, when: When, then: Then
) -> None:
    given.spec(revert={"afterWatch": "Automatic"})
    given.rollout(watchSeconds=90)
    given.version("2", DIES_AFTER_ITS_WINDOW)
    given.version_serves("1")
    unharmed = story.again()
    when.alias_moves_to("2")
    when.operator_emits("Reverted", wait=60)
    then.version_serves("1")
    then.rejection_has(reason="CrashLoop", served=True)
    then.transcript_matches()
    for number, again in unharmed.with_deaths():
        again.when.alias_moves_to("2", wait=600)
        again.then.version_serves("1", why=f"after {number} actions")
        again.then.operator_emitted("Reverted", times=1)


@both_strategies
def test_the_version_that_was_reverted_to_is_not_reverted_further(
    given: Given, when: When, then: Then
) -> None:
    given.spec(revert={"afterWatch": "Automatic"})
    given.rollout(watchSeconds=90)
    given.version_serves("1")
    when.alias_moves_to("2", wait=200)
    given.version("3", runs_out_of_memory(60))
    when.alias_moves_to("3")
    when.operator_emits("Reverted", wait=200)
    then.version_serves("2")
    when.pods_change("2", Behaviour(dies_after=0, dies_with=7, lives_again=40), wait=300)
    then.operator_emitted("Reverted", times=1)
    then.condition_is("Stalled", "True", "RevertBlocked")
    then.no_other_version_serves("2")
    when.version_recovers("2", "somebody mends the database that it reads", wait=60)
    then.condition_is("Ready", "True", "Serving")
    then.transcript_matches()


@both_strategies
@pytest.mark.parametrize("cause", ["memory", "node", "store", "liveness"])
def test_no_settled_version_is_reverted_for_what_the_cluster_did(
    given: Given, when: When, then: Then, cause: str
) -> None:
    given.spec(revert={"afterWatch": "Automatic"})
    given.rollout(watchSeconds=90)
    given.version_serves("1")
    when.alias_moves_to("2", wait=200)
    if cause == "memory":
        when.pods_change("2", runs_out_of_memory(0), wait=300)
    elif cause == "liveness":
        when.pods_change("2", Behaviour(dies_after=0, dies_with=143), wait=300)
    else:
        given.version("2", FINDS_NO_STORE if cause == "store" else Behaviour(scheduled=None))
        when.pods_suffer("the node is drained", 2, evicted_after=0, wait=600)
    then.operator_emitted("Reverted", times=0)
    then.no_other_version_serves("2")
    then.rejections_are()


@both_strategies
def test_a_crash_of_all_versions_takes_the_verdict_back(given: Given, when: When, then: Then) -> None:
    given.spec(revert={"afterWatch": "Automatic"})
    given.version_serves("1")
    when.alias_moves_to("2")
    when.watch_window_passes()
    crashes = Behaviour(dies_after=0, dies_with=1)
    when.narrated("the database that every version needs for each request goes away")
    given.version("1", Behaviour(dies_after=20, dies_with=1))
    when.pods_change("2", crashes)
    when.operator_emits("VerdictTakenBack", wait=20)
    then.operator_emitted("Reverted", times=1)
    then.rejections_are()

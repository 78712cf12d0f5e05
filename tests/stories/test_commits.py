"""Lives in which somebody commits while the version that the alias names may not serve."""

from __future__ import annotations

from typing import Any

import pytest
from tests.stories.behaviours import (
    ANSWERS_WITH_ERRORS,
    FAILS_TO_LOAD,
    IS_TAMPERED_WITH,
    image_is_missing,
    runs_out_of_memory,
)
from tests.stories.pods import GOOD
from tests.stories.story import Given, Story, Then, When, both_strategies

from model_operator.domain.objects import Kind

Json = dict[str, Any]

GATES = {"tags": [{"key": "validated", "value": "yes"}]}
VARIABLE = {"env": [{"name": "LOG_LEVEL", "value": "debug"}]}


def the_variable_is_set(story: Story) -> bool:
    """Whether the commit that set the variable shaped the pods that the Service reaches."""
    container = story.serving_template()["spec"]["containers"][0]
    return VARIABLE["env"][0] in container.get("env", ())


def chosen_variables(story: Story) -> dict[str, str]:
    """The variables of workers, concurrency and queue in the server that the Service reaches."""
    variables = story.serving_template()["spec"]["containers"][0]["env"]
    names = ("SERVER_WORKERS", "MAX_CONCURRENCY", "MAX_QUEUE")
    return {variable["name"]: variable["value"] for variable in variables if variable["name"] in names}


def version_2_stays_out(then: Then) -> None:
    """Version 2 is still rejected, and the spec is in force all the same."""
    then.condition_is("Current", "False", "VersionRejected")
    then.condition_is("Ready", "True", "Serving")
    then.condition_is_absent("Stalled")


@both_strategies
def test_a_commit_after_a_rejection_is_tried_with_the_wanted_version_and_then_with_what_serves(
    story: Story, given: Given, when: When, then: Then
) -> None:
    given.version("2", FAILS_TO_LOAD)
    given.version_serves("1")
    when.alias_moves_to("2", wait=60)
    when.commit_changes("server.env", server=VARIABLE)
    then.condition_is("Ready", "False", "RollingOut")
    when.time_passes(90)
    version_2_stays_out(then)
    when.watch_window_passes()
    then.transcript_matches()
    then.no_request_is_lost()
    then.version_serves("1")
    assert the_variable_is_set(story)
    then.operator_emitted("Reverted", times=2, why="once for each commit")


@both_strategies
def test_a_commit_of_workers_brings_new_pods_with_their_variables(
    story: Story, given: Given, when: When, then: Then
) -> None:
    given.version_serves("1")
    pods = story.pods()
    assert not chosen_variables(story)
    when.operator_restarts("2", wait=60)
    then.pods_are(pods)
    chosen = {"workers": 2, "maxConcurrency": 64, "maxQueue": 0}
    when.commit_changes("server.workers", server=chosen, wait=60)
    when.watch_window_passes()
    then.transcript_matches()
    then.no_request_is_lost()
    then.pods_are_new(pods)
    assert chosen_variables(story) == {"SERVER_WORKERS": "2", "MAX_CONCURRENCY": "64", "MAX_QUEUE": "0"}


@both_strategies
def test_a_commit_that_mends_the_wanted_version_lets_it_in(given: Given, when: When, then: Then) -> None:
    given.version("2", FAILS_TO_LOAD)
    given.version("server:2", GOOD)
    given.version_serves("1")
    when.alias_moves_to("2", wait=60)
    when.commit_changes("server.image: server:2", server={"image": "server:2"}, wait=60)
    then.transcript_matches()
    then.no_request_is_lost()
    then.version_serves("2")
    then.condition_is("Current", "True", "Serving")


@both_strategies
def test_a_commit_can_not_mend_the_files_of_a_version(
    story: Story, given: Given, when: When, then: Then
) -> None:
    given.version("2", IS_TAMPERED_WITH)
    given.version_serves("1")
    when.alias_moves_to("2", wait=60)
    when.commit_changes("server.env", server=VARIABLE, wait=60)
    version_2_stays_out(then)
    when.status_is_lost()
    when.watch_window_passes()
    then.transcript_matches()
    then.no_request_is_lost()
    then.version_serves("1")
    assert the_variable_is_set(story)
    then.operator_emitted("Reverted", times=1, why="the files are what they were")


@both_strategies
def test_a_commit_brings_nothing_back_that_failed_on_live_requests(
    story: Story, given: Given, when: When, then: Then
) -> None:
    given.version("2", ANSWERS_WITH_ERRORS)
    given.version_serves("1")
    given.requests_per_second(10)
    when.alias_moves_to("2")
    when.operator_emits("Reverted", wait=60)
    when.commit_changes("server.env", server=VARIABLE, wait=90)
    version_2_stays_out(then)
    assert the_variable_is_set(story)
    then.operator_emitted("Reverted", times=1)
    when.version_recovers("2", "the feature store is mended")
    when.retry_is_requested("monday", wait=60)
    when.watch_window_passes()
    then.transcript_matches()
    then.version_serves("2")
    then.rejections_are()


@both_strategies
def test_more_memory_is_tried_with_the_version_that_ran_out_of_it(
    given: Given, when: When, then: Then
) -> None:
    given.version("2", runs_out_of_memory(60))
    given.version_serves("1")
    when.alias_moves_to("2")
    when.operator_emits("Reverted", wait=60)
    given.version("2", GOOD)
    more = {"resources": {"limits": {"memory": "2Gi"}}}
    when.commit_changes("server.resources.limits.memory: 2Gi", server=more, wait=60)
    when.watch_window_passes()
    then.transcript_matches()
    then.version_serves("2")
    then.condition_is("Current", "True", "Serving")


@both_strategies
def test_a_bad_commit_after_a_rejection_changes_nothing_that_serves(
    given: Given, when: When, then: Then
) -> None:
    given.version("2", FAILS_TO_LOAD)
    given.version("server:typo", image_is_missing("server:typo"))
    given.version_serves("1")
    when.alias_moves_to("2", wait=60)
    when.commit_changes("server.image: server:typo", server={"image": "server:typo"}, wait=60)
    then.condition_is("Ready", "False", "VersionRejected")
    then.condition_is("Stalled", "True", "VersionRejected")
    then.version_serves("1")
    when.commit_changes("server.image is taken out", server=None, wait=60)
    then.transcript_matches()
    then.no_request_is_lost()
    version_2_stays_out(then)


@both_strategies
def test_a_commit_that_names_the_version_itself_is_rejected_as_a_whole(
    story: Story, given: Given, when: When, then: Then
) -> None:
    given.spec(model={"name": "churn", "version": "1"})
    given.version("2", FAILS_TO_LOAD)
    given.version_serves("1")
    when.commit_changes(
        "model.version: 2, server.env",
        model={"name": "churn", "version": "2"},
        server=VARIABLE,
        wait=120,
    )
    then.transcript_matches()
    then.no_request_is_lost()
    then.condition_is("Stalled", "True", "VersionRejected")
    assert not the_variable_is_set(story)


@both_strategies
def test_a_commit_while_a_gate_keeps_the_wanted_version_out(
    story: Story, given: Given, when: When, then: Then
) -> None:
    given.version_serves("1")
    when.commit_changes("gates", gates=GATES)
    when.alias_moves_to("2", wait=30)
    when.commit_changes("server.env", server=VARIABLE, wait=60)
    then.version_serves("1")
    assert the_variable_is_set(story)
    then.condition_is("Ready", "True", "Serving")
    then.condition_is("Current", "False", "TagMissing")
    when.version_is_tagged("2", validated="yes", wait=60)
    then.transcript_matches()
    then.no_request_is_lost()
    then.version_serves("2")


@both_strategies
def test_a_commit_while_nobody_has_approved_the_wanted_version(
    story: Story, given: Given, when: When, then: Then
) -> None:
    given.spec(gates={"approval": {"mode": "Manual", "approved": "1"}})
    given.version_serves("1")
    when.alias_moves_to("2", wait=30)
    when.commit_changes("server.env", server=VARIABLE)
    then.condition_is("Current", "False", "WaitingForApproval")
    when.time_passes(60)
    then.version_serves("1")
    assert the_variable_is_set(story)
    then.candidate_has(phase="WaitingForApproval")
    when.commit_changes("approved: 2", gates={"approval": {"approved": "2"}}, wait=60)
    then.transcript_matches()
    then.no_request_is_lost()
    then.version_serves("2")


@both_strategies
def test_the_operator_dies_while_a_commit_is_brought_in(story: Story, given: Given, when: When) -> None:
    given.version("2", FAILS_TO_LOAD)
    given.version_serves("1")
    when.alias_moves_to("2", wait=40)
    for number, again in story.with_deaths():
        again.when.commit_changes("server.env", server=VARIABLE, wait=90)
        version_2_stays_out(again.then)
        assert the_variable_is_set(again), f"after {number} actions"
        again.then.operator_emitted("Reverted", times=2)
        again.then.no_request_is_lost()
    assert number >= 5


@both_strategies
def test_the_status_is_lost_again_and_again_while_a_commit_is_brought_in(
    story: Story, given: Given, when: When, then: Then
) -> None:
    given.version("2", FAILS_TO_LOAD)
    given.version_serves("1")
    when.alias_moves_to("2", wait=40)
    when.commit_changes("server.env", server=VARIABLE)
    for _ in range(8):
        when.time_passes(5)
        when.status_is_lost()
    when.time_passes(90)
    version_2_stays_out(then)
    assert the_variable_is_set(story)
    then.no_request_is_lost()


@both_strategies
def test_verdicts_on_what_is_wanted_outlive_a_short_history(
    story: Story, given: Given, when: When, then: Then
) -> None:
    given.spec(revert={"historyLimit": 1})
    for version in "23456":
        given.version(version, FAILS_TO_LOAD)
    given.version_serves("1")
    for version in "23456":
        when.alias_moves_to(version, wait=30)
    when.commit_changes("server.env", server=VARIABLE, wait=100)
    when.status_is_lost()
    reverted = story.cluster.announced.count("Reverted")
    when.time_passes(900, step=10)
    version_2_stays_out(then)
    then.operator_emitted("Reverted", times=reverted, why="nothing is tried that is known to fail")


@both_strategies
def test_what_failed_on_live_requests_does_not_come_back_when_a_person_lets_go_of_it(
    story: Story, given: Given, when: When, then: Then
) -> None:
    given.version("2", runs_out_of_memory(60))
    given.version_serves("1")
    when.alias_moves_to("2")
    when.operator_emits("Reverted", wait=60)
    when.annotated("revert", story.status["rejected"][0]["revision"], wait=150)
    when.annotation_is_removed("revert", wait=300)
    then.version_serves("1")
    then.operator_emitted("Reverted", times=2, why="once for the alias, once for the person")


# --- the scripts of an earlier build are gone ----------------------------------------------------------


@both_strategies
def test_the_scripts_of_what_serves_are_deleted_after_an_upgrade(
    story: Story, given: Given, when: When, then: Then
) -> None:
    given.version_serves("1")
    pods = story.pods()
    when.operator_restarts("2")
    when.child_is_deleted(Kind.CONFIG_MAP)
    when.time_passes(60)
    then.pods_are(pods)
    then.condition_is("Ready", "True", "ScriptsMissing")
    when.annotated("restart", "monday", wait=60)
    then.transcript_matches()
    then.no_request_is_lost()
    then.condition_is("Ready", "True", "Serving")


@both_strategies
@pytest.mark.parametrize("by", ["itself", "a_person", "the_alias"])
def test_what_is_gone_back_to_had_its_scripts_deleted(
    story: Story, given: Given, when: When, then: Then, by: str, strategy: str
) -> None:
    given.rollout(warmSeconds=0)
    given.version_serves("1")
    before = story.status["serving"]["revision"]
    when.operator_restarts("2")
    given.version("2", runs_out_of_memory(90) if by == "itself" else GOOD)
    when.alias_moves_to("2", wait=60)
    if by != "itself":
        when.watch_window_passes()
    when.narrated("somebody deletes the scripts of version 1")
    given.child_is_gone(Kind.CONFIG_MAP, story.names(Kind.CONFIG_MAP)[0])
    when.narrated("and what was kept warm is gone")
    if strategy == "BlueGreen" and story.cluster.sizes()["churn"]:
        given.child_is_gone(Kind.DEPLOYMENT, "churn")
    if by == "a_person":
        given.registry_is_away()
        when.annotated("revert", before)
    elif by == "the_alias":
        when.alias_moves_to("1")
    when.time_passes(120)
    then.transcript_matches()
    then.version_serves("1")
    assert story.scripts() <= set(story.names(Kind.CONFIG_MAP))

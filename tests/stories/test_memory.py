"""Lives in which the status is lost, the operator dies, or is replaced by a newer build."""

from __future__ import annotations

from typing import Any

import pytest
from tests.stories.behaviours import FAILS_TO_LOAD, HANGS_AT_START
from tests.stories.story import Given, Story, Then, When

from model_operator.api import names
from model_operator.domain.objects import Kind

Json = dict[str, Any]


def test_the_status_is_lost_while_nothing_moves(story: Story, given: Given, when: When, then: Then) -> None:
    given.version_serves("1")
    since = story.status["serving"]["since"]
    when.status_is_lost()
    then.nothing_is_written_for(60)
    then.transcript_matches()
    assert story.status["serving"] == {
        "version": "1",
        "revision": story.status["serving"]["revision"],
        "alias": "@champion",
        "since": since,
        # the pods still tell
        "selfTest": "Passed",
        "track": "churn",
        "settled": True,
    }
    then.condition_is("Current", "True", "Serving")


def test_the_status_is_lost_in_mid_rollout(given: Given, when: When, then: Then) -> None:
    given.version("2", FAILS_TO_LOAD)
    given.version_serves("1")
    when.alias_moves_to("2", wait=5)
    when.status_is_lost(wait=60)
    then.transcript_matches()
    then.no_request_is_lost()
    then.version_serves("1")
    then.condition_is("Current", "False", "VersionRejected")


def test_the_status_is_lost_right_after_a_revert(given: Given, when: When, then: Then) -> None:
    given.version("2", FAILS_TO_LOAD)
    given.version_serves("1")
    when.alias_moves_to("2", wait=10)
    when.status_is_lost(wait=60)
    then.transcript_matches()
    then.no_request_is_lost()
    then.version_serves("1")
    then.operator_emitted("Reverted", times=1)
    then.operator_emitted("RolloutStarted", times=2, why="the first deployment and version 2, once each")
    then.rejection_has(reason="LoadFailed")


def test_the_status_of_a_first_version_that_failed_is_lost(given: Given, when: When, then: Then) -> None:
    given.version("1", FAILS_TO_LOAD)
    when.first_version_is_deployed("1", wait=30)
    when.status_is_lost(wait=30)
    then.transcript_matches()
    then.condition_is("Ready", "False", "FirstVersionFailed")
    then.operator_emitted("RolloutStarted", times=1)


@pytest.mark.parametrize(
    ("after", "lost_for"),
    [
        pytest.param(0, 1, id="when_the_rollout_was_announced"),
        pytest.param(9, 3, id="when_the_revert_was_decided"),
    ],
)
def test_the_operator_dies_between_word_and_deed(
    given: Given, when: When, then: Then, after: int, lost_for: int
) -> None:
    given.version("2", FAILS_TO_LOAD)
    given.version_serves("1")
    given.actions_are_lost(after == 0)
    when.alias_moves_to("2", wait=after)
    given.actions_are_lost()
    when.time_passes(lost_for)
    given.actions_are_lost(False)
    when.operator_restarts(wait=60)
    then.transcript_matches()
    then.no_request_is_lost()
    then.version_serves("1")
    then.condition_is("Current", "False", "VersionRejected")
    then.operator_emitted("Reverted", times=1)
    then.rejection_has(attempts=1)


def test_wherever_the_operator_dies_the_end_is_the_same(story: Story, given: Given) -> None:
    given.version("2", FAILS_TO_LOAD)
    given.version_serves("1")
    undisturbed = story.again()
    undisturbed.when.alias_moves_to("2", wait=40)
    for number, again in story.with_deaths():
        again.when.alias_moves_to("2", wait=40)
        assert again.status["serving"] == undisturbed.status["serving"]
        assert [r["reason"] for r in again.status["rejected"]] == ["LoadFailed"]
        again.then.operator_emitted("Reverted", times=1)
        again.then.version_serves("1", why=f"after {number} actions")
        again.then.no_request_is_lost()
    assert number == 4, "there are four actions to die before"


def test_the_operator_dies_when_a_rejected_version_is_live_again(
    given: Given, when: When, then: Then
) -> None:
    given.rollout(startupSeconds=60)
    given.version("2", HANGS_AT_START)
    given.version_serves("1")
    when.alias_moves_to("2", wait=100)
    then.condition_is("Current", "False", "VersionRejected")
    when.version_recovers("2")
    when.commit_changes("rollout.startupSeconds: 600", rollout={"startupSeconds": 600}, wait=25)
    given.actions_are_lost()
    when.time_passes(10)
    then.serving_has(version="2")
    given.actions_are_lost(False)
    when.operator_restarts(wait=30)
    then.transcript_matches()
    then.rejections_are()
    when.status_is_lost()
    then.rejections_are()
    then.condition_is("Current", "True", "Serving")


def test_a_newer_operator_restarts_nothing(story: Story, given: Given, when: When, then: Then) -> None:
    given.version("3", FAILS_TO_LOAD)
    given.version_serves("1")
    pods, old = story.pods(), story.scripts()
    when.operator_restarts("2", wait=60)
    then.pods_are(pods)
    assert story.scripts() == old
    when.alias_moves_to("3", wait=30)
    assert story.scripts() == old, "a revert brings back what ran before, as it was rendered"
    when.alias_moves_to("2", wait=60)
    then.transcript_matches()
    assert story.scripts() != old
    then.no_request_is_lost()


def test_only_so_many_revisions_are_kept(story: Story, given: Given, when: When, then: Then) -> None:
    given.spec(revert={"historyLimit": 2})
    given.version("2", FAILS_TO_LOAD)
    given.version_serves("1")
    for version in ("2", "3", "4", "2"):
        when.alias_moves_to(version, wait=40)
    then.transcript_matches()
    kept = sorted(
        revision["metadata"]["annotations"][names.ANNOTATION_VERSION]
        for revision in story.cluster.api.all(Kind.REVISION)
    )
    assert kept == ["1", "2", "3", "4"], (
        "two by number, the verdict on what is wanted now, and what settled last"
    )
    when.status_is_lost()
    then.condition_is("Current", "False", "VersionRejected")


def test_a_new_operator_waits_for_the_registrys_first_answer(given: Given, when: When, then: Then) -> None:
    given.version("2", FAILS_TO_LOAD)
    given.version_serves("1")
    given.registry_is_pending()
    when.operator_restarts()
    then.nothing_is_written_for(30)
    given.registry_answers()
    then.nothing_is_written_for(30)
    when.alias_moves_to("2", wait=5)
    given.registry_is_pending()
    when.operator_restarts(wait=30)
    then.version_serves("1", why="to go back needs no registry")
    when.registry_is_back(text="the registry answers", wait=30)
    then.transcript_matches()
    then.no_request_is_lost()
    then.condition_is("Current", "False", "VersionRejected")

"""Lives in which something changes while what serves is being sent back, in both strategies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.stories.behaviours import HAS_NO_ARTIFACT, stops_answering
from tests.stories.pods import GOOD
from tests.stories.story import Given, Story, Then, When, both_strategies

from model_operator.domain.objects import Kind

Json = dict[str, Any]

MORE = {"resources": {"requests": {"memory": "1Gi"}}}


def version_2_is_sent_back(story: Story, strategy: str) -> None:
    """Version 2 served, fell ill, and was sent back a moment ago; nothing of version 1 was kept warm."""
    story.given.version("2", stops_answering(60))
    story.given.version_serves("1")
    story.when.alias_moves_to("2", wait=50)
    if strategy == "BlueGreen":
        story.when.narrated("somebody deletes the Deployment churn")
        story.given.child_is_gone(Kind.DEPLOYMENT, "churn")
    story.when.operator_emits("Reverted", wait=3)
    assert "1" not in story.cluster.serving_versions(), "the revert is still under way"


def version_1_is_back(then: Then) -> None:
    """Version 1 serves, and version 2 was sent back once, for what it did."""
    then.version_serves("1")
    then.operator_emitted("Reverted", times=1)
    then.rejections_are("2")
    then.serving_has(version="1")


@both_strategies
def test_the_alias_moves_back_in_a_revert(story: Story, when: When, then: Then, strategy: str) -> None:
    version_2_is_sent_back(story, strategy)
    when.alias_moves_to("1", wait=90)
    then.transcript_matches()
    version_1_is_back(then)
    then.condition_is("Current", "True", "Serving")


@both_strategies
def test_a_commit_changes_the_shape_in_a_revert(story: Story, when: When, then: Then, strategy: str) -> None:
    version_2_is_sent_back(story, strategy)
    when.commit_changes("server.resources: 1Gi", server=MORE, wait=120)
    when.watch_window_passes()
    then.transcript_matches()
    then.version_serves("1")
    then.operator_emitted("Reverted", times=1)
    then.condition_is("Ready", "True", "Serving", why="the commit is in force")
    then.condition_is("Current", "False", "VersionRejected")


@both_strategies
def test_a_commit_changes_the_size_in_a_revert(story: Story, when: When, then: Then, strategy: str) -> None:
    version_2_is_sent_back(story, strategy)
    when.commit_changes("replicas: 4", replicas=4, wait=120)
    then.transcript_matches()
    then.version_serves("1", pods=4)
    then.operator_emitted("Reverted", times=1)


@both_strategies
def test_a_revert_is_suspended_and_resumed(story: Story, when: When, then: Then, strategy: str) -> None:
    version_2_is_sent_back(story, strategy)
    when.commit_changes("suspend: true", suspend=True)
    then.no_child_is_written_for(120)
    when.commit_changes("suspend: false", suspend=False, wait=90)
    then.transcript_matches()
    version_1_is_back(then)


@both_strategies
def test_the_strategy_changes_in_a_revert(story: Story, when: When, then: Then, strategy: str) -> None:
    version_2_is_sent_back(story, strategy)
    other = "RollingUpdate" if strategy == "BlueGreen" else "BlueGreen"
    when.commit_changes(f"rollout.strategy: {other}", rollout={"strategy": other}, wait=90)
    when.watch_window_passes()
    then.transcript_matches()
    version_1_is_back(then)
    then.replicas_add_up_to(2)


@both_strategies
def test_the_modeldeployment_is_deleted_and_made_again_in_a_revert(
    story: Story, when: When, then: Then, strategy: str
) -> None:
    version_2_is_sent_back(story, strategy)
    when.deleted_and_made_again()
    when.time_passes(10)
    then.condition_is("Ready", "False", "WaitingForDeletion")
    when.garbage_is_collected("the garbage collector has come; the alias names version 3 by now")
    when.alias_moves_to("3", wait=60)
    then.transcript_matches()
    then.version_serves("3")
    then.rejections_are(why="that was another life")


@both_strategies
@pytest.mark.parametrize(
    "what",
    [
        pytest.param(When.status_is_lost, id="the_status_is_lost"),
        pytest.param(When.operator_restarts, id="the_operator_is_restarted"),
    ],
)
def test_the_memory_goes_in_a_revert(
    story: Story, when: When, then: Then, what: Callable[[When], None], strategy: str
) -> None:
    version_2_is_sent_back(story, strategy)
    when.registry_goes_away()
    what(when)
    when.time_passes(90)
    when.registry_is_back(wait=30)
    then.transcript_matches()
    version_1_is_back(then)
    then.condition_is("Current", "False", "VersionRejected")


@both_strategies
def test_a_person_asks_to_try_again_in_a_revert(
    story: Story, given: Given, when: When, then: Then, strategy: str
) -> None:
    version_2_is_sent_back(story, strategy)
    given.version("2", GOOD)
    when.retry_is_requested("monday", wait=120)
    when.watch_window_passes()
    then.transcript_matches()
    then.version_serves("2")
    then.rejections_are()


@both_strategies
def test_the_version_that_is_gone_back_to_is_deleted_in_a_revert(
    story: Story, when: When, then: Then, strategy: str
) -> None:
    version_2_is_sent_back(story, strategy)
    when.version_is_deleted("1")
    when.pods_change("1", HAS_NO_ARTIFACT, wait=120)
    then.is_not_ready()
    then.operator_emitted("Reverted", times=1, why="a revert target is never reverted further")
    when.alias_moves_to("3", wait=90)
    then.transcript_matches()
    then.version_serves("3")

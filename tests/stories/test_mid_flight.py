"""Lives in which the target changes while something is under way, in both strategies."""

from __future__ import annotations

from typing import Any

from tests.stories.behaviours import FAILS_TO_LOAD, stops_answering
from tests.stories.story import Given, Story, Then, When, both_strategies

from model_operator.domain.objects import Kind

Json = dict[str, Any]

FALLS_ILL = stops_answering(30)
"""Ready at first, and not for long."""


@both_strategies
def test_the_alias_moves_again_in_a_rollout(given: Given, when: When, then: Then) -> None:
    given.version_serves("1")
    when.alias_moves_to("2", wait=9)
    when.alias_moves_to("3", wait=60)
    then.transcript_matches()
    then.no_request_is_lost()
    then.version_serves("3")
    then.rejections_are()


@both_strategies
def test_the_alias_moves_again_in_the_watch(given: Given, when: When, then: Then) -> None:
    given.version_serves("1")
    when.alias_moves_to("2", wait=60)
    when.alias_moves_to("3", wait=60)
    then.transcript_matches()
    then.no_request_is_lost()
    then.version_serves("3")


@both_strategies
def test_the_alias_moves_again_in_the_watch_to_a_bad_version(given: Given, when: When, then: Then) -> None:
    given.version("3", FAILS_TO_LOAD)
    given.version_serves("1")
    when.alias_moves_to("2", wait=60)
    when.alias_moves_to("3", wait=60)
    then.version_serves("2", why="a new target never drops a healthy revision")
    when.watch_window_passes()
    then.transcript_matches()
    then.no_request_is_lost()
    then.serving_has(settled=True)  # "the watch of version 2 went on"
    then.tags_are({"1": "Settled", "2": "Settled", "3": "Rejected: LoadFailed"})


@both_strategies
def test_the_alias_moves_again_in_a_revert(given: Given, when: When, then: Then) -> None:
    given.version("2", FALLS_ILL)
    given.version_serves("1")
    when.alias_moves_to("2")
    when.operator_emits("Reverted", wait=3)
    when.alias_moves_to("3", wait=90)
    then.transcript_matches()
    then.version_serves("3")
    then.rejections_are("2")


@both_strategies
def test_the_alias_moves_back_in_a_rollout(story: Story, given: Given, when: When, then: Then) -> None:
    given.version_serves("1")
    since = story.status["serving"]["since"]
    when.alias_moves_to("2", wait=9)
    when.alias_moves_to("1", wait=60)
    then.transcript_matches()
    then.no_request_is_lost()
    then.version_serves("1")
    then.serving_has(since=since)


@both_strategies
def test_the_alias_moves_back_in_the_watch(given: Given, when: When, then: Then) -> None:
    given.version_serves("1")
    when.alias_moves_to("2", wait=60)
    when.alias_moves_to("1", wait=60)
    then.transcript_matches()
    then.no_request_is_lost()
    then.version_serves("1")
    then.history_is("2", "1")


@both_strategies
def test_a_commit_changes_the_shape_in_a_rollout(given: Given, when: When, then: Then) -> None:
    given.version_serves("1")
    when.alias_moves_to("2", wait=9)
    more = {"resources": {"requests": {"memory": "1Gi"}}}
    when.commit_changes("server.resources: 1Gi", server=more, wait=60)
    then.transcript_matches()
    then.no_request_is_lost()
    then.version_serves("2")


@both_strategies
def test_a_commit_changes_the_size_in_a_rollout(given: Given, when: When, then: Then) -> None:
    given.version_serves("1")
    when.alias_moves_to("2", wait=9)
    when.commit_changes("replicas: 4", replicas=4, wait=90)
    then.transcript_matches()
    then.no_request_is_lost()
    then.version_serves("2", pods=4)


@both_strategies
def test_a_rollout_is_suspended_and_resumed(given: Given, when: When, then: Then) -> None:
    given.version("2", FAILS_TO_LOAD)
    given.version_serves("1")
    when.alias_moves_to("2", wait=3)
    when.commit_changes("suspend: true", suspend=True)
    then.nothing_is_written_for(300)
    then.version_serves("1")
    when.commit_changes("suspend: false", suspend=False, wait=60)
    then.transcript_matches()
    then.no_request_is_lost()
    then.version_serves("1")
    then.condition_is("Current", "False", "VersionRejected")


@both_strategies
def test_suspended_before_the_alias_moves(given: Given, when: When, then: Then) -> None:
    given.version_serves("1")
    when.commit_changes("suspend: true", suspend=True)
    when.alias_moves_to("2")
    when.child_is_changed(
        Kind.SERVICE, "somebody changes the Service", lambda live: live["spec"].update(ports=[])
    )
    then.nothing_is_written_for(300)
    when.commit_changes("suspend: false", suspend=False, wait=60)
    then.transcript_matches()
    then.no_request_is_lost()
    then.version_serves("2")


@both_strategies
def test_the_modeldeployment_is_deleted_and_made_again_in_a_rollout(
    given: Given, when: When, then: Then
) -> None:
    given.version_serves("1")
    when.alias_moves_to("2", wait=9)
    when.deleted_and_made_again()
    when.time_passes(10)
    then.condition_is("Ready", "False", "WaitingForDeletion")
    when.garbage_is_collected(wait=60)
    then.transcript_matches()
    then.version_serves("2")


@both_strategies
def test_the_modeldeployment_is_replaced_without_its_children_in_a_rollout(
    given: Given, when: When, then: Then
) -> None:
    given.version_serves("1")
    when.alias_moves_to("2", wait=9)
    when.replaced_without_its_children(wait=60)
    then.transcript_matches()
    then.no_request_is_lost()
    then.version_serves("2")
    then.children_are_owned_by("uid-again")


@both_strategies
def test_the_old_version_is_deleted_while_it_serves(given: Given, when: When, then: Then) -> None:
    given.version("2", FAILS_TO_LOAD)
    given.version_serves("1")
    when.version_is_deleted("1", wait=60)
    then.condition_is("Ready", "True", "Serving")
    then.condition_is("Resolved", "False", "AliasNotFound")
    when.alias_moves_to("2", wait=60)
    then.version_serves("1")
    when.alias_moves_to("3", wait=60)
    then.transcript_matches()
    then.no_request_is_lost()
    then.version_serves("3")


@both_strategies
def test_the_registry_goes_away_before_a_revert(given: Given, when: When, then: Then) -> None:
    given.version("2", FALLS_ILL)
    given.version_serves("1")
    when.alias_moves_to("2", wait=28)
    when.registry_goes_away(wait=300)
    then.version_serves("1")
    when.registry_is_back(wait=60)
    then.transcript_matches()
    then.version_serves("1")
    then.condition_is("Current", "False", "VersionRejected")


def test_two_modeldeployments_share_a_model(story: Story) -> None:
    # the same version loads where there is more memory, say
    story.given.version("2", FAILS_TO_LOAD)
    other = story.beside("churn-batch", "BlueGreen")
    for each in (story, other):
        each.when.first_version_is_deployed("1", wait=60)
        each.when.watch_window_passes()
        each.given.requests_are_counted_anew()
    for each in (story, other):
        each.when.alias_moves_to("2", wait=60)
    story.then.version_serves("1")
    other.then.version_serves("2")
    story.then.tag_is("2", "Rejected: LoadFailed")
    other.then.tag_is("2", "Serving")
    story.cluster.transcript += ["--- the other one ---", *other.cluster.transcript]
    story.then.transcript_matches()
    story.then.no_request_is_lost()
    other.then.no_request_is_lost()

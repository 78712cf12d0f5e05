"""Lives without a lasting failure: the alias moves, the spec changes, the registry goes and comes."""

from __future__ import annotations

from typing import Any

from tests.stories.behaviours import FAILS_TO_LOAD
from tests.stories.story import Given, Story, Then, When
from tests.stories.then import ABSENT

Json = dict[str, Any]


def test_from_alias_to_pods_and_back(given: Given, when: When, then: Then) -> None:
    given.version("3", FAILS_TO_LOAD)
    when.first_version_is_deployed("1", wait=60)
    given.requests_are_counted_anew()
    when.alias_moves_to("2", wait=60)
    when.alias_moves_to("3", wait=60)
    then.condition_is("Ready", "True", "Serving")
    when.alias_moves_to("2", wait=30)
    then.transcript_matches()
    then.no_request_is_lost()
    then.version_serves("2")
    then.condition_is("Current", "True", "Serving")
    then.serving_has(since="2026-11-20T09:01:28Z")
    then.rejections_are("3")


def test_the_alias_moves_again_while_a_version_is_rolled_out(given: Given, when: When, then: Then) -> None:
    given.version_serves("1")
    when.alias_moves_to("2", wait=20)
    when.alias_moves_to("3", wait=60)
    then.transcript_matches()
    then.no_request_is_lost()
    then.version_serves("3")


def test_the_alias_moves_back_while_a_version_is_rolled_out(
    story: Story, given: Given, when: When, then: Then
) -> None:
    given.version_serves("1")
    since = story.status["serving"]["since"]
    when.alias_moves_to("2", wait=20)
    when.alias_moves_to("1", wait=60)
    then.transcript_matches()
    then.no_request_is_lost()
    then.version_serves("1")
    then.serving_has(since=since)
    then.rejections_are()


def test_a_commit_changes_the_resources(given: Given, when: When, then: Then) -> None:
    given.version_serves("1")
    memory = {"requests": {"memory": "1Gi"}}
    when.commit_changes("server.resources: 1Gi", server={"resources": memory})
    then.condition_is("Ready", "False", "RollingOut")
    then.condition_is_absent("Stalled")
    when.time_passes(60)
    then.transcript_matches()
    then.no_request_is_lost()
    then.condition_is("Ready", "True", "Serving")


def test_a_commit_writes_the_same_amount_in_other_words(given: Given, when: When, then: Then) -> None:
    given.version_serves("1")
    when.commit_changes("cpu: 500m", server={"resources": {"requests": {"cpu": "500m"}}}, wait=60)
    for text, cpu in (("cpu: 0.5", 0.5), ('cpu: "0.5"', "0.5"), ("cpu: 500m", "500m")):
        when.commit_changes(text, server={"resources": {"requests": {"cpu": cpu}}})
        then.no_child_is_written_for(60)
    then.transcript_matches()
    then.no_request_is_lost()
    then.condition_is("Ready", "True", "Serving")


def test_a_commit_leaves_the_user_to_the_platform(given: Given, when: When, then: Then) -> None:
    given.version_serves("1")
    when.commit_changes("pod.runAs: Platform", pod={"runAs": "Platform"}, wait=60)
    then.transcript_matches()
    then.no_request_is_lost()
    then.condition_is("Ready", "True", "Serving")


def test_the_registry_is_away_while_nothing_moves(given: Given, when: When, then: Then) -> None:
    given.version_serves("1")
    when.registry_goes_away(wait=300)
    then.condition_is("Ready", "True", "Serving")
    then.condition_is("Resolved", "Unknown", "RegistryUnreachable")
    when.registry_is_back(wait=10)
    then.transcript_matches()
    then.no_request_is_lost()
    then.condition_is("Current", "True", "Serving")


def test_the_registry_goes_away_in_mid_rollout(given: Given, when: When, then: Then) -> None:
    given.version_serves("1")
    when.alias_moves_to("2", wait=5)
    when.registry_goes_away(wait=60)
    then.version_serves("2")
    when.registry_is_back(wait=10)
    then.transcript_matches()
    then.no_request_is_lost()


def test_the_alias_is_deleted_and_set_again(given: Given, when: When, then: Then) -> None:
    given.version_serves("1")
    when.alias_is_deleted(wait=120)
    then.condition_is("Ready", "True", "Serving")
    then.condition_is("Current", "False", "AliasNotFound")
    when.alias_moves_to("2", wait=60)
    then.transcript_matches()
    then.no_request_is_lost()
    then.version_serves("2")


def test_a_rollout_waits_for_its_slot(given: Given, when: When, then: Then) -> None:
    given.version_serves("1")
    given.no_slot_is_free()
    when.alias_moves_to("2", wait=60)
    then.condition_is("Current", "False", "WaitingForSlot")
    when.slot_is_free(wait=60)
    then.transcript_matches()
    then.version_serves("2")


def test_credentials_are_missing_and_then_there(given: Given, when: When, then: Then) -> None:
    given.version_serves("1")
    given.credentials_are_missing()
    when.alias_moves_to("2", wait=60)
    then.condition_is("Ready", "True", "Serving")
    then.condition_is("Current", "False", "CredentialsMissing")
    then.operator_emitted("CredentialsMissing", times=1)
    when.secret_is_made(wait=60)
    then.transcript_matches()
    then.version_serves("2")


def test_a_first_deployment_without_credentials(given: Given, when: When, then: Then) -> None:
    given.credentials_are_missing()
    when.first_version_is_deployed("1", wait=60)
    then.condition_is("Stalled", "True", "CredentialsMissing")
    then.operator_emitted("CredentialsMissing", times=1)
    then.pods_are(set())
    when.secret_is_made(wait=60)
    then.transcript_matches()
    then.version_serves("1")


def test_an_alias_moves_while_scaled_to_nothing(given: Given, when: When, then: Then) -> None:
    given.version_serves("1")
    when.commit_changes("replicas: 0", replicas=0, wait=10)
    when.alias_moves_to("2", wait=10)
    then.condition_is("Ready", "True", "ScaledToZero")
    then.serving_has(selfTest=ABSENT)
    when.commit_changes("replicas: 2", replicas=2, wait=60)
    then.transcript_matches()
    then.version_serves("2")

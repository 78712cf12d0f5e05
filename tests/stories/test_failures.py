"""Lives in which a version, a manifest or the surroundings fail."""

from __future__ import annotations

from typing import Any

import pytest
from tests.stories.behaviours import (
    CRASHES,
    FAILS_ITS_SELF_TEST,
    FAILS_TO_LOAD,
    FINDS_NO_ROOM,
    FINDS_NO_STORE,
    HANGS_AT_START,
    HAS_NO_ARTIFACT,
    image_is_missing,
)
from tests.stories.pods import GOOD, Behaviour
from tests.stories.story import Given, Story, Then, When
from tests.stories.then import ABSENT

Json = dict[str, Any]


@pytest.mark.parametrize(
    ("life", "reason", "side", "within"),
    [
        pytest.param(FAILS_TO_LOAD, "LoadFailed", "Model", 11, id="its_load_fails"),
        pytest.param(FAILS_ITS_SELF_TEST, "SelfTestFailed", "Model", 11, id="its_self_test_fails"),
        pytest.param(CRASHES, "CrashLoop", "Model", 11, id="it_crashes_twice_without_a_word"),
        pytest.param(
            HANGS_AT_START, "StartupDeadline", "Configuration", 607, id="it_misses_its_startup_deadline"
        ),
        pytest.param(HAS_NO_ARTIFACT, "ArtifactMissing", "Model", 11, id="its_files_are_missing"),
    ],
)
def test_a_version_is_reverted_because(
    story: Story, given: Given, when: When, then: Then, life: Behaviour, reason: str, side: str, within: int
) -> None:
    given.version("2", life)
    given.version_serves("1")
    since = story.status["serving"]["since"]
    when.alias_moves_to("2", wait=within - 1)
    when.time_passes(10)
    then.transcript_matches(rests="retryAt" not in story.status["rejected"][0])
    then.no_request_is_lost()
    then.version_serves("1")
    then.serving_has(since=since)
    then.condition_is("Ready", "True", "Serving")
    then.condition_is("Current", "False", "VersionRejected")
    then.rejection_has(version="2", reason=reason, side=side)
    then.operator_emitted("Reverted", times=1)


def test_a_crash_loop_is_judged_at_the_second_exit(given: Given, when: When, then: Then) -> None:
    given.version("2", CRASHES)
    given.version_serves("1")
    when.alias_moves_to("2", wait=9)
    then.candidate_has(version="2")
    when.time_passes(1)
    then.there_is_no_candidate()


def test_a_longer_startup_deadline_lets_the_version_in(given: Given, when: When, then: Then) -> None:
    given.version("2", Behaviour(ready=900))
    given.version_serves("1")
    when.alias_moves_to("2")
    when.time_passes(640, step=2)
    then.condition_is("Current", "False", "VersionRejected")
    when.commit_changes("rollout.startupSeconds: 1200", rollout={"startupSeconds": 1200})
    then.candidate_has(attempts=2)
    when.time_passes(2000, step=2)
    then.transcript_matches()
    then.no_request_is_lost()
    then.version_serves("2")
    then.rejections_are()


def test_the_store_is_away_then_back(given: Given, when: When, then: Then) -> None:
    given.rollout(fetchSeconds=120)
    given.version("2", FINDS_NO_STORE)
    given.version_serves("1")
    when.alias_moves_to("2", wait=100)
    then.condition_is("Current", "False", "StoreUnreachable")
    when.time_passes(25)
    then.candidate_has(phase="Withdrawn")
    # the pauses: 60 s, 120 s, 240 s
    when.time_passes(60 + 121 + 120 + 121 + 50)
    then.candidate_has(attempts=3)
    then.operator_emitted("Withdrawn", times=3)
    when.version_recovers("2", "the store is back", wait=240)
    then.transcript_matches()
    then.no_request_is_lost()
    then.rejections_are()
    then.version_serves("2")


def test_no_node_has_room(given: Given, when: When, then: Then) -> None:
    given.rollout(schedulingSeconds=300)
    given.version("2", FINDS_NO_ROOM)
    given.version_serves("1")
    when.alias_moves_to("2", wait=60)
    then.condition_is("Current", "False", "InsufficientCapacity")
    then.condition_is("Ready", "True", "Serving")
    when.time_passes(260)
    then.rejections_are()
    when.version_recovers("2", "a node is added", wait=100)
    then.transcript_matches()
    then.no_request_is_lost()
    then.version_serves("2")


def test_no_room_without_a_surge_waits_for_a_commit(given: Given, when: When, then: Then) -> None:
    given.rollout(maxSurge=0, maxUnavailable=1, schedulingSeconds=300)
    given.version("2", FINDS_NO_ROOM)
    given.version_serves("1")
    when.alias_moves_to("2", wait=320)
    then.candidate_has(phase="Withdrawn")
    then.candidate_has(retryAt=ABSENT)
    when.time_passes(7200, step=60)
    then.operator_emitted("Withdrawn", times=1)
    then.version_serves("1")
    when.version_recovers("2", "a node is added")
    when.commit_changes("rollout.maxSurge: 1", rollout={"maxSurge": 1}, wait=60)
    then.transcript_matches()
    then.no_request_is_lost(pods=1)
    then.version_serves("2")


def test_a_first_version_fails_until_the_alias_moves(given: Given, when: When, then: Then) -> None:
    given.version("1", FAILS_TO_LOAD)
    when.first_version_is_deployed("1", wait=60)
    then.condition_is("Ready", "False", "FirstVersionFailed")
    then.condition_is("Stalled", "True", "FirstVersionFailed")
    then.operator_emitted("LoadFailed", times=1)
    when.alias_moves_to("2", wait=60)
    then.version_serves("2")
    when.alias_moves_to("1", wait=10)
    then.transcript_matches()
    then.version_serves("2")
    then.condition_is("Current", "False", "VersionRejected")


def test_a_first_version_fails_until_the_manifest_is_mended(given: Given, when: When, then: Then) -> None:
    given.spec(server={"image": "server:2"})
    given.version("server:2", image_is_missing("server:2"))
    when.first_version_is_deployed("1", wait=60)
    then.condition_is("Stalled", "True", "FirstVersionFailed")
    when.commit_changes("server.image: server:3", server={"image": "server:3"}, wait=60)
    then.transcript_matches()
    then.version_serves("1")
    then.condition_is("Ready", "True", "Serving")


def test_a_first_version_heals_by_itself(given: Given, when: When, then: Then) -> None:
    given.version("1", CRASHES)
    when.first_version_is_deployed("1", wait=60)
    then.condition_is("Stalled", "True", "FirstVersionFailed")
    when.version_recovers("1", "the database that the server needs at its start is back", wait=30)
    then.transcript_matches()
    then.version_serves("1")
    then.rejections_are()


def test_a_first_version_finds_no_room(given: Given, when: When, then: Then) -> None:
    given.rollout(schedulingSeconds=300)
    given.version("1", FINDS_NO_ROOM)
    when.first_version_is_deployed("1", wait=400)
    then.condition_is("Ready", "False", "InsufficientCapacity")
    then.condition_is("Stalled", "True", "InsufficientCapacity")
    then.rejections_are()
    when.version_recovers("1", "a node is added", wait=60)
    then.transcript_matches()
    then.version_serves("1")


def test_a_bad_commit_is_reverted_and_then_mended(given: Given, when: When, then: Then) -> None:
    given.version("server:2", image_is_missing("server:2"))
    given.version_serves("1")
    when.commit_changes("server.image: server:2", server={"image": "server:2"}, wait=60)
    then.condition_is("Ready", "False", "VersionRejected")
    then.condition_is("Stalled", "True", "VersionRejected")
    then.version_serves("1")
    when.commit_changes("server.image: server:3", server={"image": "server:3"})
    then.condition_is_absent("Stalled")
    when.time_passes(60)
    then.transcript_matches()
    then.no_request_is_lost()
    then.condition_is("Ready", "True", "Serving")


def test_a_bad_commit_of_a_version_is_reverted(given: Given, when: When, then: Then) -> None:
    given.spec(model={"name": "churn", "version": "1"})
    given.version("2", FAILS_TO_LOAD)
    given.version_serves("1")
    when.commit_changes("model.version: 2", model={"version": "2"}, wait=60)
    then.condition_is("Stalled", "True", "VersionRejected")
    when.status_is_lost(wait=10)
    then.condition_is("Stalled", "True", "VersionRejected")
    when.commit_changes("model.version: 1", model={"version": "1"}, wait=30)
    then.transcript_matches()
    then.no_request_is_lost()
    then.condition_is("Ready", "True", "Serving")


def test_a_rejected_version_stays_rejected_when_the_alias_comes_back(
    given: Given, when: When, then: Then
) -> None:
    given.version("2", FAILS_TO_LOAD)
    given.version_serves("1")
    when.alias_moves_to("2", wait=30)
    when.alias_moves_to("3", wait=60)
    when.alias_moves_to("2", wait=60)
    then.transcript_matches()
    then.no_request_is_lost()
    then.version_serves("3")
    then.operator_emitted("Reverted", times=1)
    then.operator_emitted("VersionRejected", times=1)
    then.rejection_has(attempts=1)


def test_a_person_asks_to_try_a_rejected_version_again(given: Given, when: When, then: Then) -> None:
    given.version("2", FAILS_TO_LOAD)
    given.version_serves("1")
    when.alias_moves_to("2", wait=60)
    then.condition_is("Current", "False", "VersionRejected")
    when.retry_is_requested("monday", wait=60)
    then.handled_requests_are(retry="monday")
    then.rejection_has(attempts=2)
    then.operator_emitted("Reverted", times=2, why="tried once more, not again and again")
    given.version("2", GOOD)
    when.retry_is_requested("tuesday", wait=60)
    then.transcript_matches()
    then.no_request_is_lost()
    then.version_serves("2")
    then.rejections_are()


def test_a_request_to_try_again_of_what_serves_changes_nothing(given: Given, when: When, then: Then) -> None:
    given.version_serves("1")
    when.retry_is_requested("monday")
    then.nothing_is_written_for(30)
    then.transcript_matches()
    then.handled_requests_are(retry="monday")

"""What is counted of rollouts, told from one status to the next."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.planner.worlds import ago, world

from model_operator.domain.objects import rfc3339
from model_operator.domain.revision import Side
from model_operator.domain.rollout import Candidate, Departed, Phase, Rejection, RolloutState, Serving
from model_operator.planner.state import to_status
from model_operator.planner.status.transitions import (
    Ended,
    Followed,
    Reverted,
    RolloutTransition,
    Started,
    find_transitions,
)

Json = dict[str, Any]

ONE = Serving("v1-a", "1", "@champion", ago(900), "Passed", "churn", True)
TWO = Serving("v2-b", "2", "@champion", ago(0), "Passed", "churn")
TRIED = Candidate("v2-b", "2", "@champion", ago(60), Phase.ROLLING, track="churn")
REFUSED = Rejection("v2-b", "2", "@champion", Side.MODEL, "LoadFailed", "it does not load", ago(0))
MOVED = {"resolved": {"version": "2", "at": rfc3339(ago(75))}}


def status(state: RolloutState, **more: Any) -> Json:
    return to_status(state) | {"observedGeneration": 1} | more


def seen(before: Json, after: Json, **spec: Any) -> list[RolloutTransition]:
    return list(find_transitions(world(status=before, **spec), after))


def in_phase(phase: Phase, **more: Any) -> RolloutState:
    return RolloutState(ONE, replace(TRIED, phase=phase, **more))


def test_a_rollout_that_goes_live_is_counted_with_its_time_and_with_the_time_since_the_alias_moved() -> None:
    assert seen(status(RolloutState(ONE, TRIED), **MOVED), status(RolloutState(TWO), **MOVED)) == [
        Ended("live", "", 60),
        Followed("Automatic", 75),
    ]


def test_a_version_that_waited_for_a_person_is_told_apart() -> None:
    spec = {"model": {"name": "churn", "alias": "champion"}, "gates": {"approval": {"mode": "Manual"}}}
    found = seen(status(RolloutState(ONE, TRIED), **MOVED), status(RolloutState(TWO), **MOVED), spec=spec)
    assert Followed("Manual", 75) in found


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(
            status(RolloutState(None, TRIED), **MOVED),
            status(RolloutState(TWO), **MOVED),
            id="the first version",
        ),
        pytest.param(
            status(RolloutState(replace(ONE, version="2"), TRIED), **MOVED),
            status(RolloutState(TWO), **MOVED),
            id="the same version with a changed spec",
        ),
        pytest.param(
            status(RolloutState(ONE, TRIED)),
            status(RolloutState(TWO), resolved={"version": "2", "at": rfc3339(ago(5000))}),
            id="a version that the registry had named long before",
        ),
        pytest.param(
            status(RolloutState(ONE, TRIED)),
            status(RolloutState(TWO), resolved={"version": "3", "at": rfc3339(ago(75))}),
            id="a version that a person holds",
        ),
    ],
)
def test_what_no_move_of_an_alias_brought_is_not_timed_as_one(before: Json, after: Json) -> None:
    assert seen(before, after) == [Ended("live", "", 60)]


def test_a_candidate_that_fails_is_rejected_and_reverted() -> None:
    before = status(RolloutState(ONE, TRIED))
    assert seen(before, status(RolloutState(ONE, None, (REFUSED,)))) == [
        Ended("rejected", "LoadFailed", 60),
        Reverted("rollout", "Model", "LoadFailed"),
    ]


def test_a_first_version_that_fails_is_rejected_and_nothing_is_reverted() -> None:
    failed = replace(TRIED, phase=Phase.FAILED)
    before, after = status(RolloutState(None, TRIED)), status(RolloutState(None, failed, (REFUSED,)))
    assert seen(before, after) == [Ended("rejected", "LoadFailed", 60)]


def test_with_the_policy_never_a_failed_candidate_is_not_reverted() -> None:
    failed = replace(TRIED, phase=Phase.FAILED)
    after = status(RolloutState(ONE, failed, (REFUSED,)))
    assert seen(status(RolloutState(ONE, TRIED)), after) == [Ended("rejected", "LoadFailed", 60)]


def test_a_version_that_fails_its_watch_is_a_revert_and_no_rollout() -> None:
    restored = replace(ONE, since=ago(0))
    left = Departed("v2-b", "2", "@champion", ago(300), ago(0), "OutOfMemory")
    refused = replace(REFUSED, reason="OutOfMemory")
    before = status(RolloutState(replace(TWO, since=ago(300))))
    after = status(RolloutState(restored, None, (refused,), (left,)))
    assert seen(before, after) == [Reverted("watch", "Model", "OutOfMemory")]


def test_a_rejection_is_counted_once() -> None:
    after = status(RolloutState(ONE, None, (REFUSED,)))
    assert seen(after, after | {"replicas": 2}) == []


@pytest.mark.parametrize("before", [Phase.WITHDRAWN, Phase.WAITING_FOR_SLOT, Phase.WAITING_FOR_APPROVAL])
def test_each_try_is_a_start(before: Phase) -> None:
    assert seen(status(in_phase(before)), status(in_phase(Phase.APPLYING))) == [Started()]


def test_the_very_first_status_may_be_a_start() -> None:
    assert seen({}, status(RolloutState(None, replace(TRIED, phase=Phase.APPLYING)))) == [Started()]


def test_a_deployment_that_is_applied_again_in_mid_rollout_is_no_second_start() -> None:
    assert seen(status(in_phase(Phase.STARTING)), status(in_phase(Phase.APPLYING))) == []


def test_what_is_taken_back_without_blame_is_withdrawn() -> None:
    withdrawn = status(in_phase(Phase.WITHDRAWN, reason="InsufficientCapacity"))
    assert seen(status(in_phase(Phase.SCHEDULING)), withdrawn) == [
        Ended("withdrawn", "InsufficientCapacity", None)
    ]
    assert seen(withdrawn, withdrawn | {"replicas": 2}) == []


def test_what_is_no_longer_wanted_is_cancelled() -> None:
    assert seen(status(RolloutState(ONE, TRIED)), status(RolloutState(ONE))) == [Ended("cancelled", "", None)]


def test_what_only_waited_for_its_turn_is_not_cancelled() -> None:
    assert seen(status(in_phase(Phase.WAITING_FOR_SLOT)), status(RolloutState(ONE))) == []


def test_a_newer_target_in_mid_rollout_cancels_one_and_starts_another() -> None:
    other = replace(TRIED, revision="v3-c", version="3", phase=Phase.APPLYING)
    found = seen(status(RolloutState(ONE, TRIED)), status(RolloutState(ONE, other)))
    assert found == [Started(), Ended("cancelled", "", None)]


def test_a_status_that_is_rebuilt_after_it_was_lost_counts_for_nothing() -> None:
    assert seen({}, status(RolloutState(ONE, None, (REFUSED,)))) == []

"""When pods that crashed are calm again, and when all pods of a revision crash again and again."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from tests.unit.planner.health.pod_objects import NOW, REVISION, Json, deployment, pod, spoilt_pods, track
from tests.unit.planner.health.test_serving import OLD, SINCE, YOUNG, down, end, runs, serving, unready

from model_operator.domain.revision import Side
from model_operator.planner.health.crashes import CALM_MARGIN, Calm, CrashLoop, find_calm, find_crash_loop

WINDOW = timedelta(seconds=90)


def back(server: Json, ready_for: float, age: float = OLD) -> Json:
    """A pod that is ready again since so many seconds ago."""
    found = serving(server, age)
    since = (NOW - timedelta(seconds=ready_for)).isoformat()
    found["status"]["conditions"][-1]["lastTransitionTime"] = since
    return found


def calm(*pods: Json) -> Calm | None:
    return find_calm(REVISION, track(deployment(), *pods), SINCE, WINDOW)


def loop(*pods: Json) -> CrashLoop | None:
    return find_crash_loop(REVISION, track(deployment(), *pods), NOW)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


# --- calm --------------------------------------------------------------------------------------------


def test_pods_that_did_not_crash_in_the_window_are_no_evidence() -> None:
    assert calm(serving(runs(OLD)), serving(runs(390, end(1, 900, 400), 9))) is None


def test_a_pod_is_calm_when_it_was_ready_for_as_long_as_its_last_run() -> None:
    found = calm(back(runs(60, end(7, 130, 70), 1), 50, YOUNG + 40))
    assert found is not None
    assert (found.at, found.down) == (ago(50) + timedelta(seconds=60) + CALM_MARGIN, False)
    assert found.crash.reason == "ServerExited"
    assert found.crash.message.startswith("a server exited with code 7 in the watch window")


def test_the_last_pod_to_be_calm_decides() -> None:
    early, late = back(runs(200, end(7, 260, 210), 1), 190), back(runs(60, end(9, 130, 70), 1), 50)
    found = calm(early, late)
    assert found is not None
    assert found.at == ago(50) + timedelta(seconds=60) + CALM_MARGIN
    assert found.crash.message.startswith(
        "the servers of 2 pods exited in the watch window, the last one with code 9"
    )


def test_days_of_waiting_for_requests_count_no_longer_than_the_window() -> None:
    found = calm(back(runs(260, end(7, 90_000, 270), 1), 250, 90_000))
    assert found is not None
    assert found.at == ago(250) + WINDOW + CALM_MARGIN


def test_a_pod_that_is_down_is_not_calm() -> None:
    found = calm(unready(down(end(7, 130, 70))))
    assert found is not None
    assert (found.at, found.down) == (ago(70) + timedelta(seconds=60) + CALM_MARGIN, True)


@pytest.mark.parametrize(
    "gone",
    [
        pytest.param({"metadata": {"deletionTimestamp": "2026-11-20T09:00:00Z"}}, id="deleted"),
        pytest.param({"status": {"phase": "Failed", "reason": "Evicted"}}, id="evicted"),
    ],
)
def test_a_pod_that_is_gone_is_no_evidence(gone: Json) -> None:
    crashed = back(runs(60, end(7, 130, 70), 1), 50)
    for part, fields in gone.items():
        crashed[part] |= fields
    assert calm(crashed) is None


# --- crash loops -------------------------------------------------------------------------------------

TWICE = unready(down(end(7, 90, 30), end(7, 200, 110), 8))


def test_all_pods_that_exited_twice_are_a_crash_loop() -> None:
    found = loop(TWICE, TWICE)
    assert found is not None
    assert (found.failure.reason, found.failure.side, found.by_itself) == ("CrashLoop", Side.MODEL, True)


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (serving(runs(5, end(7, 90, 30), 9)), "one pod is ready"),
        (unready(down(end(7, 4000, 30), end(7, 9000, 4010), 8)), "the earlier exit was long ago"),
        (unready(down(end(255, 90, 30, "Unknown"), end(255, 200, 110, "Unknown"), 8)), "the node went down"),
        (pod("", 90, reason="Unschedulable"), "a pod waits for a node"),
        (unready(runs(OLD, ready=False)), "a pod hangs"),
    ],
)
def test_it_is_no_crash_loop_if(other: Json, why: str) -> None:
    assert loop(TWICE, other) is None, why


def test_no_pod_is_no_crash_loop() -> None:
    assert loop() is None


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        (end(137, 90, 30, "OOMKilled"), "OutOfMemory"),
        (end(137, 90, 30), "CrashLoop"),
        (end(143, 90, 30), "CrashLoop"),
        (end(54, 90, 30), "ServeMisconfigured"),
    ],
)
def test_a_crash_loop_with_a_cause_outside_of_the_model_is_not_its_own(last: Json, reason: str) -> None:
    found = loop(unready(down(last, end(7, 200, 110), 8)))
    assert found is not None
    assert (found.failure.reason, found.by_itself) == (reason, False)


@given(spoilt_pods(), spoilt_pods())
def test_no_garbage_raises(one: Json, other: Json) -> None:
    calm(one, other)
    loop(one, other)

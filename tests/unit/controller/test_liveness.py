"""What counts as stuck, and what is only quiet."""

from __future__ import annotations

from model_operator.controller.liveness import WATCH_SECONDS, WORK_SECONDS, Liveness


class Clock:
    now = 1000.0
    working = 0.0

    def liveness(self) -> Liveness:
        liveness = Liveness(lambda: self.working, lambda: self.now)
        liveness.expect(["/api/v1/pods", "/api/v1/services"])
        return liveness


def test_a_watch_that_is_silent_while_the_api_server_answers_is_stuck_and_named() -> None:
    clock = Clock()
    liveness = clock.liveness()
    clock.now += WATCH_SECONDS + 1
    liveness.heard("/api/v1/services")
    liveness.answered()
    assert (
        liveness.trouble() == "the watch /api/v1/pods has been silent for 301 s while the API server answers"
    )
    liveness.heard("/api/v1/pods")
    assert liveness.trouble() == ""


def test_in_an_outage_of_the_api_server_nothing_of_ours_is_stuck() -> None:
    clock = Clock()
    liveness = clock.liveness()
    liveness.answered()
    clock.now += 3600
    assert liveness.trouble() == ""
    liveness.answered()
    assert "silent for 3600 s" in liveness.trouble(), "it is over, and the watches have not come back"


def test_watches_that_nobody_started_are_not_missed() -> None:
    clock = Clock()
    liveness = Liveness(lambda: 0.0, lambda: clock.now)
    liveness.heard("/api/v1/nodes")
    clock.now += 3600
    liveness.answered()
    assert liveness.trouble() == ""


def test_a_reconcile_that_does_not_come_back_is_stuck() -> None:
    clock = Clock()
    liveness = clock.liveness()
    clock.working = WORK_SECONDS
    assert liveness.trouble() == ""
    clock.working = WORK_SECONDS + 1
    assert liveness.trouble() == "a reconcile has been stuck for 121 s"


def test_a_watch_that_begins_anew_with_a_list_may_have_missed_a_deletion() -> None:
    liveness = Clock().liveness()
    liveness.listed("/api/v1/pods")
    assert not liveness.relisted.is_set(), "it has only begun"
    liveness.heard("/api/v1/pods")
    assert not liveness.relisted.is_set(), "it went on where it was"
    liveness.listed("/api/v1/pods")
    assert liveness.relisted.is_set()

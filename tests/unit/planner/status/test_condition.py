"""Conditions after Kubernetes' conventions."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.planner.worlds import NOW, ago

from model_operator.domain.objects import rfc3339
from model_operator.planner.status.condition import MESSAGE_LIMIT, Condition, merge

BEFORE = rfc3339(ago(3600))
STATUSES = st.sampled_from(["True", "False", "Unknown"])


def stored(status: str, kind: str = "Ready", **more: Any) -> dict[str, Any]:
    return {"type": kind, "status": status, "lastTransitionTime": BEFORE, "reason": "Old"} | more


@given(before=STATUSES, now=STATUSES, reason=st.sampled_from(["Old", "New"]))
def test_the_transition_time_moves_exactly_when_the_status_does(before: str, now: Any, reason: str) -> None:
    (merged,) = merge([stored(before)], [Condition("Ready", now, reason, "")], 4, NOW)
    assert (merged["lastTransitionTime"] == BEFORE) == (before == now)
    assert (merged["status"], merged["reason"], merged["observedGeneration"]) == (now, reason, 4)


def test_a_condition_that_is_not_wanted_any_more_is_absent() -> None:
    merged = merge([stored("True", "Stalled")], [Condition("Ready", "True", "Serving", "")], 1, NOW)
    assert [c["type"] for c in merged] == ["Ready"]


def test_a_long_message_is_cut() -> None:
    (merged,) = merge([], [Condition("Ready", "False", "Reason", "x" * 5000)], 1, NOW)
    assert len(merged["message"]) == MESSAGE_LIMIT


@pytest.mark.parametrize("reason", ["", "two words", "-", "9Lives", "ends,"])
def test_a_reason_that_the_api_server_would_refuse_becomes_unknown(reason: str) -> None:
    (merged,) = merge([], [Condition("Ready", "False", reason, "")], 1, NOW)
    assert merged["reason"] == "Unknown"


@pytest.mark.parametrize(
    "previous", [[None], ["Ready"], [{}], [{"type": []}], [stored("True", lastTransitionTime=7)]]
)
def test_garbage_before_counts_as_nothing(previous: list[Any]) -> None:
    (merged,) = merge(previous, [Condition("Ready", "True", "Serving", "")], 1, NOW)
    assert merged["lastTransitionTime"] == rfc3339(NOW)

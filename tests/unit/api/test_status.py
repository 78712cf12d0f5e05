from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_operator.api import ModelDeploymentStatus
from model_operator.domain.revision import Side
from model_operator.domain.rollout import Candidate, Phase, Rejection, RolloutState, Serving
from model_operator.planner.state import to_status

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
FIELDS = [field.alias for field in ModelDeploymentStatus.model_fields.values()]
PARTS = ["version", "revision", "type", "status", "at", "since", "attempts", "deadline", "url", "model"]

GOOD = {
    "observedGeneration": 4,
    "conditions": [
        {
            "type": "Ready",
            "status": "True",
            "observedGeneration": 4,
            "lastTransitionTime": "2026-11-20T12:00:00Z",
            "reason": "Serving",
            "message": "Version 7 serves.",
        }
    ],
    "modelName": "churn",
    "alias": "@champion",
    "resolved": {"model": "churn", "version": "8", "alias": "champion", "runId": "r", "source": "s3://b/m"},
    "serving": {
        "version": "7",
        "revision": "v7-5d9f8a2b1c",
        "track": "churn-green",
        "settled": False,
        "watchEnds": "2026-11-20T12:10:00Z",
        "selfTest": "Passed",
        "reason": "ReadinessLost",
        "message": "Two of three pods are not ready.",
    },
    "candidate": {
        "version": "8",
        "track": "churn",
        "phase": "WaitingForApproval",
        "since": "2026-11-20T12:00:00.123456+01:00",
        "attempts": 2,
        "retryAt": "2026-11-20T12:05:00Z",
    },
    "plan": {
        "from": "7",
        "to": "8",
        "revision": "v8-5d9f8a2b1c",
        "strategy": "BlueGreen",
        "message": "Starts 3 pods beside the 3 that serve.",
        "extraPods": 3,
        "extraResources": {"cpu": "750m"},
        "gates": [{"gate": "Metrics", "outcome": "Passed", "message": "within their bounds: auc 0.9"}],
        "signature": ["+ input age: long (optional)"],
    },
    "rejected": [
        {
            "version": "6",
            "side": "Model",
            "reason": "CrashLoop",
            "attempts": 1,
            "retryAt": "2026-11-20T12:05:00Z",
        }
    ],
    "history": [
        {
            "version": "6",
            "revision": "v6-5d9f8a2b1c",
            "alias": "@champion",
            "from": "2026-11-20T10:00:00Z",
            "to": "2026-11-20T11:00:00Z",
            "reason": "Replaced",
            "message": "Version 7 went live.",
        }
    ],
    "handledRequests": {"retry": "1", "restart": "2", "revert": "v7-5d9f8a2b1c", "adopt": "churn"},
    "replicas": 2,
    "readyReplicas": 1,
    "selector": "model-operator.io/deployment=churn",
    "address": {"url": "http://churn.crm.svc"},
}


def test_a_status_is_written_as_it_was_read():
    assert ModelDeploymentStatus.read(GOOD).body() == GOOD


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(FIELDS), JSON | st.dictionaries(st.sampled_from(PARTS), JSON)) | JSON)
def test_no_garbage_in_the_status_raises_and_what_was_read_can_be_written(raw):
    body = ModelDeploymentStatus.read(raw).body()
    assert ModelDeploymentStatus.read(body).body() == body


@pytest.mark.parametrize("field", FIELDS)
def test_an_unreadable_field_is_absent_and_the_others_are_read(field):
    read = ModelDeploymentStatus.read({**GOOD, field: object()}).body()
    assert read == {key: value for key, value in GOOD.items() if key != field}


@pytest.mark.parametrize(
    ("raw", "read"),
    [
        pytest.param(
            {"rejected": [{"version": 1}, {"version": "2"}, 3]},
            {"rejected": [{"version": "2"}]},
            id="a rejection without a readable version is left out",
        ),
        pytest.param(
            {"rejected": [{"version": "2", "at": "yesterday"}]},
            {"rejected": [{"version": "2"}]},
            id="a time that is none is absent",
        ),
        pytest.param(
            {"rejected": [{"version": "2", "at": "2026-11-20T12:00:00"}]},
            {"rejected": [{"version": "2"}]},
            id="a time without a zone is absent",
        ),
        pytest.param({"serving": {"revision": "v7-1"}}, {}, id="serving without a version is absent"),
        pytest.param(
            {"handledRequests": {"a": 1, "b": "2"}},
            {"handledRequests": {"b": "2"}},
            id="a request answered by a number is left out",
        ),
        pytest.param({"replicas": -1, "readyReplicas": True}, {}, id="counts that are none are absent"),
        pytest.param(
            {"weights": [], "serving": {"version": "7", "weight": 5}},
            {"serving": {"version": "7"}},
            id="fields of another version are passed over",
        ),
        pytest.param(
            {"serving": {"version": "7", "settled": "yes", "watchEnds": 3, "track": ["churn"]}},
            {"serving": {"version": "7"}},
            id="a watch that can't be read is absent, and what serves is known",
        ),
        pytest.param({"plan": {"from": "7"}}, {}, id="a plan that leads nowhere is absent"),
        pytest.param(
            {"plan": {"from": 7, "to": "8"}}, {"plan": {"to": "8"}}, id="a plan from nowhere is read"
        ),
        pytest.param({"history": {"version": "6"}}, {}, id="a history that is no list is absent"),
        pytest.param(
            {"history": [{"from": "2026-11-20T10:00:00Z"}, {"version": "6", "to": "monday"}, None]},
            {"history": [{"version": "6"}]},
            id="what served before is kept without the times that are none",
        ),
    ],
)
def test_what_cannot_be_read_counts_as_absent(raw, read):
    assert ModelDeploymentStatus.read(raw).body() == read


@pytest.mark.parametrize(("field", "most"), [("rejected", 64), ("history", 20)])
def test_a_list_without_end_is_cut(field, most):
    many = [{"version": str(number)} for number in range(1000)]
    assert ModelDeploymentStatus.read({field: many}).body() == {field: many[:most]}


def test_requests_without_end_are_cut():
    many = {f"request-{number}": "1" for number in range(1000)}
    assert len(ModelDeploymentStatus.read({"handledRequests": many}).handled_requests) == 16


def test_a_condition_is_found_by_its_type():
    status = ModelDeploymentStatus.read(GOOD)
    ready = status.condition("Ready")
    assert ready is not None
    assert ready.reason == "Serving"
    assert status.condition("Current") is None


def test_the_crd_knows_every_field_that_the_planner_remembers():
    now = datetime(2026, 11, 20, 12, tzinfo=UTC)
    one = {"revision": "v8-5d9f8a2b1c", "version": "8", "alias": "@champion"}
    written = to_status(
        RolloutState(
            Serving(**one, since=now, self_test="Passed"),
            Candidate(
                **one, since=now, phase=Phase.FETCHING, reason="r", message="m", deadline=now, retry_at=now
            ),
            [Rejection(**one, side=Side.MODEL, reason="LoadFailed", message="m", at=now)],
        )
    )
    assert ModelDeploymentStatus.read(written).body() == written

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_operator.api import ModelDeploymentStatus
from model_operator.memory import Candidate, Memory, Phase, Rejection, Serving, to_status
from model_operator.world import Side

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
    "serving": {"version": "7", "revision": "v7-5d9f8a2b1c", "selfTest": "Passed"},
    "candidate": {
        "version": "8",
        "phase": "Fetching",
        "since": "2026-11-20T12:00:00.123456+01:00",
        "attempts": 2,
        "retryAt": "2026-11-20T12:05:00Z",
    },
    "rejected": [{"version": "6", "side": "Model", "reason": "LoadFailed", "attempts": 1}],
    "handledRequests": {"model-operator.io/retry": "1"},
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
        pytest.param({"history": [], "plan": {}}, {}, id="fields of another version are passed over"),
    ],
)
def test_what_cannot_be_read_counts_as_absent(raw, read):
    assert ModelDeploymentStatus.read(raw).body() == read


def test_a_list_without_end_is_cut():
    many = [{"version": str(number)} for number in range(1000)]
    assert len(ModelDeploymentStatus.read({"rejected": many}).rejected) == 64


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
        Memory(
            Serving(**one, since=now, self_test="Passed"),
            Candidate(
                **one, since=now, phase=Phase.FETCHING, reason="r", message="m", deadline=now, retry_at=now
            ),
            [Rejection(**one, side=Side.MODEL, reason="LoadFailed", message="m", at=now)],
        )
    )
    assert ModelDeploymentStatus.read(written).body() == written

"""Handing what we posted over to our applies."""

from typing import Any

import pytest

from model_operator.kube.ownership import hand_over

US = "model-operator"


def entry(operation: str, fields: dict[str, Any], manager: str = US, **more: str) -> dict[str, Any]:
    return {
        "manager": manager,
        "operation": operation,
        "apiVersion": "apps/v1",
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
        **more,
    }


REPLICAS = {"f:spec": {"f:replicas": {}}}
POSTED = {
    "f:metadata": {"f:labels": {".": {}, "f:a": {}}},
    "f:spec": {"f:replicas": {}, "f:minReadySeconds": {}},
}
APPLIED = {"f:metadata": {"f:labels": {"f:b": {}}}, "f:spec": {"f:strategy": {"f:type": {}}}}


def test_what_was_posted_joins_what_is_applied_and_only_replicas_stay() -> None:
    handed = hand_over([entry("Apply", APPLIED), entry("Update", POSTED)], US)
    assert handed is not None
    assert {e["operation"]: e["fieldsV1"] for e in handed} == {
        "Apply": {
            "f:metadata": {"f:labels": {".": {}, "f:a": {}, "f:b": {}}},
            "f:spec": {"f:minReadySeconds": {}, "f:strategy": {"f:type": {}}},
        },
        "Update": REPLICAS,
    }


def test_an_update_entry_that_has_nothing_left_goes_away() -> None:
    handed = hand_over([entry("Apply", APPLIED), entry("Update", {"f:spec": {"f:type": {}}})], US)
    assert handed is not None
    assert [e["operation"] for e in handed] == ["Apply"]


def test_what_was_handed_over_needs_no_handing_over_again() -> None:
    once = hand_over([entry("Apply", APPLIED), entry("Update", POSTED)], US)
    assert once is not None
    assert hand_over(once, US) is None


def test_without_an_apply_entry_one_is_made() -> None:
    handed = hand_over([entry("Update", POSTED)], US)
    assert handed is not None
    assert [e["operation"] for e in handed] == ["Apply", "Update"]


@pytest.mark.parametrize(
    "entries",
    [
        pytest.param([], id="no entries"),
        pytest.param([entry("Apply", APPLIED)], id="only applies"),
        pytest.param([entry("Update", REPLICAS)], id="only replicas by update"),
        pytest.param([entry("Update", POSTED, manager="kubectl")], id="an update by somebody else"),
        pytest.param([entry("Update", POSTED, subresource="status")], id="an update of the status"),
        pytest.param([entry("Update", REPLICAS, subresource="scale")], id="an update of the scale"),
    ],
)
def test_there_is_nothing_to_hand_over(entries: list[dict[str, Any]]) -> None:
    assert hand_over(entries, US) is None


def test_entries_of_others_stay_as_they_are() -> None:
    theirs = [
        entry("Update", POSTED, manager="hpa", subresource="scale"),
        entry("Apply", APPLIED, manager="argo"),
    ]
    handed = hand_over([*theirs, entry("Update", POSTED)], US)
    assert handed is not None
    assert [e for e in handed if e["manager"] != US] == theirs

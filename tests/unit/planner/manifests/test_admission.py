"""The record of the changes that admission makes to our bodies."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from model_operator.api import names
from model_operator.api.spec import ModelDeploymentSpec
from model_operator.planner.manifests import (
    Owner,
    admission_patch,
    differences,
    is_admitted,
    service,
)

Json = dict[str, Any]
OWNER = Owner("crm", "churn", "u1")
BODY = service(OWNER, ModelDeploymentSpec.model_validate({"model": {"name": "churn", "version": "1"}}))


def stored(port: int = 8443) -> Json:
    """The body with another port, as admission stores it."""
    found = deepcopy(BODY)
    found["spec"]["ports"][0]["port"] = port
    return found


def recorded(answer: Json) -> Json:
    """The answer with the record."""
    patch = admission_patch(BODY, answer)
    assert patch
    found = deepcopy(answer)
    found["metadata"]["annotations"] |= patch["metadata"]["annotations"]
    return found


def test_an_answer_without_changes_has_nothing_to_record() -> None:
    assert admission_patch(BODY, deepcopy(BODY)) is None


def test_the_recorded_changes_are_admitted_and_recorded_once() -> None:
    live = recorded(stored())
    assert is_admitted(BODY, live, differences(BODY, live))
    assert admission_patch(BODY, live) is None


def test_the_same_changes_without_a_record_are_drift() -> None:
    assert not is_admitted(BODY, stored(), differences(BODY, stored()))


def test_another_value_at_the_same_place_is_drift() -> None:
    live = recorded(stored())
    live["spec"]["ports"][0]["port"] = 9999
    assert not is_admitted(BODY, live, differences(BODY, live))


def test_a_change_beside_it_is_drift() -> None:
    live = recorded(stored())
    live["spec"]["selector"] = {}
    assert not is_admitted(BODY, live, differences(BODY, live))


def test_a_new_body_is_not_covered_by_the_old_record() -> None:
    live = recorded(stored())
    spec = {"model": {"name": "churn", "version": "1"}, "service": {"annotations": {"team": "crm"}}}
    body = service(OWNER, ModelDeploymentSpec.model_validate(spec))
    assert not is_admitted(body, live, differences(body, live))


def test_an_object_that_is_never_compared_gets_no_record() -> None:
    body = {"metadata": {"name": "scripts"}, "data": {"a": "1"}}
    assert admission_patch(body, {**body, "data": {"a": "2"}}) is None


def test_foreign_annotations_of_any_type_are_no_record() -> None:
    for foreign in (None, "x", {names.ANNOTATION_ADMITTED: 1}):
        live = stored()
        live["metadata"]["annotations"] = foreign
        assert not is_admitted(BODY, live, differences(BODY, live))

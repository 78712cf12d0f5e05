from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel
from tests.unit.api.api_cases import ACCEPTED, ALIAS, CUSTOM, REFUSED, UNKNOWN_FIELDS

from model_operator.api import ModelDeploymentSpec, ModelReference, SpecError, parse


def manifest(spec: Any, **parts: Any) -> dict[str, Any]:
    return {"metadata": {"name": "churn", "namespace": "crm"}, "spec": spec, **parts}


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_a_bad_spec_is_refused_with_the_field_and_the_remedy(case):
    with pytest.raises(SpecError) as refusal:
        parse(manifest(case.spec))
    for words in case.says:
        assert words in str(refusal.value)


@pytest.mark.parametrize(
    ("spec", "field"), [case[1:] for case in UNKNOWN_FIELDS], ids=[c[0] for c in UNKNOWN_FIELDS]
)
def test_a_field_of_a_newer_operator_is_refused_and_not_ignored(spec, field):
    with pytest.raises(SpecError, match="emptyDir or ephemeral" if "volume" in field else field):
        parse(manifest(spec))


@pytest.mark.parametrize("spec", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_a_good_spec_is_read(spec):
    assert parse(manifest(spec)).spec.model.reference().name


@pytest.mark.parametrize(
    ("model", "reference"),
    [
        pytest.param(
            {"uri": "models:/churn@champion"}, ModelReference("churn", alias="champion"), id="alias as URI"
        ),
        pytest.param(
            {"name": "churn", "alias": "champion"}, ModelReference("churn", alias="champion"), id="alias"
        ),
        pytest.param(
            {"name": "churn", "version": 3}, ModelReference("churn", version="3"), id="version as number"
        ),
        pytest.param(
            {"name": "churn", "version": "3"}, ModelReference("churn", version="3"), id="version as text"
        ),
        pytest.param(
            {"name": "churn", "version": "latest"}, ModelReference("churn", latest=True), id="latest"
        ),
        pytest.param(
            {"name": "churn", "stage": "Staging"}, ModelReference("churn", stage="Staging"), id="stage"
        ),
    ],
)
def test_both_notations_name_the_same_version(model, reference):
    assert parse(manifest({"model": model})).spec.model.reference() == reference


def test_what_is_left_out_has_the_defaults_of_the_design():
    spec = parse(manifest(ALIAS)).spec
    assert spec.replicas is None
    assert spec.autoscaling is None
    assert spec.registry.name == "default"
    assert (spec.server.runtime, spec.server.port, spec.server.image) == ("MLflow", 8080, None)
    assert spec.pod.termination_grace_period_seconds == 60
    assert (spec.service.port, spec.service.type) == (80, "ClusterIP")
    assert (spec.self_test.mode, spec.self_test.timeout_seconds, spec.self_test.path) == (
        "Auto",
        60,
        "/invocations",
    )
    assert (spec.rollout.max_surge, spec.rollout.max_unavailable) == (1, 0)
    rollout = spec.rollout
    assert (rollout.scheduling_seconds, rollout.fetch_seconds, rollout.startup_seconds) == (1800, 1800, 600)
    assert (rollout.strategy, rollout.watch_seconds) == ("RollingUpdate", 600)
    assert (rollout.warm_seconds, rollout.warm_replicas) == (600, 1)
    revert = spec.revert
    assert (revert.policy, revert.history_limit, revert.tag_version) == ("Automatic", 10, "Auto")
    approval, integrity = spec.gates.approval, spec.gates.integrity
    assert (approval.mode, approval.at, approval.approved) == ("Automatic", "BeforeStart", "")
    assert (integrity.digest_tag, integrity.required) == ("sha256", False)
    assert spec.suspend is False


@pytest.mark.parametrize("approved", [8, "8"], ids=["as a number", "as a text"])
def test_an_approved_version_is_read_as_text_also_where_yaml_made_it_a_number(approved):
    spec = parse(manifest({**ALIAS, "gates": {"approval": {"approved": approved}}})).spec
    assert spec.gates.approval.approved == "8"


def test_a_text_left_empty_by_a_template_counts_as_left_out():
    spec = parse(manifest({**ALIAS, "fetch": {"image": ""}, "pod": {"serviceAccountName": ""}})).spec
    assert (spec.fetch.image, spec.pod.service_account_name) == (None, None)


def test_several_faults_are_told_at_once():
    with pytest.raises(SpecError) as refusal:
        parse(manifest({"model": {"name": "churn", "alias": "@x"}, "replicas": -1, "gate": {}}))
    assert set(refusal.value.fields) == {"spec.model.alias", "spec.replicas", "spec.gate"}


def test_a_flood_of_faults_is_told_in_a_few_sentences():
    with pytest.raises(SpecError) as refusal:
        parse(manifest({**ALIAS, **{f"field{number}": 1 for number in range(1000)}}))
    assert str(refusal.value).endswith("and 995 more")
    assert len(str(refusal.value)) < 2000


def test_no_value_of_the_environment_is_told():
    spec = {**ALIAS, "server": {**CUSTOM, "env": ["hunter2"], "args": [{"token": "hunter2"}]}}
    with pytest.raises(SpecError) as refusal:
        parse(manifest(spec))
    assert "hunter2" not in str(refusal.value)


def _nested(depth: int) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for _ in range(depth):
        nested = {"deeper": nested}
    return nested


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param([], id="the object is a list"),
        pytest.param({}, id="the object is empty"),
        pytest.param({"metadata": None, "spec": None}, id="everything is null"),
        pytest.param({"metadata": {"name": 3, "namespace": "a"}, "spec": ALIAS}, id="the name is a number"),
        pytest.param(manifest("churn"), id="the spec is a text"),
        pytest.param(manifest({"model": ["churn"]}), id="the model is a list"),
        pytest.param(manifest({"model": _nested(100_000)}), id="the model is nested without end"),
        pytest.param(manifest({**ALIAS, "pod": {"volumes": [None]}}), id="a volume is null"),
        pytest.param(manifest({1: 2}), id="a key is a number"),
    ],
)
def test_an_object_of_any_shape_is_refused_in_words(raw):
    with pytest.raises(SpecError):
        parse(raw)


def test_the_rest_of_the_object_is_read_with_it():
    raw = manifest(
        ALIAS,
        apiVersion="model-operator.io/v1alpha1",
        kind="ModelDeployment",
        status={"serving": {"version": "7"}},
    )
    raw["metadata"] |= {
        "uid": "u1",
        "generation": 4,
        "resourceVersion": "17",
        "annotations": None,
        "managedFields": [{"manager": "kubectl"}],
        "creationTimestamp": "2026-11-20T12:00:00Z",
    }
    read = parse(raw)
    assert (read.metadata.uid, read.metadata.generation, read.metadata.resource_version) == ("u1", 4, "17")
    assert (read.metadata.annotations, read.metadata.deletion_timestamp) == ({}, None)
    assert read.status.serving is not None
    assert read.status.serving.version == "7"


def _every_optional_field_as_null(model: type[BaseModel]) -> dict[str, Any]:
    return {
        field.alias or name: None
        if not field.is_required() and field.default is None
        else _nulls(field.annotation)
        for name, field in model.model_fields.items()
        if field.default is None or _nulls(field.annotation)
    }


def _nulls(annotation: Any) -> dict[str, Any]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _every_optional_field_as_null(annotation)
    return {}


def test_a_null_counts_as_left_out_wherever_a_field_is_optional():
    spec = _every_optional_field_as_null(ModelDeploymentSpec)
    assert spec["server"]["image"] is None
    spec["model"] |= {"uri": "models:/churn@champion"}
    assert parse(manifest(spec)) == parse(manifest({"model": {"uri": "models:/churn@champion"}}))

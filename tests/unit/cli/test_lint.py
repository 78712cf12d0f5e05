"""Manifests judged offline: the same verdicts and words as the API server's, with file, line and field."""

from __future__ import annotations

from typing import Any

import pytest
from tests.cluster.versions import KUBERNETES
from tests.unit.api.api_cases import ACCEPTED, ALIAS, REFUSED, UNKNOWN_FIELDS, Refused, examples
from tests.unit.cli.pod_cases import OWN_ACCEPTED, OWN_REFUSED, OWN_WARNED

from model_operator.api.names import API_VERSION, KIND
from model_operator.cli.lint import (
    Document,
    DocumentError,
    Problem,
    Severity,
    documents,
    judge,
    known_fields,
)


def manifest(spec: Any, **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "churn", **metadata}, "spec": spec}


def problems(value: Any) -> list[Problem]:
    found = judge(Document(1, value))
    assert found is not None
    return found


def words(value: Any) -> str:
    return "; ".join(f"{problem.field}: {problem.message}" for problem in problems(value))


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_a_bad_spec_is_refused_in_the_same_words(case: Refused) -> None:
    found = words(manifest(case.spec))
    assert all(part in found for part in case.says), found


@pytest.mark.parametrize("spec", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_a_good_spec_passes(spec: dict[str, Any]) -> None:
    assert [p for p in problems(manifest(spec)) if p.severity is Severity.ERROR] == []


@pytest.mark.parametrize("example", examples().values(), ids=examples().keys())
def test_an_example_passes(example: dict[str, Any]) -> None:
    assert problems(example) == []


@pytest.mark.parametrize(
    ("spec", "field"), [case[1:] for case in UNKNOWN_FIELDS], ids=[case[0] for case in UNKNOWN_FIELDS]
)
def test_an_unknown_field_is_an_error(spec: dict[str, Any], field: str) -> None:
    [found] = problems(manifest(spec))
    assert (found.field, "unknown field" in found.message) == (field, True)


@pytest.mark.parametrize(
    ("value", "field"),
    [
        pytest.param(manifest(ALIAS, name="x" * 41), "the document", id="a name that is too long"),
        pytest.param(manifest(ALIAS, name=None), "metadata.name", id="no name"),
        pytest.param(
            manifest(ALIAS, labels={"team": 7}), "metadata.labels.team", id="a label that is a number"
        ),
        pytest.param(manifest(ALIAS, labls={}), "metadata.labls", id="a misspelt field of the metadata"),
        pytest.param(manifest(ALIAS) | {"specs": {}}, "specs", id="a misspelt field at the top"),
        pytest.param(
            manifest(ALIAS) | {"apiVersion": "model-operator.io/v2"}, "apiVersion", id="another version"
        ),
        pytest.param(manifest(ALIAS) | {"kind": "ModelDeploymnt"}, "kind", id="a misspelt kind"),
        pytest.param({"apiVersion": API_VERSION, "kind": KIND}, "metadata", id="nothing but a kind"),
    ],
)
def test_what_is_around_the_spec_is_judged_too(value: dict[str, Any], field: str) -> None:
    assert field in {problem.field for problem in problems(value)}


@pytest.mark.parametrize(
    "value", [{"apiVersion": "v1", "kind": "Secret"}, [], "text", 7, {}, {"kind": "Kustomization"}]
)
def test_other_kinds_are_passed_over(value: Any) -> None:
    assert judge(Document(1, value)) is None


def test_a_list_is_judged_by_its_items() -> None:
    value = {
        "apiVersion": "v1",
        "kind": "List",
        "items": [{"kind": "Secret"}, manifest({**ALIAS, "replicas": -1})],
    }
    [found] = problems(value)
    assert found.field == "items[1].spec.replicas"


@pytest.mark.parametrize(("spec", "field"), OWN_REFUSED.values(), ids=OWN_REFUSED.keys())
def test_what_kubernetes_refuses_in_the_pods_is_an_error(spec: dict[str, Any], field: str) -> None:
    found = [problem for problem in problems(manifest(spec)) if problem.severity is Severity.ERROR]
    assert f"spec.{field}" in {problem.field for problem in found}, found


@pytest.mark.parametrize("spec", OWN_ACCEPTED.values(), ids=OWN_ACCEPTED.keys())
def test_what_kubernetes_accepts_in_the_pods_is_no_error(spec: dict[str, Any]) -> None:
    assert [problem for problem in problems(manifest(spec)) if problem.severity is Severity.ERROR] == []


@pytest.mark.parametrize(("spec", "field", "says"), OWN_WARNED.values(), ids=OWN_WARNED.keys())
def test_what_is_valid_and_nearly_always_wrong_is_a_warning(
    spec: dict[str, Any], field: str, says: str
) -> None:
    [found] = problems(manifest(spec))
    assert (found.field, found.severity) == (f"spec.{field}", Severity.WARNING)
    assert says in found.message


def test_one_mistake_is_one_problem() -> None:
    spec = {
        **ALIAS,
        "server": {"env": [{"name": "A", "value": 8}], "resources": {"requests": {"cpu": "one"}}},
    }
    found = [problem.field for problem in problems(manifest(spec))]
    assert found == ["spec.server.env[0].value", "spec.server.resources.requests.cpu"]


def test_a_number_of_many_digits_is_a_problem_and_no_crash() -> None:
    assert problems(manifest({**ALIAS, "server": {"resources": {"requests": {"cpu": 10**400}}}})) != []


def test_kubernetes_own_fields_are_those_of_the_test_cluster() -> None:
    assert known_fields().version == KUBERNETES, "run: make pod-fields"


def test_no_value_is_quoted_since_it_may_be_a_secret() -> None:
    env = [{"name": "A", "value": "hunter2"}, {"name": "A", "value": "hunter2"}]
    found = words(manifest({**ALIAS, "server": {"env": env, "command": "hunter2"}, "suspend": "hunter2"}))
    assert "twice" in found
    assert "hunter2" not in found


TWO = """\
# a comment
apiVersion: v1
kind: ConfigMap
---
---
apiVersion: model-operator.io/v1alpha1
kind: ModelDeployment
metadata:
  name: churn
  annotations: {checked: 2026-11-20}
spec:
  model: {name: churn, alias: champion}
  rollout: &shape
    maxSurge: 0
  replica: 2
"""


def test_problems_name_document_and_line() -> None:
    found = [judge(document) for document in documents(TWO)]
    assert found[0] is None
    told = [(problem.document, problem.line, problem.name, problem.field) for problem in found[1] or []]
    assert told == [(3, 13, "churn", "spec.rollout"), (3, 15, "churn", "spec.replica")]


@pytest.mark.parametrize(
    ("text", "says", "line"),
    [
        ("a: 1\nb: [1, 2\nc: 3\n", "is not YAML", 3),
        ("a: 1\na: 2\n", "the key 'a' is duplicated", 2),
        ("{[1, 2]: 3}", "a key must be a text", 1),
        (
            "a: &a [x, x]\nb: &b [*a, *a]\n"
            + "".join(
                f"{chr(c)}: &{chr(c)} [*{chr(c - 1)}, *{chr(c - 1)}, *{chr(c - 1)}, *{chr(c - 1)}]\n"
                for c in range(99, 112)
            ),
            "more than",
            2,
        ),
        ("[" * 2500, "nested too deeply", 1),
        ("a: !!python/object:os.system {}", "has the tag", 1),
        ("a: \x00", "is not YAML", 1),
        ("a: 1\nb: .inf", "a number that JSON can't express", 2),
    ],
    ids=[
        "broken",
        "twice",
        "a list as key",
        "a bomb of aliases",
        "deep",
        "a Python object",
        "a control character",
        "infinity",
    ],
)
def test_what_kubectl_would_not_read_is_told_with_its_line(text: str, says: str, line: int) -> None:
    with pytest.raises(DocumentError, match=says) as raised:
        list(documents(text))
    assert abs(raised.value.line - line) <= 1


def test_yaml_is_read_as_kubectl_reads_it() -> None:
    [found] = documents("day: 2026-11-20\nbase: &b {x: 1, y: 2}\nmore: {<<: *b, y: 3}\nyes: yes\n")
    assert found.value == {
        "day": "2026-11-20",
        "base": {"x": 1, "y": 2},
        "more": {"x": 1, "y": 3},
        "yes": True,
    }

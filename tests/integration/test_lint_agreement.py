"""``kubectl model lint`` and the API server give the same verdict, case by case."""

from __future__ import annotations

from typing import Any

import pytest
from tests.cluster.api import ApiClient
from tests.unit.api.api_cases import ACCEPTED, ALIAS, REFUSED, UNKNOWN_FIELDS, examples

from model_operator.api.names import API_VERSION, KIND
from model_operator.cli.lint import Document, judge

PATH = "/apis/model-operator.io/v1alpha1/namespaces/default/modeldeployments"


def _with(**parts: Any) -> dict[str, Any]:
    return {**ALIAS, **parts}


ODD: dict[str, Any] = {
    "nothing": {},
    "a list": [],
    "null for a field with a default": _with(suspend=None, rollout=None),
    "null for a field without": _with(replicas=None),
    "null in a list": _with(gates={"tags": [None]}),
    "a number too large for 32 bits": _with(replicas=2**31),
    "null for a label": _with(pod={"labels": {"team": None}}),
    "null for a field that must be there": {"model": None},
    "a fraction": _with(replicas=2.5),
    "a truth value for a number": _with(replicas=True),
    "a number for a text": _with(server={"image": 7}),
    "a variable twice": _with(server={"env": [{"name": "A"}, {"name": "A"}]}),
    "a variable without a name": _with(server={"env": [{"value": "a"}]}),
    "a prefix twice": _with(server={"imageFrom": {"tag": "t", "allowedPrefixes": ["a/", "a/"]}}),
    "a quantity as number": _with(server={"resources": {"requests": {"cpu": 1}}}),
    "a quantity that is none": _with(server={"resources": {"requests": {"cpu": "one"}}}),
    "a fraction as quantity": _with(server={"resources": {"requests": {"cpu": 0.5}}}),
    "an unknown field among resources": _with(server={"resources": {"claims": [{"name": "gpu"}]}}),
    "an unknown field in Kubernetes' own type": _with(pod={"affinity": {"future": True}}),
    "a label that is a number": _with(pod={"labels": {"team": 7}}),
    "a label with a blank": _with(pod={"labels": {"team": "a b"}}),
    "a name with a line break at its end": {"model": {"name": "churn\n", "alias": "champion"}},
    "a registry's name with a line break at its end": _with(registry={"name": "prod\n"}),
    "a volume without a name": _with(pod={"volumes": [{"emptyDir": {}}]}),
    "two mistakes at once": _with(replicas=-1, autoscaling={"minReplicas": 3, "maxReplicas": 1}),
}

CASES: dict[str, Any] = {
    **{f"refused: {case.because}": case.spec for case in REFUSED},
    **{f"accepted: {name}": spec for name, spec in ACCEPTED.items()},
    **{f"unknown: {name}": spec for name, spec, _ in UNKNOWN_FIELDS},
    **{f"odd: {name}": spec for name, spec in ODD.items()},
    **{f"example: {name}": example["spec"] for name, example in examples().items()},
}


@pytest.mark.parametrize("case", CASES)
def test_the_verdicts_are_the_same(api: ApiClient, case: str) -> None:
    body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "churn"}, "spec": CASES[case]}
    answer = api.http.post(PATH, params={"dryRun": "All", "fieldValidation": "Strict"}, json=body)
    problems = judge(Document(1, body))
    assert problems is not None
    assert (answer.status_code == 201) == (not problems), f"{answer.text}\n{problems}"

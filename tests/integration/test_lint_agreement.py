"""``kubectl model lint`` and the API server give the same verdict, case by case.

The server's verdict is on the ModelDeployment and on the objects that the operator makes of it.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from tests.cluster.api import ApiClient
from tests.integration import pod_fields
from tests.integration.test_manifests_fixed_point import PATHS
from tests.unit.api.api_cases import ACCEPTED, ALIAS, REFUSED, UNKNOWN_FIELDS, examples
from tests.unit.cli.pod_cases import OWN_ACCEPTED, OWN_REFUSED, OWN_WARNED, RICH

from model_operator.api.names import API_VERSION, KIND
from model_operator.api.spec import ModelDeploymentSpec
from model_operator.cli.lint import Document, Problem, Severity, judge, known_fields
from model_operator.domain.revision import Revision, Target
from model_operator.domain.world import PodRegistry
from model_operator.planner.manifests import (
    Owner,
    TemplateInputs,
    autoscaler,
    deployment,
    extract_pod_spec,
    pod_template,
    revision_name,
    service,
)

PATH = "/apis/model-operator.io/v1alpha1/namespaces/default/modeldeployments"
OWNER = Owner(namespace="default", name="churn", uid="0b1c5f0e-7a55-4f0a-9a43-3f6a0c1f2d11")
IMAGES = {"server": "registry.example.com/server:1", "fetch": "registry.example.com/fetch:1"}
STRICT = {"dryRun": "All", "fieldValidation": "Strict"}
APPLY = {**STRICT, "fieldManager": "model-operator", "force": "true"}
CHANGES = 100
"""Of the rich spec, chosen at random. All 5,000 were compared when the rules were written."""


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
    "an unknown field among resources": _with(server={"resources": {"request": {"cpu": 1}}}),
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
    **{f"own, refused: {name}": spec for name, (spec, _) in OWN_REFUSED.items()},
    **{f"own, accepted: {name}": spec for name, spec in OWN_ACCEPTED.items()},
    **{f"own, warned: {name}": spec for name, (spec, _, _) in OWN_WARNED.items()},
}


def body_of(spec: Any) -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "churn"}, "spec": spec}


def find_errors(spec: Any) -> list[Problem]:
    found = judge(Document(1, body_of(spec)))
    assert found is not None
    return [problem for problem in found if problem.severity is Severity.ERROR]


def find_refusal(api: ApiClient, spec: Any) -> str:
    """The server's words on the ModelDeployment, or on the first object of it that is refused. Empty: all pass."""
    answer = api.http.post(PATH, params=STRICT, json=body_of(spec))
    if answer.status_code != 201:
        return answer.text
    for rendered in _render(answer.json()["spec"]):
        kind, name = rendered["kind"], rendered["metadata"]["name"]
        applied = api.http.patch(
            f"{PATHS[kind].format('default')}/{name}",
            params=APPLY,
            content=json.dumps(rendered),
            headers={"content-type": "application/apply-patch+yaml"},
        )
        if applied.status_code not in (200, 201):
            return f"{kind}: {applied.text}"
    return ""


def _render(raw: dict[str, Any]) -> Iterator[dict[str, Any]]:
    spec = ModelDeploymentSpec.model_validate(raw)
    registry = PodRegistry(url="http://mlflow:5000")
    target = Target(registry.url, "churn", "8", "225f", "models:/m-e70f", "", extract_pod_spec(raw))
    name = revision_name(target)
    template = pod_template(TemplateInputs(OWNER, spec, target, name, IMAGES, "churn-scripts", registry))
    revision = Revision(name, 1, target, IMAGES, template, "churn-scripts")
    yield deployment(OWNER, spec, revision)
    yield service(OWNER, spec)
    if scaler := autoscaler(OWNER, spec):
        yield scaler


@pytest.mark.parametrize("case", CASES)
def test_the_verdicts_are_the_same(api: ApiClient, case: str) -> None:
    refusal, errors = find_refusal(api, CASES[case]), find_errors(CASES[case])
    assert bool(refusal) == bool(errors), f"{refusal}\n{errors}"


REMOVED = object()
VALUES = (
    *(REMOVED, None, 7, -1, 0, 2**31, 0.5, True, "x", "X y", "", "1"),
    *({}, [], ["x"], {"unknown": 1}, "../x", "/x"),
)


def _places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _places(item, (*path, key))


def _change(path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(RICH)
    place: Any = changed
    for key in path[:-1]:
        place = place[key]
    if value is REMOVED:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return changed


def _changes() -> list[tuple[tuple[str | int, ...], Any]]:
    every = [(path, value) for path in _places(RICH) if path[0] != "model" for value in VALUES]
    return random.Random(16).sample(every, CHANGES)


def test_the_verdicts_are_the_same_whatever_changes_in_a_valid_spec(api: ApiClient) -> None:
    differ = []
    for path, value in _changes():
        changed = _change(path, value)
        refusal, errors = find_refusal(api, changed), find_errors(changed)
        if bool(refusal) != bool(errors):
            differ.append((path, "removed" if value is REMOVED else value, refusal, errors))
    assert differ == []


def test_kubernetes_own_fields_are_those_of_this_api_server(api: ApiClient) -> None:
    known = known_fields()
    assert known.version == api.http.get("/version").json()["gitVersion"], "run: make pod-fields"
    assert known.types == pod_fields.trim(pod_fields.read_openapi(api)), "run: make pod-fields"


def test_a_fraction_is_applied_and_kept_as_it_is(api: ApiClient, namespace: str) -> None:
    """Also by server-side apply, which reads the schema of the CRD in another way."""
    spec = {**ALIAS, "server": {"resources": {"requests": {"cpu": 0.5, "memory": 1, "x.io/y": "1"}}}}
    for _ in range(2):
        applied = api.http.patch(
            f"{PATH.replace('default', namespace)}/churn",
            params={"fieldManager": "kubectl", "fieldValidation": "Strict"},
            content=json.dumps(body_of(spec)),
            headers={"content-type": "application/apply-patch+yaml"},
        )
        assert applied.status_code in (200, 201), applied.text
        assert applied.json()["spec"]["server"]["resources"] == spec["server"]["resources"]

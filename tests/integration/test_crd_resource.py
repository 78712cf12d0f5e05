"""How a ModelDeployment behaves as a resource: columns, subresources, short name, merging of lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.cluster.api import ApiClient
from tests.unit.api.api_cases import ALIAS

from model_operator.api import ModelDeploymentStatus, parse
from model_operator.api.names import API_VERSION, CATEGORY, KIND, PLURAL, SHORT_NAME

GROUP_PATH = "/apis/model-operator.io/v1alpha1"
TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
APPLY = {"Content-Type": "application/apply-patch+yaml"}
MERGE = {"Content-Type": "application/merge-patch+json"}

STATUS = {
    "observedGeneration": 1,
    "conditions": [
        {
            "type": "Ready",
            "status": "True",
            "observedGeneration": 1,
            "lastTransitionTime": "2026-11-20T12:00:00Z",
            "reason": "Serving",
            "message": "Version 7 serves.",
        },
        {
            "type": "Current",
            "status": "False",
            "observedGeneration": 1,
            "lastTransitionTime": "2026-11-20T12:00:00Z",
            "reason": "VersionRejected",
            "message": "Version 8 was rejected.",
        },
    ],
    "modelName": "churn",
    "alias": "@champion",
    "resolved": {
        "model": "churn",
        "version": "9",
        "alias": "@champion",
        "runId": "0123",
        "source": "models:/m-0123",
        "digest": "sha256:0123",
        "at": "2026-11-20T12:00:00Z",
    },
    "serving": {
        "version": "7",
        "revision": "v7-5d9f8a2b1c",
        "alias": "@champion",
        "track": "churn-green",
        "since": "2026-11-20T11:00:00Z",
        "settled": False,
        "watchEnds": "2026-11-20T11:10:00Z",
        "selfTest": "Passed",
        "reason": "ReadinessLost",
        "message": "One of three pods is not ready.",
    },
    "candidate": {
        "version": "9",
        "revision": "v9-5d9f8a2b1c",
        "alias": "@champion",
        "track": "churn",
        "phase": "Fetching",
        "since": "2026-11-20T12:00:00Z",
        "deadline": "2026-11-20T12:30:00Z",
        "reason": "InsufficientCapacity",
        "message": "no node has room",
        "attempts": 2,
        "retryAt": "2026-11-20T12:10:00Z",
    },
    "plan": {
        "from": "7",
        "to": "9",
        "revision": "v9-5d9f8a2b1c",
        "strategy": "BlueGreen",
        "message": "Starts 3 pods beside the 3 that serve.",
    },
    "rejected": [
        {
            "version": "8",
            "revision": "v8-5d9f8a2b1c",
            "alias": "@champion",
            "side": "Model",
            "reason": "LoadFailed",
            "message": "m" * 2048,
            "attempts": 1,
            "at": "2026-11-20T11:30:00Z",
            "retryAt": "2026-11-20T12:30:00Z",
        }
    ],
    "history": [
        {
            "version": str(version),
            "revision": f"v{version}-5d9f8a2b1c",
            "alias": "@champion",
            "from": "2026-11-20T10:00:00Z",
            "to": "2026-11-20T11:00:00Z",
            "reason": "Replaced",
            "message": f"Version {version + 1} went live.",
        }
        for version in range(20)
    ],
    "handledRequests": {"retry": "1", "restart": "2", "revert": "v7-5d9f8a2b1c", "adopt": "churn"},
    "replicas": 3,
    "readyReplicas": 2,
    "selector": "model-operator.io/deployment=churn,model-operator.io/track=churn",
    "address": {"url": "http://churn.crm.svc"},
}


@pytest.fixture
def path(namespace: str) -> str:
    return f"{GROUP_PATH}/namespaces/{namespace}/{PLURAL}"


@pytest.fixture
def stored(api: ApiClient, path: str) -> Callable[..., dict[str, Any]]:
    """Store a ModelDeployment called churn and give it back as the API server has it."""

    def store(spec: dict[str, Any], status: dict[str, Any] | None = None) -> dict[str, Any]:
        body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "churn"}, "spec": spec}
        answer = api.http.post(path, json=body)
        assert answer.status_code == 201, answer.text
        if status is not None:
            answer = api.http.patch(f"{path}/churn/status", headers=MERGE, json={"status": status})
            assert answer.status_code == 200, answer.text
        return dict(answer.json())

    return store


def test_the_columns_tell_what_serves_and_what_comes(api, path, stored):
    stored({**ALIAS, "replicas": 3}, STATUS)
    table = api.http.get(path, headers=TABLE).raise_for_status().json()
    row = dict(zip([c["name"] for c in table["columnDefinitions"]], table["rows"][0]["cells"], strict=True))
    assert row.pop("Age")
    assert row == {
        "Name": "churn",
        "Model": "churn",
        "Alias": "@champion",
        "Serving": "7",
        "Wanted": "9",
        "Ready": "True",
        "Current": "False",
        "Reason": "VersionRejected",
        "Phase": "Fetching",
        "Strategy": "RollingUpdate",
        "Track": "churn-green",
        "Revision": "v7-5d9f8a2b1c",
    }
    wide = [c["name"] for c in table["columnDefinitions"] if c["priority"] == 1]
    assert wide == ["Model", "Current", "Phase", "Strategy", "Track", "Revision"]


def test_a_new_object_has_empty_columns_and_no_errors(api, path, stored):
    stored(ALIAS)
    table = api.http.get(path, headers=TABLE).raise_for_status().json()
    assert len(table["rows"][0]["cells"]) == 13


def test_every_field_of_the_status_is_kept_as_it_was_written(stored):
    assert stored(ALIAS, STATUS)["status"] == STATUS


def test_the_status_that_was_stored_is_read_back(stored):
    assert parse(stored(ALIAS, STATUS)).status.body() == ModelDeploymentStatus.read(STATUS).body() == STATUS


def test_a_write_to_the_spec_leaves_the_status_and_a_write_to_the_status_the_spec(api, path, stored):
    before = stored(ALIAS, STATUS)
    patch = {"spec": {"replicas": 9}, "status": {"replicas": 9}}
    spec_written = api.http.patch(f"{path}/churn", headers=MERGE, json=patch).json()
    assert (spec_written["spec"]["replicas"], spec_written["status"]["replicas"]) == (9, 3)
    assert spec_written["metadata"]["generation"] == before["metadata"]["generation"] + 1
    patch = {"spec": {"replicas": 5}, "status": {"replicas": 5}}
    status_written = api.http.patch(f"{path}/churn/status", headers=MERGE, json=patch).json()
    assert (status_written["spec"]["replicas"], status_written["status"]["replicas"]) == (9, 5)
    assert status_written["metadata"]["generation"] == spec_written["metadata"]["generation"]


def test_the_scale_subresource_reads_and_sets_the_replicas(api, path, stored):
    stored({**ALIAS, "replicas": 2}, STATUS)
    scale = api.get(f"{path}/churn/scale")
    assert scale is not None
    assert scale["spec"] == {"replicas": 2}
    assert scale["status"] == {"replicas": 3, "selector": STATUS["selector"]}
    answer = api.http.patch(f"{path}/churn/scale", headers=MERGE, json={"spec": {"replicas": 5}})
    assert answer.status_code == 200, answer.text
    found = api.get(f"{path}/churn")
    assert found is not None
    assert found["spec"]["replicas"] == 5


def test_the_scale_subresource_sets_replicas_that_the_spec_left_out(api, path, stored):
    stored(ALIAS)
    answer = api.http.patch(f"{path}/churn/scale", headers=MERGE, json={"spec": {"replicas": 4}})
    assert answer.status_code == 200, answer.text
    found = api.get(f"{path}/churn")
    assert found is not None
    assert found["spec"]["replicas"] == 4


def test_kubectl_scale_cannot_overrule_autoscaling(api, path, stored):
    stored({**ALIAS, "autoscaling": {"maxReplicas": 3}})
    answer = api.http.patch(f"{path}/churn/scale", headers=MERGE, json={"spec": {"replicas": 5}})
    assert answer.status_code == 422, answer.text
    assert "spec.replicas and spec.autoscaling" in answer.json()["message"]


def test_a_commit_can_change_replicas_to_autoscaling_and_back(api, path, stored):
    stored({**ALIAS, "replicas": 2})
    for part in ({"autoscaling": {"maxReplicas": 3}, "replicas": None}, {"autoscaling": None, "replicas": 2}):
        answer = api.http.patch(f"{path}/churn", headers=MERGE, json={"spec": part})
        assert answer.status_code == 200, answer.text


def test_the_strategy_of_a_living_object_can_be_changed_and_changed_back(api, path, stored):
    stored(ALIAS, STATUS)
    for strategy in ("BlueGreen", "RollingUpdate"):
        patch = {"spec": {"rollout": {"strategy": strategy}}}
        answer = api.http.patch(f"{path}/churn", headers=MERGE, json=patch)
        assert answer.status_code == 200, answer.text
        assert answer.json()["spec"]["rollout"]["strategy"] == strategy


def test_the_strategy_cannot_leave_an_approval_before_traffic_behind(api, path, stored):
    approval = {"mode": "Manual", "at": "BeforeTraffic", "approved": "8"}
    stored({**ALIAS, "gates": {"approval": approval}, "rollout": {"strategy": "BlueGreen"}})
    patch = {"spec": {"rollout": {"strategy": "RollingUpdate"}}}
    answer = api.http.patch(f"{path}/churn", headers=MERGE, json=patch)
    assert answer.status_code == 422, answer.text
    assert (
        "set rollout.strategy to BlueGreen, or gates.approval.at to BeforeStart" in answer.json()["message"]
    )


def test_a_commit_can_approve_a_version_and_take_it_back(api, path, stored):
    stored({**ALIAS, "gates": {"approval": {"mode": "Manual"}}})
    for approved in (8, "v9-5d9f8a2b1c", ""):
        patch = {"spec": {"gates": {"approval": {"approved": approved}}}}
        answer = api.http.patch(f"{path}/churn", headers=MERGE, json=patch)
        assert answer.status_code == 200, answer.text
        assert parse(answer.json()).spec.gates.approval.approved == str(approved)


def test_one_entry_of_history_too_many_is_refused(api, path, stored):
    stored(ALIAS)
    status = {"history": [{"version": str(version)} for version in range(21)]}
    answer = api.http.patch(f"{path}/churn/status", headers=MERGE, json={"status": status})
    assert answer.status_code == 422, answer.text
    assert "status.history" in answer.json()["message"]


def test_a_commit_that_changes_only_the_alias_is_one_small_patch(api, path, stored):
    stored(ALIAS)
    answer = api.http.patch(f"{path}/churn", headers=MERGE, json={"spec": {"model": {"alias": "challenger"}}})
    assert answer.status_code == 200, answer.text
    assert parse(answer.json()).spec.model.reference().display == "@challenger"


def test_two_owners_can_each_apply_an_environment_variable(api, path, namespace):
    def apply(manager: str, name: str) -> dict[str, Any]:
        body = {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {"name": "churn", "namespace": namespace},
            "spec": {**ALIAS, "server": {"env": [{"name": name, "value": "1"}]}},
        }
        answer = api.http.patch(f"{path}/churn", params={"fieldManager": manager}, headers=APPLY, json=body)
        assert answer.is_success, answer.text
        return dict(answer.json())

    apply("team", "A")
    both = apply("platform", "B")
    assert [entry["name"] for entry in both["spec"]["server"]["env"]] == ["A", "B"]


def test_the_resource_has_its_short_name_and_category(api):
    found = api.get(GROUP_PATH)
    assert found is not None
    resource = next(r for r in found["resources"] if r["name"] == PLURAL)
    assert (resource["kind"], resource["shortNames"], resource["categories"]) == (
        KIND,
        [SHORT_NAME],
        [CATEGORY],
    )
    assert {r["name"] for r in found["resources"]} == {PLURAL, f"{PLURAL}/status", f"{PLURAL}/scale"}


def test_the_api_server_takes_the_schema_as_structural_and_without_complaint(api):
    crd = api.get(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{PLURAL}.model-operator.io")
    assert crd is not None
    conditions = {c["type"]: c["status"] for c in crd["status"]["conditions"]}
    assert conditions.get("Established") == "True"
    assert conditions.get("NamesAccepted") == "True"
    assert conditions.get("NonStructuralSchema", "False") == "False"

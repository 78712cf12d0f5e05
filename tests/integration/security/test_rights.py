"""The chart's role is enough for a whole life, and no right in it is left over."""

from __future__ import annotations

import secrets

import pytest
from tests.cluster.api import ApiClient
from tests.cluster.process import wait_until
from tests.integration.lives.bench import Bench
from tests.integration.security.conftest import POD_SECRET, Guarded
from tests.integration.security.installation import Call, Installation, Right
from tests.integration.security.lives import LOAD_FAILED, live, pods_secret

WRITTEN = (
    "modeldeployments.model-operator.io",
    "deployments.apps",
    "controllerrevisions.apps",
    "services",
    "configmaps",
    "horizontalpodautoscalers.autoscaling",
    "poddisruptionbudgets.policy",
)
SELDOM = {
    Right(
        "delete", "poddisruptionbudgets.policy"
    ): "where the admission plugin OwnerReferencesPermissionEnforcement "
    "is on, whoever gives an orphan its owner back must be allowed to delete it",
    **{
        Right("get", resource): "after a conflict, or where a name is taken: what is there now?"
        for resource in WRITTEN
    },
}
"""Rights that this life need not use, since chance decides, and what they are for."""


def followed_model(bench: Bench) -> str:
    """A registered model whose alias champion is on version 1."""
    model = f"model-{secrets.token_hex(4)}"
    bench.register(model)
    bench.alias(model, "champion", 1)
    return model


def _denied(calls: list[Call]) -> list[str]:
    return sorted({f"{it.right} in {it.namespace or 'the cluster'}" for it in calls if not it.allowed})


def _tell(installation: Installation, bench: Bench) -> str:
    return f"{_denied(installation.calls())}\n{bench.operator.words()}"


@pytest.mark.timeout(900)
def test_in_a_whole_life_no_call_is_denied_and_no_right_is_left_over(
    guarded: Guarded, admin: ApiClient, serving_namespace: str
) -> None:
    installation, bench = guarded()
    model = followed_model(bench)

    live(bench, model, pods_secret(POD_SECRET, username="reader", password="p4ss"))

    calls = installation.calls()
    assert len(calls) > 100, "the record is there"
    assert _denied(calls) == [], _tell(installation, bench)
    # the operator's process here has no leader to elect, so those rights are not looked at
    granted = {it for it in installation.granted(admin, serving_namespace) if "leases" not in it.resource}
    left_over = granted - {it.right for it in calls} - SELDOM.keys()
    assert sorted(map(str, left_over)) == []
    assert SELDOM.keys() <= granted, "what is excused is still granted"


def test_with_roles_only_nothing_outside_of_the_watched_namespaces_is_asked_for(
    guarded: Guarded, admin: ApiClient, serving_namespace: str
) -> None:
    installation, bench = guarded(watchNamespaces=[serving_namespace])
    model = followed_model(bench)
    bench.kubelet.scripts[(model, "2")] = LOAD_FAILED
    bench.post("Secret", pods_secret(POD_SECRET, username="reader", password="p4ss"))
    bench.post("Secret", pods_secret("of-somebody-else", password="not-yours"))
    bench.create("churn", {"model": {"name": model, "alias": "champion"}})
    bench.until_serving("churn", 1)
    bench.alias(model, "champion", 2)
    bench.until_condition("churn", "Current", "False", "VersionRejected")

    calls = installation.calls()
    assert _denied(calls) == [], _tell(installation, bench)
    assert {it.namespace for it in calls if "leases" not in it.right.resource} == {serving_namespace}
    # Secrets are read by name only, never listed or watched
    asked = {it.right for it in calls if it.right.resource == "secrets"}
    assert asked == {Right("get", "secrets", POD_SECRET)}
    granted = installation.granted(admin, serving_namespace)
    assert {it for it in granted if it.resource == "secrets"} == asked
    bound = admin.get("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings")
    assert bound
    subjects = [subject for it in bound["items"] for subject in it.get("subjects") or []]
    assert not [it for it in subjects if it.get("namespace") == installation.namespace]


def test_an_uninstall_leaves_what_serves_and_a_later_install_takes_it_up_without_a_restart(
    guarded: Guarded, serving_namespace: str
) -> None:
    installation, bench = guarded(watchNamespaces=[serving_namespace])
    model = followed_model(bench)
    bench.post("Secret", pods_secret(POD_SECRET, username="reader", password="p4ss"))
    bench.create("churn", {"model": {"name": model, "alias": "champion"}, "rollout": {"watchSeconds": 0}})
    bench.until_settled("churn", 1)
    bench.until_at_rest("churn")
    pods = bench.pod_uids()

    bench.operator.stop()
    installation.remove()
    assert bench.pod_uids() == pods
    found = bench.get("Deployment", "churn")
    assert found
    assert "deletionTimestamp" not in found["metadata"]

    _, again = guarded(watchNamespaces=[serving_namespace])
    bench.alias(model, "champion", 2)
    again.until_serving("churn", 2)
    assert again.get("Deployment", "churn")["metadata"]["uid"] == found["metadata"]["uid"]  # type: ignore[index]
    again.operator.stop()


@pytest.mark.parametrize(
    ("role", "may", "may_not"),
    [
        pytest.param("view", ["get", "list", "watch"], ["create", "patch", "delete"], id="view"),
        pytest.param("edit", ["get", "create", "update", "patch", "delete"], [], id="edit"),
        pytest.param("admin", ["get", "create", "update", "patch", "delete"], [], id="admin"),
    ],
)
def test_who_may_view_or_edit_a_namespace_may_do_so_with_its_model_deployments(
    guarded: Guarded, admin: ApiClient, serving_namespace: str, role: str, may: list[str], may_not: list[str]
) -> None:
    guarded(crd={"install": True})
    user = f"somebody-{secrets.token_hex(4)}"
    binding = {
        "metadata": {"name": user},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    }
    path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{serving_namespace}/rolebindings"
    assert admin.http.post(path, json=binding).status_code == 201

    def allowed(verb: str, subresource: str = "") -> bool:
        return _allowed(admin, user, serving_namespace, verb, subresource)

    # the roles grow when the controller has seen ours
    assert wait_until(lambda: all(allowed(verb) for verb in may), 30)
    assert not any(allowed(verb) for verb in may_not)
    assert allowed("patch", "scale") is (role != "view")
    assert not allowed("patch", "status"), "the status is the operator's memory"


def _allowed(admin: ApiClient, user: str, namespace: str, verb: str, subresource: str) -> bool:
    attributes = {
        "verb": verb,
        "group": "model-operator.io",
        "resource": "modeldeployments",
        "subresource": subresource,
        "namespace": namespace,
    }
    answer = admin.http.post(
        "/apis/authorization.k8s.io/v1/subjectaccessreviews",
        json={
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": user, "resourceAttributes": attributes},
        },
    )
    return bool(answer.raise_for_status().json()["status"]["allowed"])

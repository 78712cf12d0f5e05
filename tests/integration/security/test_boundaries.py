"""P9: whoever may write a ModelDeployment in one namespace reaches nothing in another by it."""

from __future__ import annotations

import json
import secrets
from typing import Any

import pytest
from tests.cluster.api import ApiClient
from tests.cluster.control_plane import ControlPlane
from tests.integration.lives.bench import PLURALS, Bench
from tests.integration.security.conftest import POD_SECRET, Guarded
from tests.integration.security.installation import Installation, make_namespace
from tests.integration.security.lives import pods_secret


@pytest.fixture
def elsewhere(recording_plane: ControlPlane, admin: ApiClient) -> str:
    """Another team's namespace, with a Secret, a ConfigMap, a Service and a Deployment."""
    name = f"elsewhere-{secrets.token_hex(4)}"
    make_namespace(recording_plane, name)
    template = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "x", "image": "x"}]}}
    things: list[tuple[str, dict[str, Any]]] = [
        ("Secret", pods_secret(POD_SECRET, username="them", password="theirs")),
        ("ConfigMap", {"metadata": {"name": "smoke"}, "data": {"request.json": "{}"}}),
        ("Service", {"metadata": {"name": "theirs"}, "spec": {"ports": [{"port": 80}]}}),
        (
            "Deployment",
            {
                "metadata": {"name": "theirs"},
                "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "x"}}, "template": template},
            },
        ),
    ]
    for kind, body in things:
        assert admin.http.post(PLURALS[kind].format(name), json=body).status_code == 201
    return name


@pytest.fixture
def cluster_wide(guarded: Guarded) -> tuple[Installation, Bench, str]:
    """An operator of the whole cluster, and a model that its bench's namespace may follow."""
    installation, bench = guarded()
    model = f"model-{secrets.token_hex(4)}"
    bench.register(model)
    bench.alias(model, "champion", 1)
    return installation, bench, model


def test_a_secret_of_another_namespace_does_not_count(
    cluster_wide: tuple[Installation, Bench, str], elsewhere: str
) -> None:
    _, bench, model = cluster_wide
    bench.create("churn", {"model": {"name": model, "alias": "champion"}})

    bench.until_condition("churn", "Current", "False", "CredentialsMissing")
    assert bench.items("Pod") == []
    assert f"in namespace {bench.namespace}" in json.dumps(bench.status("churn"))


REACHING: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "adoption": ({}, {"adopt": "Service/{there}/theirs"}),
    "adoption-by-path": ({}, {"adopt": "Service/../{there}/theirs"}),
    "revision": ({}, {"revert": "{there}/v1-5d9f8a2b1c"}),
    "registry": ({"registry": {"name": "{there}"}}, {}),
    "payload": ({"selfTest": {"payload": {"configMap": {"name": "{there}/smoke", "key": "a"}}}}, {}),
    "secret": ({"fetch": {"envFrom": [{"secretRef": {"name": "{there}/mlflow-reader"}}]}}, {}),
    "service-account": ({"pod": {"serviceAccountName": "{there}:default"}}, {}),
    "labels": ({"pod": {"labels": {"app": "x"}}}, {}),
}
"""Specs and annotations by which somebody might try; ``{there}`` is another namespace."""


def test_no_reference_in_a_manifest_reaches_another_namespace(
    cluster_wide: tuple[Installation, Bench, str], elsewhere: str
) -> None:
    installation, bench, model = cluster_wide
    bench.post("Secret", pods_secret(POD_SECRET, username="reader", password="p4ss"))
    for name, reaching in REACHING.items():
        spec, annotations = json.loads(json.dumps(reaching).replace("{there}", elsewhere))
        bench.create(
            name,
            {"model": {"name": model, "alias": "champion"}} | spec,
            annotations={f"model-operator.io/{key}": value for key, value in annotations.items()},
        )

    def at_an_end(name: str) -> bool:
        status, reason = bench.condition(name, "Current")
        return status == "True" or (status == "False" and reason not in ("RollingOut", "WaitingForSlot"))

    for name in REACHING:
        bench.until(f"{name} comes to an end", lambda: at_an_end(name))  # noqa: B023
    reached = [it for it in installation.calls() if it.namespace == elsewhere]
    assert [f"{it.right}" for it in reached] == []


def test_labels_and_owners_forged_in_another_namespace_bring_nothing_into_this_one(
    cluster_wide: tuple[Installation, Bench, str], admin: ApiClient, elsewhere: str
) -> None:
    """A pod, a revision or a Service elsewhere that claims to be a child of ours."""
    installation, bench, model = cluster_wide
    bench.post("Secret", pods_secret(POD_SECRET, username="reader", password="p4ss"))
    created = bench.create("churn", {"model": {"name": model, "alias": "champion"}})
    bench.until_serving("churn", 1)
    revisions = bench.items("ControllerRevision")
    owner = {
        "apiVersion": created["apiVersion"],
        "kind": created["kind"],
        "name": "churn",
        "uid": created["metadata"]["uid"],
        "controller": True,
    }
    forged = {
        "metadata": {
            "name": "churn-v9-0000000000",
            "labels": revisions[0]["metadata"]["labels"],
            "ownerReferences": [owner],
        },
        "revision": 9,
        "data": revisions[0]["data"],
    }
    answer = admin.http.post(PLURALS["ControllerRevision"].format(elsewhere), json=forged)
    assert answer.status_code == 201, answer.text
    before = json.dumps(bench.status("churn"))

    bench.restart_operator()
    bench.annotate("churn", revert="v9-0000000000")
    bench.until_condition("churn", "Current", "False", "RevisionNotFound")

    assert bench.status("churn")["serving"]["version"] == json.loads(before)["serving"]["version"]
    assert [it for it in installation.calls() if it.namespace == elsewhere] == []

"""What the serving pods may do: nothing that the restricted level forbids, and nothing at the API server."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.integration.lives.bench import Bench
from tests.integration.security.conftest import POD_SECRET, Guarded
from tests.integration.security.lives import pods_secret

ROOT = Path(__file__).parents[3]


@pytest.fixture
def bench(guarded: Guarded, serving_namespace: str) -> Bench:
    """The operator with its own rights only, in a namespace that admits only restricted pods."""
    _, bench = guarded(watchNamespaces=[serving_namespace])
    bench.post("Secret", pods_secret(POD_SECRET, username="reader", password="p4ss"))
    return bench


@pytest.fixture
def model(bench: Bench) -> str:
    """A registered model whose alias champion is on version 1."""
    name = f"model-{secrets.token_hex(4)}"
    bench.register(name)
    bench.alias(name, "champion", 1)
    return name


def followed(model: str, **spec: Any) -> dict[str, Any]:
    return {"model": {"name": model, "alias": "champion"}, **spec}


SHAPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "many-options": {
        "autoscaling": {"maxReplicas": 2},
        "rollout": {"strategy": "BlueGreen"},
        "selfTest": {"payload": {"configMap": {"name": "smoke", "key": "request.json"}}},
        "fetch": {"volume": {"emptyDir": {"sizeLimit": "1Gi"}}},
        "server": {"resources": {"limits": {"memory": "1Gi"}}},
        "pod": {"serviceAccountName": "default", "securityContext": {"fsGroup": 10001}},
    },
    "own-image": {"server": {"runtime": "Custom", "image": "registry.example.com/server:1"}},
}
FORBIDDEN: dict[str, dict[str, Any]] = {
    "host-files": {"volumes": [{"name": "host", "hostPath": {"path": "/"}}]},
    "root": {"securityContext": {"runAsUser": 0, "runAsNonRoot": False}},
    "no-seccomp": {"securityContext": {"seccompProfile": None}},
}


def test_serving_pods_are_admitted_where_only_restricted_pods_are(bench: Bench, model: str) -> None:
    for name, shape in SHAPES.items():
        bench.create(name, followed(model, **shape))
    for name in SHAPES:
        bench.until_serving(name, 1)

    pods = bench.items("Pod")
    assert len(pods) == len(SHAPES)
    for pod in pods:
        assert pod["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in [*pod["spec"]["initContainers"], *pod["spec"]["containers"]]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_serving_pods_get_no_token_of_a_service_account(bench: Bench, model: str) -> None:
    bench.create("churn", followed(model, pod={"serviceAccountName": "default"}))
    bench.until_serving("churn", 1)

    (pod,) = bench.items("Pod")
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert not [volume for volume in pod["spec"]["volumes"] if "projected" in volume]


def test_what_the_level_forbids_is_refused_for_a_manifest_as_for_anybody_and_the_status_says_so(
    bench: Bench, model: str
) -> None:
    for name, pod in FORBIDDEN.items():
        bench.create(name, followed(model, pod=pod))

    for name in FORBIDDEN:
        bench.until(
            f"the refusal of {name} is told",
            lambda: "violates PodSecurity" in str(bench.status(name).get("candidate")),  # noqa: B023
        )
        assert bench.status(name)["candidate"]["reason"] == "PodsRefused"
    assert bench.items("Pod") == []


def test_the_example_of_a_serving_namespace_is_accepted_and_admits_our_pods(
    bench: Bench, model: str, serving_namespace: str
) -> None:
    text = (ROOT / "examples" / "security" / "serving-namespace.yaml").read_text()
    for document in yaml.safe_load_all(text):
        if document["kind"] == "Namespace":
            labels = document["metadata"]["labels"]
            bench.api.http.patch(
                f"/api/v1/namespaces/{serving_namespace}",
                json={"metadata": {"labels": labels}},
                headers={"Content-Type": "application/merge-patch+json"},
            ).raise_for_status()
            continue
        document["metadata"]["namespace"] = serving_namespace
        group = document["apiVersion"]
        plural = {
            "NetworkPolicy": "networkpolicies",
            "ResourceQuota": "resourcequotas",
            "LimitRange": "limitranges",
        }
        root = f"/apis/{group}" if "/" in group else f"/api/{group}"
        answer = bench.api.http.post(
            f"{root}/namespaces/{serving_namespace}/{plural[document['kind']]}",
            json=document,
            params={"fieldValidation": "Strict"},
        )
        assert answer.status_code == 201, answer.text
    bench.create("churn", followed(model))
    bench.until_serving("churn", 1)

"""What the doctor says of what was found: each trouble with its remedy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.cli.cli_objects import SERVING, condition, serving, snapshot, wanted

from model_operator.api.crd import custom_resource_definition
from model_operator.cli.doctor import Facts, Finding, Level, Operator, Probe, findings
from model_operator.cli.doctor.facts import OPERATORS, YOURS, Answer, Backend
from model_operator.settings import parse

CONFIG = """
registries:
  default:
    url: http://mlflow.mlflow.svc:5000
    podCredentials: {secret: mlflow-reader}
    podCa: {configMap: company-ca}
"""
WEBHOOKS = CONFIG + "webhooks: {port: 9443, secretDir: /secrets}\n"


def deployment(ready: int = 1, name: str = "model-operator") -> dict[str, Any]:
    containers = [{"name": "operator", "image": "registry.example.com/model-operator:0.1"}]
    return {
        "metadata": {"name": name, "namespace": "model-operator-system"},
        "spec": {"replicas": 1, "template": {"spec": {"containers": containers}}},
        "status": {"readyReplicas": ready},
    }


def crd() -> dict[str, Any]:
    return custom_resource_definition() | {
        "status": {"conditions": [{"type": "Established", "status": "True"}]}
    }


GOOD = snapshot(*SERVING, resolved=wanted("7"), serving=serving()).raw
OPERATOR = Operator(deployment(), parse(CONFIG, "x"), denied=[])
HEALTHY = Facts(
    server_version="v1.36.3",
    yours=dict.fromkeys(YOURS, True),
    namespace="crm",
    crd=crd(),
    operators=[OPERATOR],
    deployments=[GOOD],
    secrets={("crm", "mlflow-reader"): frozenset({"username", "password"})},
    config_maps={("crm", "company-ca"): frozenset({"ca.crt"})},
    backends=[Backend("default", "mlflow/mlflow", True, 1)],
)


def told(facts: Facts, *levels: Level) -> list[Finding]:
    return [finding for finding in findings(facts) if finding.level in levels]


def test_a_healthy_installation_has_no_troubles() -> None:
    assert told(HEALTHY, Level.PROBLEM, Level.WARNING, Level.UNKNOWN) == []
    assert "15 s, by polling" in " ".join(finding.message for finding in findings(HEALTHY))


def _older() -> dict[str, Any]:
    found = crd()
    del found["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["gates"]
    return found


def _newer() -> dict[str, Any]:
    found = crd()
    properties = found["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    properties["canary"] = {"type": "object"}
    return found


REFUSED = snapshot(
    condition("Resolved", "False", "HostHeaderRefused", "MLflow refuses the name mlflow.mlflow.svc:5000")
).raw
STUCK = snapshot(
    condition("Ready", "False", "NameConflict", "Service churn exists"),
    condition("Current", "False", "NameConflict", "Service churn exists"),
    condition("Stalled", "True", "NameConflict", "Service churn exists"),
).raw

TROUBLES: dict[str, tuple[Facts, Level, str, str]] = {
    "an old cluster": (replace(HEALTHY, server_version="v1.30.1"), Level.PROBLEM, "older than 1.31", "1.31"),
    "a right of the user is missing": (
        replace(HEALTHY, yours=dict.fromkeys(YOURS, True) | {("", "pods", "list"): False}),
        Level.WARNING,
        "status (its pods)",
        "role",
    ),
    "no CRD": (replace(HEALTHY, crd=None), Level.PROBLEM, "is not installed", "crds/"),
    "a CRD that is not established": (
        replace(HEALTHY, crd=custom_resource_definition()),
        Level.PROBLEM,
        "not established",
        "describe crd",
    ),
    "an older CRD": (replace(HEALTHY, crd=_older()), Level.WARNING, "lacks spec.gates", "upgrade the CRD"),
    "a newer CRD": (replace(HEALTHY, crd=_newer()), Level.WARNING, "spec.canary", "pip install -U"),
    "a CRD that may not be read": (
        replace(HEALTHY, crd=None, crd_readable=False),
        Level.UNKNOWN,
        "may not read",
        "",
    ),
    "no operator": (replace(HEALTHY, operators=[]), Level.PROBLEM, "no Deployment", "helm upgrade --install"),
    "operators that may not be looked for": (
        replace(HEALTHY, operators=None),
        Level.UNKNOWN,
        "may not list",
        "",
    ),
    "an operator that is not ready": (
        replace(HEALTHY, operators=[replace(OPERATOR, deployment=deployment(ready=0))]),
        Level.PROBLEM,
        "none of 1 pods is ready, image registry.example.com/model-operator:0.1",
        "kubectl describe",
    ),
    "two operators for all namespaces": (
        replace(HEALTHY, operators=[OPERATOR, replace(OPERATOR, deployment=deployment(name="other"))]),
        Level.PROBLEM,
        "two operators",
        "watchNamespaces",
    ),
    "an operator without a right": (
        replace(HEALTHY, operators=[replace(OPERATOR, denied=[("", OPERATORS[0])])]),
        Level.PROBLEM,
        "it may not get modeldeployments.model-operator.io in the cluster",
        "helm upgrade",
    ),
    "rights that may not be asked for": (
        replace(HEALTHY, operators=[replace(OPERATOR, denied=None)]),
        Level.UNKNOWN,
        "may not review access",
        "",
    ),
    "a configuration that can't be read": (
        replace(HEALTHY, operators=[replace(OPERATOR, settings=None, settings_error="pollSeconds: bad")]),
        Level.PROBLEM,
        "pollSeconds: bad",
        "values",
    ),
    "the Host header is refused here": (
        replace(HEALTHY, probes=[Probe("default", "mlflow.mlflow.svc:5000", Answer.HOST_REFUSED)]),
        Level.PROBLEM,
        "rejects the host name mlflow.mlflow.svc:5000",
        "--allowed-hosts and mlflow.mlflow.svc:5000",
    ),
    "the Host header is refused to the operator": (
        replace(HEALTHY, deployments=[REFUSED]),
        Level.PROBLEM,
        "1 ModelDeployment: HostHeaderRefused",
        "--allowed-hosts",
    ),
    "a registry that can't be asked from here": (
        replace(HEALTHY, probes=[Probe("default", "mlflow.mlflow.svc:5000", Answer.SILENT, "no such name")]),
        Level.UNKNOWN,
        "but maybe from the cluster",
        "--registry-at",
    ),
    "a registry's Service is missing": (
        replace(HEALTHY, backends=[Backend("default", "mlflow/mlflow", False)]),
        Level.PROBLEM,
        "Service mlflow/mlflow, which does not exist",
        "url",
    ),
    "a registry's pods are not ready": (
        replace(HEALTHY, backends=[Backend("default", "mlflow/mlflow", True, 0)]),
        Level.PROBLEM,
        "no pod is ready",
        "MLflow",
    ),
    "a Secret of the pods is missing": (
        replace(HEALTHY, secrets={("crm", "mlflow-reader"): None}),
        Level.PROBLEM,
        "does not exist",
        "kubectl -n crm create secret generic mlflow-reader",
    ),
    "a Secret of the pods lacks its password": (
        replace(HEALTHY, secrets={("crm", "mlflow-reader"): frozenset({"username"})}),
        Level.PROBLEM,
        "it has username",
        "again",
    ),
    "a CA of the pods is missing": (
        replace(HEALTHY, config_maps={("crm", "company-ca"): None}),
        Level.PROBLEM,
        "does not exist",
        "create configmap company-ca",
    ),
    "webhooks without a secret": (
        replace(
            HEALTHY,
            operators=[
                Operator(
                    deployment(), parse(WEBHOOKS, "x"), denied=[], webhook_secret_keys=0, webhook_service=True
                )
            ],
        ),
        Level.PROBLEM,
        "all are rejected",
        "webhooks.secretName",
    ),
    "webhooks without a Service": (
        replace(
            HEALTHY,
            operators=[
                Operator(
                    deployment(),
                    parse(WEBHOOKS, "x"),
                    denied=[],
                    webhook_secret_keys=1,
                    webhook_service=False,
                )
            ],
        ),
        Level.PROBLEM,
        "is missing",
        "webhooks.enabled",
    ),
    "webhooks over plain http": (
        replace(
            HEALTHY,
            operators=[
                Operator(
                    deployment(), parse(WEBHOOKS, "x"), denied=[], webhook_secret_keys=1, webhook_service=True
                )
            ],
        ),
        Level.WARNING,
        "plain http",
        "webhooks.tls.secretName",
    ),
    "a ModelDeployment that needs a person": (
        replace(HEALTHY, deployments=[GOOD, STUCK]),
        Level.WARNING,
        "1 of 2 need a person: crm/churn (NameConflict)",
        "kubectl model status",
    ),
    "ModelDeployments that may not be listed": (
        replace(HEALTHY, deployments=None),
        Level.UNKNOWN,
        "may not list them",
        "",
    ),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_trouble_is_found_and_has_its_remedy(trouble: str) -> None:
    facts, level, message, remedy = TROUBLES[trouble]
    found = told(facts, level)
    assert [finding for finding in found if message in finding.message and remedy in finding.remedy], found

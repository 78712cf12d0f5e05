"""The Helm chart, linted and rendered by the real helm: what it makes, refuses and promises."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from kubernetes.aio import client
from tests.cluster import versions
from tests.cluster.binaries import ensure

from model_operator import settings
from model_operator.api import names, parse

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "model-operator"
GOLDEN = Path(__file__).parent / "chart"

Object = dict[str, Any]
Values = Mapping[str, Any]
Render = Callable[..., list[Object]]

FOREIGN = "monitoring.coreos.com/"
"""Kinds of Prometheus' operator."""

SECRET_WORDS = ("hunter2", "reader-of-all", "tok-3n-prod")

DEFAULTS: Values = {}
EXISTING_SECRETS: Values = {
    "registries": {
        "default": None,
        "prod": {
            "url": "https://mlflow.example.com",
            "podUrl": "https://mlflow.internal.example.com:8443/prefix",
            "credentials": {"existingSecret": "mlflow-operator"},
            "ca": {"configMap": "company-ca"},
            "podCredentials": {"secret": "mlflow-reader"},
            "podCa": {"configMap": "company-ca"},
        },
        "test": {
            "url": "http://mlflow.test.svc:5000",
            "ca": {"secret": "test-ca", "key": "authority.pem"},
            "podCredentials": {"secret": "mlflow-test-reader"},
        },
    },
}
NAMESPACED: Values = {
    "watchNamespaces": ["crm", "shop"],
    "registries": {"default": {"podCredentials": {"secret": "mlflow-reader"}}},
    "inlineRegistries": {
        "allowedUrls": ["https://mlflow.team-a.example.com"],
        "secretNames": ["team-mlflow"],
    },
}
CREDENTIALS_FROM_VALUES: Values = {
    "registries": {
        "default": {"credentials": {"username": "reader-of-all", "password": "hunter2"}},
        "prod": {"url": "https://mlflow.example.com", "credentials": {"token": "tok-3n-prod"}},
    },
}
EVERY_OPTION_OF_THE_POD: Values = {
    "replicas": 2,
    "image": {"repository": "registry.example.com/ml/operator", "digest": f"sha256:{'a' * 64}"},
    "imagePullSecrets": [{"name": "pull"}],
    "images": {"server": "registry.example.com/ml/server:7", "fetch": "registry.example.com/ml/fetch:3"},
    "serviceAccount": {"create": False, "name": "made-by-hand"},
    "rbac": {"create": False},
    "crd": {"install": False},
    "metricsPort": 9090,
    "metrics": {"service": {"annotations": {"prometheus.io/scrape": "true"}}},
    "pollSeconds": 60,
    "resyncSeconds": 300,
    "clusterName": "prod-eu.1",
    "maxConcurrentRollouts": 2,
    "workers": 16,
    "logLevel": "DEBUG",
    "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "1Gi"}},
    "podSecurityContext": {"runAsUser": None, "runAsGroup": None, "fsGroup": None},
    "nodeSelector": {"pool": "system"},
    "tolerations": [{"key": "system", "operator": "Exists", "effect": "NoSchedule"}],
    "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
    "priorityClassName": "system-cluster-critical",
    "podAnnotations": {"example.com/owner": "ml"},
    "podLabels": {"team": "ml", "app.kubernetes.io/name": "not-this"},
    "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy.example.com:3128"}],
}
WEBHOOKS: Values = {
    "webhooks": {
        "enabled": True,
        "port": 9444,
        "tls": {"secretName": "operator-tls"},
        "secretName": "webhook-secrets",
    },
}
AROUND_THE_OPERATOR: Values = {
    "watchNamespaces": ["crm", "shop"],
    "registries": {
        "default": {"url": "http://mlflow:5000"},
        "prod": {"url": "https://mlflow.example.com/prefix"},
        "six": {"url": "http://[fd00::1]"},
    },
    "webhooks": {"enabled": True, "secretName": "webhook-secrets"},
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"},
        {
            "maxSkew": 2,
            "topologyKey": "topology.kubernetes.io/zone",
            "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"team": "ml"}},
        },
    ],
    "networkPolicy": {
        "enabled": True,
        "metricsFrom": [
            {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
        ],
        "webhooksFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "mlflow"}}}],
        "apiServerTo": [{"ipBlock": {"cidr": "10.0.0.1/32"}}],
        "apiServerPorts": [6443],
        "registriesTo": [{"namespaceSelector": {}}],
        "dnsTo": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}],
        "extraEgress": [{"to": [{"ipBlock": {"cidr": "192.0.2.1/32"}}]}],
    },
    "extraObjects": [
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": "{{ .Release.Name }}-serving"},
            "value": 1000,
        },
        "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: {{ include `model-operator.fullname` . }}-ci\n",
    ],
}
MONITORING: Values = {
    "watchNamespaces": ["crm"],
    "monitoring": {
        "maxModelDeployments": 500,
        "serviceMonitor": {"enabled": True, "interval": "15s", "labels": {"release": "prometheus"}},
        "podMonitor": {"enabled": True, "interval": "30s", "labels": {"release": "prometheus"}},
        "prometheusRule": {
            "enabled": True,
            "labels": {"release": "prometheus"},
            "runbookUrl": "https://wiki.example.com/runbooks/",
            "disabled": ["ModelApprovalPending", "ModelVersionKeptOut"],
        },
        "dashboard": {"enabled": True, "annotations": {"grafana_folder": "Models"}},
    },
}
CASES = {
    "default-values": DEFAULTS,
    "existing-secrets": EXISTING_SECRETS,
    "namespaced": NAMESPACED,
    "credentials-from-values": CREDENTIALS_FROM_VALUES,
    "webhooks": WEBHOOKS,
    "every-option-of-the-pod": EVERY_OPTION_OF_THE_POD,
    "around-the-operator": AROUND_THE_OPERATOR,
    "monitoring": MONITORING,
}
each_case = pytest.mark.parametrize("values", CASES.values(), ids=CASES.keys())


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the real helm, away from the user's own repositories, plugins and clusters."""
    program = ensure("helm")["helm"]
    home = tmp_path_factory.mktemp("helm")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "KUBECONFIG": str(home / "no-cluster"),
        "HELM_CACHE_HOME": str(home / "cache"),
        "HELM_CONFIG_HOME": str(home / "config"),
        "HELM_DATA_HOME": str(home / "data"),
    }

    def run(*arguments: str, values: Values = DEFAULTS) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [program, *arguments, "--values", "-"],
            input=json.dumps(values),
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def _template(
    helm: Callable[..., subprocess.CompletedProcess[str]], values: Values, chart: Path = CHART
) -> subprocess.CompletedProcess[str]:
    return helm(
        *("template", "model-operator", str(chart), "--namespace", "model-operator-system"),
        *("--kube-version", versions.KUBERNETES),
        values=values,
    )


@pytest.fixture(scope="session")
def render(helm: Callable[..., subprocess.CompletedProcess[str]]) -> Render:
    """Render the chart with the given values into its objects, in a fixed order; helm runs once for each."""
    rendered: dict[str, str] = {}

    def run(values: Values, chart: Path = CHART) -> list[Object]:
        key = f"{chart} {json.dumps(values)}"
        if key not in rendered:
            rendered[key] = render_afresh(values, chart)
        # afresh each time, since a test may change them; the parser in C is much faster
        objects = [document for document in yaml.load_all(rendered[key], yaml.CSafeLoader) if document]
        return sorted(
            objects,
            key=lambda it: (it["kind"], it["metadata"].get("namespace", ""), it["metadata"]["name"]),
        )

    def render_afresh(values: Values, chart: Path) -> str:
        result = _template(helm, values, chart)
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run


def _of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    return [it for it in objects if it["kind"] in kinds]


def _pod(objects: list[Object]) -> Object:
    (deployment,) = _of_kind(objects, "Deployment")
    return dict(deployment["spec"]["template"])


def _config(objects: list[Object]) -> str:
    config, *_ = [it for it in _of_kind(objects, "ConfigMap") if "config.yaml" in it["data"]]
    assert list(config["data"]) == ["config.yaml"]
    return str(config["data"]["config.yaml"])


class _Readable(yaml.SafeDumper):
    """Writes text of several lines as a block, so that a diff of a golden file can be read."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Readable.add_representer(str, _text)


def test_helm_lint_has_neither_an_error_nor_a_warning(helm: Callable[..., Any]) -> None:
    result = helm("lint", "--strict", str(CHART), "--kube-version", versions.KUBERNETES)

    assert result.returncode == 0, result.stdout
    assert "[WARNING]" not in result.stdout


@pytest.mark.parametrize("name", CASES)
def test_the_chart_renders_what_the_golden_file_says(
    name: str, render: Render, request: pytest.FixtureRequest
) -> None:
    # the CRD has its own drift check; in here every change of a field would change every golden file
    objects = [it for it in render(CASES[name]) if it["kind"] != "CustomResourceDefinition"]
    golden = GOLDEN / f"{name}.yaml"
    if request.config.getoption("--update-golden"):
        golden.write_text(yaml.dump_all(objects, Dumper=_Readable, sort_keys=True, width=110))

    assert objects == list(yaml.load_all(golden.read_text(), yaml.CSafeLoader)), "see --update-golden"


@each_case
def test_every_field_is_one_that_kubernetes_knows(values: Values, render: Render) -> None:
    for it in render(values):
        if it["kind"] != "CustomResourceDefinition" and not it["apiVersion"].startswith(FOREIGN):
            model = getattr(client, f"V1{it['kind']}")
            assert model.model_validate(it).model_dump(by_alias=True, exclude_none=True, mode="json") == it


@each_case
def test_no_two_objects_have_the_same_name(values: Values, render: Render) -> None:
    names = [(it["kind"], it["metadata"].get("namespace"), it["metadata"]["name"]) for it in render(values)]

    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        pytest.param({"polSeconds": 15}, "'polSeconds' not allowed", id="a misspelt key"),
        pytest.param(
            {"registries": {"default": {"podCredential": {"secret": "x"}}}},
            "'podCredential' not allowed",
            id="a misspelt key of a registry",
        ),
        pytest.param({"pollSeconds": "15s"}, "/pollSeconds': got string, want integer", id="a wrong type"),
        pytest.param({"pollSeconds": 0}, "/pollSeconds': minimum", id="polling without a pause"),
        pytest.param({"resyncSeconds": 0}, "/resyncSeconds': minimum", id="listing without a pause"),
        pytest.param({"metricsPort": 80}, "/metricsPort': minimum", id="a privileged port"),
        pytest.param({"logLevel": "debug"}, "/logLevel': value must be one of", id="an unknown log level"),
        pytest.param({"image": {"tag": 1.10}}, "/image/tag': got number", id="a tag that YAML made a number"),
        pytest.param(
            {"registries": {"default": {"url": "ftp://mlflow:5000"}}},
            "/registries/default/url': 'ftp://mlflow:5000' does not match",
            id="a registry that speaks neither http nor https",
        ),
        pytest.param(
            {"registries": {"default": {"url": "http://me:pw@mlflow:5000"}}},
            "/registries/default/url'",
            id="a registry URL with a password in it",
        ),
        pytest.param(
            {"registries": {"prod": {}}}, "missing property 'url'", id="a registry without its address"
        ),
        pytest.param({"registries": {"default": None}}, "minProperties", id="no registry at all"),
        pytest.param(
            {"registries": {"Prod_EU": {"url": "http://mlflow"}}},
            "Prod_EU",
            id="a registry name that no ModelDeployment could give",
        ),
        pytest.param(
            {"monitoring": {"serviceMonitor": {"enabled": True}}, "metrics": {"service": {"enabled": False}}},
            "monitoring.serviceMonitor: needs the Service",
            id="a monitor without the Service that it needs",
        ),
        pytest.param(
            {"monitoring": {"prometheusRule": {"disable": ["ModelReverted"]}}},
            "'disable' not allowed",
            id="a misspelt key of the rule",
        ),
        pytest.param({"watchNamespaces": ["Crm"]}, "/watchNamespaces/0'", id="an impossible namespace"),
        pytest.param(
            {"podSecurityContext": {"runAsUser": 0}}, "/podSecurityContext/runAsUser'", id="running as root"
        ),
        pytest.param(
            {"extraEnv": [{"name": "MODEL_OPERATOR_CONFIG", "value": "/tmp/x"}]},
            "/extraEnv/0/name'",
            id="another configuration file behind the chart's back",
        ),
        pytest.param(
            {"registries": {"default": {"credentials": {"username": "me"}}}},
            "registries.default.credentials: username and password belong together",
            id="a user without a password",
        ),
        pytest.param(
            {"registries": {"default": {"credentials": {"existingSecret": "x", "token": "y"}}}},
            "registries.default.credentials: set only one of",
            id="credentials in two ways",
        ),
        pytest.param(
            {"registries": {"default": {"ca": {"configMap": "x", "secret": "y"}}}},
            "registries.default.ca: set configMap or secret, not both",
            id="two certificate authorities",
        ),
        pytest.param(
            {"replicas": 2, "leaderElection": {"enabled": False}},
            "replicas: more than one requires leaderElection.enabled=true",
            id="two operators at work",
        ),
        pytest.param(
            {"leaderElection": {"leaseSeconds": 10}},
            "leaderElection: renewSeconds must be less than leaseSeconds",
            id="a leader that outlasts its Lease",
        ),
    ],
)
def test_bad_values_are_refused_with_a_message_that_names_the_key(
    values: Values, complaint: str, helm: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    result = _template(helm, values)

    assert result.returncode != 0
    assert complaint in result.stderr


def test_every_value_of_the_chart_is_described_by_the_schema() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())

    assert set(values) == set(schema["properties"]) - {"global"}
    assert not list(_undescribed(values, schema, ""))


def _undescribed(values: Object, schema: Object, path: str) -> Iterator[str]:
    """The keys of values that the schema has no type for; where it knows no keys, any will do."""
    for key, value in values.items():
        known = schema.get("properties", {}).get(key)
        if known is None and isinstance(schema.get("additionalProperties"), dict):
            known = schema["additionalProperties"]
        if known is None or ("type" not in known and "enum" not in known):
            yield f"{path}{key}"
        elif isinstance(value, dict):
            yield from _undescribed(value, known, f"{path}{key}.")


@each_case
def test_every_container_meets_the_restricted_pod_security_standard(values: Values, render: Render) -> None:
    pod = _pod(render(values))["spec"]

    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    for volume in pod["volumes"]:
        assert set(volume) - {"name"} <= {"configMap", "secret", "emptyDir"}
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"].get("runAsUser") != 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["readOnlyRootFilesystem"] is True
        assert "privileged" not in context
        assert all("hostPort" not in port for port in container["ports"])


@each_case
def test_the_next_operator_is_warm_before_the_one_before_ends(values: Values, render: Render) -> None:
    (deployment,) = _of_kind(render(values), "Deployment")

    rolling = {"maxSurge": 1, "maxUnavailable": 0}
    assert deployment["spec"]["strategy"] == {"type": "RollingUpdate", "rollingUpdate": rolling}


def test_without_an_election_there_is_one_operator_at_any_time(render: Render) -> None:
    objects = render({"leaderElection": {"enabled": False}})
    (deployment,) = _of_kind(objects, "Deployment")

    assert deployment["spec"]["replicas"] == 1
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}
    assert not [rule for rule in _rules(objects) if "leases" in rule["resources"]]


@pytest.mark.parametrize("values", [DEFAULTS, NAMESPACED], ids=["in all namespaces", "in some"])
def test_replicas_compete_for_one_lease_that_they_may_touch_and_no_other(
    values: Values, render: Render
) -> None:
    objects = render(values)
    lease = settings.parse(_config(objects), "config.yaml").leader_election
    rules = [rule for rule in _rules(objects) if "leases" in rule["resources"]]

    assert (lease.enabled, lease.namespace) == (True, "model-operator-system")
    assert [(rule["verbs"], rule.get("resourceNames")) for rule in rules] == [
        (["create"], None),
        (["get", "patch"], [lease.lease_name]),
    ]


def _rules(objects: list[Object]) -> Iterator[Object]:
    for role in _of_kind(objects, "Role", "ClusterRole"):
        yield from role["rules"]


@each_case
def test_no_right_is_a_wildcard_and_secrets_are_only_read_by_name(values: Values, render: Render) -> None:
    for rule in _rules(render(values)):
        assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
        if "secrets" in rule["resources"]:
            assert rule["resources"] == ["secrets"]
            assert rule["verbs"] == ["get"]
            assert rule["resourceNames"]


def test_the_operator_may_read_exactly_the_secrets_that_pods_use(render: Render) -> None:
    (rule,) = [it for it in _rules(render(EXISTING_SECRETS)) if "secrets" in it["resources"]]

    assert rule["resourceNames"] == ["mlflow-reader", "mlflow-test-reader"]


def test_without_credentials_of_pods_the_operator_may_read_no_secret(render: Render) -> None:
    assert not [it for it in _rules(render(DEFAULTS)) if "secrets" in it["resources"]]


def test_watching_some_namespaces_asks_for_no_right_in_the_cluster(render: Render) -> None:
    objects = render({**NAMESPACED, "crd": {"install": False}})

    assert not [it for it in objects if it["kind"].startswith("Cluster")]
    roles = [(it["metadata"]["namespace"], it["metadata"]["name"]) for it in _of_kind(objects, "Role")]
    assert roles == [
        ("crm", "model-operator"),
        ("model-operator-system", "model-operator-election"),
        ("shop", "model-operator"),
    ]
    for binding in _of_kind(objects, "RoleBinding"):
        assert binding["subjects"] == [
            {"kind": "ServiceAccount", "name": "model-operator", "namespace": "model-operator-system"}
        ]


def test_with_the_crd_people_who_may_view_or_edit_a_namespace_may_do_so_with_its_model_deployments(
    render: Render,
) -> None:
    roles = {it["metadata"]["name"]: it for it in _of_kind(render(NAMESPACED), "ClusterRole")}
    extended = {
        name: sorted(key.rpartition("-")[2] for key in it["metadata"]["labels"] if "aggregate-to" in key)
        for name, it in roles.items()
    }

    assert extended == {
        "model-operator-view": ["admin", "edit", "view"],
        "model-operator-edit": ["admin", "edit"],
    }
    assert not _of_kind(render(NAMESPACED), "ClusterRoleBinding")
    written = {
        it
        for rule in roles["model-operator-edit"]["rules"]
        for it in rule["resources"]
        if set(rule["verbs"]) & {"create", "update", "patch"}
    }
    assert "modeldeployments/status" not in written


def test_those_roles_can_be_left_out(render: Render) -> None:
    objects = render({"rbac": {"aggregateRoles": False}})

    assert [it["metadata"]["name"] for it in _of_kind(objects, "ClusterRole")] == ["model-operator"]


def test_a_budget_comes_with_the_second_replica_only(render: Render) -> None:
    assert not _of_kind(render(DEFAULTS), "PodDisruptionBudget")


def _network_policy(objects: list[Object]) -> Object:
    (policy,) = _of_kind(objects, "NetworkPolicy")
    return dict(policy["spec"])


def test_a_network_policy_is_made_only_when_asked_for(render: Render) -> None:
    assert not _of_kind(render(DEFAULTS), "NetworkPolicy")


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"networkPolicy": {"enabled": True}}, id="with the defaults"),
        pytest.param(AROUND_THE_OPERATOR, id="with every option"),
    ],
)
def test_the_network_policy_selects_the_operator_and_leaves_it_what_it_needs(
    values: Values, render: Render
) -> None:
    objects = render(values)
    spec = _network_policy(objects)
    pod = _pod(objects)
    ports = {port["port"] for rule in spec["egress"] for port in rule.get("ports", [])}
    registries = yaml.safe_load(_config(objects))["registries"].values()

    assert spec["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert sorted(spec["policyTypes"]) == ["Egress", "Ingress"]
    assert {53, 6443} <= ports
    for it in registries:
        parts = urlsplit(it["url"])
        assert (parts.port or {"http": 80, "https": 443}[parts.scheme]) in ports
    (to_pods,) = [rule["to"][0] for rule in spec["egress"] if "podSelector" in (rule.get("to") or [{}])[0]]
    assert to_pods["podSelector"]["matchLabels"] == {names.LABEL_MANAGED_BY: names.MANAGED_BY}
    let_in = {port["port"] for rule in spec["ingress"] for port in rule["ports"]}
    assert let_in == {port["name"] for port in pod["spec"]["containers"][0]["ports"]}


def test_a_spread_without_a_selector_counts_the_operators_pods(render: Render) -> None:
    (deployment,) = _of_kind(render(AROUND_THE_OPERATOR), "Deployment")
    ours, theirs = deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]

    assert ours["labelSelector"] == deployment["spec"]["selector"]
    assert theirs["labelSelector"] == {"matchLabels": {"team": "ml"}}


def test_artifact_hub_is_told_the_truth() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    told = {
        key.removeprefix("artifacthub.io/"): yaml.safe_load(value)
        for key, value in chart["annotations"].items()
        if key.startswith("artifacthub.io/")
    }
    (crd,), images = told["crds"], {it["name"]: it["image"] for it in told["images"]}
    values = yaml.safe_load((CHART / "values.yaml").read_text())

    assert (crd["kind"], crd["version"], crd["name"]) == (names.KIND, names.VERSION, names.CRD_NAME)
    assert images["operator"] == f"{values['image']['repository']}:{chart['appVersion']}"
    assert images["server"] == f"model-operator.io/server:{chart['appVersion']}"
    for example in told["crdsExamples"]:
        example["metadata"].setdefault("namespace", "default")
        assert parse(example).spec.model.reference().name


def test_nothing_that_needs_a_foreign_crd_is_made_unless_asked_for(render: Render) -> None:
    assert not [it for it in render(DEFAULTS) if it["apiVersion"].startswith(FOREIGN)]


def test_the_rule_has_the_committed_alerts_but_those_that_are_disabled(render: Render) -> None:
    (rule,) = _of_kind(render(MONITORING), "PrometheusRule")
    committed = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())
    wanted = [it for group in committed["groups"] for it in group["rules"]]
    made = [it for group in rule["spec"]["groups"] for it in group["rules"]]
    left_out = MONITORING["monitoring"]["prometheusRule"]["disabled"]

    assert [it["alert"] for it in wanted if it["alert"] not in left_out] == [it["alert"] for it in made]
    for it in made:
        page = f"https://wiki.example.com/runbooks/{it['alert']}.md"
        assert it["annotations"].pop("runbook_url") == page
        assert it in wanted


def test_the_dashboard_is_the_committed_one_with_the_label_that_the_sidecar_looks_for(render: Render) -> None:
    (board,) = [it for it in _of_kind(render(MONITORING), "ConfigMap") if "config.yaml" not in it["data"]]

    assert board["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert board["data"] == {
        "model-operator.json": (CHART / "dashboards" / "model-operator.json").read_text()
    }


def test_the_monitors_select_what_they_are_for(render: Render) -> None:
    objects = render(MONITORING)
    (service,) = [it for it in _of_kind(objects, "Service") if it["metadata"]["name"].endswith("-metrics")]
    (operator,), (pods,) = _of_kind(objects, "ServiceMonitor"), _of_kind(objects, "PodMonitor")
    selected = pods["spec"]["selector"]["matchLabels"]

    assert operator["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert operator["spec"]["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]
    assert operator["spec"]["endpoints"][0]["honorLabels"] is True
    assert selected == {names.LABEL_MANAGED_BY: names.MANAGED_BY, names.LABEL_APP_NAME: names.APP_NAME}
    assert pods["spec"]["namespaceSelector"] == {"matchNames": ["crm"]}
    relabelled = {
        it["targetLabel"]: it["sourceLabels"] for it in pods["spec"]["podMetricsEndpoints"][0]["relabelings"]
    }
    assert relabelled == {
        "modeldeployment": [_discovered(names.LABEL_DEPLOYMENT)],
        "track": [_discovered(names.LABEL_TRACK)],
        "revision": [_discovered(names.LABEL_REVISION)],
    }


def _discovered(label: str) -> str:
    """The name under which Prometheus' discovery has a pod's label."""
    return "__meta_kubernetes_pod_label_" + re.sub(r"[^A-Za-z0-9]", "_", label)


@each_case
def test_no_secret_value_stands_outside_a_secret(values: Values, render: Render) -> None:
    encoded = [base64.b64encode(word.encode()).decode() for word in SECRET_WORDS]
    for it in render(values):
        if it["kind"] != "Secret":
            assert not [word for word in (*SECRET_WORDS, *encoded) if word in json.dumps(it)]


def test_credentials_from_values_become_secrets_that_the_operator_mounts(render: Render) -> None:
    objects = render(CREDENTIALS_FROM_VALUES)
    secrets = {it["metadata"]["name"]: it["data"] for it in _of_kind(objects, "Secret")}
    mounted = {
        it["name"].removeprefix("credentials-"): it["secret"]["secretName"]
        for it in _pod(objects)["spec"]["volumes"]
        if "secret" in it
    }

    assert {
        registry: {key: base64.b64decode(value).decode() for key, value in secrets[name].items()}
        for registry, name in mounted.items()
    } == {
        "default": {"username": "reader-of-all", "password": "hunter2"},
        "prod": {"token": "tok-3n-prod"},
    }


@each_case
def test_every_path_of_the_configuration_is_mounted_where_nothing_else_is(
    values: Values, render: Render
) -> None:
    objects = render(values)
    (container,) = _pod(objects)["spec"]["containers"]
    mounts = [it["mountPath"] for it in container["volumeMounts"]]
    named = [
        path
        for registry in yaml.safe_load(_config(objects))["registries"].values()
        for path in (registry["credentialsDir"], registry["caFile"].removesuffix("/ca.crt"))
        if path
    ]
    webhooks = yaml.safe_load(_config(objects))["webhooks"]
    named += [path for path in (webhooks["certificateDir"], webhooks["secretDir"]) if path]

    assert sorted(mounts) == sorted(["/etc/model-operator", "/tmp", *named])
    # the runtime can't make a mount point inside a read-only volume
    assert not [(a, b) for a in mounts for b in mounts if a != b and b.startswith(f"{a}/")]


@each_case
def test_the_operator_understands_its_configuration_and_no_key_is_left_to_a_default(
    values: Values, render: Render
) -> None:
    text = _config(render(values))
    understood = settings.parse(text, "config.yaml").model_dump(by_alias=True, mode="json")

    assert yaml.safe_load(text) == understood


def test_a_missing_secret_of_one_registry_does_not_keep_the_operator_from_starting(render: Render) -> None:
    volumes = {it["name"]: it for it in _pod(render(EXISTING_SECRETS))["spec"]["volumes"]}

    assert volumes["credentials-prod"]["secret"]["optional"] is True
    assert volumes["ca-prod"]["configMap"]["optional"] is True
    assert volumes["ca-test"]["secret"]["optional"] is True


def test_a_change_of_the_configuration_restarts_the_operator(render: Render) -> None:
    before, after = (_pod(render({"pollSeconds": seconds}))["metadata"] for seconds in (15, 30))

    assert before["annotations"]["checksum/config"] != after["annotations"]["checksum/config"]


def test_another_password_alone_restarts_nothing_since_credentials_are_read_again(render: Render) -> None:
    before, after = (
        _pod(render({"registries": {"default": {"credentials": {"username": "me", "password": word}}}}))
        for word in ("old", "new")
    )

    assert before == after


def test_the_chart_carries_the_generated_crd_unchanged() -> None:
    generated = ROOT / "crds" / "modeldeployments.yaml"

    assert (CHART / "files" / "modeldeployments.yaml").read_bytes() == generated.read_bytes()


def test_the_crd_is_the_committed_file_and_outlives_the_release(render: Render) -> None:
    (crd,) = _of_kind(render(DEFAULTS), "CustomResourceDefinition")
    committed = yaml.safe_load((CHART / "files" / "modeldeployments.yaml").read_text())

    assert crd["metadata"].pop("annotations") == {
        **committed["metadata"].pop("annotations", {}),
        "helm.sh/resource-policy": "keep",
    }
    assert crd == committed


def test_the_crd_can_be_left_out(render: Render) -> None:
    assert not _of_kind(render({"crd": {"install": False}}), "CustomResourceDefinition")


@pytest.fixture
def notes(tmp_path: Path, render: Render) -> Callable[[Values], str]:
    """Render NOTES.txt, which `helm template` leaves out, as a ConfigMap of a copy of the chart."""
    chart = tmp_path / "model-operator"
    shutil.copytree(CHART, chart)
    (chart / "templates" / "NOTES.txt").rename(chart / "files" / "NOTES.txt")
    (chart / "templates" / "notes.yaml").write_text(
        "kind: Notes\nmetadata: {name: notes}\ntext: {{ tpl (.Files.Get `files/NOTES.txt`) . | toJson }}\n"
    )

    def run(values: Values) -> str:
        (rendered,) = _of_kind(render(values, chart), "Notes")
        return str(rendered["text"])

    return run


def _taught_manifest(text: str) -> Object:
    _, _, rest = text.partition("kubectl apply -f - <<'EOF'\n")
    manifest, end, _ = rest.partition("\nEOF\n")
    assert end
    return dict(yaml.safe_load(manifest))


def test_the_notes_teach_a_manifest_that_needs_no_registry_name_with_the_default_one(
    notes: Callable[[Values], str],
) -> None:
    manifest = _taught_manifest(notes(DEFAULTS))

    assert manifest["kind"] == "ModelDeployment"
    assert manifest["spec"] == {"model": {"uri": "models:/iris@champion"}, "replicas": 1}


def test_the_notes_teach_a_manifest_in_a_watched_namespace_with_a_configured_registry(
    notes: Callable[[Values], str],
) -> None:
    manifest = _taught_manifest(notes({**EXISTING_SECRETS, "watchNamespaces": ["crm"]}))

    assert manifest["metadata"]["namespace"] == "crm"
    assert manifest["spec"]["registry"] == {"name": "prod"}


def test_the_notes_say_which_secret_and_authority_the_pods_need(notes: Callable[[Values], str]) -> None:
    text = notes(EXISTING_SECRETS)

    assert "kubectl -n default create secret generic mlflow-reader" in text
    assert "kubectl -n default create secret generic mlflow-test-reader" in text
    assert "kubectl -n default create configmap company-ca --from-file=ca.crt" in text


def test_the_notes_say_no_word_of_secrets_where_pods_need_none_and_never_a_value(
    notes: Callable[[Values], str],
) -> None:
    text = notes(CREDENTIALS_FROM_VALUES)

    assert "create secret" not in text
    assert not [word for word in SECRET_WORDS if word in text]

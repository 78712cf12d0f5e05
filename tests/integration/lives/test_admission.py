"""Admission that changes our children: a MutatingAdmissionPolicy and a mutating webhook of a real API server."""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.certificates import Authority
from tests.integration.lives.bench import Bench

REGISTRATION = "/apis/admissionregistration.k8s.io/v1"
MIRROR = "mirror.example/"
PROBE = {
    "metadata": {"name": "probe"},
    "spec": {
        "selector": {"matchLabels": {"a": "b"}},
        "template": {
            "metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "1m"}}}]},
        },
    },
}
SPEC = {"replicas": 1, "server": {"resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}}}
CONTAINER = "object.spec.template.spec.containers[0]"
PATH = "/spec/template/spec/containers/0"
IMAGE = (
    f'{CONTAINER}.image.startsWith("{MIRROR}") ? [] : '
    f'[JSONPatch{{op: "replace", path: "{PATH}/image", value: "{MIRROR}" + {CONTAINER}.image}}]'
)
REQUEST = f'[JSONPatch{{op: "add", path: "{PATH}/resources/requests/cpu", value: "250m"}}]'


def server(found: dict[str, Any] | None) -> dict[str, Any]:
    """The first container of a Deployment's template."""
    return dict((found or {})["spec"]["template"]["spec"]["containers"][0])


def is_changed(found: dict[str, Any] | None) -> bool:
    container = server(found)
    return container["image"].startswith(MIRROR) and container["resources"]["requests"]["cpu"] == "250m"


@dataclass(frozen=True)
class Target:
    """The kind that a policy changes, and how."""

    group: str
    version: str
    plural: str
    mutations: tuple[str, ...]
    probe: dict[str, Any]
    """An object that shows by a dry run whether the policy is in force."""
    is_changed: Callable[[dict[str, Any] | None], bool]


DEPLOYMENTS = Target("apps", "v1", "deployments", (IMAGE, REQUEST), PROBE, is_changed)
SERVICES = Target(
    "",
    "v1",
    "services",
    ('[JSONPatch{op: "replace", path: "/spec/type", value: "NodePort"}]',),
    {"metadata": {"name": "probe"}, "spec": {"ports": [{"port": 80}]}},
    lambda found: bool(found and found["spec"]["type"] == "NodePort"),
)
AUTOSCALERS = Target(
    "autoscaling",
    "v2",
    "horizontalpodautoscalers",
    ('[JSONPatch{op: "replace", path: "/spec/maxReplicas", value: 4}]',),
    {
        "metadata": {"name": "probe"},
        "spec": {
            "maxReplicas": 9,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "a"},
        },
    },
    lambda found: bool(found and found["spec"]["maxReplicas"] == 4),
)


class Policy:
    """A policy for one kind in one namespace. For Deployments, it raises CPU requests and rewrites images."""

    def __init__(self, bench: Bench, target: Target = DEPLOYMENTS) -> None:
        self._bench, self._name, self._target = bench, f"policy-{secrets.token_hex(4)}", target

    def appear(self) -> None:
        """Creates the policy, and waits until the API server applies it."""
        rule = {
            "apiGroups": [self._target.group],
            "apiVersions": [self._target.version],
            "resources": [self._target.plural],
            "operations": ["CREATE", "UPDATE"],
        }
        chosen = {"matchLabels": {"kubernetes.io/metadata.name": self._bench.namespace}}
        self._post(
            "mutatingadmissionpolicies",
            {
                "matchConstraints": {"resourceRules": [rule], "namespaceSelector": chosen},
                "failurePolicy": "Fail",
                "reinvocationPolicy": "Never",
                "mutations": [
                    {"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}
                    for expression in self._target.mutations
                ],
            },
        )
        self._post("mutatingadmissionpolicybindings", {"policyName": self._name})
        self._bench.until("the policy is in force", self._is_in_force)

    def disappear(self) -> None:
        """Deletes the policy, and waits until the API server no longer applies it."""
        for plural in ("mutatingadmissionpolicybindings", "mutatingadmissionpolicies"):
            self._bench.api.http.delete(f"{REGISTRATION}/{plural}/{self._name}")
        self._bench.until("the policy is gone", lambda: not self._is_in_force())

    def _is_in_force(self) -> bool:
        return self._target.is_changed(probe(self._bench, self._target))

    def _post(self, plural: str, spec: dict[str, Any]) -> None:
        body = {"metadata": {"name": self._name}, "spec": spec}
        answer = self._bench.api.http.post(f"{REGISTRATION}/{plural}", json=body)
        assert answer.status_code == 201, answer.text


class Webhook:
    """A TLS server that raises CPU requests and rewrites images of one namespace's Deployments."""

    def __init__(self, bench: Bench, folder: Path) -> None:
        self._bench, self._name = bench, f"webhook-{secrets.token_hex(4)}"
        self._authority = Authority(folder / "pki", "webhook")
        pair = self._authority.issue("server", "webhook", addresses=["127.0.0.1"])
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Reviews)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(pair.certificate, pair.key)
        self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def appear(self) -> None:
        """Registers the webhook, and waits until the API server calls it."""
        authority = base64.b64encode(self._authority.certificate.read_bytes()).decode()
        rule = {
            "apiGroups": ["apps"],
            "apiVersions": ["v1"],
            "resources": ["deployments"],
            "operations": ["CREATE", "UPDATE"],
        }
        hook = {
            "name": "mirror.example.com",
            "clientConfig": {
                "url": f"https://127.0.0.1:{self._server.server_port}/",
                "caBundle": authority,
            },
            "rules": [rule],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self._bench.namespace}},
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "failurePolicy": "Fail",
        }
        body = {"metadata": {"name": self._name}, "webhooks": [hook]}
        answer = self._bench.api.http.post(f"{REGISTRATION}/mutatingwebhookconfigurations", json=body)
        assert answer.status_code == 201, answer.text
        self._bench.until("the webhook is called", lambda: is_changed(probe(self._bench)))

    def disappear(self) -> None:
        """Unregisters the webhook, and waits until the API server no longer calls it."""
        self._bench.api.http.delete(f"{REGISTRATION}/mutatingwebhookconfigurations/{self._name}")
        self._bench.until("the webhook is gone", lambda: not is_changed(probe(self._bench)))

    def stop(self) -> None:
        """Stops the server."""
        self._server.shutdown()
        self._server.server_close()


def is_recorded(found: dict[str, Any] | None) -> bool:
    """Whether the operator has recorded what admission changed."""
    return "model-operator.io/admitted" in (found or {})["metadata"]["annotations"]


class _Reviews(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        container = server(review["request"]["object"])
        patch = [{"op": "add", "path": f"{PATH}/resources/requests/cpu", "value": "250m"}]
        if not container["image"].startswith(MIRROR):
            patch.append({"op": "replace", "path": f"{PATH}/image", "value": MIRROR + container["image"]})
        response = {
            "uid": review["request"]["uid"],
            "allowed": True,
            "patchType": "JSONPatch",
            "patch": base64.b64encode(json.dumps(patch).encode()).decode(),
        }
        text = json.dumps({"apiVersion": review["apiVersion"], "kind": review["kind"], "response": response})
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: Any) -> None:
        """Prints nothing."""


def probe(bench: Bench, target: Target = DEPLOYMENTS) -> dict[str, Any]:
    """The target's probe as the API server would store it now."""
    api = f"/apis/{target.group}" if target.group else "/api"
    path = f"{api}/{target.version}/namespaces/{bench.namespace}/{target.plural}"
    answer = bench.api.http.post(path, json=target.probe, params={"dryRun": "All"})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


@pytest.fixture(params=["policy", "webhook"])
def admission(request: pytest.FixtureRequest, bench: Bench, tmp_path: Path) -> Iterator[Policy | Webhook]:
    """Admission that changes the Deployments of the test's namespace once it has appeared."""
    with contextlib.ExitStack() as stack:
        found: Policy | Webhook = Policy(bench)
        if request.param == "webhook":
            found = Webhook(bench, tmp_path)
            stack.callback(found.stop)
        stack.callback(found.disappear)
        yield found


def deployed(bench: Bench, model: str, **spec: Any) -> None:
    bench.create("churn", {"model": {"name": model, "alias": "champion"}, **SPEC, **spec})
    bench.until_serving("churn", 1)


def at_rest_and_unfought(bench: Bench) -> None:
    """Nobody writes any more, and nothing was reported as drift."""
    bench.until_at_rest("churn")
    # Kubernetes' own controllers may still fill the EndpointSlices
    bench.until_quiet()
    with bench.nothing_is_written(seconds=3):
        pass
    assert bench.condition("churn", "Reconciling") == ("", "")
    assert bench.condition("churn", "Current")[0] == "True"
    for reason in ("DriftContested", "DriftRepaired"):
        assert bench.events("churn", reason) == []


@pytest.mark.parametrize("strategy", ["RollingUpdate", "BlueGreen"])
def test_what_admission_makes_of_our_children_is_left_alone(
    bench: Bench, model: str, admission: Policy | Webhook, strategy: str
) -> None:
    admission.appear()
    deployed(bench, model, rollout={"strategy": strategy})
    assert is_changed(bench.get("Deployment", "churn"))
    at_rest_and_unfought(bench)
    bench.alias(model, "champion", 2)
    bench.until_serving("churn", 2)
    track = bench.status("churn")["serving"]["track"]
    assert is_changed(bench.get("Deployment", track))
    at_rest_and_unfought(bench)
    # two bodies, and each time the record of what admission changed: annotations of a Deployment count too
    assert bench.generation(track) == 4


def test_a_change_after_admission_is_drift_that_is_reported_once(
    bench: Bench, model: str, admission: Policy | Webhook
) -> None:
    admission.appear()
    deployed(bench, model)
    bench.until_at_rest("churn")
    bench.patch("Deployment", "churn", {"spec": {"minReadySeconds": 77}})

    bench.until_event("churn", "DriftRepaired")
    found = bench.get("Deployment", "churn")
    assert found
    assert (found["spec"]["minReadySeconds"], is_changed(found)) == (3, True)
    bench.until("the record is renewed", lambda: is_recorded(bench.get("Deployment", "churn")))
    bench.until_at_rest("churn")
    bench.until_quiet()
    with bench.nothing_is_written(seconds=3):
        pass
    (told,) = bench.events("churn", "DriftRepaired")
    assert "spec.minReadySeconds" in told
    assert "image" not in told


@pytest.mark.usefixtures("own_operator")
def test_a_restart_of_the_operator_neither_fights_nor_restarts_pods_although_the_policy_is_gone(
    bench: Bench, model: str, admission: Policy | Webhook
) -> None:
    admission.appear()
    deployed(bench, model)
    bench.until_at_rest("churn")
    pods, generation = bench.pod_uids(), bench.generation("churn")
    bench.restart_operator()
    at_rest_and_unfought(bench)
    admission.disappear()
    bench.restart_operator()
    at_rest_and_unfought(bench)
    assert (bench.pod_uids(), bench.generation("churn")) == (pods, generation)
    # the next version has the operator's own values again
    bench.alias(model, "champion", 2)
    bench.until_serving("churn", 2)
    assert not is_changed(bench.get("Deployment", "churn"))
    at_rest_and_unfought(bench)


def test_admission_that_appears_later_starts_with_the_next_write(
    bench: Bench, model: str, admission: Policy | Webhook
) -> None:
    deployed(bench, model)
    bench.until_at_rest("churn")
    pods = bench.pod_uids()
    admission.appear()
    bench.until_quiet()
    with bench.nothing_is_written(seconds=3):
        pass
    assert bench.pod_uids() == pods
    # somebody else's write goes through admission too, and is no reason to fight
    bench.patch("Deployment", "churn", {"metadata": {"annotations": {"team": "crm"}}})
    bench.until("it is changed", lambda: is_changed(bench.get("Deployment", "churn")))
    bench.until("the operator has accepted it", lambda: is_recorded(bench.get("Deployment", "churn")))
    bench.until_serving("churn", 1)
    at_rest_and_unfought(bench)
    assert is_changed(bench.get("Deployment", "churn"))


@pytest.mark.parametrize("target", [SERVICES, AUTOSCALERS], ids=lambda target: target.plural)
def test_a_policy_for_other_kinds_is_left_alone_too(bench: Bench, model: str, target: Target) -> None:
    kind = {"services": "Service", "horizontalpodautoscalers": "HorizontalPodAutoscaler"}[target.plural]
    policy = Policy(bench, target)
    policy.appear()
    try:
        scaling = {"minReplicas": 1, "maxReplicas": 6}
        deployed(bench, model, replicas=None, autoscaling=scaling)
        assert target.is_changed(bench.get(kind, "churn"))
        at_rest_and_unfought(bench)
        # the policy acts on whole objects, and the operator's other fields are still repaired
        bench.patch(kind, "churn", {"metadata": {"labels": {"app.kubernetes.io/instance": "other"}}})
        bench.until_event("churn", "DriftRepaired")
        assert target.is_changed(bench.get(kind, "churn"))
    finally:
        policy.disappear()

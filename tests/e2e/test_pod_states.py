"""Pods that can't start, on a real kubelet and containerd: each report is put on the right side."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.e2e.stage import BETTER, GOOD, Stage
from tests.e2e.test_faults import PATIENCE, Fault, meet, recover
from tests.workbench import Namespace
from tests.workbench.cluster import SERVER_IMAGE

pytestmark = pytest.mark.full
PORT = 20000 + secrets.randbelow(10000)
ADDED = "added-by-policy"
"""The label of pods to which the policies add something. Its value names that."""
PRIVATE_REGISTRY = """
import http.server
class Private(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="private"')
        self.send_header("Content-Length", "0")
        self.end_headers()
    do_HEAD = do_GET
http.server.ThreadingHTTPServer(("127.0.0.1", %d), Private).serve_forever()
"""
TOOL = {"name": "tool", "configMap": {"name": "tool", "defaultMode": 0o755}}
BY_THE_IMAGE = {
    "runtime": "Custom",
    "image": SERVER_IMAGE,
    "volumeMounts": [{"name": "tool", "mountPath": "/tool"}],
}

FAULTS = (
    Fault(
        "denied",
        BETTER,
        "Configuration",
        "ImagePullDenied",
        "of the server container can't be pulled",
        {"server": {"image": f"127.0.0.1:{PORT}/private/server:1"}},
    ),
    Fault(
        "user",
        BETTER,
        "Configuration",
        "SecurityRefused",
        "non-root policy",
        {"server": {"securityContext": {"runAsUser": 0}}},
    ),
    Fault(
        "volume",
        BETTER,
        "Configuration",
        "VolumesNotMounted",
        "Secret no-such-secret",
        {
            "pod": {"volumes": [{"name": "tls", "secret": {"secretName": "no-such-secret"}}]},
            "server": {"volumeMounts": [{"name": "tls", "mountPath": "/tls"}]},
            "rollout": {"fetchSeconds": 30},
        },
    ),
    Fault(
        "command",
        BETTER,
        "Configuration",
        "ContainerCannotStart",
        "no-such-program",
        {"server": {**BY_THE_IMAGE, "command": ["no-such-program"]}, "pod": {"volumes": [TOOL]}},
    ),
    Fault(
        "format",
        BETTER,
        "Configuration",
        "ImageNotForNode",
        "exec format error",
        {"server": {**BY_THE_IMAGE, "command": ["/tool/other-processor"]}, "pod": {"volumes": [TOOL]}},
    ),
)
PASSING = (
    Fault(
        "gate",
        BETTER,
        "Environment",
        "ReadinessGateNotReady",
        "example.com/target-health",
        {"pod": {"labels": {ADDED: "gate"}}, "rollout": {"startupSeconds": 45}},
    ),
    Fault(
        "sidecar",
        BETTER,
        "Environment",
        "SidecarNotReady",
        "mesh",
        {"pod": {"labels": {ADDED: "sidecar"}}, "rollout": {"startupSeconds": 45}},
    ),
    Fault(
        "init",
        BETTER,
        "Environment",
        "InitContainerFailed",
        "mesh-init",
        {"pod": {"labels": {ADDED: "init"}}, "rollout": {"fetchSeconds": 30}},
    ),
)
_ADDITIONS = {
    "gate": (
        "/spec/readinessGates",
        '[{"conditionType": "example.com/target-health"}]',
    ),
    "sidecar": (
        "/spec/containers/-",
        f'Object.spec.containers{{name: "mesh", image: "{SERVER_IMAGE}", command: ["sleep", "3600"], '
        "readinessProbe: Object.spec.containers.readinessProbe{"
        'exec: Object.spec.containers.readinessProbe.exec{command: ["false"]}}}',
    ),
    "init": (
        "/spec/initContainers/0",
        f'Object.spec.initContainers{{name: "mesh-init", image: "{SERVER_IMAGE}", '
        'command: ["python", "-c", "raise SystemExit(7)"]}',
    ),
}
"""The place in the pod, and the value that the policy inserts there."""


@pytest.fixture(scope="module")
def stage(request: pytest.FixtureRequest, shared_stage: Stage) -> Iterator[Stage]:
    """A ModelDeployment for each selected fault; all serve version 1, then all meet their fault."""
    chosen = [fault for fault in (*FAULTS, *PASSING) if _is_selected(request, fault)]
    cluster = shared_stage.cluster
    cluster.post(
        "ConfigMap",
        {"metadata": {"name": "tool"}, "binaryData": {"other-processor": "f0VMRgIBAQAAAAAAAAAAAAIA/wA="}},
    )
    serve_nothing_to_strangers(cluster)
    with pods_changed_by_label(cluster):
        for fault in chosen:
            shared_stage.create(fault.name)
        for fault in chosen:
            cluster.until_serving(fault.name, GOOD, PATIENCE)
        for fault in chosen:
            meet(shared_stage, fault)
        yield shared_stage


def _is_selected(request: pytest.FixtureRequest, fault: Fault) -> bool:
    return any(
        item.module is request.module and f"[{fault.name}]" in item.name for item in request.session.items
    )


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_the_configuration_is_named(stage: Stage, fault: Fault) -> None:
    rejection = stage.cluster.until_rejected(fault.name, fault.version, PATIENCE)
    assert (rejection["side"], rejection["reason"]) == (fault.side, fault.reason)
    assert fault.says in rejection["message"]
    assert stage.cluster.status(fault.name)["serving"]["version"] == GOOD
    stage.cluster.until("only version 1 is left", lambda: stage.cluster.pod_versions(fault.name) == [GOOD])


@pytest.mark.parametrize("fault", PASSING, ids=lambda fault: fault.name)
def test_somebody_elses_addition_rejects_nothing(stage: Stage, fault: Fault) -> None:
    cluster = stage.cluster
    cluster.until(
        "it is withdrawn", lambda: "Withdrawn" in {r for r, _ in cluster.events(fault.name)}, PATIENCE
    )
    status = cluster.status(fault.name)
    assert "rejected" not in status
    assert (status["candidate"]["reason"], status["serving"]["version"]) == (fault.reason, GOOD)
    assert fault.says in status["candidate"]["message"]
    recover(stage, fault)


def serve_nothing_to_strangers(cluster: Namespace) -> None:
    """A registry of images on the node's loopback that refuses every pull without credentials."""
    container = {
        "name": "registry",
        "image": SERVER_IMAGE,
        "command": ["python", "-c", PRIVATE_REGISTRY % PORT],
        "resources": {"requests": {"cpu": "10m"}},
    }
    cluster.post(
        "Pod",
        {
            "metadata": {"name": "private-images"},
            "spec": {"hostNetwork": True, "terminationGracePeriodSeconds": 0, "containers": [container]},
        },
    )
    cluster.until(
        "the private registry runs",
        lambda: (cluster.get("Pod", "private-images") or {})["status"]["phase"] == "Running",
    )


@contextmanager
def pods_changed_by_label(cluster: Namespace) -> Iterator[None]:
    """Admission policies add a container or a readiness gate to labelled pods for the time of the block."""
    group = "/apis/admissionregistration.k8s.io/v1"
    rules = [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}]
    only_here = {"matchLabels": {"kubernetes.io/metadata.name": cluster.name}}
    made: list[tuple[str, str]] = []
    try:
        for addition, (place, value) in _ADDITIONS.items():
            name = f"{cluster.name}-{addition}"
            patch = f'[JSONPatch{{op: "add", path: "{place}", value: {value}}}]'
            policy: dict[str, Any] = {
                "metadata": {"name": name},
                "spec": {
                    "failurePolicy": "Fail",
                    "reinvocationPolicy": "Never",
                    "matchConstraints": {
                        "namespaceSelector": only_here,
                        "objectSelector": {"matchLabels": {ADDED: addition}},
                        "resourceRules": rules,
                    },
                    "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": patch}}],
                },
            }
            binding = {"metadata": {"name": name}, "spec": {"policyName": name}}
            for kind, body in (
                ("mutatingadmissionpolicies", policy),
                ("mutatingadmissionpolicybindings", binding),
            ):
                answer = cluster.api.http.post(f"{group}/{kind}", json=body)
                assert answer.status_code == 201, answer.text
                made.append((kind, name))
        yield
    finally:
        for kind, name in reversed(made):
            cluster.api.http.delete(f"{group}/{kind}/{name}")

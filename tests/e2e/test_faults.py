"""One fault of each class, in ModelDeployments that live side by side: who is blamed, what goes on serving."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tests.e2e.figures import moment
from tests.e2e.stage import (
    BETTER,
    DIES,
    EATS_MEMORY,
    GOOD,
    LOAD_FAILS,
    NEEDS_MODULE,
    NO_FILES,
    OTHER_VERSIONS,
    SELFTEST_FAILS,
    SLOW,
    TAMPERED,
    WRONG_SHAPE,
    Stage,
)
from tests.workbench import Namespace
from tests.workbench.cluster import ASTRAY, STRANGER, STRANGER_SECRET, make_pod_secret

PATIENCE = 240
"""Seconds; in the whole table twenty pods start at the same time."""
SECOND_LOOK = 3
SEEN_BY_TWO_OPERATORS = "load"
"""The fault at which a second operator looks, too."""
STUB_PORT = 20000 + secrets.randbelow(10000)
QUANTUM = "example.com/quantum"
REFUSED_LABEL = "refuse-me"
IMAGE_REGISTRY = """
import http.server
class Empty(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        found = self.path == "/v2/"
        body = b"{}" if found else b'{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}'
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if self.command == "GET" else b"")
    do_HEAD = do_GET
http.server.ThreadingHTTPServer(("127.0.0.1", %d), Empty).serve_forever()
"""


@dataclass(frozen=True)
class Fault:
    """A version or a commit that can't work, and what is said about it."""

    name: str
    version: str
    side: str
    reason: str
    says: str
    spec: dict[str, Any] = field(default_factory=dict)
    """What a commit changes in the spec beside the version, which it then names itself."""


FAULTS = (
    Fault("self-test", SELFTEST_FAILS, "Model", "SelfTestFailed", "this model answers no request"),
    Fault("crash", DIES, "Model", "CrashLoop", "the last time with code 1"),
    Fault("digest", TAMPERED, "Model", "DigestMismatch", "sha256:" + "0" * 64),
    Fault("load", LOAD_FAILS, "Model", "LoadFailed", "this model never loads"),
    Fault("shape", WRONG_SHAPE, "Model", "SelfTestWrongShape", "the answer has (3, 3)"),
    Fault("files", NO_FILES, "Model", "ArtifactMissing", "cleaned-up"),
    Fault(
        "memory",
        EATS_MEMORY,
        "Model",
        "OutOfMemory",
        "server.resources.limits.memory",
        {"server": {"resources": {"limits": {"memory": "700Mi"}}}},
    ),
    Fault("module", NEEDS_MODULE, "Configuration", "RequirementMissing", "acme_feature_store"),
    Fault("versions", OTHER_VERSIONS, "Configuration", "ImageMismatch", "numpy 1.23.5 (the image has 2."),
    Fault(
        "late",
        SLOW,
        "Configuration",
        "StartupDeadline",
        "rollout.startupSeconds",
        {"rollout": {"startupSeconds": 5}},
    ),
    Fault(
        "refused",
        BETTER,
        "Configuration",
        "StoreRefused",
        "credentials Secret",
        {"registry": {"name": STRANGER}},
    ),
    Fault(
        "image",
        BETTER,
        "Configuration",
        "ImageMissing",
        "no/such/server:1",
        {"server": {"image": f"127.0.0.1:{STUB_PORT}/no/such/server:1"}},
    ),
    Fault(
        "field",
        BETTER,
        "Configuration",
        "FieldRefused",
        "Sometimes",
        {"pod": {"tolerations": [{"key": "gpu", "operator": "Sometimes"}]}},
    ),
)
PASSING = (
    Fault(
        "capacity",
        BETTER,
        "Environment",
        "InsufficientCapacity",
        "too little cpu",
        {"server": {"resources": {"requests": {"cpu": "64"}}}, "rollout": {"schedulingSeconds": 3}},
    ),
    Fault(
        "astray",
        BETTER,
        "Environment",
        "StoreUnreachable",
        "http://127.0.0.1:1",
        {"registry": {"name": ASTRAY}, "rollout": {"fetchSeconds": 60}},
    ),
    Fault(
        "pull",
        BETTER,
        "Environment",
        "ImageUnreachable",
        "registry.invalid/server:1",
        {"server": {"image": "registry.invalid/server:1"}, "rollout": {"startupSeconds": 30}},
    ),
    Fault(
        "quota",
        BETTER,
        "Environment",
        "QuotaExceeded",
        QUANTUM,
        {"server": {"resources": {"limits": {QUANTUM: 1}}}, "rollout": {"schedulingSeconds": 5}},
    ),
    Fault(
        "policy",
        BETTER,
        "Environment",
        "PodsRefused",
        "no such pods here",
        {"pod": {"labels": {REFUSED_LABEL: "yes"}}, "rollout": {"schedulingSeconds": 5}},
    ),
)
IN_CI = ("self-test", "crash", "digest", "capacity")


def cases(faults: tuple[Fault, ...]) -> list[Any]:
    return [
        pytest.param(fault, id=fault.name, marks=[] if fault.name in IN_CI else pytest.mark.full)
        for fault in faults
    ]


@pytest.fixture(scope="module")
def serving(request: pytest.FixtureRequest, shared_stage: Stage) -> Iterator[Stage]:
    """A ModelDeployment for each test that runs; all of them serve version 1, then all meet their fault at once."""
    faults = [fault for fault in (*FAULTS, *PASSING) if _runs(request, fault)]
    cluster = shared_stage.cluster
    make_pod_secret(cluster, replace(shared_stage.registry, password="wrong"), STRANGER_SECRET)
    # pods that ask for nothing of it are none of this quota's business
    cluster.post(
        "ResourceQuota", {"metadata": {"name": "none"}, "spec": {"hard": {f"requests.{QUANTUM}": "0"}}}
    )
    if any(fault.name == "image" for fault in faults):
        serve_no_images(cluster)
    with pods_refused_by_label(cluster):
        for fault in faults:
            shared_stage.create(fault.name)
        for fault in faults:
            cluster.until_serving(fault.name, GOOD, PATIENCE)
        for fault in faults:
            meet(shared_stage, fault)
        yield shared_stage


def _runs(request: pytest.FixtureRequest, fault: Fault) -> bool:
    """Whether a selected test of this module is about that fault."""
    return any(
        item.module is request.module and f"[{fault.name}]" in item.name for item in request.session.items
    )


def meet(stage: Stage, fault: Fault) -> None:
    """Moves the alias, or where more changes than the version, commits all of it at once."""
    if fault.spec:
        stage.cluster.commit(fault.name, {"model": {"alias": None, "version": fault.version}, **fault.spec})
    else:
        stage.alias(fault.name, fault.version)


def recover(stage: Stage, fault: Fault) -> None:
    """What a person does then; the better version has to serve."""
    stage.alias(fault.name, BETTER)
    if fault.spec:
        model = {"alias": stage.alias_of(fault.name), "version": None}
        stage.cluster.commit(fault.name, {"model": model, **_taken_back(fault.spec)})
    stage.cluster.until_serving(fault.name, BETTER, PATIENCE)


def _taken_back(spec: dict[str, Any]) -> dict[str, Any]:
    return {key: _taken_back(value) if isinstance(value, dict) else None for key, value in spec.items()}


@pytest.mark.parametrize("fault", cases(FAULTS))
def test_a_bad_version_is_reverted_and_says_whose_fault_it_was(serving: Stage, fault: Fault) -> None:
    cluster = serving.cluster
    rejection = cluster.until_rejected(fault.name, fault.version, PATIENCE)
    assert (rejection["side"], rejection["reason"]) == (fault.side, fault.reason)
    assert fault.says in rejection["message"]
    assert cluster.status(fault.name)["serving"]["version"] == GOOD
    cluster.until("only version 1 is left", lambda: cluster.pod_versions(fault.name) == [GOOD])
    assert "Reverted" in {reason for reason, _ in cluster.events(fault.name)}
    # a spec that is not in force is a failed sync; an alias that moved is not
    assert cluster.condition(fault.name, "Ready")["status"] == ("False" if fault.spec else "True")
    look_again(cluster, fault)
    if fault.name == SEEN_BY_TWO_OPERATORS:
        with cluster.nothing_is_written(SECOND_LOOK, fault.name):
            serving.bench.replace_operator()
    recover(serving, fault)


@pytest.mark.parametrize("fault", cases(PASSING))
def test_what_the_cluster_lacks_withdraws_a_version_and_rejects_nothing(serving: Stage, fault: Fault) -> None:
    cluster = serving.cluster
    condition = cluster.until_condition(fault.name, "Current", "False", fault.reason, PATIENCE)
    assert fault.says in condition["message"]
    cluster.until("it is withdrawn", lambda: "Withdrawn" in {r for r, _ in cluster.events(fault.name)})
    cluster.until("only version 1 is left", lambda: cluster.pod_versions(fault.name) == [GOOD])
    status = look_again(cluster, fault)
    assert "rejected" not in status
    assert (status["candidate"]["phase"], status["candidate"]["reason"]) == ("Withdrawn", fault.reason)
    assert status["serving"]["version"] == GOOD
    assert status["readyReplicas"] == 1
    recover(serving, fault)


def look_again(cluster: Namespace, fault: Fault) -> dict[str, Any]:
    """Nothing more is written once it has gone back, until it is tried again; returns the status."""

    def pauses() -> bool:
        status = cluster.status(fault.name)
        waits = [status.get("candidate", {}), *status.get("rejected", [])[:1]]
        again = [moment(found["retryAt"]) for found in waits if "retryAt" in found]
        in_flight = status.get("candidate", {}).get("phase", "Withdrawn") != "Withdrawn"
        return not in_flight and all(due > time.time() + 3 * SECOND_LOOK for due in again)

    def rests() -> bool:
        before = cluster.resource_versions(fault.name)
        time.sleep(SECOND_LOOK)
        return cluster.resource_versions(fault.name) == before and pauses()

    cluster.until("it has gone back and pauses", lambda: pauses() and rests(), PATIENCE)
    assert cluster.pod_versions(fault.name) == [GOOD]
    with cluster.nothing_is_written(SECOND_LOOK, fault.name):
        pass
    return cluster.status(fault.name)


def serve_no_images(cluster: Namespace) -> None:
    """A registry of images on the node's loopback that has none: an image there is missing for certain."""
    container = {
        "name": "registry",
        "image": "model-operator.io/server:dev",
        "command": ["python", "-c", IMAGE_REGISTRY % STUB_PORT],
        "resources": {"requests": {"cpu": "10m"}},
    }
    cluster.post(
        "Pod",
        {
            "metadata": {"name": "no-images"},
            "spec": {"hostNetwork": True, "terminationGracePeriodSeconds": 0, "containers": [container]},
        },
    )
    cluster.until(
        "the empty registry runs",
        lambda: (cluster.get("Pod", "no-images") or {})["status"]["phase"] == "Running",
    )


@contextmanager
def pods_refused_by_label(cluster: Namespace) -> Iterator[None]:
    """An admission policy refuses labelled pods in the namespace for the time of the block."""
    group, name = "/apis/admissionregistration.k8s.io/v1", cluster.name
    rules = [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}]
    only_here = {"matchLabels": {"kubernetes.io/metadata.name": cluster.name}}
    expression = f"!('{REFUSED_LABEL}' in object.metadata.?labels.orValue({{}}))"
    policy = {
        "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Ignore",
            "matchConstraints": {"namespaceSelector": only_here, "resourceRules": rules},
            "validations": [{"expression": expression, "message": "no such pods here"}],
        },
    }
    binding = {"metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"]}}
    made = (("validatingadmissionpolicies", policy), ("validatingadmissionpolicybindings", binding))
    try:
        for kind, body in made:
            cluster.api.http.post(f"{group}/{kind}", json=body).raise_for_status()
        yield
    finally:
        for kind, _ in reversed(made):
            cluster.api.http.delete(f"{group}/{kind}/{name}")

"""One fault of each class, in ModelDeployments that live side by side: who is blamed, what goes on serving."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.e2e.stage import BETTER, DIES, GOOD, LOAD_FAILS, NEEDS_MODULE, SELFTEST_FAILS, SLOW, Stage


@dataclass(frozen=True)
class Fault:
    """A version or a commit that can't work, and what is said about it."""

    name: str
    version: str
    side: str
    reason: str
    says: str
    spec: dict[str, Any] = field(default_factory=dict)
    """What a commit changes in the spec beside the alias."""


SELF_TEST = Fault("self-test", SELFTEST_FAILS, "Model", "SelfTestFailed", "this model answers no request")
CRASH = Fault("crash", DIES, "Model", "CrashLoop", "last with code 1")
LOAD = Fault("load", LOAD_FAILS, "Model", "LoadFailed", "this model never loads")
MODULE = Fault("module", NEEDS_MODULE, "Configuration", "RequirementMissing", "acme_feature_store")
LATE = Fault(
    "late",
    SLOW,
    "Configuration",
    "StartupDeadline",
    "rollout.startupSeconds",
    {"rollout": {"startupSeconds": 5}},
)
FAULTS = (SELF_TEST, CRASH, LOAD, MODULE, LATE)
PATIENCE = 150


@pytest.fixture(scope="module")
def serving(request: pytest.FixtureRequest, shared_stage: Stage) -> Stage:
    """A ModelDeployment for each test that runs; all of them serve version 1, then all meet their fault at once."""
    faults = [fault for fault in FAULTS if _runs(request, f"[{fault.name}]")]
    names = [fault.name for fault in faults] + (["capacity"] if _runs(request, "no_node") else [])
    for name in names:
        shared_stage.create(name)
    for name in names:
        shared_stage.cluster.until_serving(name, GOOD, PATIENCE)
    for fault in faults:
        shared_stage.alias(fault.name, fault.version)
        if fault.spec:
            shared_stage.cluster.patch("ModelDeployment", fault.name, {"spec": fault.spec})
    return shared_stage


def _runs(request: pytest.FixtureRequest, name: str) -> bool:
    """Whether a selected test of this module is about that ModelDeployment."""
    return any(item.module is request.module and name in item.name for item in request.session.items)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(SELF_TEST, id="self-test"),
        pytest.param(CRASH, id="crash"),
        pytest.param(LOAD, id="load", marks=pytest.mark.full),
        pytest.param(MODULE, id="module", marks=pytest.mark.full),
        pytest.param(LATE, id="late", marks=pytest.mark.full),
    ],
)
def test_a_bad_version_is_reverted_and_says_whose_fault_it_was(serving: Stage, fault: Fault) -> None:
    cluster = serving.cluster
    rejection = cluster.until_rejected(fault.name, fault.version, PATIENCE)
    assert (rejection["side"], rejection["reason"]) == (fault.side, fault.reason)
    assert fault.says in rejection["message"]
    status = cluster.status(fault.name)
    assert status["serving"]["version"] == GOOD
    cluster.until("only version 1 is left", lambda: cluster.pod_versions(fault.name) == [GOOD])
    assert "Reverted" in {reason for reason, _ in cluster.events(fault.name)}

    serving.alias(fault.name, BETTER)
    cluster.until_serving(fault.name, BETTER)


def test_a_commit_that_no_node_has_room_for_is_withdrawn_and_not_rejected(serving: Stage) -> None:
    cluster = serving.cluster
    before = {pod["metadata"]["uid"] for pod in cluster.pods("capacity")}
    huge = {"server": {"resources": {"requests": {"cpu": "64"}}}, "rollout": {"schedulingSeconds": 3}}
    cluster.patch("ModelDeployment", "capacity", {"spec": huge})
    condition = cluster.until_condition("capacity", "Current", "False", "InsufficientCapacity")
    assert "Insufficient cpu" in condition["message"]
    cluster.until("it is withdrawn", lambda: "Withdrawn" in {r for r, _ in cluster.events("capacity")})
    cluster.until(
        "what served is untouched",
        lambda: {pod["metadata"]["uid"] for pod in cluster.pods("capacity")} == before,
    )
    status = cluster.status("capacity")
    assert "rejected" not in status
    assert status["serving"]["version"] == GOOD
    assert status["readyReplicas"] == 1

    small = {"server": {"resources": {"requests": {"cpu": "60m"}}}, "rollout": None}
    cluster.patch("ModelDeployment", "capacity", {"spec": small})
    cluster.until(
        "the commit is in force", lambda: cluster.condition("capacity", "Ready").get("status") == "True"
    )
    cluster.until_serving("capacity", GOOD)

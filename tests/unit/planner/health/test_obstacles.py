"""Obstacles outside of the operator's own containers: volumes, network, and what a webhook added to the pod."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.unit.planner.health.pod_objects import (
    NOW,
    REVISION,
    Json,
    deployment,
    ended,
    pod,
    starting,
    track,
    waiting,
)

from model_operator.api.spec import RolloutSpec
from model_operator.domain.objects import rfc3339
from model_operator.domain.revision import Side
from model_operator.domain.rollout import Phase
from model_operator.planner.health import Failure, Judgement, judge_candidate_pods
from model_operator.planner.health.disruptions import POD_REASONS

RUNNING: Json = {"restartCount": 0, "ready": True, "state": {"running": {"startedAt": rfc3339(NOW)}}}


def judged(*pods: Json) -> Judgement:
    return judge_candidate_pods(REVISION, track(deployment(), *pods), RolloutSpec(), NOW)


def failed(sick: Json) -> Failure:
    found = judged(sick).failure
    assert found is not None
    return found


# --- volumes and network


def unprepared(seconds: float, *volumes: Json, **status: Any) -> Json:
    stuck = pod("PodScheduled", seconds, {"name": "fetch"} | waiting("PodInitializing"))
    stuck["spec"] = {"volumes": [{"name": "tmp", "emptyDir": {}}, *volumes]}
    prepared = {"type": "PodReadyToStartContainers", "status": "False"}
    stuck["status"]["conditions"].append(prepared | status)
    return stuck


SECRET: Json = {"name": "tls", "secret": {"secretName": "churn-tls"}}
CONFIG: Json = {"name": "settings", "projected": {"sources": [{"configMap": {"name": "settings"}}]}}
CLAIM: Json = {"name": "cache", "persistentVolumeClaim": {"claimName": "cache"}}
OPTIONAL: Json = {"name": "extra", "secret": {"secretName": "extra", "optional": True}}
TOKEN: Json = {
    "name": "kube-api-access-x1",
    "projected": {"sources": [{"configMap": {"name": "kube-root-ca.crt"}}]},
}


def test_a_volume_whose_secret_may_be_missing_is_named_after_a_minute_and_a_failure_after_five() -> None:
    early = judged(unprepared(59, SECRET, CONFIG))
    assert (early.hint, early.failure, early.look_at) == ("", None, NOW + timedelta(seconds=1))
    assert early.message == "fetching the model"
    later = judged(unprepared(60, SECRET, CONFIG))
    assert (later.hint, later.deadline) == ("VolumesNotMounted", NOW + timedelta(seconds=240))
    assert "Secret churn-tls, ConfigMap settings" in later.message
    found = failed(unprepared(300, SECRET, CONFIG))
    assert (found.reason, found.side, found.definite) == ("VolumesNotMounted", Side.CONFIGURATION, False)


@pytest.mark.parametrize(
    "volumes",
    [(), (OPTIONAL,), (TOKEN,), (SECRET, CLAIM)],
    ids=["none of the author's", "an optional one", "the API server's own", "a disk beside a Secret"],
)
def test_a_disk_or_a_network_that_takes_long_is_of_the_environment(volumes: tuple[Json, ...]) -> None:
    slow = judged(unprepared(400, *volumes))
    assert (slow.hint, slow.failure) == ("PodNotPrepared", None)
    found = failed(unprepared(1800, *volumes))
    assert (found.reason, found.side) == ("PodNotPrepared", Side.ENVIRONMENT)


def test_a_pod_that_its_node_has_prepared_is_fetching() -> None:
    assert judged(unprepared(400, SECRET, status="True")).hint == ""


def test_a_kubelet_without_the_condition_is_known_by_the_pods_address() -> None:
    old = unprepared(100, SECRET)
    old["status"]["conditions"].pop()
    assert judged(old).hint == "VolumesNotMounted"
    old["status"]["podIP"] = "10.0.0.7"
    assert judged(old).hint == ""


# --- containers of others


def with_init(name: str, container: Json, seconds: float = 5, **spec: Any) -> Json:
    sick = pod("PodScheduled", seconds, {"name": "fetch"} | waiting("PodInitializing"))
    sick["status"]["podIP"] = "10.0.0.7"
    sick["status"]["initContainerStatuses"].insert(0, {"name": name, "image": "other:1"} | container)
    sick["spec"] = {"initContainers": [{"name": name, **spec}, {"name": "fetch"}]}
    return sick


def test_an_init_container_of_others_that_crashes_is_named_at_once() -> None:
    crashed = ended(1, 3, message="iptables: permission denied")
    early = judged(with_init("istio-init", crashed))
    assert (early.phase, early.hint, early.failure) == (Phase.FETCHING, "InitContainerFailed", None)
    assert (
        "the init container istio-init, which the operator has not added, exited with code 1" in early.message
    )
    assert "iptables: permission denied" in early.message
    late = failed(with_init("istio-init", crashed, 1800))
    assert (late.reason, late.side) == ("InitContainerFailed", Side.ENVIRONMENT)


@pytest.mark.parametrize(
    ("container", "text"),
    [
        (waiting("ImagePullBackOff", "other:1: not found"), "can't be pulled: other:1: other:1: not found"),
        (waiting("CreateContainerConfigError", 'secret "x" not found'), "can't be started: secret"),
    ],
)
def test_an_init_container_of_others_that_can_not_start_rejects_nothing(container: Json, text: str) -> None:
    early = judged(with_init("vault-agent-init", container))
    assert (early.hint, early.failure) == ("InitContainerFailed", None)
    assert text in early.message


def test_an_init_container_of_others_that_does_not_end_is_not_a_slow_fetch() -> None:
    assert judged(with_init("wait-for-db", RUNNING)).hint == ""
    assert "wait-for-db" in failed(with_init("wait-for-db", RUNNING, 1800)).message


def test_an_init_container_that_has_ended_well_is_no_obstacle() -> None:
    assert judged(with_init("istio-init", ended(0, reason="Completed"))).message == "fetching the model"


def beside(server: Json, sidecar: Json | None = None, seconds: float = 5, **readiness: Any) -> Json:
    sick = starting(server, seconds)
    if sidecar:
        sick["status"]["containerStatuses"].append({"name": "istio-proxy", "image": "proxy:1"} | sidecar)
    at = rfc3339(NOW - timedelta(seconds=seconds))
    sick["status"]["conditions"][-1] = {
        "type": "Ready",
        "status": "False",
        "lastTransitionTime": at,
    } | readiness
    return sick


def test_a_sidecar_that_is_not_ready_is_not_a_slow_model() -> None:
    unready = RUNNING | {"ready": False}
    early = judged(beside(RUNNING, unready))
    assert (early.hint, early.failure) == ("", None)
    assert "istio-proxy" in early.message
    found = failed(beside(RUNNING, unready, 600))
    assert (found.reason, found.side) == ("SidecarNotReady", Side.ENVIRONMENT)
    assert "istio-proxy" in found.message


def test_a_sidecar_that_can_not_start_is_named_at_once() -> None:
    broken = beside(RUNNING, waiting("ImagePullBackOff", "proxy:1: not found") | {"ready": False})
    assert (judged(broken).hint, judged(broken).failure) == ("SidecarNotReady", None)


def test_a_sidecar_among_the_init_containers_that_is_not_ready_is_no_lost_node() -> None:
    sick = beside(RUNNING, seconds=600, reason="ContainersNotReady")
    sick["status"]["initContainerStatuses"] = [{"name": "istio-proxy", **RUNNING, "ready": False}]
    sick["spec"] = {"initContainers": [{"name": "istio-proxy", "restartPolicy": "Always"}]}
    assert failed(sick).reason == "SidecarNotReady"


def test_a_sidecar_that_waits_beside_a_server_that_is_not_ready_changes_nothing() -> None:
    found = failed(beside(RUNNING | {"ready": False}, RUNNING | {"ready": False}, 600))
    assert found.reason == "StartupDeadline"


def test_a_readiness_gate_that_nobody_sets_is_of_the_environment() -> None:
    message = 'corresponding condition of pod readiness gate "target-health.elbv2.k8s.aws/x" does not exist.'
    gate = {"reason": "ReadinessGatesNotReady", "message": message}
    early = judged(beside(RUNNING, **gate))
    assert (early.hint, early.failure, message in early.message) == ("", None, True)
    found = failed(beside(RUNNING, None, 600, **gate))
    assert (found.reason, found.side) == ("ReadinessGateNotReady", Side.ENVIRONMENT)
    assert "target-health.elbv2.k8s.aws/x" in found.message


# --- whole pods


@pytest.mark.parametrize(("reason", "expected"), POD_REASONS.items())
def test_a_reason_of_the_whole_pod_means(reason: str, expected: str) -> None:
    refused = starting(ended(1, 7))
    refused["status"] |= {"phase": "Failed", "reason": reason, "message": "the node says no"}
    judgement = judged(refused)
    found = judgement.failure
    if expected == "PodRefusedByNode":
        assert found is not None
        assert (found.reason, found.side, found.definite) == (expected, Side.CONFIGURATION, False)
    else:
        assert (found, judgement.hint) == (None, expected)
    assert "the node says no" in judgement.message


# --- programs that the kernel refuses


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        ("exec /usr/local/bin/python: exec format error", "ImageNotForNode"),
        ("standard_init_linux.go:228: exec user process caused: exec format error", "ImageNotForNode"),
        ('standard_init_linux.go:207: exec user process caused "exec format error"', "ImageNotForNode"),
        ("exec /srv/run.sh: no such file or directory", "ContainerCannotStart"),
        ("exec /srv/run.sh: permission denied", "ContainerCannotStart"),
    ],
)
def test_a_program_that_can_not_be_executed_is_not_a_crash_of_the_model(log: str, reason: str) -> None:
    found = failed(starting(ended(255, message=log)))
    assert (found.reason, found.side) == (reason, Side.CONFIGURATION)
    assert log in found.message


def test_a_tool_that_the_model_itself_starts_is_the_models() -> None:
    log = "Traceback: ...\nOSError: [Errno 8] Exec format error: './tool'"
    assert failed(starting(ended(1, 1, message=log))).reason == "CrashLoop"


def test_a_forbidden_system_call_is_of_the_configuration() -> None:
    assert failed(starting(ended(159, reason="seccomp killed"))).reason == "SecurityRefused"

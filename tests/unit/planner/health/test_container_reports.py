"""Every row of the table of reports, with the messages that kubelet, containerd, CRI-O, runc and crun really give."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.unit.planner.health.pod_objects import (
    NOW,
    REVISION,
    Json,
    deployment,
    fetching,
    starting,
    track,
    waiting,
)

from model_operator.api.spec import RolloutSpec
from model_operator.domain.revision import Side
from model_operator.planner.health import REASONS, Judgement, judge_candidate_pods
from model_operator.planner.health.container_reports import AT_ONCE, PROGRESS, RULES, STAGES, find_rule

PULL = 'failed to pull and unpack image "r.io/team/server:1": '
RESOLVE = PULL + 'failed to resolve reference "r.io/team/server:1": '
RUNC = "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: "
INIT = RUNC + "unable to start container process: error during container init: "
BACK_OFF = 'Back-off pulling image "r.io/team/server:1": '

REPORTS: list[tuple[str, str, str]] = [
    # --- pull: the image
    ("InvalidImageName", 'couldn\'t parse image name "A B": invalid reference format', "ImageMissing"),
    ("InvalidImageName", 'Failed to apply default image tag "A B"', "ImageMissing"),
    (
        "ErrImagePull",
        "short name mode is enforcing, but image name server returns ambiguous list",
        "ImageMissing",
    ),
    ("ErrImageNeverPull", 'Container image "x:1" is not present with pull policy of Never', "ImageMissing"),
    ("ErrImagePull", RESOLVE + "r.io/team/server:1: not found", "ImageMissing"),
    (
        "ImagePullBackOff",
        BACK_OFF + "ErrImagePull: rpc error: " + RESOLVE + "server:1: not found",
        "ImageMissing",
    ),
    ("ErrImagePull", "reading manifest 1 in r.io/team/server: manifest unknown", "ImageMissing"),
    (
        "ErrImagePull",
        "reading manifest 1 in r.io/team/server: name unknown: repository not known",
        "ImageMissing",
    ),
    (
        "ErrImagePull",
        PULL
        + "failed to copy: httpReadSeeker: failed open: content at https://r.io/v2/blobs/sha256:0 not found",
        "ImageMissing",
    ),
    # --- pull: trust, platform
    (
        "SignatureValidationFailed",
        "image pull failed for r.io/server:1 because the signature validation failed",
        "ImageUntrusted",
    ),
    (
        "ImagePullBackOff",
        BACK_OFF + "SignatureValidationFailed: image pull failed for r.io/server:1 because the signature "
        "validation failed: Source image rejected: A signature was required, but no signature exists",
        "ImageUntrusted",
    ),
    ("ErrImagePull", "registry r.io is blocked in /etc/containers/registries.conf", "ImageUntrusted"),
    ("ErrImagePull", PULL + "no match for platform in manifest: not found", "ImageNotForNode"),
    (
        "ErrImagePull",
        'choosing an image from manifest list docker://x:1: no image found in image index for architecture "arm64"',
        "ImageNotForNode",
    ),
    (
        "ErrImagePull",
        PULL
        + 'not implemented: media type "application/vnd.docker.distribution.manifest.v1+prettyjws" is no longer '
        "supported since containerd v2.0, please rebuild the image",
        "ImageNotForNode",
    ),
    # --- pull: the node
    (
        "ImageInspectError",
        'Failed to inspect image "r.io/server:1": rpc error: not found',
        "NodeRuntimeError",
    ),
    (
        "ErrImagePull",
        PULL + "failed to extract layer sha256:1: write /usr/lib: no space left on device",
        "NodeRuntimeError",
    ),
    (
        "ErrImagePull",
        PULL
        + 'failed to prepare extraction snapshot "extract-1 sha256:2": parent snapshot sha256:2: not found',
        "NodeRuntimeError",
    ),
    (
        "ErrImagePull",
        "transport: Error while dialing: dial unix /run/containerd/containerd.sock: connect: connection refused",
        "NodeRuntimeError",
    ),
    # --- pull: the registry
    (
        "RegistryUnavailable",
        "image pull failed for r.io/server:1 because the registry is unavailable",
        "ImageUnreachable",
    ),
    (
        "ErrImagePull",
        RESOLVE + "failed to do request: dial tcp: lookup r.io: no such host",
        "ImageUnreachable",
    ),
    ("ErrImagePull", RESOLVE + "dial tcp 10.0.0.1:443: i/o timeout", "ImageUnreachable"),
    (
        "ErrImagePull",
        RESOLVE + "tls: failed to verify certificate: x509: unknown authority",
        "ImageUnreachable",
    ),
    (
        "ErrImagePull",
        RESOLVE + "unexpected status from HEAD request: 503 Service Unavailable",
        "ImageUnreachable",
    ),
    ("ErrImagePull", RESOLVE + "429 Too Many Requests - toomanyrequests: rate limit", "ImageUnreachable"),
    ("ErrImagePull", "pull QPS exceeded", "ImageUnreachable"),
    (
        "ErrImagePull",
        RESOLVE
        + 'failed to authorize: failed to fetch anonymous token: Get "https://auth": dial tcp: i/o timeout',
        "ImageUnreachable",
    ),
    ("ImagePullBackOff", 'Back-off pulling image "r.io/server:1"', "ImageUnreachable"),
    # --- pull: authorization
    (
        "ErrImagePull",
        RESOLVE
        + "pull access denied, repository does not exist or may require authorization: server message: "
        "insufficient_scope: authorization failed",
        "ImagePullDenied",
    ),
    (
        "ImagePullBackOff",
        BACK_OFF + "ErrImagePull: pull access denied for server, repository does not exist or may require "
        "'docker login': denied: requested access to the resource is denied",
        "ImagePullDenied",
    ),
    ("ErrImagePull", RESOLVE + "failed to authorize: no basic auth credentials", "ImagePullDenied"),
    ("ErrImagePull", RESOLVE + "unexpected status from HEAD request: 403 Forbidden", "ImagePullDenied"),
    (
        "ErrImagePull",
        RESOLVE
        + "failed to authorize: failed to fetch anonymous token: unexpected status from GET request to "
        "https://auth/token: 404 Not Found",
        "ImagePullDenied",
    ),
    (
        "ErrImagePull",
        "reading manifest 1 in r.io/server: unauthorized: authentication required",
        "ImagePullDenied",
    ),
    (
        "ErrImagePull",
        "unable to retrieve auth token: invalid username/password: unauthorized",
        "ImagePullDenied",
    ),
    # --- config
    ("CreateContainerConfigError", 'secret "s3" not found', "ContainerConfigError"),
    ("CreateContainerConfigError", 'configmap "settings" not found', "ContainerConfigError"),
    ("CreateContainerConfigError", "couldn't find key token in Secret crm/s3", "ContainerConfigError"),
    (
        "CreateContainerConfigError",
        'failed to prepare subPath for volumeMount "cache" of container "server"',
        "ContainerConfigError",
    ),
    (
        "CreateContainerConfigError",
        'container has runAsNonRoot and image will run as root (pod: "churn", container: server)',
        "SecurityRefused",
    ),
    (
        "CreateContainerConfigError",
        "container has runAsNonRoot and image has non-numeric user (mlflow), cannot verify user is non-root",
        "SecurityRefused",
    ),
    ("CreateContainerConfigError", "container's runAsUser breaks non-root policy", "SecurityRefused"),
    (
        "CreateContainerConfigError",
        "failed to sync configmap cache: timed out waiting for the condition",
        "NodeRuntimeError",
    ),
    (
        "CreateContainerConfigError",
        "services have not yet been read at least once, cannot construct envvars",
        "NodeRuntimeError",
    ),
    # --- create and start: the runtime
    (
        "CreateContainerError",
        'failed to reserve container name "server_churn-1_crm_0_1"; check if another CreateContainer request is in '
        'progress: name "server_churn-1_crm_0_1" is reserved for "5f3a"',
        "NodeRuntimeError",
    ),
    ("CreateContainerError", "setting container name and ID: name is reserved", "NodeRuntimeError"),
    ("CreateContainerError", "context deadline exceeded", "NodeRuntimeError"),
    ("CreateContainerError", "CreateContainer failed as the sandbox was stopped: 5f3a", "NodeRuntimeError"),
    ("CreateContainerError", 'failed to resolve image "sha256:1": not found', "NodeRuntimeError"),
    ("CreateContainerError", "create container timeout", "NodeRuntimeError"),
    ("CreateContainerError", "an error of next year", "NodeRuntimeError"),
    ("RunContainerError", "failed to start containerd task: ttrpc: closed: unknown", "NodeRuntimeError"),
    (
        "RunContainerError",
        RUNC + "fork/exec /usr/bin/runc: resource temporarily unavailable",
        "NodeRuntimeError",
    ),
    (
        "StartError",
        INIT + "error setting cgroup config for procHooks process: unable to freeze",
        "NodeRuntimeError",
    ),
    ("PostStartHookError", "", "NodeRuntimeError"),
    ("failed to get the runtime handler", "", "NodeRuntimeError"),
    # --- create and start: devices
    (
        "StartError",
        INIT
        + "error running prestart hook #0: exit status 1, stdout: , stderr: Auto-detected mode as 'legacy' "
        "nvidia-container-cli: initialization error: nvml error: driver/library version mismatch: unknown",
        "DeviceFailed",
    ),
    (
        "RunContainerError",
        INIT + 'exec: "nvidia-container-runtime-hook": executable file not found',
        "DeviceFailed",
    ),
    (
        "CreateContainerError",
        "CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=0",
        "DeviceFailed",
    ),
    ("PreCreateHookError", "no device left", "DeviceFailed"),
    ("PreStartHookError", "no CPU set", "DeviceFailed"),
    (
        "StartError",
        INIT
        + "nvidia-container-cli: requirement error: unsatisfied condition: cuda>=12.9, please update your driver",
        "ImageNotForNode",
    ),
    # --- create and start: the spec and the image
    (
        "StartError",
        INIT + 'exec: "serve": executable file not found in $PATH: unknown',
        "ContainerCannotStart",
    ),
    (
        "StartError",
        INIT + 'exec: "/srv/run": stat /srv/run: no such file or directory',
        "ContainerCannotStart",
    ),
    (
        "RunContainerError",
        INIT + 'exec: "timeout": executable file not found in $PATH',
        "ContainerCannotStart",
    ),
    (
        "CreateContainerError",
        "container create failed: executable file `serve` not found",
        "ContainerCannotStart",
    ),
    ("CreateContainerError", "failed to generate spec: no command specified", "ContainerCannotStart"),
    (
        "StartError",
        INIT + 'chdir to cwd ("/app") set in config.json failed: no such file',
        "ContainerCannotStart",
    ),
    ("ContainerCannotRun", 'exec: "serve": permission denied', "ContainerCannotStart"),
    ("StartError", INIT + 'exec: "/usr/bin/serve": exec format error', "ImageNotForNode"),
    ("StartError", RUNC + "container init was OOM-killed (memory limit too low?)", "OutOfMemory"),
    (
        "StartError",
        INIT + "unable to find user mlflow: no matching entries in passwd file",
        "SecurityRefused",
    ),
    (
        "CreateContainerError",
        "setup seccomp: profile /var/lib/kubelet/seccomp/x.json missing",
        "SecurityRefused",
    ),
    (
        "StartError",
        INIT
        + 'error mounting "/var/lib/kubelet/pods/1/volumes/a" to rootfs at "/etc/a.conf": not a directory: Are '
        "you trying to mount a directory onto a file (or vice-versa)?",
        "ContainerConfigError",
    ),
    ("CreateContainerError", 'ImageVolumeMountFailed: sub path "x" does not exist', "ContainerConfigError"),
]


def judged(sick: Json) -> Judgement:
    return judge_candidate_pods(REVISION, track(deployment(), sick), RolloutSpec(), NOW)


def reported(reason: str, message: str, seconds: float) -> Json:
    if reason in ("StartError", "ContainerCannotRun"):
        ended = {"terminated": {"exitCode": 128, "reason": reason, "message": message}}
        return starting({"restartCount": 0, "state": ended}, seconds)
    return starting(waiting(reason, message), seconds)


@pytest.mark.parametrize(
    ("reason", "message", "expected"), REPORTS, ids=[f"{r[0]}: {r[1][-60:]} is {r[2]}" for r in REPORTS]
)
def test_a_report_of_the_kubelet_means(reason: str, message: str, expected: str) -> None:
    rule, row = find_rule(reason, message), REASONS[expected]
    assert rule is not None
    assert rule.reason == expected
    early, late = judged(reported(reason, message, 5)), judged(reported(reason, message, 600))
    if rule.lasts == AT_ONCE:
        assert early.failure is not None
        assert early.failure.reason == expected
    else:
        assert (early.failure, early.hint) == (None, expected)
        assert early.deadline == NOW + (rule.lasts or timedelta(seconds=600)) - timedelta(seconds=5)
    assert late.failure is not None
    assert (late.failure.reason, late.failure.side, late.failure.definite) == (
        expected,
        row.side,
        row.definite,
    )
    assert "server container" in late.failure.message
    assert row.side is not Side.MODEL or expected == "OutOfMemory"


def test_every_row_has_a_message_from_real_life() -> None:
    found = [find_rule(reason, message) for reason, message, _ in REPORTS]
    assert [rule.meaning for rule in RULES if rule not in found] == []


def test_every_reason_of_the_kubelet_has_a_message_from_real_life() -> None:
    assert {reason for reason, _, _ in REPORTS} >= STAGES.keys()


def test_a_row_of_the_environment_waits_for_the_deadline_of_its_phase() -> None:
    for rule in RULES:
        assert (rule.lasts is None) == (REASONS[rule.reason].side is Side.ENVIRONMENT), rule.meaning


@pytest.mark.parametrize("reason", sorted(PROGRESS))
def test_a_reason_without_a_problem_is_none(reason: str) -> None:
    assert find_rule(reason, "back-off 10s restarting failed container") is None


def test_the_fetch_names_its_own_memory() -> None:
    low = {"exitCode": 128, "reason": "StartError", "message": "container init was OOM-killed"}
    found = judged(fetching({"restartCount": 0, "state": {"terminated": low}})).failure
    assert found is not None
    assert (found.reason, "fetch.resources" in found.message) == ("FetchOutOfMemory", True)


def test_a_container_that_the_node_could_not_start_at_first_and_now_runs_is_well() -> None:
    busy = {"exitCode": 128, "reason": "StartError", "message": "ttrpc: closed"}
    running = {"restartCount": 1, "state": {"running": {}}, "lastState": {"terminated": busy}}
    assert judged(starting(running)).hint == ""

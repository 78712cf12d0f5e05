"""The table of the kubelet's and the container runtimes' reports about a container, with the reason that each means.

The kubelet puts a reason and a message into a container's state Waiting or Terminated. Its own reasons are constants
of pkg/kubelet (images/types.go, container/sync_result.go, kuberuntime/kuberuntime_container.go) and of
cri-api/pkg/errors. The message is the error of containerd (internal/cri/server, core/remotes/docker,
internal/registrar), CRI-O (server, internal/storage, internal/oci, internal/registrar) or runc and crun below them.

docs/reference/pod-states.md is generated from this table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

AT_ONCE = timedelta(0)
CONFIG_GRACE = timedelta(seconds=60)
"""A GitOps sync may create a Secret or ConfigMap a little after the ModelDeployment that uses it."""


class Stage(StrEnum):
    """The step of a container's start that a report is about."""

    PULL = "pull"
    CONFIG = "config"
    RUN = "run"
    """The runtime creates or starts the container."""


@dataclass(frozen=True, slots=True)
class ReportRule:
    """One row: the reports with one of ``signs`` mean ``reason``. Of several rows that match, the first counts."""

    stage: Stage
    signs: Sequence[str]
    """Parts of the report, ``REASON: MESSAGE`` in lower case. Without any, the row matches every report."""
    reason: str
    meaning: str
    lasts: timedelta | None = None
    """How long the report has to last before it is a failure. None: until the deadline of the phase."""


STAGES: Mapping[str, Stage] = {
    "ErrImagePull": Stage.PULL,
    "ImagePullBackOff": Stage.PULL,
    "ErrImageNeverPull": Stage.PULL,
    "InvalidImageName": Stage.PULL,
    "ImageInspectError": Stage.PULL,
    "RegistryUnavailable": Stage.PULL,
    "SignatureValidationFailed": Stage.PULL,
    "CreateContainerConfigError": Stage.CONFIG,
    "CreateContainerError": Stage.RUN,
    "PreCreateHookError": Stage.RUN,
    "PreStartHookError": Stage.RUN,
    "RunContainerError": Stage.RUN,
    "PostStartHookError": Stage.RUN,
    "StartError": Stage.RUN,
    "ContainerCannotRun": Stage.RUN,
}
"""The reasons of a container that can't run. StartError and ContainerCannotRun are of state Terminated."""

PROGRESS = frozenset({"", "ContainerCreating", "PodInitializing", "CrashLoopBackOff"})
"""Reasons of state Waiting that report no problem. After CrashLoopBackOff, the last exit has the problem."""

_BUSY_NODE = (
    "no space left on device",
    "too many open files",
    "input/output error",
    "disk quota exceeded",
    "resource temporarily unavailable",
    "device or resource busy",
    "cannot allocate memory",
)
_SILENT_RUNTIME = (
    "context deadline exceeded",
    "deadlineexceeded",
    "timed out",
    "handshake timeout",
    "client.timeout",
    "container timeout",
    "context canceled",
    "error reading from server",
    "transport is closing",
    "ttrpc: closed",
    "connection refused",
    "connection reset",
    "i/o timeout",
)
RULES: Sequence[ReportRule] = (
    # --- pull
    ReportRule(
        Stage.PULL, ("imageinspecterror",), "NodeRuntimeError", "the runtime can't look for the image"
    ),
    ReportRule(
        Stage.PULL,
        ("invalidimagename", "invalid reference format", "short name mode is enforcing"),
        "ImageMissing",
        "the image's name is invalid, or is short and has several meanings",
        AT_ONCE,
    ),
    ReportRule(
        Stage.PULL,
        ("errimageneverpull", "not present with pull policy of never"),
        "ImageMissing",
        "the image may not be pulled, and the node does not have it",
        AT_ONCE,
    ),
    ReportRule(
        Stage.PULL,
        (
            "signaturevalidationfailed",
            "signature validation failed",
            "source image rejected",
            "is blocked in",
            "rejected by policy",
        ),
        "ImageUntrusted",
        "the node's policy rejects the image's signature, or blocks its registry",
        AT_ONCE,
    ),
    ReportRule(
        Stage.PULL,
        (
            "no match for platform",
            "no matching manifest for",
            "no image found in manifest list for",
            "no image found in image index for",
            "is no longer supported",
            "unsupported manifest media type",
            "unsupported schema",
        ),
        "ImageNotForNode",
        "the image has no build for the node's platform, or a format that the runtime does not read",
        AT_ONCE,
    ),
    ReportRule(
        Stage.PULL,
        (
            *_BUSY_NODE,
            "failed to extract layer",
            "failed to prepare extraction snapshot",
            "failed to create prepare snapshot dir",
            "failed to unpack image on snapshotter",
            "writing blob: adding layer",
            "containerd.sock",
            "crio.sock",
            "failed to record image pull intent",
            "operation not permitted",
            "permission denied",
        ),
        "NodeRuntimeError",
        "the node can't store or unpack the image",
    ),
    ReportRule(
        Stage.PULL,
        (
            "registryunavailable",
            *_SILENT_RUNTIME,
            "no such host",
            "server misbehaving",
            "no route to host",
            "network is unreachable",
            "x509:",
            "tls:",
            "unexpected eof",
            "too many requests",
            "toomanyrequests",
            "pull qps exceeded",
            "500 internal server error",
            "502 bad gateway",
            "503 service unavailable",
            "504 gateway",
            "service unavailable",
        ),
        "ImageUnreachable",
        "the registry gives no usable answer, or limits the pulls",
    ),
    ReportRule(
        Stage.PULL,
        (
            "may require authorization",
            "may require 'docker login'",
            "pull access denied",
            "insufficient_scope",
            "authorization failed",
            "failed to authorize",
            "oauth token",
            "anonymous token",
            "bearer token",
            "unauthorized",
            "authentication required",
            "no basic auth credentials",
            "missing username or secret",
            "unable to retrieve auth token",
            "invalid username/password",
            "requested access to the resource is denied",
            "403 forbidden",
            "forbidden:",
            "denied:",
            ": denied",
        ),
        "ImagePullDenied",
        "the registry refuses the pull, or hides the image from the pod's credentials",
        CONFIG_GRACE,
    ),
    ReportRule(
        Stage.PULL,
        ("manifest unknown", "name unknown", "repository unknown", "not found", "does not exist"),
        "ImageMissing",
        "the registry does not have the image or one of its layers",
        AT_ONCE,
    ),
    ReportRule(Stage.PULL, (), "ImageUnreachable", "any other failed pull, and the pause between two pulls"),
    # --- config
    ReportRule(
        Stage.CONFIG,
        ("runasnonroot", "run as root", "non-root policy", "non-numeric user", "root identity"),
        "SecurityRefused",
        "the image's user does not satisfy runAsNonRoot",
        AT_ONCE,
    ),
    ReportRule(
        Stage.CONFIG,
        (
            *_BUSY_NODE,
            *_SILENT_RUNTIME,
            "failed to sync secret cache",
            "failed to sync configmap cache",
            "services have not yet been read",
            "container log directory",
        ),
        "NodeRuntimeError",
        "the kubelet can't read the object now, or can't write its own files",
    ),
    ReportRule(
        Stage.CONFIG,
        (),
        "ContainerConfigError",
        "a Secret, ConfigMap or key of a variable is missing, or a mount's subPath can't be used",
        CONFIG_GRACE,
    ),
    # --- run
    ReportRule(
        Stage.RUN,
        ("container init was oom-killed", "memory limit too low", "has been oom-killed"),
        "OutOfMemory",
        "the memory limit is too low for the start of any process",
        AT_ONCE,
    ),
    ReportRule(
        Stage.RUN,
        (
            "exec format error",
            "unsatisfied condition: cuda",
            "unsatisfied condition: driver",
            "unsatisfied condition: arch",
        ),
        "ImageNotForNode",
        "the program is built for another processor, or the image needs another driver",
        AT_ONCE,
    ),
    ReportRule(
        Stage.RUN,
        (
            "nvidia-container-cli",
            "nvidia-container-runtime",
            "nvml error",
            "driver/library version mismatch",
            "libcuda",
            "libnvidia",
            "cdi device",
            "cdi support",
            "unresolvable cdi",
            "/dev/",
            "prestart hook",
            "createruntime hook",
            "createcontainer hook",
            "startcontainer hook",
            "poststart hook",
            "error running hook",
            "prestarthookerror",
            "precreatehookerror",
        ),
        "DeviceFailed",
        "a device, its driver, or the hook that prepares it fails",
    ),
    ReportRule(
        Stage.RUN,
        (
            'exec: "',
            "executable file",
            "open executable",
            "no command specified",
            "chdir to",
            "exec user process caused",
        ),
        "ContainerCannotStart",
        "the command or its directory does not exist in the image, or can't be executed",
        AT_ONCE,
    ),
    ReportRule(
        Stage.RUN,
        (
            "is reserved for",
            "name is reserved",
            "failed to reserve container name",
            *_BUSY_NODE,
            *_SILENT_RUNTIME,
            "sandbox container",
            "sandbox was stopped",
            "specified sandbox",
            "failed to find sandbox",
            "/sandboxes/",
            "failed to resolve image",
            "failed to get image from containerd",
            "cgroup",
            "runtime handler",
        ),
        "NodeRuntimeError",
        "the runtime is busy with an earlier request, does not answer, or lacks a resource of the node",
    ),
    ReportRule(
        Stage.RUN,
        (
            "unable to find user",
            "unable to find group",
            "no users found",
            "no matching entries in passwd",
            "seccomp",
            "apparmor",
            "selinux",
            "unknown capability",
            "no privileged container allowed",
        ),
        "SecurityRefused",
        "the image has no such user, or the node does not have the security profile",
        CONFIG_GRACE,
    ),
    ReportRule(
        Stage.RUN,
        (
            "error mounting",
            "cannot mount",
            "not a shared mount",
            "not a shared or slave mount",
            "recursive read-only",
            "rrounsupported",
            "imagevolumemountfailed",
            "sub path",
            "subpath",
            "read-only file system",
            "not a directory",
        ),
        "ContainerConfigError",
        "a volume can't be mounted where the spec mounts it",
        CONFIG_GRACE,
    ),
    ReportRule(Stage.RUN, (), "NodeRuntimeError", "any other error of the runtime"),
)


def find_rule(report: str, message: str) -> ReportRule | None:
    """The row for a reason of a container's state and its message. None if the reason is no problem by itself.

    The kubelet may use any error's text as the reason. An unknown one counts as an error of the runtime.
    """
    if report in PROGRESS:
        return None
    stage = STAGES.get(report, Stage.RUN)
    # the reason counts too, since a pause between two pulls only has it in its message
    text = f"{report}: {message}".lower()
    return next(rule for rule in RULES if rule.stage is stage and _matches(rule, text))


def _matches(rule: ReportRule, text: str) -> bool:
    return not rule.signs or any(sign in text for sign in rule.signs)

"""The only table of the reasons for a failure: side, meaning and remedy of each.

docs/reference/failures.md has the same rows, and a test compares the two word by word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from model_operator.domain.revision import Side

MESSAGE_LIMIT = 1024
"""Characters of a message. Conditions and events allow no more."""

M, C, E = Side.MODEL, Side.CONFIGURATION, Side.ENVIRONMENT


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a revision can't be rolled out, or can't keep serving."""

    side: Side
    reason: str
    message: str
    definite: bool = True
    """False if a retry of the same version may succeed. It then gets three attempts.

    Without meaning for side Environment, which is always retried.
    """


@dataclass(frozen=True, slots=True)
class Reason:
    """One row of the table."""

    side: Side
    meaning: str
    remedy: str
    definite: bool = True
    of_files: bool = False
    """Whether the version's files are the cause. Then only another source of the files can fix it."""
    fixed_by: str = ""
    """For side Model: the field of the spec in the remedy, if a commit can be the remedy."""
    own_remedy: bool = False
    """Whether the message of each case contains its own remedy, which depends on the case."""


REASONS: Mapping[str, Reason] = {
    "DigestMismatch": Reason(
        M,
        "the files in the artifact store do not match the digest in the version's tag",
        "register the model again, or correct the tag that gates.integrity.digestTag names",
        of_files=True,
    ),
    "ArtifactMissing": Reason(
        M,
        "the version's files, or its MLmodel file, do not exist",
        "log the model again",
        of_files=True,
    ),
    "LoadFailed": Reason(M, "loading the model raised an error", "fix the model and log it again"),
    "SelfTestFailed": Reason(
        M,
        "on its input example, the model failed, returned NaN or a value that is not JSON, or took too long",
        "fix the model or its example (selfTest.timeoutSeconds sets the time limit)",
    ),
    "SelfTestWrongShape": Reason(
        M,
        "the model's answer to its input example does not have the shape that the example and the signature require",
        "fix the model, or log it with its actual signature",
    ),
    "OutOfMemory": Reason(
        M,
        "the server container was killed because it exceeded its memory limit",
        "raise server.resources.limits.memory, or make the model smaller",
        fixed_by="server.resources",
    ),
    "CrashLoop": Reason(
        M,
        "the container exited repeatedly without one of the exit codes of the operator's scripts",
        "check its log (kubectl logs --previous)",
        definite=False,
    ),
    "ServerExited": Reason(
        M,
        "a server exited in the watch window, which is only reported and lengthens the window",
        "check its log (kubectl logs --previous)",
    ),
    "ReadinessLost": Reason(
        M,
        "a pod that was ready stopped answering its readiness probe",
        "check the server's log for the cause (kubectl logs)",
    ),
    "ServerErrors": Reason(
        M,
        "at least 10% of the requests in the watch window were answered with 5xx or failed in mid-stream",
        "check the server's log for the errors (kubectl logs)",
    ),
    "FetchOutOfMemory": Reason(
        C,
        "the fetch container was killed because it exceeded its memory limit",
        "raise fetch.resources.limits.memory, or use a volume for /model that is not in memory",
    ),
    "RequirementMissing": Reason(
        C,
        "the image lacks a library or a program that the model needs",
        "set server.image to an image that has it",
        own_remedy=True,
    ),
    "ImageMismatch": Reason(
        C,
        "the model fails because the image has another version of Python, MLflow or a library than it was made with",
        "set server.image to an image with the model's versions",
        own_remedy=True,
    ),
    "SelfTestMissing": Reason(
        C,
        "selfTest.mode is Required, and there is neither an input example nor a payload",
        "log the model with input_example, or set selfTest.payload",
    ),
    "ServeMisconfigured": Reason(
        C,
        "the server's environment can't be used, or the payload's key is missing",
        "correct the variable that the message names",
        own_remedy=True,
    ),
    "FetchMisconfigured": Reason(
        C,
        "the model can't be written to its volume, its files lie on the MLflow server's own disk, "
        "or the fetch container's image or environment can't be used",
        "see fetch.volume, fetch.image and fetch.env",
        own_remedy=True,
    ),
    "StoreRefused": Reason(
        C,
        "the registry or the artifact store refuses the pods' credentials (401, 403)",
        "correct the Secret of the pods",
        own_remedy=True,
    ),
    "ImageMissing": Reason(
        C, "the image does not exist, or its name is invalid", "correct the image's name, or push it"
    ),
    "ImagePullDenied": Reason(
        C,
        "for 60 seconds, the registry refused the pull, or hid the image from the pod's credentials",
        "check the image's name, and name a Secret with access to it in pod.imagePullSecrets",
        definite=False,
    ),
    "ImageUntrusted": Reason(
        C,
        "the policy of the node rejects the image's signature, or blocks its registry",
        "sign the image, or use one that the policy of the nodes accepts",
    ),
    "ImageNotForNode": Reason(
        C,
        "the image does not fit the node: it is built for another platform, or needs another driver",
        "use an image for the platform and drivers of the nodes, or choose other nodes with pod.nodeSelector",
    ),
    "ContainerConfigError": Reason(
        C,
        "the container could not be created for 60 seconds",
        "create or correct the Secret, ConfigMap, key or mount that the message names",
    ),
    "VolumesNotMounted": Reason(
        C,
        "a Secret or ConfigMap of pod.volumes could not be mounted for 300 seconds",
        "create the missing one of the Secrets and ConfigMaps that the message names, or check the pod's events",
        definite=False,
    ),
    "SecurityRefused": Reason(
        C,
        "the image does not run with the security settings: its user, a profile, or a forbidden system call",
        "set a numeric runAsUser in pod.securityContext, or use an image that runs with these settings",
    ),
    "PodRefusedByNode": Reason(
        C,
        "the node does not support a setting of the pod",
        "correct the setting that the message names, or choose other nodes with pod.nodeSelector",
        definite=False,
    ),
    "ContainerCannotStart": Reason(
        C,
        "the container's command does not exist in the image, or can't be executed",
        "correct server.command or the image",
    ),
    "StartupDeadline": Reason(
        C,
        "the server was not ready within rollout.startupSeconds of its start",
        "if the model needs longer to load, raise rollout.startupSeconds",
        definite=False,
    ),
    "FieldRefused": Reason(
        C, "the API server refuses a field of the rendered object", "correct the field that the message names"
    ),
    "StoreUnreachable": Reason(
        E,
        "the registry or the artifact store can't be reached from the pod",
        "check the network and the registry's podUrl",
    ),
    "ImageUnreachable": Reason(
        E,
        "the image can't be pulled: its registry is unreachable, or limits the pulls",
        "check the network, and whether the registry answers",
    ),
    "NodeRuntimeError": Reason(
        E,
        "the node's container runtime can't create or start the container at the moment",
        "check the node: its container runtime, disk and processes",
    ),
    "DeviceFailed": Reason(
        E,
        "a device of the node, its driver, or the hook that prepares it fails",
        "check the devices and drivers of the node",
    ),
    "PodNotPrepared": Reason(
        E,
        "the node has not mounted the pod's volumes and set up its network",
        "check the pod's events, the volumes and the network plug-in",
    ),
    "InitContainerFailed": Reason(
        E,
        "an init container that something else added to the pod does not end, or fails",
        "check its log, and the webhook or policy that adds it",
    ),
    "SidecarNotReady": Reason(
        E,
        "the server is ready, and a container that something else added to the pod is not",
        "check its log, and the webhook or policy that adds it",
    ),
    "ReadinessGateNotReady": Reason(
        E,
        "the server is ready, and a readiness gate that something else added to the pod is not true",
        "check the controller that sets the condition that the message names",
    ),
    "InsufficientCapacity": Reason(
        E, "no node has room for the pod", "free capacity, or lower the requests in server.resources"
    ),
    "SchedulingDeadline": Reason(
        E, "the pod was not scheduled within rollout.schedulingSeconds", "check the pod's events"
    ),
    "FetchDeadline": Reason(
        E,
        "the model was not fetched within rollout.fetchSeconds",
        "find out why the download is slow, or raise rollout.fetchSeconds",
    ),
    "QuotaExceeded": Reason(
        E,
        "the namespace's quota is used up, so new pods or a child object can't be created",
        "raise the quota, or lower the requests",
    ),
    "PodsRefused": Reason(
        E,
        "the API server, or an admission policy, refuses the new pods",
        "change the policy, or the setting that it refuses",
    ),
    "NodeLost": Reason(
        E,
        "the pod's node went away: lost, shut down or removed",
        "another pod replaces it, so act only if it happens again",
    ),
    "Evicted": Reason(
        E,
        "the pod was evicted, preempted or refused by its node",
        "another pod replaces it. If it happens again, raise the pod's requests or its priority",
    ),
    "Saturated": Reason(
        E,
        "pods are not ready because they get more requests than they can handle, which is only reported",
        "raise replicas or autoscaling.maxReplicas",
    ),
    "NoProgress": Reason(
        E,
        "pods were replaced again and again, and none became ready within the sum of all phase limits",
        "check the pods' events",
    ),
}

_CODES: Mapping[int, str] = {
    40: "DigestMismatch",
    41: "ArtifactMissing",
    42: "StoreUnreachable",
    43: "StoreRefused",
    44: "FetchMisconfigured",
    50: "LoadFailed",
    51: "RequirementMissing",
    52: "SelfTestFailed",
    53: "SelfTestMissing",
    54: "ServeMisconfigured",
    55: "SelfTestWrongShape",
    56: "ImageMismatch",
}

EXIT_CODES: Mapping[int, tuple[str, Side]] = {
    code: (reason, REASONS[reason].side) for code, reason in _CODES.items()
}
"""Exit codes of the scripts in ``pod/``. A test compares the two lists."""


def failure(reason: str, happened: str = "", last_output: str = "") -> Failure:
    """The failure of that reason, with a message of cause and remedy.

    ``happened`` describes this case and replaces the meaning in the table. ``last_output`` is the output of a
    container. A long message is shortened, but the remedy stays complete. Raises KeyError for an unknown reason.
    """
    known = REASONS[reason]
    remedy = "" if known.own_remedy and happened else f"; {known.remedy}"
    text = shorten(happened or known.meaning, MESSAGE_LIMIT - len(remedy)) + remedy
    if last_output:
        text = shorten(f"{text}; its last output: {last_output}", MESSAGE_LIMIT)
    return Failure(known.side, reason, text, known.definite)


def worst(failures: Sequence[Failure | None]) -> Failure | None:
    """The failure that decides: Model before Configuration before Environment, definite ones first."""
    order = [Side.MODEL, Side.CONFIGURATION, Side.ENVIRONMENT]
    found = [f for f in failures if f]
    return min(found, key=lambda f: (order.index(f.side), not f.definite, f.reason)) if found else None


def shorten(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """The text, cut to that many characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"

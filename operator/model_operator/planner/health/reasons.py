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
        "at least 10 % of the requests in the watch window were answered with 5xx",
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
    "ContainerConfigError": Reason(
        C,
        "the container could not be created for 60 seconds",
        "create the Secret, ConfigMap or key that the message names",
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
        "the image can't be pulled: its registry is unreachable, or refuses the pull",
        "check the network and pod.imagePullSecrets",
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

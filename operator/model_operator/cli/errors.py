"""How a command ends when it can't do what it was asked: one sentence, the next step, a documented exit code."""

from __future__ import annotations

from enum import IntEnum

from model_operator.kube.errors import ApiError, Conflict, Forbidden, Invalid, NotFound, Unauthorized


class ExitCode(IntEnum):
    """What scripts go by; docs/reference/kubectl-model.md has the same table."""

    FINE = 0
    FAILED = 1
    """The version was rejected, a request was refused, a manifest is bad, the doctor found a problem."""
    USAGE = 2
    TIMEOUT = 3
    NOT_FOUND = 4
    NO_ANSWER = 5
    """The API server, or the registry, can't be reached or does not let us."""


class CommandError(Exception):
    """Ends a command. ``message`` says what happened, ``remedy`` what to do next."""

    def __init__(self, code: ExitCode, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.remedy = remedy


def from_api(error: ApiError, what: str) -> CommandError:
    """What the API server's answer means for whoever wanted ``what``, such as "read churn in crm"."""
    said = error.message.rstrip(".")
    if isinstance(error, NotFound):
        return CommandError(
            ExitCode.NOT_FOUND, f"can't {what}: {said}", "kubectl model get -A shows what there is"
        )
    if isinstance(error, Unauthorized):
        return CommandError(
            ExitCode.NO_ANSWER,
            f"can't {what}: the API server does not know who you are",
            "sign in again; kubectl auth whoami tells whether it worked",
        )
    if isinstance(error, Forbidden):
        return CommandError(
            ExitCode.NO_ANSWER,
            f"can't {what}: {said}",
            "ask for that right; kubectl model doctor lists what is needed",
        )
    if isinstance(error, Invalid | Conflict):
        return CommandError(ExitCode.FAILED, f"can't {what}: {said}")
    return CommandError(
        ExitCode.NO_ANSWER,
        f"can't {what}: {said}",
        "kubectl cluster-info tells whether the cluster answers; --context and --kubeconfig choose another",
    )

"""Errors of commands: a message, the next step, and a documented exit code."""

from __future__ import annotations

from enum import IntEnum

from model_operator.kube.errors import ApiError, Conflict, Forbidden, Invalid, NotFound, Unauthorized


class ExitCode(IntEnum):
    """The exit codes for scripts. docs/reference/kubectl-model.md has the same table."""

    FINE = 0
    FAILED = 1
    """The version or a request was rejected, a manifest is invalid, or the doctor found a problem."""
    USAGE = 2
    TIMEOUT = 3
    NOT_FOUND = 4
    NO_ANSWER = 5
    """The API server or the registry can't be reached, or denies access."""


class CommandError(Exception):
    """Ends a command. ``message`` describes the failure, ``remedy`` the next step."""

    def __init__(self, code: ExitCode, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.remedy = remedy


def from_api(error: ApiError, step: str) -> CommandError:
    """Returns the CommandError for an error of the API server in a step such as "read churn in crm"."""
    message = error.message.rstrip(".")
    if isinstance(error, NotFound):
        return CommandError(
            ExitCode.NOT_FOUND, f"can't {step}: {message}", "kubectl model get -A lists all ModelDeployments"
        )
    if isinstance(error, Unauthorized):
        return CommandError(
            ExitCode.NO_ANSWER,
            f"can't {step}: the API server does not know who you are",
            "sign in again and check with kubectl auth whoami",
        )
    if isinstance(error, Forbidden):
        return CommandError(
            ExitCode.NO_ANSWER,
            f"can't {step}: {message}",
            "request that right (kubectl model doctor lists the rights that you need)",
        )
    if isinstance(error, Invalid | Conflict):
        return CommandError(ExitCode.FAILED, f"can't {step}: {message}")
    return CommandError(
        ExitCode.NO_ANSWER,
        f"can't {step}: {message}",
        "check the cluster with kubectl cluster-info, or choose another with --context or --kubeconfig",
    )

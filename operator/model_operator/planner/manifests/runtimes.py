"""The runtimes by the value of ``server.runtime``, and how the server container differs between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from model_operator.api.spec import ModelDeploymentSpec
from model_operator.planner.manifests.containers import PAYLOAD_FILE, PRE_STOP_SECONDS, SCRIPTS_DIR

# between the end of the drain and the kubelet's SIGKILL
_EXIT_SECONDS = 2


def _nothing(_spec: ModelDeploymentSpec) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True, slots=True)
class Runtime:
    """One runtime's part of the server container. Its rules for the spec are its row in api/choices.py.

    It is part of a revision's template, which is rendered once. A change affects only revisions rendered after it.
    """

    command: Callable[[ModelDeploymentSpec], Sequence[str]]
    """The command, to which ``server.args`` are added. Empty: that of the image."""
    ready_path: str
    """The path of the startup and the readiness probe, unless ``server.probes`` sets another one."""
    alive_path: str
    """The path of the liveness probe."""
    environment: Callable[[ModelDeploymentSpec], Mapping[str, str]] = _nothing
    """Variables in addition to MODEL_NAME, MODEL_VERSION, MODEL_DIR and SERVER_PORT, which every server has."""
    scripts: bool = False
    """Whether the operator's scripts are mounted into the server container."""


def _run_script(_spec: ModelDeploymentSpec) -> Sequence[str]:
    return ["python", f"{SCRIPTS_DIR}/serve.py"]


def _configure_script(spec: ModelDeploymentSpec) -> Mapping[str, str]:
    test, server = spec.self_test, spec.server
    drain = spec.pod.termination_grace_period_seconds - PRE_STOP_SECONDS - _EXIT_SECONDS
    variables = {
        "SELF_TEST_MODE": test.mode,
        "SELF_TEST_TIMEOUT_SECONDS": str(test.timeout_seconds),
        "SELF_TEST_PATH": test.path,
        "DRAIN_SECONDS": str(max(1, drain)),
    }
    if test.payload:
        variables["SELF_TEST_PAYLOAD_FILE"] = PAYLOAD_FILE
    # absent without the field: the pod has the defaults, and a template must render as it did before
    chosen = {
        "SERVER_WORKERS": server.workers,
        "MAX_CONCURRENCY": server.max_concurrency,
        "MAX_QUEUE": server.max_queue,
    }
    if server.batch is not None:
        chosen["BATCH_MAX_ROWS"] = server.batch.max_rows
        chosen["BATCH_MAX_WAIT_MILLISECONDS"] = server.batch.max_wait_milliseconds
    return variables | {name: str(value) for name, value in chosen.items() if value is not None}


MLFLOW = Runtime(_run_script, "/ping", "/health", _configure_script, scripts=True)
CUSTOM = Runtime(lambda spec: spec.server.command, "/health", "/health")

RUNTIMES: dict[str, Runtime] = {"MLflow": MLFLOW, "Custom": CUSTOM}

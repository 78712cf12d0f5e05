"""A runtime in one file: a server program that reads a model repository and takes no command of the author's."""

from __future__ import annotations

from collections.abc import Sequence

from model_operator.api.choices import RuntimeRow
from model_operator.api.spec import ModelDeploymentSpec
from model_operator.planner.manifests.containers import MODEL_DIR
from model_operator.planner.manifests.runtimes import Runtime

ROW = RuntimeRow("an inference server loads the model repository in /model.")


def _command(spec: ModelDeploymentSpec) -> Sequence[str]:
    return ["inference-server", f"--repository={MODEL_DIR}", f"--http-port={spec.server.port}"]


RUNTIME = Runtime(_command, "/v2/health/ready", "/v2/health/live", lambda _: {"LOG_FORMAT": "json"})

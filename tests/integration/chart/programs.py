"""The real helm and kubectl against a control plane, and where things of the chart are."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.cluster.control_plane import ControlPlane

ROOT = Path(__file__).parents[3]
CHART = ROOT / "charts" / "model-operator"
NAMESPACE = "model-operator-system"
CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/modeldeployments.model-operator.io"
MODEL_DEPLOYMENTS = "/apis/model-operator.io/v1alpha1/namespaces/default/modeldeployments"

Program = Callable[..., str]
"""Takes arguments, gives the output. Raises RefusedError."""


class RefusedError(AssertionError):
    """A program ended with an error; the message is what it said."""


def run(plane: ControlPlane, home: Path, *command: str | Path) -> str:
    """Run a program against the plane; its output. Raises RefusedError."""
    result = subprocess.run(
        command,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "KUBECONFIG": str(plane.kubeconfig),
            "NO_PROXY": "127.0.0.1",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if result.returncode != 0:
        raise RefusedError(result.stderr)
    return result.stdout

"""Parts of the containers of a serving pod: directories, mounts and variables."""

from __future__ import annotations

from typing import Any

SCRIPTS_DIR = "/opt/model-operator"
MODEL_DIR = "/model"
TMP_DIR = "/tmp"  # noqa: S108 - a mount point in the pod, not a file of this process
PAYLOAD_DIR = "/opt/model-operator-payload"
PAYLOAD_FILE = f"{PAYLOAD_DIR}/payload.json"

# endpoints lag behind a pod's deletion, so the old pod keeps answering meanwhile
PRE_STOP_SECONDS = 5


def mount(volume: str, path: str, *, read_only: bool = False) -> dict[str, Any]:
    """A mount of that volume at ``path``."""
    made: dict[str, Any] = {"name": volume, "mountPath": path}
    return made | {"readOnly": True} if read_only else made


def variable(name: str, value: str) -> dict[str, Any]:
    """An environment variable with exactly that value."""
    # without the escape, the kubelet would expand $(OTHER) in a model's name
    return {"name": name, "value": value.replace("$", "$$")}

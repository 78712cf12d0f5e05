"""Image archives made by hand: one static program and nothing else."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from pathlib import Path

PAUSE_IMAGE = "model-operator.io/pause:1"


def _entry(name: str, size: int, mode: int = 0o644) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = mode
    return info


def write_static_image(archive: Path, reference: str, program: Path, user: str = "65535:65535") -> Path:
    """A docker archive of an image whose entry point is that program (static, named like its file)."""
    content = program.read_bytes()
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        tar.addfile(_entry(program.name, len(content), 0o755), io.BytesIO(content))
    diff_id = hashlib.sha256(layer.getvalue()).hexdigest()
    config = json.dumps(
        {
            "architecture": _go_architecture(),
            "os": "linux",
            "config": {"Entrypoint": [f"/{program.name}"], "User": user, "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{diff_id}"]},
            "history": [{"created_by": "tests.cluster.images"}],
        }
    ).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = [{"Config": config_name, "RepoTags": [reference], "Layers": [f"{diff_id}.tar"]}]
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, mode="w") as tar:
        for name, data in (
            (config_name, config),
            (f"{diff_id}.tar", layer.getvalue()),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            tar.addfile(_entry(name, len(data)), io.BytesIO(data))
    return archive


def _go_architecture() -> str:
    machine = platform.machine()
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)

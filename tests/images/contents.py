"""What is installed in the server image, as the operator's ``images.contents`` wants to know it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
_LOCKED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)
_BASE = re.compile(r"^ARG BASE=python:([0-9]+\.[0-9]+)", re.MULTILINE)


def server_contents() -> dict[str, Any]:
    """The Python version of the image's base, and what requirements/mlflow.txt locks, without reading an image."""
    base = _BASE.search((ROOT / "images" / "server" / "Dockerfile").read_text())
    assert base is not None
    locked = _LOCKED.findall((ROOT / "requirements" / "mlflow.txt").read_text())
    return {"pythonVersion": base.group(1), "packages": dict(locked)}

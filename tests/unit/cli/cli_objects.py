"""ModelDeployments and pods as the command line finds them, at one fixed moment."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Console, RenderableType

from model_operator.api import names
from model_operator.cli.render.terminal import ASCII, UNICODE, Signs, Terminal
from model_operator.cli.snapshot import Snapshot
from model_operator.domain.objects import rfc3339

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
V7, V8 = "v7-5d9f8a2b1c", "v8-0a1b2c3d4e"

Json = dict[str, Any]


def ago(seconds: float) -> str:
    """So long before now, as the API server writes it."""
    return rfc3339(NOW - timedelta(seconds=seconds))


def condition(kind: str, status: str, reason: str, message: str = "") -> Json:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "observedGeneration": 1,
        "lastTransitionTime": ago(60),
    }


SERVING = (
    condition("Ready", "True", "Serving", "version 7 serves"),
    condition("Current", "True", "Serving", "version 7 is the desired version and serves"),
    condition("Resolved", "True", "Resolved", "champion of churn is version 7"),
)


def serving(**fields: Any) -> Json:
    return {
        "version": "7",
        "revision": V7,
        "alias": "@champion",
        "track": "churn",
        "since": ago(3 * 86400),
        "settled": True,
        "selfTest": "Passed",
        **fields,
    }


def candidate(phase: str, **fields: Any) -> Json:
    return {
        "version": "8",
        "revision": V8,
        "alias": "@champion",
        "track": "churn",
        "phase": phase,
        "since": ago(42),
        "attempts": 1,
        **fields,
    }


def wanted(version: str, seconds: float = 45) -> Json:
    return {"model": "churn", "version": version, "alias": "champion", "at": ago(seconds)}


def pod(
    name: str, version: str = "7", phase: str = "Ready", seconds: float = 3 * 86400, **fields: Any
) -> Json:
    """A pod that came so far: Scheduling, Fetching, Starting or Ready."""
    order = ["Scheduling", "Fetching", "Starting", "Ready"]
    met = order.index(phase)
    kinds = ["PodScheduled", "Initialized", "Ready"]
    return {
        "metadata": {
            "name": name,
            "creationTimestamp": ago(seconds),
            "labels": {
                names.LABEL_TRACK: fields.pop("track", "churn"),
                names.LABEL_REVISION: V7 if version == "7" else V8,
            },
            "annotations": {names.ANNOTATION_VERSION: version},
        },
        "status": {
            "phase": "Running",
            "conditions": [
                {
                    "type": kind,
                    "status": "True" if number < met else "False",
                    "lastTransitionTime": ago(seconds),
                }
                for number, kind in enumerate(kinds)
            ],
            **fields,
        },
    }


def snapshot(
    *conditions: Json, pods: list[Json] | None = None, spec: Json | None = None, **status: Any
) -> Snapshot:
    """A ModelDeployment churn in crm with that status."""
    pods = [pod("churn-7495b7cd88-9hkfs"), pod("churn-7495b7cd88-r9cvl")] if pods is None else pods
    raw = {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {
            "name": "churn",
            "namespace": "crm",
            "generation": 1,
            "creationTimestamp": ago(9 * 86400),
            **status.pop("metadata", {}),
        },
        "spec": {"model": {"name": "churn", "alias": "champion"}, "replicas": 2, **(spec or {})},
        "status": {
            "observedGeneration": 1,
            "conditions": list(conditions),
            "replicas": 2,
            "readyReplicas": 2,
            **status,
        },
    }
    return Snapshot(raw, NOW, pods)


def plain_terminal(signs: Signs = UNICODE, width: int = 80) -> Terminal:
    """A terminal of 80 columns without colours."""
    return Terminal(*(_console(signs, width) for _ in range(2)), signs)


def _console(signs: Signs, width: int) -> Console:
    encoding = "ascii" if signs is ASCII else "utf-8"
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    return Console(file=file, width=width, color_system=None, highlight=False)


def shown(picture: RenderableType, terminal: Terminal) -> str:
    """What is printed, without the blanks that fill up lines."""
    with terminal.out.capture() as captured:
        terminal.out.print(picture)
    return "".join(f"{line.rstrip()}\n" for line in captured.get().splitlines())

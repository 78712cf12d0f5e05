"""A ModelDeployment for programs, as JSON or YAML."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import typer
import yaml

from model_operator.cli.snapshot import Snapshot, pod_lines
from model_operator.cli.summary import Summary


def document(snapshot: Snapshot, verdict: Summary) -> dict[str, Any]:
    """Returns a ModelDeployment for programs: the outcome, the status as the API server has it, and the pods."""
    pods = [
        {
            "name": pod.name,
            "track": pod.track,
            "version": pod.version,
            "revision": pod.revision,
            "phase": pod.phase,
            "ready": pod.ready,
            "restarts": pod.restarts,
            **({"reason": pod.reason, "message": pod.message} if pod.reason else {}),
        }
        for pod in pod_lines(snapshot)
    ]
    outcome = {"verdict": str(verdict.verdict), "reason": verdict.reason, "message": verdict.message}
    return {
        "name": snapshot.name,
        "namespace": snapshot.namespace,
        "follows": snapshot.reference,
        "outcome": outcome | ({"remedy": verdict.remedy} if verdict.remedy else {}),
        "status": snapshot.seen.status,
        **({} if snapshot.pods is None else {"pods": pods}),
    }


def dump(content: Mapping[str, Any], output: str) -> None:
    """Prints the content as "json" or "yaml"."""
    if output == "json":
        typer.echo(json.dumps(content, indent=2, ensure_ascii=False))
    else:
        typer.echo(yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True), nl=False)

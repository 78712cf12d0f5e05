"""Arguments and options that several commands have."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import Annotated, Any

import typer

from model_operator.cli.cluster import connect
from model_operator.cli.context import Context
from model_operator.domain.objects import read_modeldeployment

_NAMES_SECONDS = 3.0


def suggest_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Returns the names of ModelDeployments that begin with ``incomplete``. Empty if the cluster does not answer."""
    try:
        found = asyncio.run(_list_names(_read_context(ctx)))
    except Exception:  # a completion can't show an error
        return []
    return [name for name in found if name.startswith(incomplete)]


async def _list_names(context: Context) -> list[str]:
    async with asyncio.timeout(_NAMES_SECONDS), connect(context) as cluster:
        found = await cluster.deployments(cluster.namespace, fresh=False)
    return sorted(read_modeldeployment(item).name for item in found)


def _read_context(ctx: typer.Context) -> Context:
    given: dict[str, Any] = {}
    for level in (ctx.parent, ctx):
        params = level.params if level else {}
        given |= {key: params[key] for key in ("kubeconfig", "kube_context", "namespace") if params.get(key)}
    return Context(**given)


Name = Annotated[
    str, typer.Argument(metavar="NAME", help="Name of the ModelDeployment.", autocompletion=suggest_names)
]
Within = Annotated[
    str, typer.Option("--timeout", metavar="TIME", help="Longest time to wait, such as 90s, 10m or 1h30m.")
]
Wait = Annotated[
    bool, typer.Option("--wait", help="Wait for the result, with the exit codes of `status --wait`.")
]
Watched = Annotated[bool, typer.Option("--watch", "-w", help="Redraw on each change, until Ctrl-C.")]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Change nothing. The API server validates the change, and you get the YAML to commit.",
    ),
]


class Format(StrEnum):
    """Formats for programs."""

    JSON = "json"
    YAML = "yaml"


class TableFormat(StrEnum):
    """Formats of a table."""

    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"


class ReportFormat(StrEnum):
    """Formats of a report."""

    TEXT = "text"
    JSON = "json"


Output = Annotated[Format | None, typer.Option("--output", "-o", help="Output for programs.")]
Report = Annotated[ReportFormat, typer.Option("--output", "-o", help="Output for people, or for programs.")]

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
    """The ModelDeployments that a name on the command line may mean. Silent where the cluster is."""
    try:
        found = asyncio.run(_list_names(_read_context(ctx)))
    except Exception:  # a completion has no place for words
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
    str, typer.Argument(metavar="NAME", help="The ModelDeployment.", autocompletion=suggest_names)
]
Within = Annotated[
    str, typer.Option("--timeout", metavar="TIME", help="Longest time to wait: 90s, 10m, 1h30m.")
]
Wait = Annotated[
    bool, typer.Option("--wait", help="Wait for what comes of it, and end like `status --wait`.")
]
Watched = Annotated[
    bool, typer.Option("--watch", "-w", help="Draw it again as things change; Ctrl-C ends it.")
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Change nothing; print what to commit. The API server judges it."),
]


class Format(StrEnum):
    """Output for programs."""

    JSON = "json"
    YAML = "yaml"


class TableFormat(StrEnum):
    """Output of a table."""

    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"


class ReportFormat(StrEnum):
    """Output of a report."""

    TEXT = "text"
    JSON = "json"


Output = Annotated[Format | None, typer.Option("--output", "-o", help="For programs.")]
Report = Annotated[ReportFormat, typer.Option("--output", "-o", help="For people, or for programs.")]

"""Arguments and options that several commands have."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from model_operator.cli.completion import names_of_deployments

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="The ModelDeployment.", autocompletion=names_of_deployments)
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

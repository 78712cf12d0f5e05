"""The command doctor."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from model_operator.cli.arguments import Report, ReportFormat
from model_operator.cli.cluster import connect
from model_operator.cli.context import Context
from model_operator.cli.doctor import Finding, Level, examine, findings
from model_operator.cli.errors import CommandError, ExitCode, from_api
from model_operator.cli.render.terminal import Terminal
from model_operator.kube.errors import ApiError

_ICONS = {
    Level.GOOD: "good",
    Level.NOTE: "note",
    Level.UNKNOWN: "waiting",
    Level.WARNING: "warning",
    Level.PROBLEM: "bad",
}


async def doctor(
    context: Context,
    registry_at: Annotated[
        str,
        typer.Option("--registry-at", metavar="URL", help="URL of the MLflow server from your machine."),
    ] = "",
    output: Report = ReportFormat.TEXT,
) -> None:
    """Check the installation: cluster, rights, CRD, operator, registries, Secrets, webhooks. Print remedies.

    kubectl model doctor

    MLflow 3.5 and newer rejects host names that it does not know. To test the names that your operator and pods use:

    kubectl -n mlflow port-forward svc/mlflow 5000 &
    kubectl model doctor --registry-at http://127.0.0.1:5000

    The command changes nothing and prints no value of a Secret. The exit code is 0 if there is no problem, even with
    warnings, 1 if there is one, and 5 if the API server can't be reached.
    """
    terminal = context.terminal()
    if registry_at and not registry_at.startswith(("http://", "https://")):
        raise CommandError(ExitCode.USAGE, f"{registry_at!r} is not a URL", "write http://127.0.0.1:5000")
    async with connect(context) as cluster:
        try:
            found = findings(await examine(cluster, registry_at))
        except ApiError as error:
            raise from_api(error, "examine the cluster") from error
    if output is ReportFormat.JSON:
        typer.echo(
            json.dumps({"findings": [asdict(finding) for finding in found]}, indent=2, ensure_ascii=False)
        )
    else:
        terminal.out.print(report(found, terminal))
    problems = sum(finding.level is Level.PROBLEM for finding in found)
    if problems:
        raise CommandError(
            ExitCode.FAILED,
            f"{problems} problem{'' if problems == 1 else 's'} found",
            "see the remedies above",
        )


def report(found: list[Finding], terminal: Terminal) -> RenderableType:
    """Returns one entry for each finding: icon, subject, message and remedy. Pure."""
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    words = terminal.signs.words
    for finding in found:
        text = Text.assemble((words(finding.subject), "bold"), f": {words(finding.message)}")
        if finding.remedy:
            text.append(f"\n{terminal.signs.arrow} {words(finding.remedy)}")
        table.add_row(terminal.icon(_ICONS[finding.level]), text)
    return table

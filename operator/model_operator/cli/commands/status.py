"""``kubectl model status``: one ModelDeployment as a tree, once, on each change, or at the end of a wait."""

from __future__ import annotations

from typing import Annotated

import typer

from model_operator.cli.arguments import Name, Output, Watched, Within
from model_operator.cli.cluster import connect
from model_operator.cli.context import Context
from model_operator.cli.errors import CommandError, ExitCode
from model_operator.cli.render.documents import document, dump
from model_operator.cli.render.tree import status_tree
from model_operator.cli.watch import Goal, conclude, follow, look, seconds


async def status(
    context: Context,
    name: Name,
    watch: Watched = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until the wanted version serves or fails.")
    ] = False,
    version: Annotated[
        str,
        typer.Option(
            "--version",
            metavar="VERSION",
            help="With --wait: wait for this version. Pass it after you moved an alias, because the operator may not "
            "have seen the move yet.",
        ),
    ] = "",
    within: Within = "10m",
    output: Output = None,
) -> None:
    """Show one ModelDeployment as a tree: alias, version, tracks, pods, plan, rejections.

    kubectl model status churn --watch
    kubectl model status churn --wait --version 8 --timeout 20m   # in a pipeline

    With --wait, the exit code is 0 if the wanted version serves, 1 if it was rejected or needs a person, and 3 if the
    time is up. Other exit codes are 2 for a wrong command line, 4 if there is no such ModelDeployment, and 5 if the
    API server can't be reached or denies access.
    """
    if version and not wait:
        raise CommandError(ExitCode.USAGE, "--version needs --wait", "add --wait")
    terminal = context.terminal()
    goal = Goal(version, context.flags(), seconds(within) if wait else None)
    async with connect(context) as cluster:
        if watch or wait:
            found = await follow(cluster, name, goal, terminal, quiet=output is not None)
        else:
            found = await look(cluster, name)
    verdict = goal.summarise(found)
    if output is not None:
        dump(document(found, verdict), output)
    else:
        terminal.out.print(status_tree(found, verdict, terminal))
    if wait:
        conclude(verdict, within)

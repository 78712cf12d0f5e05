"""``kubectl model status``: one ModelDeployment as a tree, once, again and again, or in the end."""

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
        bool, typer.Option("--wait", help="Wait until what is wanted serves, or failed; see the exit codes.")
    ] = False,
    version: Annotated[
        str,
        typer.Option(
            "--version",
            metavar="VERSION",
            help="With --wait: until this version serves. Needed after an alias was moved, which the operator "
            "may not have seen yet.",
        ),
    ] = "",
    within: Within = "10m",
    output: Output = None,
) -> None:
    """Show one ModelDeployment as a tree: alias, version, tracks, pods, plan, rejections.

    kubectl model status churn --watch
    kubectl model status churn --wait --version 8 --timeout 20m   # in a pipeline

    With --wait it ends with 0 when the wanted version serves, 1 when it was rejected or can't come without a person,
    3 when the time is up. Always: 2 for a wrong command line, 4 when there is no such ModelDeployment, 5 when the API
    server can't be reached or refuses.
    """
    if version and not wait:
        raise CommandError(ExitCode.USAGE, "--version says what --wait waits for", "add --wait")
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

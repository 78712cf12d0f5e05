"""``kubectl model get``: all ModelDeployments as a table."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import RenderableType
from rich.text import Text

from model_operator.cli.arguments import TableFormat, Watched, suggest_names
from model_operator.cli.cluster import Cluster, connect
from model_operator.cli.context import Context
from model_operator.cli.errors import CommandError, ExitCode, from_api
from model_operator.cli.render.documents import document, dump
from model_operator.cli.render.tables import overview
from model_operator.cli.snapshot import Snapshot
from model_operator.cli.summary import Summary
from model_operator.cli.watch import Goal, Watch, look, no_crd
from model_operator.kube.errors import ApiError, NotFound

LIST_SECONDS = 2.0


async def get(
    context: Context,
    name: Annotated[
        str | None, typer.Argument(help="Show only this one.", autocompletion=suggest_names)
    ] = None,
    all_namespaces: Annotated[
        bool, typer.Option("--all-namespaces", "-A", help="List all namespaces.")
    ] = False,
    watch: Watched = False,
    output: Annotated[
        TableFormat | None, typer.Option("--output", "-o", help="More columns, or output for programs.")
    ] = None,
) -> None:
    """List ModelDeployments: model and alias, serving and wanted version, pods, state.

    kubectl model get
    kubectl model get -A --watch
    kubectl model get churn -o json
    """
    terminal = context.terminal()
    if watch and output in (TableFormat.JSON, TableFormat.YAML):
        raise CommandError(ExitCode.USAGE, "--watch draws a table", "leave out -o, or use -o wide")
    async with connect(context) as cluster:

        async def see() -> list[Snapshot]:
            return await _all(cluster, name, None if all_namespaces else cluster.namespace, fresh=not watch)

        def summarise_all(found: Sequence[Snapshot]) -> list[tuple[Snapshot, Summary]]:
            return [(snapshot, Goal(flags=context.flags()).summarise(snapshot)) for snapshot in found]

        def draw(found: Sequence[Snapshot]) -> RenderableType:
            if not found:
                return Text(_explain_nothing(cluster, all_namespaces))
            return overview(
                summarise_all(found), terminal, namespaces=all_namespaces, wide=output is TableFormat.WIDE
            )

        if watch:
            await Watch(
                terminal, see, draw, lambda found: [s.seen.status for s in found], pause=LIST_SECONDS
            ).run()
            return
        found = await see()
        if output in (TableFormat.JSON, TableFormat.YAML):
            documents = [document(snapshot, verdict) for snapshot, verdict in summarise_all(found)]
            dump({"items": documents} if name is None else documents[0], output)
        elif found:
            terminal.wide().print(draw(found))
        else:
            terminal.err.print(draw(found))


async def _all(cluster: Cluster, name: str | None, namespace: str | None, fresh: bool) -> list[Snapshot]:
    if name is not None:
        return [await look(cluster, name)]
    try:
        found = await cluster.deployments(namespace, fresh=fresh)
    except NotFound as error:
        raise no_crd() from error
    except ApiError as error:
        raise from_api(error, "list the ModelDeployments") from error
    now = datetime.now(UTC)
    snapshots = [Snapshot(raw, now) for raw in found]
    return sorted(snapshots, key=lambda snapshot: (snapshot.namespace, snapshot.name))


def _explain_nothing(cluster: Cluster, everywhere: bool) -> str:
    if everywhere:
        return "there is no ModelDeployment in this cluster"
    return f"there is no ModelDeployment in namespace {cluster.namespace} (-A lists all namespaces)"

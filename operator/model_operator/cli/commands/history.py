"""``kubectl model history``: the versions that served, and the ones that were rejected."""

from __future__ import annotations

from rich.text import Text

from model_operator.cli.arguments import Name, Output
from model_operator.cli.cluster import connect
from model_operator.cli.context import Context
from model_operator.cli.render.documents import dump
from model_operator.cli.render.tables import history as history_table
from model_operator.cli.watch import look


async def history(context: Context, name: Name, output: Output = None) -> None:
    """Show the versions that served, why each of them stopped, and the rejected versions. Newest first.

    kubectl model history churn
    """
    terminal = context.terminal()
    async with connect(context) as cluster:
        found = await look(cluster, name)
    if output is not None:
        raw = found.seen.status
        dump({key: raw[key] for key in ("serving", "history", "rejected") if key in raw}, output)
    elif found.status.serving or found.status.history or found.status.rejected:
        terminal.wide().print(history_table(found, terminal))
    else:
        terminal.err.print(Text("no version has served or was rejected yet"))

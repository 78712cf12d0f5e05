"""``kubectl model plan``: the next step before it happens."""

from __future__ import annotations

from rich.console import Group
from rich.text import Text

from model_operator.cli.arguments import Name, Output
from model_operator.cli.cluster import connect
from model_operator.cli.context import Context
from model_operator.cli.render.documents import dump
from model_operator.cli.render.tree import plan_tree
from model_operator.cli.watch import Goal, look


async def plan(context: Context, name: Name, output: Output = None) -> None:
    """Show the next step before the operator takes it: pods, resources, gates, changes of the signature.

    kubectl model plan churn
    """
    terminal = context.terminal()
    async with connect(context) as cluster:
        found = await look(cluster, name)
    if output is not None:
        dump(found.seen.status.get("plan") or {}, output)
    elif found.status.plan is None:
        verdict = Goal(flags=context.flags()).summarise(found)
        words = terminal.signs.words(f"{verdict.reason}: {verdict.message}")
        terminal.out.print(Group(Text("no rollout is planned, under way or blocked"), Text(words)))
    else:
        terminal.out.print(plan_tree(found, terminal))

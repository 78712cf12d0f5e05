"""The commands that only look: get, status, history, plan."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
import yaml
from rich.console import Group, RenderableType
from rich.text import Text

from model_operator.cli.arguments import Format, Name, Output, TableFormat, Watched, Within
from model_operator.cli.cluster import Cluster, connected
from model_operator.cli.completion import names_of_deployments
from model_operator.cli.context import Place
from model_operator.cli.errors import CommandError, ExitCode, from_api
from model_operator.cli.looking import Goal, Watch, exit_code, look, no_crd, seconds
from model_operator.cli.outcome import Outcome
from model_operator.cli.snapshot import Snapshot, pod_lines
from model_operator.cli.tables import history as history_table
from model_operator.cli.tables import overview
from model_operator.cli.terminal import Terminal
from model_operator.cli.tree import plan_tree, status_tree
from model_operator.kube.errors import ApiError, NotFound

LIST_SECONDS = 2.0


async def get(
    place: Place,
    name: Annotated[
        str | None, typer.Argument(help="Only this one.", autocompletion=names_of_deployments)
    ] = None,
    all_namespaces: Annotated[
        bool, typer.Option("--all-namespaces", "-A", help="Of all namespaces.")
    ] = False,
    watch: Watched = False,
    output: Annotated[
        TableFormat | None, typer.Option("--output", "-o", help="wide, or for programs.")
    ] = None,
) -> None:
    """Show all ModelDeployments: what they follow, what serves, what is wanted, and the state.

    kubectl model get -A --watch
    """
    terminal = place.terminal()
    if watch and output in (TableFormat.JSON, TableFormat.YAML):
        raise CommandError(ExitCode.USAGE, "--watch draws a table", "leave out -o, or use -o wide")
    async with connected(place) as cluster:

        async def see() -> list[Snapshot]:
            return await _all(cluster, name, None if all_namespaces else cluster.namespace, fresh=not watch)

        def judged(found: Sequence[Snapshot]) -> list[tuple[Snapshot, Outcome]]:
            return [(snapshot, Goal(flags=place.flags()).outcome(snapshot)) for snapshot in found]

        def draw(found: Sequence[Snapshot]) -> RenderableType:
            if not found:
                return Text(_nothing(cluster, all_namespaces))
            return overview(
                judged(found), terminal, namespaces=all_namespaces, wide=output is TableFormat.WIDE
            )

        if watch:
            await Watch(
                terminal, see, draw, lambda found: [s.raw.get("status") for s in found], pause=LIST_SECONDS
            ).run()
            return
        found = await see()
        if output in (TableFormat.JSON, TableFormat.YAML):
            documents = [document(snapshot, verdict) for snapshot, verdict in judged(found)]
            _dump({"items": documents} if name is None else documents[0], output)
        elif found:
            terminal.wide().print(draw(found))
        else:
            terminal.err.print(draw(found))


async def status(
    place: Place,
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
    terminal, goal = place.terminal(), Goal(version, place.flags())
    limit = seconds(within) if wait else float("inf")
    async with connected(place) as cluster:
        found = await _status(
            cluster,
            name,
            goal,
            terminal,
            watch=watch or wait,
            end=wait,
            limit=limit,
            quiet=output is not None,
        )
    verdict = goal.outcome(found)
    if output is not None:
        _dump(document(found, verdict), output)
    else:
        terminal.out.print(status_tree(found, verdict, terminal))
    if wait:
        conclude(verdict, within)


async def _status(
    cluster: Cluster,
    name: str,
    goal: Goal,
    terminal: Terminal,
    *,
    watch: bool,
    end: bool,
    limit: float,
    quiet: bool,
) -> Snapshot:
    if not watch:
        return await look(cluster, name)
    found = await following(cluster, name, goal, terminal, end=end, limit=limit, quiet=quiet).run()
    if found is None:
        raise CommandError(ExitCode.TIMEOUT, f"{name} could not be read in time", "give more with --timeout")
    return found


def following(
    cluster: Cluster,
    name: str,
    goal: Goal,
    terminal: Terminal,
    *,
    end: bool,
    limit: float,
    quiet: bool = False,
) -> Watch[Snapshot]:
    """Watches one ModelDeployment: for ever, or (``end``) until the goal is reached or out of reach."""

    async def see() -> Snapshot:
        return await look(cluster, name)

    def line(snapshot: Snapshot) -> RenderableType:
        found = goal.outcome(snapshot)
        words = f"{snapshot.now:%H:%M:%S} {found.reason}: {found.message}"
        return Text(terminal.signs.words(words))

    def draw(snapshot: Snapshot) -> RenderableType:
        return Text() if quiet else status_tree(snapshot, goal.outcome(snapshot), terminal)

    return Watch(
        terminal,
        see,
        draw,
        (lambda _: None) if quiet else (lambda s: (goal.outcome(s), [] if end else _pods(s))),
        over=goal.is_over if end else (lambda _: False),
        deadline=time.monotonic() + limit,
        note=(lambda _: Text()) if quiet else line if end else None,
    )


def _pods(snapshot: Snapshot) -> list[tuple[str, str]]:
    return [(pod.name, pod.phase) for pod in pod_lines(snapshot)]


def conclude(found: Outcome, within: str) -> None:
    """Ends a command that waited, with the exit code of what came out."""
    code = exit_code(found)
    if code is ExitCode.TIMEOUT:
        text = f"not within {within}: {found.reason}: {found.message}"
        raise CommandError(code, text, found.remedy or "give more time with --timeout")
    if code is not ExitCode.FINE:
        raise CommandError(code, f"{found.reason}: {found.message}", found.remedy)


async def history(place: Place, name: Name, output: Output = None) -> None:
    """Show what served when and why it left, and what was rejected; newest first.

    kubectl model history churn
    """
    terminal = place.terminal()
    async with connected(place) as cluster:
        found = await look(cluster, name)
    if output is not None:
        raw = found.raw.get("status") or {}
        _dump({key: raw[key] for key in ("serving", "history", "rejected") if key in raw}, output)
    elif found.status.serving or found.status.history or found.status.rejected:
        terminal.wide().print(history_table(found, terminal))
    else:
        terminal.err.print(Text("nothing served yet, and nothing was rejected"))


async def plan(place: Place, name: Name, output: Output = None) -> None:
    """Show what the next step does before it does it: pods, resources, gates, the signature's changes.

    kubectl model plan churn
    """
    terminal = place.terminal()
    async with connected(place) as cluster:
        found = await look(cluster, name)
    if output is not None:
        _dump((found.raw.get("status") or {}).get("plan") or {}, output)
    elif found.status.plan is None:
        verdict = Goal(flags=place.flags()).outcome(found)
        words = terminal.signs.words(f"{verdict.reason}: {verdict.message}")
        terminal.out.print(Group(Text("no step is planned, under way or kept out"), Text(words)))
    else:
        terminal.out.print(plan_tree(found, terminal))


def document(snapshot: Snapshot, verdict: Outcome) -> dict[str, Any]:
    """What programs get of a ModelDeployment: the verdict, the status as it stands, and its pods."""
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
    told = {"verdict": str(verdict.verdict), "reason": verdict.reason, "message": verdict.message}
    return {
        "name": snapshot.name,
        "namespace": snapshot.namespace,
        "follows": snapshot.reference,
        "outcome": told | ({"remedy": verdict.remedy} if verdict.remedy else {}),
        "status": snapshot.raw.get("status") or {},
        **({} if snapshot.pods is None else {"pods": pods}),
    }


def _dump(content: Mapping[str, Any], output: Format | TableFormat) -> None:
    if output == "json":
        typer.echo(json.dumps(content, indent=2, ensure_ascii=False))
    else:
        typer.echo(yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True), nl=False)


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


def _nothing(cluster: Cluster, everywhere: bool) -> str:
    if everywhere:
        return "there is no ModelDeployment in this cluster"
    return f"there is no ModelDeployment in namespace {cluster.namespace}; -A looks in all"

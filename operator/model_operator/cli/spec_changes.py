"""Commands that change the spec as the user: approve, suspend, resume. Git may know better."""

from __future__ import annotations

from typing import Annotated, Any

import typer
import yaml
from rich.text import Text

from model_operator.api import names
from model_operator.cli.arguments import DryRun, Name
from model_operator.cli.cluster import Cluster, connected
from model_operator.cli.context import Place
from model_operator.cli.errors import CommandError, ExitCode, from_api
from model_operator.cli.looking import look
from model_operator.cli.snapshot import Snapshot
from model_operator.kube.errors import ApiError

_WAITING_PHASES = ("WaitingForApproval", "ReadyForTraffic")


async def approve(
    place: Place,
    name: Name,
    version: Annotated[
        str, typer.Argument(metavar="[VERSION]", help="A version or a revision; else the one that waits.")
    ] = "",
    dry_run: DryRun = False,
) -> None:
    """Agree to a version that waits for approval (gates.approval.approved).

    kubectl model plan churn              # what it is that waits
    kubectl model approve churn 8
    kubectl model approve churn 8 --dry-run   # the YAML for a commit

    Where Git holds the manifest, a commit is the right place: the next sync sets back what is changed here.
    """
    async with connected(place) as cluster:
        before = await look(cluster, name)
        chosen = version or _waiting(before)
        _check_approval(before, place)
        await _change(place, cluster, before, {"gates": {"approval": {"approved": chosen}}}, dry_run)
    if not dry_run:
        _say(place, f"version {chosen} of {name} is approved")


async def suspend(place: Place, name: Name, dry_run: DryRun = False) -> None:
    """Freeze a ModelDeployment: nothing is started, taken back or repaired; what serves goes on.

    kubectl model suspend churn
    """
    await _set_suspend(place, name, True, dry_run)


async def resume(place: Place, name: Name, dry_run: DryRun = False) -> None:
    """Let a suspended ModelDeployment go on.

    kubectl model resume churn
    """
    await _set_suspend(place, name, False, dry_run)


async def _set_suspend(place: Place, name: str, suspend: bool, dry_run: bool) -> None:
    async with connected(place) as cluster:
        before = await look(cluster, name)
        if before.suspended is suspend and not dry_run:
            _say(place, f"{name} is {'suspended' if suspend else 'not suspended'} already")
            return
        await _change(place, cluster, before, {"suspend": suspend}, dry_run)
    if not dry_run:
        _say(place, f"{name} is suspended; its pods serve on" if suspend else f"{name} goes on")


def _waiting(snapshot: Snapshot) -> str:
    """The version that waits for approval. Raises CommandError where none does."""
    candidate = snapshot.status.candidate
    if candidate and (candidate.phase in _WAITING_PHASES or candidate.reason == "WaitingForApproval"):
        return candidate.version
    raise CommandError(
        ExitCode.FAILED,
        f"no version of {snapshot.name} waits for approval",
        "name one to approve it beforehand: kubectl model approve NAME VERSION",
    )


def _check_approval(snapshot: Snapshot, place: Place) -> None:
    spec = snapshot.spec
    if spec is not None and spec.gates.approval.mode != "Manual":
        mode = spec.gates.approval.mode
        text = f"{snapshot.name} asks for no approval (gates.approval.mode is {mode}); this one is kept all the same"
        terminal = place.terminal()
        terminal.err.print(Text.assemble(("note: ", "bold"), text))


async def _change(
    place: Place, cluster: Cluster, before: Snapshot, spec: dict[str, Any], dry_run: bool
) -> None:
    """Patches the spec, or prints the fragment for a commit after the API server has judged it."""
    try:
        await cluster.patch(before.name, {"spec": spec}, dry_run=dry_run)
    except ApiError as error:
        raise from_api(error, f"change {before.name}") from error
    manager = before.manager()
    if dry_run:
        metadata = {"name": before.name, "namespace": before.namespace}
        fragment = {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": metadata, "spec": spec}
        typer.echo("# nothing was changed; set these fields in the manifest and commit it")
        typer.echo(yaml.safe_dump(fragment, sort_keys=False, allow_unicode=True), nl=False)
    elif manager:
        terminal = place.terminal()
        text = f"{manager} keeps this object as Git has it and may set this back; --dry-run prints what to commit"
        terminal.err.print(Text.assemble(("note: ", "bold"), terminal.signs.words(text)))


def _say(place: Place, text: str) -> None:
    terminal = place.terminal()
    terminal.out.print(Text(terminal.signs.words(text)))

"""The commands that steer: revert, release, retry, restart, approve, suspend, resume.

The first four ask by an annotation that the operator answers in ``status.handledRequests``. The others change
the spec as the user. Git may know better.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
import yaml
from rich.text import Text

from model_operator.api import names
from model_operator.cli.arguments import DryRun, Name, Wait, Within
from model_operator.cli.cluster import Cluster, connect
from model_operator.cli.context import Context
from model_operator.cli.errors import CommandError, ExitCode, from_api
from model_operator.cli.render.terminal import Terminal
from model_operator.cli.render.tree import status_tree
from model_operator.cli.snapshot import Snapshot
from model_operator.cli.watch import Goal, Watch, conclude, follow, look, seconds, watch_deployment
from model_operator.domain.objects import Kind, Object, read_child
from model_operator.kube.errors import ApiError, Forbidden
from model_operator.planner.manifests import read_revision

ANSWER_SECONDS = 60.0
"""How long the operator may take to hear a request; it hears of it by a watch."""


@dataclass(frozen=True, slots=True)
class _Request:
    """One annotation and the value that it is given; None takes it away."""

    kind: str
    value: str | None

    @property
    def patch(self) -> Object:
        return {"metadata": {"annotations": {f"{names.GROUP}/{self.kind}": self.value}}}

    def is_answered(self, snapshot: Snapshot) -> bool:
        """Whether the operator has heard it."""
        handled = snapshot.status.handled_requests.get(self.kind)
        # nothing answers that an annotation is gone; the hold itself ends
        return handled == self.value if self.value is not None else not _is_held(snapshot)


def _is_held(snapshot: Snapshot) -> bool:
    current = snapshot.condition("Current")
    return current is not None and current.reason in ("RevisionHeld", "RevisionNotFound")


async def retry(context: Context, name: Name, wait: Wait = False, within: Within = "10m") -> None:
    """Have the wanted version tried again, whatever it was rejected or withdrawn for.

    kubectl model retry churn --wait
    """
    async with connect(context) as cluster:
        before = await look(cluster, name)
        if before.is_true("Current"):
            serving = before.status.serving
            _say(
                context,
                f"nothing to try again: version {serving.version if serving else '?'} is wanted and serves",
            )
            return
        await _ask(context, cluster, name, _Request("retry", _now()))
        await _follow(context, cluster, name, wait, within)


async def restart(context: Context, name: Name, wait: Wait = False, within: Within = "10m") -> None:
    """Roll out new pods of the same version, rendered by the operator of today.

    kubectl model restart churn --wait
    """
    async with connect(context) as cluster:
        before = await look(cluster, name)
        if names.REQUEST_REVERT in before.annotations:
            raise CommandError(
                ExitCode.FAILED,
                f"{name} is held at {before.annotations[names.REQUEST_REVERT]}, and a restart waits until it is let go",
                f"kubectl model release {name}{context.flags()}",
            )
        await _ask(context, cluster, name, _Request("restart", _now()))
        await _follow(context, cluster, name, wait, within)


async def revert(
    context: Context,
    name: Name,
    to: Annotated[
        str,
        typer.Option("--to", metavar="VERSION", help="A version or a revision; else what served before."),
    ] = "",
    wait: Wait = False,
    within: Within = "10m",
) -> None:
    """Go back to a kept version and hold it, whatever the alias says, until `release`.

    kubectl model revert churn            # to what served before
    kubectl model revert churn --to 7
    kubectl model history churn           # what there is

    It needs neither the registry nor a commit: the kept revision has all. The spec is not touched.
    """
    async with connect(context) as cluster:
        before = await look(cluster, name)
        kept = await _list_kept(cluster, name)
        target = to or _find_served_before(before, kept)
        if kept is not None and target not in {word for revision in kept for word in revision}:
            shown = ", ".join(f"{revision} (version {version})" for revision, version in kept)
            raise CommandError(
                ExitCode.FAILED,
                f"{target} is not kept, so there is nothing to go back to",
                f"kept are: {shown}",
            )
        await _ask(context, cluster, name, _Request("revert", target))
        terminal = context.terminal()

        def has_arrived(snapshot: Snapshot) -> bool:
            serving = snapshot.status.serving
            return (
                _is_held(snapshot)
                and serving is not None
                and target in (serving.revision, serving.version)
                and not snapshot.is_true("Reconciling")
            )

        goal = Goal(flags=context.flags(), seconds=seconds(within) if wait else None)
        if wait:
            watch = watch_deployment(cluster, name, goal, terminal)
            watch.over = lambda s: has_arrived(s) or _find_refusal(s) is not None
            found = await watch.run()
            if found is None or not (has_arrived(found) or _find_refusal(found)):
                raise CommandError(
                    ExitCode.TIMEOUT,
                    f"not within {within}: {name} is on its way to {target}",
                    "give more time with --timeout",
                )
        else:
            found = await look(cluster, name)
        terminal.out.print(status_tree(found, goal.summarise(found), terminal))
        _say(context, f"held until: kubectl model release {name}{context.flags()}")


async def release(context: Context, name: Name, wait: Wait = False, within: Within = "10m") -> None:
    """Let go of a held version (`revert`), so that the alias is followed again.

    kubectl model release churn --wait
    """
    async with connect(context) as cluster:
        before = await look(cluster, name)
        if names.REQUEST_REVERT not in before.annotations:
            _say(context, f"{name} is not held: there is nothing to let go")
            return
        await _ask(context, cluster, name, _Request("revert", None))
        await _follow(context, cluster, name, wait, within)


# --- asking and waiting ----------------------------------------------------------------------------


async def _ask(context: Context, cluster: Cluster, name: str, request: _Request) -> None:
    """Writes the request and waits until the operator has heard it. Raises CommandError."""
    terminal = context.terminal()
    try:
        await cluster.patch(name, request.patch)
    except ApiError as error:
        raise from_api(error, f"ask for it at {name}") from error

    async def see() -> Snapshot:
        return await look(cluster, name)

    waiting = Watch(
        terminal,
        see,
        draw=lambda _: Text("the operator is asked …"),
        changed=lambda _: None,
        over=lambda s: request.is_answered(s) or _find_refusal(s) is not None or s.suspended,
        deadline=time.monotonic() + ANSWER_SECONDS,
        pause=0.25,
        note=lambda _: Text(terminal.signs.words("the operator is asked …")),
    )
    found = await waiting.run()
    if found is not None and (why := _find_refusal(found)) and request.value is not None:
        raise CommandError(
            ExitCode.FAILED, why, f"take it back: kubectl model release {name}{context.flags()}"
        )
    if found is not None and found.suspended and not request.is_answered(found):
        raise CommandError(
            ExitCode.FAILED,
            f"{name} is suspended: the request stands, and is heard when it goes on",
            f"kubectl model resume {name}{context.flags()}",
        )
    if found is None or not request.is_answered(found):
        raise CommandError(
            ExitCode.TIMEOUT,
            f"the operator has not answered in {ANSWER_SECONDS:.0f} s; the request stands, and is heard when it comes",
            "kubectl model doctor tells whether the operator runs",
        )
    _say(context, "the operator has heard it")


async def _follow(context: Context, cluster: Cluster, name: str, wait: bool, within: str) -> None:
    """Shows what came of a request so far, or (``wait``) in the end."""
    terminal, goal = (
        context.terminal(),
        Goal(flags=context.flags(), seconds=seconds(within) if wait else None),
    )
    found = await (follow(cluster, name, goal, terminal) if wait else look(cluster, name))
    terminal.out.print(status_tree(found, goal.summarise(found), terminal))
    if wait:
        conclude(goal.summarise(found), within)


def _find_refusal(snapshot: Snapshot) -> str | None:
    """Why the operator does not do what an annotation asks; None where it does."""
    current = snapshot.condition("Current")
    return current.message if current and current.reason == "RevisionNotFound" else None


def _say(context: Context, text: str) -> None:
    terminal: Terminal = context.terminal()
    terminal.out.print(Text(terminal.signs.words(text)))


def _now() -> str:
    """A value that no request had before."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


# --- what there is to go back to -------------------------------------------------------------------


async def _list_kept(cluster: Cluster, name: str) -> list[tuple[str, str]] | None:
    """The kept revisions with their versions, newest first; None where the user may not read them."""
    try:
        found = await cluster.revisions(name)
    except Forbidden:
        return None
    except ApiError as error:
        raise from_api(error, f"read the revisions of {name}") from error
    found.sort(key=lambda revision: revision.get("revision") or 0, reverse=True)
    return [
        (read_child(Kind.REVISION, raw).name.removeprefix(f"{name}-"), kept.target.version if kept else "")
        for raw in found
        for kept in (read_revision(raw),)
    ]


def _find_served_before(snapshot: Snapshot, kept: Sequence[tuple[str, str]] | None) -> str:
    """The revision that served before the present one, and may serve again. Raises CommandError."""
    status = snapshot.status
    avoided = {found.revision for found in status.rejected} | {
        status.serving.revision if status.serving else None
    }
    there = None if kept is None else {revision for revision, _ in kept}
    for past in status.history:
        if past.revision and past.revision not in avoided and (there is None or past.revision in there):
            return past.revision
    raise CommandError(
        ExitCode.FAILED,
        f"nothing served before that {snapshot.name} could go back to",
        "--to names a version or a revision; kubectl model history shows what there was",
    )


_WAITING_PHASES = ("WaitingForApproval", "ReadyForTraffic")


async def approve(
    context: Context,
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
    async with connect(context) as cluster:
        before = await look(cluster, name)
        chosen = version or _find_waiting(before)
        _check_approval(before, context)
        await _change(context, cluster, before, {"gates": {"approval": {"approved": chosen}}}, dry_run)
    if not dry_run:
        _say(context, f"version {chosen} of {name} is approved")


async def suspend(context: Context, name: Name, dry_run: DryRun = False) -> None:
    """Freeze a ModelDeployment: nothing is started, taken back or repaired; what serves goes on.

    kubectl model suspend churn
    """
    await _set_suspend(context, name, True, dry_run)


async def resume(context: Context, name: Name, dry_run: DryRun = False) -> None:
    """Let a suspended ModelDeployment go on.

    kubectl model resume churn
    """
    await _set_suspend(context, name, False, dry_run)


async def _set_suspend(context: Context, name: str, suspend: bool, dry_run: bool) -> None:
    async with connect(context) as cluster:
        before = await look(cluster, name)
        if before.suspended is suspend and not dry_run:
            _say(context, f"{name} is {'suspended' if suspend else 'not suspended'} already")
            return
        await _change(context, cluster, before, {"suspend": suspend}, dry_run)
    if not dry_run:
        _say(context, f"{name} is suspended; its pods serve on" if suspend else f"{name} goes on")


def _find_waiting(snapshot: Snapshot) -> str:
    """The version that waits for approval. Raises CommandError where none does."""
    candidate = snapshot.status.candidate
    if candidate and (candidate.phase in _WAITING_PHASES or candidate.reason == "WaitingForApproval"):
        return candidate.version
    raise CommandError(
        ExitCode.FAILED,
        f"no version of {snapshot.name} waits for approval",
        "name one to approve it beforehand: kubectl model approve NAME VERSION",
    )


def _check_approval(snapshot: Snapshot, context: Context) -> None:
    spec = snapshot.spec
    if spec is not None and spec.gates.approval.mode != "Manual":
        mode = spec.gates.approval.mode
        text = f"{snapshot.name} asks for no approval (gates.approval.mode is {mode}); this one is kept all the same"
        terminal = context.terminal()
        terminal.err.print(Text.assemble(("note: ", "bold"), text))


async def _change(
    context: Context, cluster: Cluster, before: Snapshot, spec: dict[str, Any], dry_run: bool
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
        terminal = context.terminal()
        text = f"{manager} keeps this object as Git has it and may set this back; --dry-run prints what to commit"
        terminal.err.print(Text.assemble(("note: ", "bold"), terminal.signs.words(text)))

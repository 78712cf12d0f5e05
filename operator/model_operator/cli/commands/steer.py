"""The commands that steer: revert, release, retry, restart, approve, suspend, resume.

The first four write an annotation, and the operator records it in ``status.handledRequests``. The others change
the spec as the user, and a GitOps sync may undo that.
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
"""Longest time until the operator has recorded a request. It gets the request from a watch."""


@dataclass(frozen=True, slots=True)
class _Request:
    """One annotation and its new value. None removes it."""

    kind: str
    value: str | None

    @property
    def patch(self) -> Object:
        return {"metadata": {"annotations": {f"{names.GROUP}/{self.kind}": self.value}}}

    def is_answered(self, snapshot: Snapshot) -> bool:
        """Whether the operator has recorded the request."""
        handled = snapshot.status.handled_requests.get(self.kind)
        # the removal of an annotation is not recorded, but it ends the hold
        return handled == self.value if self.value is not None else not _is_held(snapshot)


def _is_held(snapshot: Snapshot) -> bool:
    current = snapshot.condition("Current")
    return current is not None and current.reason in ("RevisionHeld", "RevisionNotFound")


async def retry(context: Context, name: Name, wait: Wait = False, within: Within = "10m") -> None:
    """Retry the wanted version, even if it was rejected or withdrawn.

    kubectl model retry churn --wait
    """
    async with connect(context) as cluster:
        before = await look(cluster, name)
        if before.is_true("Current"):
            serving = before.status.serving
            _say(
                context,
                f"nothing to retry: version {serving.version if serving else '?'} is wanted and serves",
            )
            return
        await _ask(context, cluster, name, _Request("retry", _now()))
        await _follow(context, cluster, name, wait, within)


async def restart(context: Context, name: Name, wait: Wait = False, within: Within = "10m") -> None:
    """Roll out new pods of the same version, rendered by the present operator.

    kubectl model restart churn --wait
    """
    async with connect(context) as cluster:
        before = await look(cluster, name)
        if names.REQUEST_REVERT in before.annotations:
            raise CommandError(
                ExitCode.FAILED,
                f"{name} is held at {before.annotations[names.REQUEST_REVERT]}: a restart waits until you release it",
                f"kubectl model release {name}{context.flags()}",
            )
        await _ask(context, cluster, name, _Request("restart", _now()))
        await _follow(context, cluster, name, wait, within)


async def revert(
    context: Context,
    name: Name,
    to: Annotated[
        str,
        typer.Option(
            "--to", metavar="VERSION", help="Version or revision, by default the previous one that served."
        ),
    ] = "",
    wait: Wait = False,
    within: Within = "10m",
) -> None:
    """Roll back to a kept version and hold it until `release`, even if the alias moves.

    kubectl model history churn           # the versions that served
    kubectl model revert churn            # to the previous one
    kubectl model revert churn --to 7 --wait

    This needs neither the registry nor a commit, because the operator has stored the revision. The spec stays the same.
    """
    async with connect(context) as cluster:
        before = await look(cluster, name)
        kept = await _list_kept(cluster, name)
        target = to or _find_served_before(before, kept)
        if kept is not None and target not in {word for revision in kept for word in revision}:
            shown = ", ".join(f"{revision} (version {version})" for revision, version in kept)
            raise CommandError(
                ExitCode.FAILED,
                f"{target} is not kept, so you can't roll back to it",
                f"kept revisions: {shown}",
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
                    f"not within {within}: the rollback of {name} to {target} is under way",
                    "wait longer with --timeout",
                )
        else:
            found = await look(cluster, name)
        terminal.out.print(status_tree(found, goal.summarise(found), terminal))
        _say(context, f"held until you run: kubectl model release {name}{context.flags()}")


async def release(context: Context, name: Name, wait: Wait = False, within: Within = "10m") -> None:
    """End the hold of `revert`. The operator follows the alias again.

    kubectl model release churn --wait
    """
    async with connect(context) as cluster:
        before = await look(cluster, name)
        if names.REQUEST_REVERT not in before.annotations:
            _say(context, f"{name} is not held: there is nothing to release")
            return
        await _ask(context, cluster, name, _Request("revert", None))
        await _follow(context, cluster, name, wait, within)


# --- requests --------------------------------------------------------------------------------------


async def _ask(context: Context, cluster: Cluster, name: str, request: _Request) -> None:
    """Writes the request and waits until the operator has recorded it. Raises CommandError."""
    terminal = context.terminal()
    try:
        await cluster.patch(name, request.patch)
    except ApiError as error:
        raise from_api(error, f"annotate {name}") from error

    async def see() -> Snapshot:
        return await look(cluster, name)

    waiting = Watch(
        terminal,
        see,
        draw=lambda _: Text("waiting for the operator …"),
        changed=lambda _: None,
        over=lambda s: request.is_answered(s) or _find_refusal(s) is not None or s.suspended,
        deadline=time.monotonic() + ANSWER_SECONDS,
        pause=0.25,
        note=lambda _: Text(terminal.signs.words("waiting for the operator …")),
    )
    found = await waiting.run()
    if found is not None and (why := _find_refusal(found)) and request.value is not None:
        raise CommandError(
            ExitCode.FAILED, why, f"withdraw the request: kubectl model release {name}{context.flags()}"
        )
    if found is not None and found.suspended and not request.is_answered(found):
        raise CommandError(
            ExitCode.FAILED,
            f"{name} is suspended: the operator handles the request when you resume it",
            f"kubectl model resume {name}{context.flags()}",
        )
    if found is None or not request.is_answered(found):
        raise CommandError(
            ExitCode.TIMEOUT,
            f"the operator has not answered in {ANSWER_SECONDS:.0f} s, and handles the request when it runs again",
            "check the operator with kubectl model doctor",
        )
    _say(context, "the operator has accepted the request")


async def _follow(context: Context, cluster: Cluster, name: str, wait: bool, within: str) -> None:
    """Shows the result of a request so far, or (``wait``) at the end."""
    terminal, goal = (
        context.terminal(),
        Goal(flags=context.flags(), seconds=seconds(within) if wait else None),
    )
    found = await (follow(cluster, name, goal, terminal) if wait else look(cluster, name))
    terminal.out.print(status_tree(found, goal.summarise(found), terminal))
    if wait:
        conclude(goal.summarise(found), within)


def _find_refusal(snapshot: Snapshot) -> str | None:
    """Returns the reason why the operator rejects an annotation, or None if it does not."""
    current = snapshot.condition("Current")
    return current.message if current and current.reason == "RevisionNotFound" else None


def _say(context: Context, text: str) -> None:
    terminal: Terminal = context.terminal()
    terminal.out.print(Text(terminal.signs.words(text)))


def _now() -> str:
    """Returns a value that no earlier request had."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


# --- kept revisions --------------------------------------------------------------------------------


async def _list_kept(cluster: Cluster, name: str) -> list[tuple[str, str]] | None:
    """Returns the kept revisions with their versions, newest first, or None if the user may not read them."""
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
    """Returns the revision that served before the present one and was not rejected. Raises CommandError."""
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
        f"{snapshot.name} has no earlier version that it could roll back to",
        "name a version or a revision with --to (kubectl model history lists them)",
    )


_WAITING_PHASES = ("WaitingForApproval", "ReadyForTraffic")


async def approve(
    context: Context,
    name: Name,
    version: Annotated[
        str, typer.Argument(metavar="[VERSION]", help="Version or revision, by default the one that waits.")
    ] = "",
    dry_run: DryRun = False,
) -> None:
    """Approve a version that waits for approval (gates.approval.approved).

    kubectl model plan churn                  # the version that waits
    kubectl model approve churn 8
    kubectl model approve churn 8 --dry-run   # the YAML for a commit

    If your manifest is in Git, commit the change there. The next sync undoes a change in the cluster.
    """
    async with connect(context) as cluster:
        before = await look(cluster, name)
        chosen = version or _find_waiting(before)
        _check_approval(before, context)
        await _change(context, cluster, before, {"gates": {"approval": {"approved": chosen}}}, dry_run)
    if not dry_run:
        _say(context, f"version {chosen} of {name} is approved")


async def suspend(context: Context, name: Name, dry_run: DryRun = False) -> None:
    """Pause the operator for a ModelDeployment: no rollout, revert or repair. Its pods keep serving.

    kubectl model suspend churn
    """
    await _set_suspend(context, name, True, dry_run)


async def resume(context: Context, name: Name, dry_run: DryRun = False) -> None:
    """End the pause of `suspend`. The operator manages the ModelDeployment again.

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
        _say(context, f"{name} is suspended, and its pods keep serving" if suspend else f"{name} is resumed")


def _find_waiting(snapshot: Snapshot) -> str:
    """Returns the version that waits for approval. Raises CommandError if none does."""
    candidate = snapshot.status.candidate
    if candidate and (candidate.phase in _WAITING_PHASES or candidate.reason == "WaitingForApproval"):
        return candidate.version
    raise CommandError(
        ExitCode.FAILED,
        f"no version of {snapshot.name} waits for approval",
        "you can approve a version beforehand: kubectl model approve NAME VERSION",
    )


def _check_approval(snapshot: Snapshot, context: Context) -> None:
    spec = snapshot.spec
    if spec is not None and spec.gates.approval.mode != "Manual":
        mode = spec.gates.approval.mode
        text = f"{snapshot.name} needs no approval (gates.approval.mode is {mode}), but this one is saved"
        terminal = context.terminal()
        terminal.err.print(Text.assemble(("note: ", "bold"), text))


async def _change(
    context: Context, cluster: Cluster, before: Snapshot, spec: dict[str, Any], dry_run: bool
) -> None:
    """Patches the spec or, after the API server has validated the change, prints the YAML for a commit."""
    try:
        await cluster.patch(before.name, {"spec": spec}, dry_run=dry_run)
    except ApiError as error:
        raise from_api(error, f"change {before.name}") from error
    manager = before.manager()
    if dry_run:
        metadata = {"name": before.name, "namespace": before.namespace}
        fragment = {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": metadata, "spec": spec}
        typer.echo("# nothing was changed: set these fields in your manifest and commit it")
        typer.echo(yaml.safe_dump(fragment, sort_keys=False, allow_unicode=True), nl=False)
    elif manager:
        terminal = context.terminal()
        text = f"{manager} manages this object and may undo this change (--dry-run prints the YAML to commit)"
        terminal.err.print(Text.assemble(("note: ", "bold"), terminal.signs.words(text)))

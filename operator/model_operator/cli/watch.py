"""Reads a ModelDeployment once or repeatedly, or until a goal. For `get`, `status` and the steering commands."""

from __future__ import annotations

import asyncio
import difflib
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Generic, TypeVar

from rich.console import RenderableType
from rich.live import Live
from rich.text import Text

from model_operator.cli.cluster import Cluster
from model_operator.cli.errors import CommandError, ExitCode, from_api
from model_operator.cli.render.terminal import Terminal
from model_operator.cli.render.tree import status_tree
from model_operator.cli.snapshot import Snapshot, pod_lines
from model_operator.cli.summary import Summary, Verdict, summarise
from model_operator.domain.objects import read_modeldeployment
from model_operator.kube.errors import ApiError, Forbidden, NotFound, Unavailable

LOOK_SECONDS = 1.0
"""Between two reads of one ModelDeployment. Lists are read half as often."""

_UNITS = {"s": 1, "m": 60, "h": 3600}

T = TypeVar("T")


def seconds(text: str) -> float:
    """Parses a duration such as 90s, 10m or 1h30m into seconds. Raises CommandError for anything else."""
    parts = re.findall(r"(\d+(?:\.\d+)?)([smh])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise CommandError(ExitCode.USAGE, f"{text!r} is not a duration", "write 90s, 10m or 1h30m")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


async def look(cluster: Cluster, name: str) -> Snapshot:
    """Reads the ModelDeployment and its pods. Raises CommandError."""
    what = f"read {name} in {cluster.namespace}"
    try:
        raw = await cluster.deployment(name)
        try:
            pods = await cluster.pods(name)
        except Forbidden:
            pods = None
    except NotFound:
        raise await _not_found(name, cluster) from None
    except ApiError as error:
        raise from_api(error, what) from error
    return Snapshot(raw, datetime.now(UTC), pods)


def no_crd() -> CommandError:
    """Returns the error for an API server that does not know the kind."""
    text = "this cluster has no ModelDeployments: the CRD is not installed"
    return CommandError(ExitCode.NOT_FOUND, text, "check the installation with kubectl model doctor")


async def _not_found(name: str, cluster: Cluster) -> CommandError:
    try:
        remedy = await _suggest_names(name, cluster)
    except NotFound:  # no list either: the CRD is missing
        return no_crd()
    except ApiError:
        remedy = ""
    return CommandError(
        ExitCode.NOT_FOUND,
        f"there is no ModelDeployment {name} in namespace {cluster.namespace}",
        remedy or "kubectl model get -A lists all of them, and -n chooses the namespace",
    )


async def _suggest_names(name: str, cluster: Cluster) -> str:
    """Returns a suggestion: a similar name in this namespace, or the same name in another. Raises ApiError."""
    there = await cluster.deployments(cluster.namespace, fresh=False)
    if like := difflib.get_close_matches(name, [read_modeldeployment(item).name for item in there]):
        return f"did you mean {' or '.join(like)}?"
    elsewhere = await cluster.namespaces_with(name)
    return f"it is in namespace {' and '.join(elsewhere[:3])}: choose with -n" if elsewhere else ""


@dataclass
class Watch(Generic[T]):
    """Reads again until ``over`` or ``deadline`` (of ``time.monotonic``), and shows the changes.

    On a terminal, each picture replaces the last one. Elsewhere, each change is printed once. A short outage of the API
    server does not end it.
    """

    terminal: Terminal
    see: Callable[[], Awaitable[T]]
    draw: Callable[[T], RenderableType]
    changed: Callable[[T], object]
    """Returns the part of the state whose change is printed if the output can't be redrawn."""
    over: Callable[[T], bool] = field(default=lambda _: False)
    pause: float = LOOK_SECONDS
    deadline: float = float("inf")
    note: Callable[[T], RenderableType] | None = None
    """Renders a change if the output can't be redrawn. None: as ``draw``."""

    async def run(self) -> T | None:
        """Returns the last state, or None if no read succeeded before the deadline."""
        if self.terminal.live:
            with Live(console=self.terminal.out, auto_refresh=False, transient=True) as live:
                return await self._until_over(lambda seen: live.update(self.draw(seen), refresh=True))
        shown: list[object] = []

        def print_changes(seen: T) -> None:
            key = self.changed(seen)
            if shown != [key]:
                shown[:] = [key]
                self.terminal.out.print((self.note or self.draw)(seen))
                self.terminal.out.file.flush()

        return await self._until_over(print_changes)

    async def _until_over(self, show: Callable[[T], None]) -> T | None:
        last: T | None = None
        while True:
            try:
                async with asyncio.timeout(max(self.deadline - time.monotonic(), 0.001)):
                    last = await self.see()
            except TimeoutError:
                return last
            except CommandError as error:
                if not isinstance(error.__cause__, Unavailable) or time.monotonic() >= self.deadline:
                    raise
                self.terminal.err.print(Text(self.terminal.signs.words(f"{error.message}, trying again")))
            else:
                show(last)
                if self.over(last):
                    return last
            left = self.deadline - time.monotonic()
            if left <= 0:
                return last
            await asyncio.sleep(min(self.pause, left))


@dataclass(frozen=True, slots=True)
class Goal:
    """The version to wait for, and for how long."""

    version: str = ""
    """Empty: the wanted version."""
    flags: str = ""
    """The options of suggested commands."""
    seconds: float | None = None
    """Longest time to wait. None: watch without an end, even if the goal is reached."""

    def summarise(self, snapshot: Snapshot) -> Summary:
        """Returns the summary of the snapshot with regard to the goal."""
        return summarise(snapshot, self.version, self.flags)

    def is_over(self, snapshot: Snapshot) -> bool:
        """Whether more waiting changes nothing."""
        return self.summarise(snapshot).verdict is not Verdict.PENDING


def exit_code(found: Summary) -> ExitCode:
    """Returns the exit code of a command that waited. Pending means that the time is up."""
    return {
        Verdict.CURRENT: ExitCode.FINE,
        Verdict.FAILED: ExitCode.FAILED,
        Verdict.PENDING: ExitCode.TIMEOUT,
    }[found.verdict]


async def follow(
    cluster: Cluster, name: str, goal: Goal, terminal: Terminal, *, quiet: bool = False
) -> Snapshot:
    """Watches one ModelDeployment to the end, as ``watch_deployment``, and returns the last snapshot.

    Raises CommandError.
    """
    last = await watch_deployment(cluster, name, goal, terminal, quiet=quiet).run()
    if last is None:
        raise CommandError(
            ExitCode.TIMEOUT, f"{name} could not be read in time", "wait longer with --timeout"
        )
    return last


def watch_deployment(
    cluster: Cluster, name: str, goal: Goal, terminal: Terminal, *, quiet: bool = False
) -> Watch[Snapshot]:
    """Returns the watch of one ModelDeployment. Without ``goal.seconds``, it never ends.

    Otherwise it ends when the goal is reached, can't be reached, or its time is up.
    """
    ends = goal.seconds is not None

    async def see() -> Snapshot:
        return await look(cluster, name)

    def line(snapshot: Snapshot) -> RenderableType:
        found = goal.summarise(snapshot)
        words = f"{snapshot.now:%H:%M:%S} {found.reason}: {found.message}"
        return Text(terminal.signs.words(words))

    def draw(snapshot: Snapshot) -> RenderableType:
        return Text() if quiet else status_tree(snapshot, goal.summarise(snapshot), terminal)

    return Watch(
        terminal,
        see,
        draw,
        (lambda _: None) if quiet else (lambda s: (goal.summarise(s), [] if ends else _pods(s))),
        over=goal.is_over if ends else (lambda _: False),
        deadline=float("inf") if goal.seconds is None else time.monotonic() + goal.seconds,
        note=(lambda _: Text()) if quiet else line if ends else None,
    )


def _pods(snapshot: Snapshot) -> list[tuple[str, str]]:
    return [(pod.name, pod.phase) for pod in pod_lines(snapshot)]


def conclude(found: Summary, within: str) -> None:
    """Ends a command that waited, with the exit code for the result. Raises CommandError unless that is 0."""
    code = exit_code(found)
    if code is ExitCode.TIMEOUT:
        text = f"not within {within}: {found.reason}: {found.message}"
        raise CommandError(code, text, found.remedy or "wait longer with --timeout")
    if code is not ExitCode.FINE:
        raise CommandError(code, f"{found.reason}: {found.message}", found.remedy)

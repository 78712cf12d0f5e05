"""One look at a ModelDeployment, many, and waiting: shared by `get`, `status` and the commands that steer."""

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
"""Between two looks at one ModelDeployment; lists are looked at half as often."""

_UNITS = {"s": 1, "m": 60, "h": 3600}

T = TypeVar("T")


def seconds(text: str) -> float:
    """A time such as 90s, 10m or 1h30m, as kubectl writes it. Raises CommandError for anything else."""
    parts = re.findall(r"(\d+(?:\.\d+)?)([smh])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise CommandError(ExitCode.USAGE, f"{text!r} is no time", "write 90s, 10m or 1h30m")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


async def look(cluster: Cluster, name: str) -> Snapshot:
    """The ModelDeployment and its pods, now. Raises CommandError."""
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
    """The API server does not know the kind."""
    text = "this cluster has no ModelDeployments: the CRD is not installed"
    return CommandError(ExitCode.NOT_FOUND, text, "kubectl model doctor tells what is missing")


async def _not_found(name: str, cluster: Cluster) -> CommandError:
    try:
        remedy = await _suggest_names(name, cluster)
    except NotFound:  # a list that is not there: it is the kind that is missing
        return no_crd()
    except ApiError:
        remedy = ""
    return CommandError(
        ExitCode.NOT_FOUND,
        f"there is no ModelDeployment {name} in namespace {cluster.namespace}",
        remedy or "kubectl model get -A shows all; -n names the namespace",
    )


async def _suggest_names(name: str, cluster: Cluster) -> str:
    """What may have been meant: a name like it in this namespace, or the same name in another. Raises ApiError."""
    there = await cluster.deployments(cluster.namespace, fresh=False)
    if like := difflib.get_close_matches(name, [read_modeldeployment(item).name for item in there]):
        return f"did you mean {' or '.join(like)}?"
    elsewhere = await cluster.namespaces_with(name)
    return f"it is in namespace {' and '.join(elsewhere[:3])}: choose with -n" if elsewhere else ""


@dataclass
class Watch(Generic[T]):
    """Looks again until it is over, and shows what changed.

    On a terminal the picture is drawn over; elsewhere each change is printed once. A short silence of the API server
    is waited out; ``deadline`` is that of ``time.monotonic``.
    """

    terminal: Terminal
    see: Callable[[], Awaitable[T]]
    draw: Callable[[T], RenderableType]
    changed: Callable[[T], object]
    """What of it counts as a change where nothing can be drawn over."""
    over: Callable[[T], bool] = field(default=lambda _: False)
    pause: float = LOOK_SECONDS
    deadline: float = float("inf")
    note: Callable[[T], RenderableType] | None = None
    """What is printed for a change where nothing can be drawn over; left out: the picture."""

    async def run(self) -> T | None:
        """The last thing that was seen; None when not even one look succeeded before the deadline."""
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
                self.terminal.err.print(Text(self.terminal.signs.words(f"{error.message}; trying again")))
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
    """Empty: the version that is wanted."""
    flags: str = ""
    """The options of suggested commands."""
    seconds: float | None = None
    """Longest time to wait; None: watch for ever, whatever is reached."""

    def summarise(self, snapshot: Snapshot) -> Summary:
        """How far it is."""
        return summarise(snapshot, self.version, self.flags)

    def is_over(self, snapshot: Snapshot) -> bool:
        """Whether more waiting changes nothing."""
        return self.summarise(snapshot).verdict is not Verdict.PENDING


def exit_code(found: Summary) -> ExitCode:
    """What a command that waited ends with; still pending: the time is up."""
    return {
        Verdict.CURRENT: ExitCode.FINE,
        Verdict.FAILED: ExitCode.FAILED,
        Verdict.PENDING: ExitCode.TIMEOUT,
    }[found.verdict]


async def follow(
    cluster: Cluster, name: str, goal: Goal, terminal: Terminal, *, quiet: bool = False
) -> Snapshot:
    """Watches one ModelDeployment as ``watch_deployment`` does, to the end. Raises CommandError.

    Returns what was seen last.
    """
    last = await watch_deployment(cluster, name, goal, terminal, quiet=quiet).run()
    if last is None:
        raise CommandError(ExitCode.TIMEOUT, f"{name} could not be read in time", "give more with --timeout")
    return last


def watch_deployment(
    cluster: Cluster, name: str, goal: Goal, terminal: Terminal, *, quiet: bool = False
) -> Watch[Snapshot]:
    """Watches one ModelDeployment: for ever, or until the goal is reached, out of reach, or its time is up."""
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
    """Ends a command that waited, with the exit code of what came out."""
    code = exit_code(found)
    if code is ExitCode.TIMEOUT:
        text = f"not within {within}: {found.reason}: {found.message}"
        raise CommandError(code, text, found.remedy or "give more time with --timeout")
    if code is not ExitCode.FINE:
        raise CommandError(code, f"{found.reason}: {found.message}", found.remedy)

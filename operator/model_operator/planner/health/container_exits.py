"""The exits of a container: when, how often, and which side can fix the cause."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from model_operator.api.names import CONTAINER_FETCH
from model_operator.domain.objects import Container, ContainerEnd, Pod
from model_operator.planner.health.reasons import EXIT_CODES, Failure, failure

BARE_EXITS = 2
"""Exits of one pod without an exit code of the scripts that make a crash loop. The first may be an accident."""
LOG_LIMIT = 768
"""Characters of a container's log that are quoted if it wrote no termination message of the scripts."""

_NEVER_STARTED = frozenset({"StartError", "ContainerCannotRun"})
"""Reasons with which containerd and Docker report a container that could not be started."""
_CRIO_NEVER_STARTED = "failed to start container "
"""The beginning of CRI-O's message for it (server/container_start.go), with reason Error."""
_SECCOMP = "seccomp killed"
"""CRI-O's reason for a process that made a forbidden system call (server/container_status.go)."""
_NOT_EXECUTED = re.compile(
    r"^(?:exec (?!user process)|standard_init_linux\.go:\d+: exec user process caused:? ).{0,300}"
    r"(exec format error|no such file or directory|permission denied)\W*$"
)
"""The only line in the log of a container whose program the kernel refuses to run. It is runc's own."""
# with these, the node went down, and the kubelet does not know how the container ended
_NODE_WENT_DOWN = frozenset({"ContainerStatusUnknown", "Unknown"})
_SIGKILL = 137
_SIGTERM = 143
# a segmentation fault: the script can't report it, so it leaves the reason beforehand
_SIGSEGV = 139
_BLAMED_FOR_CRASH = "ImageMismatch"


@dataclass(frozen=True, slots=True)
class _Run:
    """One finished run of a container. The first has number 0."""

    number: int
    end: ContainerEnd

    def ended_after(self, moment: datetime) -> bool:
        """Whether the run ended at ``moment`` or later.

        The same second counts, because the API has whole seconds and the run was on when the version went live.
        """
        return self.end.finished is not None and self.end.finished >= moment

    def started_after(self, moment: datetime) -> bool:
        return self.end.started is not None and self.end.started > moment


def last_end(container: Container, after: datetime | None = None) -> ContainerEnd | None:
    """The latest exit of the container that should not have happened, if any (after ``after``)."""
    return next((r.end for r in _runs(container) if _counts(r, container, after)), None)


def bare_exits(pod: Pod, container: Container, after: datetime | None = None) -> int:
    """The number of exits of the container, after ``after`` if that is given.

    The status has at most two exits, and the count of restarts has no times. A pod that is older than ``after`` was
    ready at that moment, so it was running. If a run started later, the exit before it counts as well.
    """
    if after is None or (pod.created is not None and pod.created > after):
        return container.restarts + (0 if container.running else 1)
    ends = [run for run in _runs(container) if _counts(run, container, after)]
    if not ends:
        return 0
    earliest = ends[-1]
    return len(ends) + (1 if earliest.number > 0 and earliest.started_after(after) else 0)


def start_report(ended: ContainerEnd) -> str:
    """The reason under which the table of reports knows this end. Empty if the container had started."""
    if ended.reason in _NEVER_STARTED:
        return ended.reason
    return "StartError" if ended.message.startswith(_CRIO_NEVER_STARTED) else ""


def exit_failure(name: str, ended: ContainerEnd, exits: int, *, ours: bool) -> Failure | None:
    """The failure that the exit of the container ``name`` means, or None for a first bare exit.

    With ``ours``, the exit code is one of the operator's scripts.
    """
    said = (ended.said or _tail(ended.message)).strip()
    if ended.reason == "OOMKilled":
        return failure("FetchOutOfMemory" if name == CONTAINER_FETCH else "OutOfMemory")
    if ours and ended.exit_code is not None and (known := EXIT_CODES.get(ended.exit_code)):
        return failure(known[0], said)
    if ended.reason == _SECCOMP:
        return failure(
            "SecurityRefused", f"the {name} container made a system call that its seccomp profile forbids"
        )
    if refused := _NOT_EXECUTED.match(ended.message.strip()):
        reason = "ImageNotForNode" if refused[1] == "exec format error" else "ContainerCannotStart"
        return failure(reason, f"the {name} container's program can't be executed", said)
    if exits < BARE_EXITS:
        return None
    if ours and ended.exit_code == _SIGSEGV and ended.blamed == _BLAMED_FOR_CRASH:
        return failure(_BLAMED_FOR_CRASH, said)
    return failure(
        "CrashLoop", f"the {name} container exited {exits} times, the last time {describe_exit(ended)}", said
    )


def describe_exit(ended: ContainerEnd) -> str:
    """The exit code with its usual cause, as a part of a sentence."""
    code = ended.exit_code
    known = "unknown" if code is None else code
    if code == _SIGKILL:
        return f"with code {known} (SIGKILL: the node was short of memory, or the container did not stop after SIGTERM)"
    if code == _SIGTERM:
        return f"with code {known} (SIGTERM, as after a failed liveness probe)"
    return f"with code {known}"


def is_kill(ended: ContainerEnd) -> bool:
    """Whether the container was killed: for its memory, by a failed liveness probe, or by its node."""
    return ended.reason == "OOMKilled" or ended.exit_code in (_SIGKILL, _SIGTERM)


def _runs(container: Container) -> Iterator[_Run]:
    """The finished runs in the status, latest first."""
    if container.end:
        yield _Run(container.restarts, container.end)
    if container.last_end:
        # between two runs the container waits, and its restart count has not been raised yet
        waits = container.end is None and not container.running
        yield _Run(container.restarts if waits else container.restarts - 1, container.last_end)


def _counts(run: _Run, container: Container, after: datetime | None) -> bool:
    """Whether that exit should not have happened. Only a fetch container may exit with 0."""
    if run.end.exit_code == 0 and container.name == CONTAINER_FETCH:
        return False
    if run.end.reason in _NODE_WENT_DOWN:
        return False
    return after is None or run.ended_after(after)


def _tail(log: str) -> str:
    """The last LOG_LIMIT characters, since a traceback has its error at the end."""
    log = log.strip()
    return log if len(log) <= LOG_LIMIT else "…" + log[1 - LOG_LIMIT :]

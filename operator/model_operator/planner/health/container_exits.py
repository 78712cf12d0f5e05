"""The ends of a container: when, how often, and whose fault."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from model_operator.api.names import CONTAINER_FETCH
from model_operator.domain.objects import Container, ContainerEnd, Pod
from model_operator.planner.health.reasons import EXIT_CODES, Failure, failure

BARE_EXITS = 2
"""How many ends without a code of ours make a crash loop of one pod: the first may be bad luck."""
LOG_LIMIT = 768
"""Characters of a container's log that are quoted where it left no message of ours."""

_NEVER_STARTED = frozenset({"StartError", "ContainerCannotRun"})
# the kubelet does not know how a container ended over which the node went down
_NODE_WENT_DOWN = frozenset({"ContainerStatusUnknown", "Unknown"})
_KILLED = 137
_ASKED_TO_END = 143


@dataclass(frozen=True, slots=True)
class _Run:
    """One run of a container that is over; the first has number 0."""

    number: int
    end: ContainerEnd

    def ended_after(self, moment: datetime) -> bool:
        """Also within its second, since the API counts whole ones: what just went live ran when it did."""
        return self.end.finished is not None and self.end.finished >= moment

    def started_after(self, moment: datetime) -> bool:
        return self.end.started is not None and self.end.started > moment


def last_end(container: Container, after: datetime | None = None) -> ContainerEnd | None:
    """How the container last ended, where it should not have; None when it did not (after that moment)."""
    return next((r.end for r in _runs(container) if _counts(r, container, after)), None)


def bare_exits(pod: Pod, container: Container, after: datetime | None = None) -> int:
    """How often the container ended, after that moment if there is one.

    The status shows two ends at most, and the count of restarts says nothing of when. So for a pod that is
    older than ``after`` (when it was ready, hence running) the end before a later start is counted as well.
    """
    if after is None or (pod.created is not None and pod.created > after):
        return container.restarts + (0 if container.running else 1)
    ends = [run for run in _runs(container) if _counts(run, container, after)]
    if not ends:
        return 0
    earliest = ends[-1]
    return len(ends) + (1 if earliest.number > 0 and earliest.started_after(after) else 0)


def exit_failure(name: str, ended: ContainerEnd, exits: int, *, ours: bool) -> Failure | None:
    """What the end of the container ``name`` means; ``ours`` says that its exit codes are our scripts'.

    None for a first bare exit.
    """
    said = (ended.said or _end_of(ended.message)).strip()
    if ended.reason == "OOMKilled":
        return failure("FetchOutOfMemory" if name == CONTAINER_FETCH else "OutOfMemory")
    if ours and ended.exit_code is not None and (known := EXIT_CODES.get(ended.exit_code)):
        return failure(known[0], said)
    if exits < BARE_EXITS:
        return None
    if ended.reason in _NEVER_STARTED:
        return failure("ContainerCannotStart", f"the {name} container can't be started", said)
    return failure(
        "CrashLoop", f"the {name} container exited {exits} times, the last time {how(ended)}", said
    )


def how(ended: ContainerEnd) -> str:
    """The way in which a container ended, in words."""
    code = ended.exit_code
    known = "unknown" if code is None else code
    if code == _KILLED:
        return f"with code {known} (SIGKILL: the node was short of memory, or the container did not stop after SIGTERM)"
    if code == _ASKED_TO_END:
        return f"with code {known} (SIGTERM, as after a failed liveness probe)"
    return f"with code {known}"


def _runs(container: Container) -> Iterator[_Run]:
    """The runs that the status shows to be over, latest first."""
    if container.end:
        yield _Run(container.restarts, container.end)
    if container.last_end:
        # between two runs the container waits, and the restart is not counted yet
        waits = container.end is None and not container.running
        yield _Run(container.restarts if waits else container.restarts - 1, container.last_end)


def _counts(run: _Run, container: Container, after: datetime | None) -> bool:
    """Whether that end is one that should not have been: only a fetch may end well."""
    if run.end.exit_code == 0 and container.name == CONTAINER_FETCH:
        return False
    if run.end.reason in _NODE_WENT_DOWN:
        return False
    return after is None or run.ended_after(after)


def _end_of(log: str) -> str:
    """What a traceback says stands at its end."""
    log = log.strip()
    return log if len(log) <= LOG_LIMIT else "…" + log[1 - LOG_LIMIT :]

"""The ends of a container: when, how often, and whose fault."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from model_operator.domain.objects import (
    FETCH,
    Object,
    count,
    created_at,
    is_running,
    left_words,
    read_time,
    state,
    text,
)
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
    end: Object

    def ended_after(self, moment: datetime) -> bool:
        """Also within its second, since the API counts whole ones: what just went live ran when it did."""
        finished = read_time(self.end.get("finishedAt"))
        return finished is not None and finished >= moment

    def started_after(self, moment: datetime) -> bool:
        started = read_time(self.end.get("startedAt"))
        return started is not None and started > moment


def last_end(container_status: Object, after: datetime | None = None) -> Object:
    """How the container last ended, where it should not have; empty when it did not (after that moment)."""
    run = next((r for r in _runs(container_status) if _counts(r, container_status, after)), None)
    return run.end if run else {}


def bare_exits(pod: Object, container_status: Object, after: datetime | None = None) -> int:
    """How often the container ended, after that moment if there is one.

    The status shows two ends at most, and the count of restarts says nothing of when. So for a pod that is
    older than ``after`` (when it was ready, hence running) the end before a later start is counted as well.
    """
    created = created_at(pod)
    if after is None or (created is not None and created > after):
        return count(container_status.get("restartCount")) + (0 if is_running(container_status) else 1)
    ends = [run for run in _runs(container_status) if _counts(run, container_status, after)]
    if not ends:
        return 0
    earliest = ends[-1]
    return len(ends) + (1 if earliest.number > 0 and earliest.started_after(after) else 0)


def exit_failure(name: str, ended: Object, exits: int, *, ours: bool) -> Failure | None:
    """What the end of the container ``name`` means; ``ours`` says that its exit codes are our scripts'.

    None for a first bare exit.
    """
    code = ended.get("exitCode")
    left = left_words(ended).get("message")
    said = (text(left) or _end_of(text(ended.get("message")))).strip()
    if ended.get("reason") == "OOMKilled":
        return failure("FetchOutOfMemory" if name == FETCH else "OutOfMemory")
    if ours and isinstance(code, int) and code in EXIT_CODES:
        return failure(EXIT_CODES[code][0], said)
    if exits < BARE_EXITS:
        return None
    if text(ended.get("reason")) in _NEVER_STARTED:
        return failure("ContainerCannotStart", f"the {name} container can't be started", said)
    return failure("CrashLoop", f"the {name} container ended {exits} times, last {how(ended)}", said)


def how(ended: Object) -> str:
    """The way in which a container ended, in words."""
    code = ended.get("exitCode")
    known = code if isinstance(code, int) else "unknown"
    if code == _KILLED:
        return f"with code {known} (killed: the node was short of memory, or it did not end when asked to)"
    if code == _ASKED_TO_END:
        return f"with code {known} (asked to end, as after a failed liveness probe)"
    return f"with code {known}"


def _runs(container_status: Object) -> Iterator[_Run]:
    """The runs that the status shows to be over, latest first."""
    restarts = count(container_status.get("restartCount"))
    now_ended, before = (
        state(container_status, "terminated"),
        state(container_status, "terminated", "lastState"),
    )
    if now_ended:
        yield _Run(restarts, now_ended)
    if before:
        # between two runs the container waits, and the restart is not counted yet
        waits = not now_ended and not is_running(container_status)
        yield _Run(restarts if waits else restarts - 1, before)


def _counts(run: _Run, container_status: Object, after: datetime | None) -> bool:
    """Whether that end is one that should not have been: only a fetch may end well."""
    if run.end.get("exitCode") == 0 and container_status.get("name") == FETCH:
        return False
    if text(run.end.get("reason")) in _NODE_WENT_DOWN:
        return False
    return after is None or run.ended_after(after)


def _end_of(log: str) -> str:
    """What a traceback says stands at its end."""
    log = log.strip()
    return log if len(log) <= LOG_LIMIT else "…" + log[1 - LOG_LIMIT :]

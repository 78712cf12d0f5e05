"""The problem of one container: by the kubelet's report if it can't start, by its exits if it did."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from model_operator.api.names import CONTAINER_FETCH
from model_operator.domain.objects import Container, Pod
from model_operator.domain.revision import Side
from model_operator.planner.health.container_exits import (
    bare_exits,
    describe_exit,
    exit_failure,
    last_end,
    start_report,
)
from model_operator.planner.health.container_reports import AT_ONCE, ReportRule, Stage, find_rule
from model_operator.planner.health.reasons import Failure, failure


@dataclass(frozen=True, slots=True)
class Problem:
    """A failure, and how long it has to last before it counts. None: until the deadline of the phase."""

    failure: Failure
    lasts: timedelta | None = AT_ONCE


def container_problem(pod: Pod, container: Container, after: datetime | None = None) -> Problem | None:
    """The problem of the fetch or the server container, if any. With ``after``, only later exits count."""
    if rule := find_rule(container.waiting_for, container.waiting_message):
        return _reported(container, rule, container.waiting_for, container.waiting_message)
    ended = last_end(container, after)
    if ended is None:
        return None
    if report := start_report(ended):
        rule = find_rule(report, ended.message)
        # once it runs, an earlier failure of the node to start it is over
        if rule is None or (container.running and rule.lasts is None):
            return None
        return _reported(container, rule, report, ended.message)
    ours = container.name == CONTAINER_FETCH or pod.runs_our_script
    sick = exit_failure(container.name, ended, bare_exits(pod, container, after), ours=ours)
    if sick is None:
        return None
    return Problem(sick, None if sick.side is Side.ENVIRONMENT else AT_ONCE)


def describe_foreign(container: Container) -> str:
    """The problem of a container that is not ours, as a part of a sentence. Empty if it has none."""
    image = f"can't be pulled: {container.image}: "
    if rule := find_rule(container.waiting_for, container.waiting_message):
        said = container.waiting_message or container.waiting_for
        return f"{image}{said}" if rule.stage is Stage.PULL else f"can't be started: {said}"
    ended = last_end(container)
    if ended is None or container.running or ended.exit_code == 0:
        return ""
    return f"exited {describe_exit(ended)}: {ended.message.strip() or ended.reason or 'without a message'}"


def _reported(container: Container, rule: ReportRule, report: str, message: str) -> Problem:
    name, said = container.name, message.strip() or report
    if rule.reason == "OutOfMemory":
        happened = failure("FetchOutOfMemory" if name == CONTAINER_FETCH else rule.reason, last_output=said)
        return Problem(happened, rule.lasts)
    if rule.stage is Stage.PULL:
        text = f"the image {container.image} of the {name} container can't be pulled: {said}"
    else:
        step = "created" if "Create" in report else "started"
        text = f"the {name} container can't be {step}: {said}"
    return Problem(failure(rule.reason, text), rule.lasts)

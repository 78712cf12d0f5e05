"""What a pipeline that waits is told, and with which exit code it ends."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.cli.cli_objects import SERVING, V8, ago, candidate, condition, serving, snapshot, wanted

from model_operator.cli.errors import CommandError, ExitCode
from model_operator.cli.snapshot import Snapshot
from model_operator.cli.summary import Verdict, summarise
from model_operator.cli.watch import exit_code, seconds

READY, CURRENT, RESOLVED = SERVING


def not_current(reason: str, *more: dict[str, Any], status: str = "False", **fields: Any) -> Snapshot:
    fields = {"resolved": wanted("8"), "serving": serving(), **fields}
    return snapshot(READY, condition("Current", status, reason, "in words"), RESOLVED, *more, **fields)


MOVING = condition("Reconciling", "True", "RollingOut", "in words")
STALLED = condition("Stalled", "True", "FirstVersionFailed", "in words")
NOT_READY = condition("Ready", "False", "FirstVersionFailed", "in words")

CASES: dict[str, tuple[Snapshot, ExitCode]] = {
    "what is wanted serves": (snapshot(*SERVING, resolved=wanted("7"), serving=serving()), ExitCode.FINE),
    "a rollout is under way": (not_current("RollingOut", MOVING), ExitCode.TIMEOUT),
    "it waits for a person to agree": (not_current("WaitingForApproval", MOVING), ExitCode.TIMEOUT),
    "the registry is silent": (not_current("RegistryUnreachable", status="Unknown"), ExitCode.TIMEOUT),
    "it was withdrawn and comes again": (
        not_current("InsufficientCapacity", condition("Reconciling", "True", "Withdrawn", "in words")),
        ExitCode.TIMEOUT,
    ),
    "it was rejected": (
        not_current("VersionRejected", rejected=[{"version": "8", "revision": V8}]),
        ExitCode.FAILED,
    ),
    "it was rejected and is tried again": (
        not_current("VersionRejected", rejected=[{"version": "8", "revision": V8, "retryAt": ago(-60)}]),
        ExitCode.TIMEOUT,
    ),
    "a gate keeps it out": (not_current("MetricOutOfBounds"), ExitCode.FAILED),
    "there is no such alias": (not_current("AliasNotFound"), ExitCode.FAILED),
    "another version is held": (not_current("RevisionHeld"), ExitCode.FAILED),
    "it is suspended": (not_current("Suspended", MOVING), ExitCode.FAILED),
    "the first version failed": (
        snapshot(NOT_READY, condition("Current", "False", "FirstVersionFailed", ""), STALLED, RESOLVED),
        ExitCode.FAILED,
    ),
    "nothing serves for a moment": (
        snapshot(condition("Ready", "False", "PodsUnavailable", ""), CURRENT, RESOLVED, resolved=wanted("7")),
        ExitCode.TIMEOUT,
    ),
    "the operator has not seen it": (snapshot(observedGeneration=None), ExitCode.TIMEOUT),
    "the operator has not seen the last commit": (
        snapshot(*SERVING, metadata={"generation": 2}, resolved=wanted("7")),
        ExitCode.TIMEOUT,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_waiting_ends_with_the_exit_code_of_what_came_out(case: str) -> None:
    found, code = CASES[case]
    assert exit_code(summarise(found)) is code


def test_nothing_is_decided_before_the_operator_has_seen_the_version_that_is_waited_for() -> None:
    good = snapshot(*SERVING, resolved=wanted("7"), serving=serving())
    assert summarise(good).verdict is Verdict.CURRENT
    assert summarise(good, version="8").verdict is Verdict.PENDING
    rejected = not_current("VersionRejected", rejected=[{"version": "8"}])
    assert summarise(rejected, version="8").verdict is Verdict.FAILED
    late = summarise(rejected, version="9")
    assert late.verdict is Verdict.PENDING
    assert "churn@champion is still version 8 for the operator, not 9" in late.message


@pytest.mark.parametrize(
    ("reason", "command"),
    [
        ("WaitingForApproval", "kubectl model approve churn 8 -n crm"),
        ("RevisionHeld", "kubectl model release churn -n crm"),
        ("Suspended", "kubectl model resume churn -n crm"),
        ("VersionRejected", "kubectl model retry churn -n crm"),
    ],
)
def test_the_next_step_is_a_command_for_the_same_place(reason: str, command: str) -> None:
    found = not_current(reason, candidate=candidate("WaitingForApproval"))
    assert command in summarise(found, flags=" -n crm").remedy


@pytest.mark.parametrize(("text", "expected"), [("90s", 90), ("10m", 600), ("1h30m", 5400), ("0.5s", 0.5)])
def test_times_are_written_as_for_kubectl(text: str, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "10", "m", "10 m", "10d", "-1s"])
def test_another_time_is_a_wrong_command_line(text: str) -> None:
    with pytest.raises(CommandError) as raised:
        seconds(text)
    assert raised.value.code is ExitCode.USAGE

"""Renders the page about the states of a pod and the reason that each leads to, from the tables of planner/health."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from datetime import timedelta

from model_operator.planner.health import EXIT_CODES, REASONS
from model_operator.planner.health.container_reports import (
    AT_ONCE,
    PROGRESS,
    RULES,
    STAGES,
    ReportRule,
    Stage,
)
from model_operator.planner.health.disruptions import POD_REASONS
from model_operator.planner.health.obstacles import PREPARE_GRACE, VOLUME_GRACE

_INTRODUCTION = """\
<!-- Generated from operator/model_operator/planner/health by `make generate`: change it there. -->
# Pod states and their sides

You look up here the report of a pod that you find in `kubectl describe pod`, and the reason that the operator derives
from it. [Failures](failures.md#reasons-of-a-failed-version) has the remedy of each reason and explains the sides. The
message of a failure quotes the report and names the container.

- [A container that can't run](#a-container-that-cant-run)
- [A container that has ended](#a-container-that-has-ended)
- [A pod as a whole](#a-pod-as-a-whole)
- [A pod that is not prepared or not ready](#a-pod-that-is-not-prepared-or-not-ready)
- [Missing Secrets of volumes](#missing-secrets-of-volumes)

The column *Failure* is the time after which the report ends the rollout:

- *at once*: at the first sight of the report, since a retry would give it again.
- *after 60 s*: if the report lasts for so long. Your GitOps sync may create a Secret a little later.
- *at the deadline*: at the end of the [phase](failures.md#phases-of-a-candidate), because the problem may pass. Until
  then you see the reason in `status.candidate.reason` and in the condition `Current`.

## A container that can't run

The kubelet gives a reason and a message, which you see under `State`. Of the rows for a reason, the first one with a
matching message counts. Case does not matter. The messages come from the kubelet, containerd, CRI-O, runc and crun.
"""
_STAGES = {
    Stage.PULL: "Pulling the image",
    Stage.CONFIG: "Preparing the container",
    Stage.RUN: "Creating and starting the container",
}
_TERMINATED = (
    ("`OOMKilled`", "`OutOfMemory`, in the fetch container `FetchOutOfMemory`", "at once"),
    (
        "`Error` with an [exit code of the scripts](failures.md#exit-codes-of-the-pods)",
        "the reason of the code",
        "at once, or at the deadline for side Environment",
    ),
    ("`StartError`, `ContainerCannotRun`", "see [above](#a-container-that-cant-run)", "as above"),
    (
        "`Error` with a message that begins with `failed to start container` (CRI-O)",
        "as `StartError`",
        "as above",
    ),
    ("`seccomp killed` (CRI-O)", "`SecurityRefused`", "at once"),
    ("`Error`, and its only output is `exec PROGRAM: exec format error`", "`ImageNotForNode`", "at once"),
    (
        "`Error`, and its only output is `exec PROGRAM: no such file or directory` or `permission denied`",
        "`ContainerCannotStart`",
        "at once",
    ),
    ("`Error`, or `Completed` of the server, otherwise", "`CrashLoop`", "at the second exit"),
    ("`Completed` of the fetch container", "none, the model is fetched", ""),
    ("`ContainerStatusUnknown`, `Unknown`", "none, its node went down", ""),
)
_WHOLE = (
    ("phase `Unknown`", "NodeLost"),
    ("phase `Failed` or `Succeeded` with any other reason", "Evicted"),
    ("reason `OutOfcpu`, `OutOfmemory`, `OutOfpods` and others that begin with `OutOf`", "Evicted"),
    ("condition `DisruptionTarget`, reason `DeletionByTaintManager` or `DeletionByPodGC`", "NodeLost"),
    ("condition `DisruptionTarget` with any other reason", "Evicted"),
    ("`Ready` is False, and all containers are ready: the kubelet does not report", "NodeLost"),
    ("`PodScheduled` is False, reason `Unschedulable`", "InsufficientCapacity"),
)


def render() -> str:
    """Returns the text of the page."""
    lines = [_INTRODUCTION]
    for stage, title in _STAGES.items():
        reasons = ", ".join(f"`{reason}`" for reason, found in STAGES.items() if found is stage)
        lines += [f"### {title}", "", _wrapped(f"Reasons: {reasons}."), ""]
        if stage is Stage.RUN:
            lines += ["A reason that is in none of the tables is judged here too.", ""]
        lines += ["| Message | Meaning | Reason | Side | Failure |", "|---|---|---|---|---|"]
        lines += [_row(rule) for rule in RULES if rule.stage is stage]
        lines += [""]
    waits = ", ".join(f"`{reason}`" for reason in sorted(PROGRESS) if reason)
    lines += [
        _wrapped(
            f"These are no problem by themselves: {waits}. After `CrashLoopBackOff`, the last exit counts."
        ),
        "",
    ]
    lines += [*_terminated(), "", *_whole_pods(), "", *_unprepared()]
    return "\n".join(lines).rstrip() + "\n"


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 120, break_on_hyphens=False)


def _row(rule: ReportRule) -> str:
    signs = ", ".join(f"`{sign}`" for sign in rule.signs) or "any other"
    return f"| {signs} | {rule.meaning} | `{rule.reason}` | {REASONS[rule.reason].side.value} | {_lasts(rule.lasts)} |"


def _lasts(lasts: timedelta | None) -> str:
    if lasts is None:
        return "at the deadline"
    return "at once" if lasts == AT_ONCE else f"after {lasts.total_seconds():.0f} s"


def _terminated() -> Iterator[str]:
    yield from [
        "## A container that has ended",
        "",
        "You see these reasons under `State` or `Last State`:",
        "",
    ]
    yield from ["| State | Reason | Failure |", "|---|---|---|"]
    yield from (f"| {state} | {reason} | {when} |" for state, reason, when in _TERMINATED)
    codes = ", ".join(f"{code} `{reason}`" for code, (reason, _) in EXIT_CODES.items())
    yield from ["", _wrapped(f"The exit codes of the scripts: {codes}.")]


def _whole_pods() -> Iterator[str]:
    yield from ["## A pod as a whole", "", "`status.reason` of the pod, or one of its conditions:", ""]
    yield from ["| State | Reason | Side |", "|---|---|---|"]
    for reason in dict.fromkeys(POD_REASONS.values()):
        names = ", ".join(f"`{name}`" for name, found in POD_REASONS.items() if found == reason)
        yield f"| reason {names} | `{reason}` | {REASONS[reason].side.value} |"
    yield from (f"| {state} | `{reason}` | {REASONS[reason].side.value} |" for state, reason in _WHOLE)


def _unprepared() -> Iterator[str]:
    early, late = PREPARE_GRACE.total_seconds(), VOLUME_GRACE.total_seconds()
    rows = (
        (
            "`PodReadyToStartContainers` is False, and `pod.volumes` has a Secret or ConfigMap and no disk",
            "VolumesNotMounted",
            f"after {late:.0f} s",
        ),
        (
            "`PodReadyToStartContainers` is False otherwise",
            "PodNotPrepared",
            "at the deadline",
        ),
        (
            "an init container that a webhook added fails, or does not end",
            "InitContainerFailed",
            "at the deadline",
        ),
        (
            "the server is ready, and a container that a webhook added fails or is not ready",
            "SidecarNotReady",
            "at the deadline",
        ),
        (
            "the server is ready, and `Ready` has the reason `ReadinessGatesNotReady`",
            "ReadinessGateNotReady",
            "at the deadline",
        ),
    )
    yield from ["## A pod that is not prepared or not ready", ""]
    yield from ["| State | Reason | Side | Failure |", "|---|---|---|---|"]
    yield from (
        f"| {state} | `{reason}` | {REASONS[reason].side.value} | {when} |" for state, reason, when in rows
    )
    yield f"""
## Missing Secrets of volumes

The kubelet mounts all volumes of your pod before it starts a container. If your Secret is missing, you see that only
in an event of the pod (`FailedMount`). The operator has no right to read events or your Secrets. It judges by the
condition `PodReadyToStartContainers`. After {early:.0f} s you see the reason, with the names of the Secrets and
ConfigMaps that your `pod.volumes` require. You find the missing one with `kubectl describe pod POD`.

A Secret or ConfigMap that exists is mounted at once, but attaching a disk can take minutes. If you also mount a disk,
or neither a Secret nor a ConfigMap, the operator attributes the delay to the environment."""

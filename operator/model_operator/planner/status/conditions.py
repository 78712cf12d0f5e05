"""The conditions, for every situation.

They follow the conventions of Kubernetes and kstatus: True is healthy, and an absent condition doesn't apply. ``Ready``
is for the author of a manifest, ``Current`` for the person who moved the alias. A rejected alias move next to a
healthy service leaves ``Ready=True``, so it never blocks a GitOps sync. A bad commit always sets ``Ready=False``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from model_operator.domain.objects import rfc3339
from model_operator.domain.rollout import Phase
from model_operator.domain.world import RefusalKind, World
from model_operator.planner.decision import Decision, left_track
from model_operator.planner.gates import asks_anything
from model_operator.planner.status.condition import Condition, Status
from model_operator.planner.status.current import (
    current,
    describe_wait_behind_a_commit,
    waits_behind_a_commit,
)
from model_operator.planner.status.ready import readiness


def conditions(world: World, decision: Decision) -> Iterator[Condition]:
    """The conditions of that decision. For a spec that can't be read, they report only that."""
    if world.parsed_spec is None:
        yield Condition("Ready", "False", "InvalidSpec", world.spec_error)
        yield Condition("Current", "Unknown", "InvalidSpec", world.spec_error)
        yield Condition("Stalled", "True", "InvalidSpec", world.spec_error)
        yield _resolved(world)
        return
    ready = readiness(world, decision)
    yield ready.condition()
    yield current(world, decision)
    if ready.stalled:
        yield Condition("Stalled", "True", ready.reason, ready.message)
    elif not world.spec.suspend and (moving := _reconciling(world, decision)):
        yield moving
    yield _resolved(world)
    if admitted := _admitted(world, decision):
        yield admitted


def _resolved(world: World) -> Condition:
    resolution = world.resolution
    if resolution.ok and resolution.version:
        text = f"{resolution.version.alias} of {resolution.version.model} is version {resolution.version.version}"
        return Condition("Resolved", "True", "Resolved", text)
    status: Status = "False" if resolution.reason.definite else "Unknown"
    return Condition("Resolved", status, resolution.reason.value, resolution.message)


def _admitted(world: World, decision: Decision) -> Condition | None:
    """The condition Admitted, or None if the spec sets no gate."""
    gates, candidate, desired = world.spec.gates, decision.state.candidate, decision.desired
    if not (asks_anything(gates) or gates.approval.mode == "Manual"):
        return None
    if desired is None:
        return Condition("Admitted", "Unknown", "Pending", "the desired version is not known yet")
    if waits_behind_a_commit(decision):
        text = describe_wait_behind_a_commit(decision)
        return Condition("Admitted", "False", "WaitingForApproval", text)
    version, admission = desired.target.version, decision.admission
    if gate := decision.turned_away:
        status: Status = "False" if admission and admission.refusal else "Unknown"
        return Condition(
            "Admitted", status, gate.reason, f"version {version}, gate {gate.gate}: {gate.message}"
        )
    if candidate and candidate.revision == desired.name and candidate.reason == "WaitingForApproval":
        return Condition("Admitted", "False", candidate.reason, f"version {version}: {candidate.message}")
    return Condition("Admitted", "True", "Admitted", f"version {version} may start")


# --- why the operator is not at rest -----------------------------------------------------------------


def _reconciling(world: World, decision: Decision) -> Condition | None:
    """The condition Reconciling by the first rule with a result, or None if the operator is at rest."""
    found = next((found for rule in _AT_WORK if (found := rule(world, decision))), None)
    return Condition("Reconciling", "True", *found) if found else None


def _rolls_out(world: World, decision: Decision) -> tuple[str, str] | None:
    candidate = decision.state.candidate
    if candidate is None or candidate.phase in (Phase.WITHDRAWN, Phase.FAILED):
        return None
    return candidate.reason or "RollingOut", candidate.progress


def _gates_wait(world: World, decision: Decision) -> tuple[str, str] | None:
    admission = decision.admission
    waits = admission.pending if admission and not admission.refusal else None
    return (waits.reason, waits.message) if waits else None


def _retries(world: World, decision: Decision) -> tuple[str, str] | None:
    candidate = decision.state.candidate
    if candidate is None or candidate.phase is not Phase.WITHDRAWN or candidate.retry_at is None:
        return None
    return "Withdrawn", f"version {candidate.version} is tried again at {rfc3339(candidate.retry_at)}"


def _repairs(world: World, decision: Decision) -> tuple[str, str] | None:
    contested = [str(f.ref) for f in world.refused_writes if f.kind is RefusalKind.CONTESTED]
    text = (
        f"{', '.join(contested)}: another client keeps changing fields that the operator sets. The operator corrects "
        "them a few times a minute"
    )
    return ("DriftContested", text) if contested else None


def _moves_requests(world: World, decision: Decision) -> tuple[str, str] | None:
    serving = decision.state.serving
    if serving is None or not left_track(world, serving):
        return None
    return "Switching", f"requests are being moved to version {serving.version}"


def _updates_pods(world: World, decision: Decision) -> tuple[str, str] | None:
    serving = decision.state.serving
    if serving is None:
        return None
    live = world.track(serving.track)
    if live.revision == serving.revision and live.complete:
        return None
    return "Progressing", f"the pods are being updated to version {serving.version}"


def _polls_the_registry(world: World, decision: Decision) -> tuple[str, str] | None:
    resolution = world.resolution
    if decision.state.serving or resolution.ok or resolution.reason.definite:
        return None
    return resolution.reason.value, resolution.message


def _waits_for_garbage(world: World, decision: Decision) -> tuple[str, str] | None:
    text = "waiting for the deletion of an earlier ModelDeployment's children"
    return ("WaitingForDeletion", text) if decision.ownership.going_away else None


_AT_WORK: tuple[Callable[[World, Decision], tuple[str, str] | None], ...] = (
    _rolls_out,
    _gates_wait,
    _retries,
    _repairs,
    _moves_requests,
    _updates_pods,
    _polls_the_registry,
    _waits_for_garbage,
)

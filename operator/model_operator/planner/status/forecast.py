"""The next step before it happens: what goes where, which gates it passed, and what it costs in pods."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

from model_operator.domain.revision import Revision
from model_operator.domain.rollout import Phase, RolloutState
from model_operator.domain.world import World
from model_operator.planner.gates import GateReport
from model_operator.planner.manifests import parse_quantity
from model_operator.planner.strategy.strategies import followed_strategy
from model_operator.planner.strategy.tracks import candidate_track, desired_replicas

MESSAGE_SHOWN = 512


def forecast(
    world: World, state: RolloutState, revision: Revision | None, admission: GateReport | None
) -> dict[str, Any]:
    """What the rollout that waits, runs or is kept out does to the pods; empty when there is none.

    ``revision`` is the one that it brings. What the gates said of it stays shown after they are no longer asked.
    """
    candidate, spec = state.candidate, world.spec
    if candidate and candidate.phase is Phase.FAILED:
        return {}
    if candidate is None and revision is None:
        return {}
    serving = state.serving
    track = candidate.track if candidate else candidate_track(world, state)
    beside = serving is not None and track != serving.track
    number = desired_replicas(world, serving)
    strategy = followed_strategy(spec, beside=beside)
    extra = strategy.extra_pods(spec, number) if serving else number
    name = candidate.revision if candidate else revision.name if revision else ""
    version = candidate.version if candidate else revision.target.version if revision else ""
    step = {
        "from": serving.version if serving else "",
        "to": version,
        "revision": name,
        "strategy": strategy.name,
        "message": strategy.describe(spec, number) if serving else _describe_first(number),
        "extraPods": extra,
        "extraResources": _resources(revision.template, extra) if revision and extra else {},
        **_gates(world, name, admission),
    }
    return {key: value for key, value in step.items() if value or key == "extraPods"}


def _describe_first(number: int) -> str:
    return f"{number} pods are started; nothing serves yet"


def _gates(world: World, revision: str, admission: GateReport | None) -> dict[str, Any]:
    if admission is None:
        # asked before it started; what they said then is worth reading until it has ended
        before = world.status.get("plan")
        if not isinstance(before, Mapping) or before.get("revision") != revision:
            return {}
        return {key: before[key] for key in ("gates", "signature") if key in before}
    return {
        "gates": [
            {"gate": r.gate, "outcome": r.outcome.value, "message": r.message[:MESSAGE_SHOWN]}
            for r in admission.results
        ],
        "signature": [line for r in admission.results for line in r.differences],
    }


# --- what it costs ---------------------------------------------------------------------------------


def _resources(template: Mapping[str, Any], pods: int) -> dict[str, str]:
    """What the scheduler must find for them: per pod the sum of its containers, or the largest init container.

    As the scheduler counts: https://kubernetes.io/docs/concepts/workloads/pods/init-containers/#resource-sharing-within-containers
    """
    spec = template.get("spec", {})
    running: dict[str, Fraction] = {}
    for container in spec.get("containers", ()):
        for name, amount in _requests(container):
            running[name] = running.get(name, Fraction(0)) + amount
    for container in spec.get("initContainers", ()):
        for name, amount in _requests(container):
            running[name] = max(running.get(name, Fraction(0)), amount)
    return {name: _quantity(name, amount * pods) for name, amount in sorted(running.items()) if amount}


def _requests(container: Mapping[str, Any]) -> Iterable[tuple[str, Fraction]]:
    resources = container.get("resources") or {}
    # what has a limit and no request is reserved at its limit
    asked = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    for name, value in asked.items():
        amount = parse_quantity(value)
        if amount is not None and amount > 0:
            yield name, amount


def _quantity(name: str, amount: Fraction) -> str:
    if name == "cpu":
        millis = math.ceil(amount * 1000)
        return f"{millis}m" if millis % 1000 else str(millis // 1000)
    whole = math.ceil(amount)
    for suffix, size in (("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10)):
        if whole % size == 0:
            return f"{whole // size}{suffix}"
    return str(whole)

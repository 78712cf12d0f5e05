"""The next rollout before it happens: its versions, the results of its gates, and its cost in pods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from model_operator.domain.revision import Revision
from model_operator.domain.rollout import Phase, RolloutState
from model_operator.domain.world import World
from model_operator.planner.gates import GateReport
from model_operator.planner.manifests import sum_requests
from model_operator.planner.strategy.strategies import followed_strategy
from model_operator.planner.strategy.tracks import candidate_track, desired_replicas

MESSAGE_SHOWN = 512


def forecast(
    world: World, state: RolloutState, revision: Revision | None, admission: GateReport | None
) -> dict[str, Any]:
    """The effect on the pods of a rollout that waits, runs or is kept out. Empty if there is none.

    ``revision`` is the one that is rolled out. The results of its gates are kept after the gates were last checked.
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
        "extraResources": sum_requests(revision.template, extra) if revision and extra else {},
        **_gates(world, name, admission),
    }
    return {key: value for key, value in step.items() if value or key == "extraPods"}


def _describe_first(number: int) -> str:
    return f"{number} pods are started. No version is serving yet"


def _gates(world: World, revision: str, admission: GateReport | None) -> dict[str, Any]:
    if admission is None:
        # the gates were checked before the rollout started, and their results stay until it has ended
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

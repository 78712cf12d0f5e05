"""The next step before it happens: which way, what the gates said of it, and what it costs in pods."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.planner.worlds import ago, carrying, live, revision, world

from model_operator.domain.rollout import Candidate, Phase, RolloutState, Serving
from model_operator.planner.decision import Decision
from model_operator.planner.gates import GateOutcome, GateReport, GateResult
from model_operator.planner.status import report
from model_operator.planner.status.conditions import conditions
from model_operator.planner.status.forecast import forecast

Json = dict[str, Any]

ONE, TWO = revision("1", verdict=live()), revision("2")
SERVES_ONE = Serving(ONE.name, "1", "@champion", ago(600), track="churn", settled=True)
AT_REST = world(ONE, deployment=carrying(ONE))


def candidate(phase: Phase = Phase.FETCHING, **more: Any) -> Candidate:
    return Candidate(TWO.name, "2", "@champion", ago(60), phase, track="churn", **more)


GREEN = "churn-green"


@pytest.mark.parametrize(
    ("spec", "state", "strategy", "words"),
    [
        pytest.param(
            {}, RolloutState(None, candidate()), "RollingUpdate", "2 pods are started. No version", id="first"
        ),
        pytest.param(
            {},
            RolloutState(SERVES_ONE, candidate()),
            "RollingUpdate",
            "up to 1 above the 2 and 0 below",
            id="in place with a spare",
        ),
        pytest.param(
            {"rollout": {"maxSurge": 0, "maxUnavailable": 1}},
            RolloutState(SERVES_ONE, candidate()),
            "RollingUpdate",
            "up to 1 of 2 pods stop before their replacements start",
            id="in place without a spare",
        ),
        pytest.param(
            {"replicas": 1, "rollout": {"maxSurge": "0%", "maxUnavailable": 1}},
            RolloutState(SERVES_ONE, candidate()),
            "RollingUpdate",
            "With a single pod, nothing serves meanwhile",
            id="a single pod without a spare",
        ),
        pytest.param(
            {"rollout": {"strategy": "BlueGreen", "maxSurge": 0, "maxUnavailable": 1}},
            RolloutState(SERVES_ONE, replace(candidate(), track=GREEN)),
            "BlueGreen",
            "2 pods start beside the 2 that serve",
            id="beside, where a surge does not matter",
        ),
    ],
)
def test_the_step_ahead_is_told(spec: Json, state: RolloutState, strategy: str, words: str) -> None:
    step = forecast(world(ONE, TWO, deployment=carrying(ONE), spec=spec), state, TWO, None)
    assert words in step["message"]
    assert (step["strategy"], step["to"], step["revision"]) == (strategy, "2", TWO.name)
    assert step.get("from") == ("1" if state.serving else None)


@pytest.mark.parametrize(
    "state",
    [
        pytest.param(RolloutState(SERVES_ONE), id="nothing is on its way"),
        pytest.param(RolloutState(None, candidate(Phase.FAILED)), id="it failed"),
    ],
)
def test_there_is_no_step_ahead_when(state: RolloutState) -> None:
    assert forecast(AT_REST, state, None, None) == {}
    assert "plan" not in report(AT_REST, Decision(state))


def test_what_waits_for_a_person_tells_the_step_ahead_too() -> None:
    status = report(AT_REST, Decision(RolloutState(SERVES_ONE, candidate(Phase.WAITING_FOR_APPROVAL))))
    assert status["plan"]["to"] == "2"


# --- what it costs -----------------------------------------------------------------------------------


def template(*containers: Json, init: tuple[Json, ...] = ()) -> Json:
    return {"spec": {"containers": list(containers), "initContainers": list(init)}}


def asking(**resources: Json) -> Json:
    return {"resources": resources}


@pytest.mark.parametrize(
    ("pods", "spec", "serving", "resources"),
    [
        pytest.param(
            template(asking(requests={"cpu": "250m", "memory": "512Mi"})),
            {},
            SERVES_ONE,
            (1, {"cpu": "250m", "memory": "512Mi"}),
            id="one pod of surge",
        ),
        pytest.param(
            template(asking(requests={"cpu": "250m"}), asking(requests={"cpu": "0.25"})),
            {"replicas": 5, "rollout": {"maxSurge": "25%"}},
            SERVES_ONE,
            (2, {"cpu": "1"}),
            id="a surge in percent is rounded up, and containers add up",
        ),
        pytest.param(
            template(
                asking(requests={"memory": "1Gi"}), init=(asking(requests={"memory": "3Gi", "cpu": "1"}),)
            ),
            {},
            None,
            (2, {"cpu": "2", "memory": "6Gi"}),
            id="an init container that needs more decides",
        ),
        pytest.param(
            template(asking(limits={"nvidia.com/gpu": 1, "cpu": "2"}, requests={"cpu": "1500m"})),
            {},
            SERVES_ONE,
            (1, {"cpu": "1500m", "nvidia.com/gpu": "1"}),
            id="a device stands in the limits alone",
        ),
        pytest.param(
            template(asking(requests={"cpu": "lots"})),
            {},
            SERVES_ONE,
            (1, None),
            id="nonsense counts as nothing",
        ),
        pytest.param(
            template(asking(requests={"cpu": "1"})),
            {"rollout": {"maxSurge": 0, "maxUnavailable": 1}},
            SERVES_ONE,
            (0, None),
            id="without a surge nothing is needed",
        ),
    ],
)
def test_the_step_ahead_says_what_it_costs(
    pods: Json, spec: Json, serving: Serving | None, resources: tuple[int, Json | None]
) -> None:
    seen = world(ONE, deployment=carrying(ONE), spec=spec)
    step = forecast(seen, RolloutState(serving, candidate()), replace(TWO, template=pods), None)
    assert (step["extraPods"], step.get("extraResources")) == resources


# --- what the gates said -----------------------------------------------------------------------------

REFUSED = GateResult("Metrics", GateOutcome.FAILED, "auc is 0.7", "MetricOutOfBounds")
PASSED = GateResult("Signature", GateOutcome.PASSED, "fits", differences=("+ input x: long (optional)",))
WAITS = GateResult("Metrics", GateOutcome.PENDING, "asked", "GatesPending")
GATED = {"gates": {"metrics": [{"name": "auc", "min": 0.8}], "signature": "Compatible"}}


def test_a_version_that_a_gate_keeps_out_has_its_step_shown() -> None:
    step = forecast(AT_REST, RolloutState(SERVES_ONE), TWO, GateReport((PASSED, REFUSED)))
    assert (step["from"], step["to"], step["revision"]) == ("1", "2", TWO.name)
    assert [(gate["gate"], gate["outcome"]) for gate in step["gates"]] == [
        ("Signature", "Passed"),
        ("Metrics", "Failed"),
    ]
    assert step["signature"] == ["+ input x: long (optional)"]


def test_what_the_gates_said_stays_shown_while_the_version_rolls_out() -> None:
    before = forecast(AT_REST, RolloutState(SERVES_ONE), TWO, GateReport((PASSED,)))
    seen = replace(AT_REST, status={"plan": before})
    step = forecast(seen, RolloutState(SERVES_ONE, candidate()), TWO, None)
    assert (step["gates"], step["signature"]) == (before["gates"], before["signature"])
    other = replace(candidate(), revision=ONE.name)
    assert "gates" not in forecast(seen, RolloutState(SERVES_ONE, other), ONE, None)


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        pytest.param((PASSED,), ("True", "Admitted"), id="all pass"),
        pytest.param((PASSED, REFUSED), ("False", "MetricOutOfBounds"), id="one does not"),
        pytest.param((WAITS, PASSED), ("Unknown", "GatesPending"), id="one is not known yet"),
        pytest.param((WAITS, REFUSED), ("False", "MetricOutOfBounds"), id="one waits, one does not pass"),
    ],
)
def test_admitted_says_what_the_gates_said(
    results: tuple[GateResult, ...], expected: tuple[str, str]
) -> None:
    seen = world(ONE, deployment=carrying(ONE), spec=GATED)
    decision = Decision(RolloutState(SERVES_ONE), desired=TWO, admission=GateReport(results))
    found = [(c.status, c.reason) for c in conditions(seen, decision) if c.type == "Admitted"]
    assert found == [expected]


def test_admitted_is_absent_where_no_gate_is_set() -> None:
    decision = Decision(RolloutState(SERVES_ONE), desired=TWO)
    assert "Admitted" not in {c.type for c in conditions(AT_REST, decision)}

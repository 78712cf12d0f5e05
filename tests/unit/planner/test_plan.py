"""Single decisions of the planner; whole lives are told in tests/stories."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.planner.worlds import NOW, OWNER, ago, carrying, live, rejected, revision, world

from model_operator.api import names
from model_operator.domain.objects import Kind, ObjectRef, rfc3339
from model_operator.domain.plan import Apply, Create, Plan
from model_operator.domain.registry import Resolution, ResolutionReason
from model_operator.domain.revision import Side
from model_operator.domain.rollout import Candidate, Phase, Rejection, RolloutState, Serving
from model_operator.domain.world import RefusalKind, RefusedWrite, World
from model_operator.planner.children.actions import REFUSAL_RETRY
from model_operator.planner.decision import LONGEST_RETRY
from model_operator.planner.plan import plan
from model_operator.planner.state import load, to_status

Json = dict[str, Any]

ONE, TWO, THREE = revision("1", verdict=live()), revision("2"), revision("3")
SERVES_ONE = Serving(ONE.name, "1", "@champion", ago(600), "Passed", "churn", True)


def status_of(state: RolloutState, generation: int = 1) -> Json:
    return to_status(state) | {"observedGeneration": generation}


def tried(phase: Phase = Phase.FETCHING, **more: Any) -> Candidate:
    return Candidate(TWO.name, "2", "@champion", ago(60), phase, track="churn", **more)


def pod(code: int, container: str = "fetch", seconds: float = 5) -> Json:
    """A pod of version 2 whose container ended with ``code``."""
    at = rfc3339(ago(seconds))
    scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": at}
    ended = {"name": container, "state": {"terminated": {"exitCode": code}}}
    return {
        "metadata": {"creationTimestamp": at, "labels": {names.LABEL_REVISION: TWO.name}},
        "status": {"conditions": [scheduled], "initContainerStatuses": [ended]},
    }


def in_flight(state: RolloutState, *pods: Json, **more: Any) -> World:
    """Version 2 is wanted and the Deployment carries it."""
    deployment = carrying(TWO, updatedReplicas=1)
    return world(ONE, TWO, version="2", deployment=deployment, pods=pods, status=status_of(state), **more)


def candidate(decided: Plan) -> Json:
    found = decided.status.get("candidate", {})
    assert isinstance(found, dict)
    return found


# --- properties --------------------------------------------------------------------------------------

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 60) | st.sampled_from(["", "True", "x", rfc3339(NOW)]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "state"]), inner),
    max_leaves=4,
)
TIMES = st.sampled_from([rfc3339(NOW), "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "soon"]) | VALUES
PARTS = st.fixed_dictionaries(
    {},
    optional={
        "revision": st.sampled_from([ONE.name, TWO.name, THREE.name, "v9-unknown"]) | VALUES,
        "version": VALUES,
        "phase": st.sampled_from([p.value for p in Phase]) | VALUES,
        "side": st.sampled_from(["Model", "Configuration"]) | VALUES,
        "attempts": st.sampled_from([1, 10**30]) | VALUES,
        "since": TIMES,
        "deadline": TIMES,
        "retryAt": TIMES,
        "at": TIMES,
    },
)
STATUSES = st.fixed_dictionaries(
    {},
    optional={
        "observedGeneration": VALUES,
        "conditions": st.lists(VALUES, max_size=2) | VALUES,
        "serving": PARTS | VALUES,
        "candidate": PARTS | VALUES,
        "rejected": st.lists(PARTS | VALUES, max_size=3) | VALUES,
        "resolved": PARTS | VALUES,
        "replicas": VALUES,
    },
)
CONDITIONS = st.fixed_dictionaries(
    {"type": st.sampled_from(["PodScheduled", "Initialized", "Ready"])},
    optional={"status": st.just("True") | VALUES, "lastTransitionTime": TIMES},
)
PODS = st.fixed_dictionaries(
    {"metadata": st.just({"labels": {names.LABEL_REVISION: TWO.name}}) | VALUES},
    optional={
        "status": st.fixed_dictionaries(
            {},
            optional={
                "conditions": st.lists(CONDITIONS, max_size=3) | VALUES,
                "containerStatuses": st.lists(VALUES, max_size=2) | VALUES,
            },
        )
        | VALUES
    },
)
ANSWERS = st.sampled_from(ResolutionReason).map(lambda reason: Resolution(reason, "said so"))


@given(
    status=STATUSES,
    pods=st.lists(PODS, max_size=2),
    counts=st.dictionaries(st.sampled_from(["replicas", "updatedReplicas", "observedGeneration"]), VALUES),
    answer=st.none() | ANSWERS,
)
def test_no_garbage_stops_the_planner_and_it_decides_the_same_way_twice(
    status: Json, pods: list[Json], counts: Json, answer: Resolution | None
) -> None:
    seen = world(ONE, TWO, version="2", deployment=carrying(TWO, **counts), pods=pods, status=status)
    seen = replace(seen, resolution=answer or seen.resolution)
    decided = plan(seen)
    assert decided == plan(seen)
    assert decided.look_again is None or decided.look_again > timedelta(0)


# --- going back --------------------------------------------------------------------------------------


def test_a_revert_keeps_since_when_the_old_revision_serves() -> None:
    decided = plan(in_flight(RolloutState(SERVES_ONE, tried()), pod(41)))
    assert decided.status["serving"] == to_status(RolloutState(SERVES_ONE))["serving"]
    assert [e.reason for e in decided.events] == ["Reverted"]


def test_a_failure_counts_its_tries() -> None:
    decided = plan(in_flight(RolloutState(SERVES_ONE, tried(attempts=3)), pod(41)))
    assert decided.status["rejected"][0]["attempts"] == 3


def test_what_is_live_again_is_rejected_no_longer() -> None:
    two = replace(TWO, verdict=rejected())
    state = RolloutState(SERVES_ONE, tried())
    seen = world(ONE, two, version="2", deployment=carrying(two), status=status_of(state))
    assert "rejected" not in plan(seen).status


# --- withdrawing and trying again ----------------------------------------------------------------------


@pytest.mark.parametrize(("attempts", "seconds"), [(1, 60), (2, 120), (3, 240), (7, 3600), (10**9, 3600)])
def test_the_pause_before_the_next_try_grows_up_to_an_hour(attempts: int, seconds: int) -> None:
    decided = plan(in_flight(RolloutState(SERVES_ONE, tried(attempts=attempts)), pod(42, seconds=1800)))
    assert candidate(decided)["phase"] == "Withdrawn"
    assert decided.look_again == timedelta(seconds=seconds) <= LONGEST_RETRY
    assert "rejected" not in decided.status


NO_SURGE = {"rollout": {"maxSurge": 0, "maxUnavailable": 1}}


def test_without_a_surge_a_withdrawn_version_says_what_tries_it_again() -> None:
    decided = plan(in_flight(RolloutState(SERVES_ONE, tried()), pod(42, seconds=1800), spec=NO_SURGE))
    assert "retryAt" not in candidate(decided)
    assert "Any change of the spec retries it" in candidate(decided)["message"]
    assert decided.look_again is None


@pytest.mark.parametrize("seen_generation", [1, 2])
def test_a_commit_tries_a_withdrawn_version_again(seen_generation: int) -> None:
    state = RolloutState(SERVES_ONE, tried(Phase.WITHDRAWN, attempts=4))
    status = status_of(state, generation=seen_generation)
    seen = world(ONE, TWO, version="2", deployment=carrying(ONE), status=status, generation=2)
    found = candidate(plan(seen))
    expected = ("Applying", 5) if seen_generation == 1 else ("Withdrawn", 4)
    assert (found["phase"], found["attempts"]) == expected


def test_waiting_for_a_slot_does_not_forget_the_tries() -> None:
    due = tried(Phase.WITHDRAWN, attempts=4, retry_at=NOW)
    seen = world(
        ONE,
        TWO,
        version="2",
        deployment=carrying(ONE),
        status=status_of(RolloutState(SERVES_ONE, due)),
        slot_free=False,
    )
    waits = plan(seen)
    assert (candidate(waits)["phase"], candidate(waits)["attempts"]) == ("WaitingForSlot", 5)
    starts = plan(replace(seen, status=waits.status, slot_free=True))
    assert (candidate(starts)["phase"], candidate(starts)["attempts"]) == ("Applying", 5)


@pytest.mark.parametrize("side", [Side.MODEL, Side.CONFIGURATION])
def test_a_commit_forgives_the_manifests_faults_but_not_the_models(side: Side) -> None:
    refused = Rejection(TWO.name, "2", "@champion", side, "Reason", "", ago(300))
    two = replace(TWO, verdict=rejected(side=side))
    status = status_of(RolloutState(SERVES_ONE, None, (refused,)))
    seen = world(ONE, two, version="2", deployment=carrying(ONE), status=status, generation=2)
    decided = plan(seen)
    if side is Side.MODEL:
        assert decided.status["rejected"][0]["version"] == "2"
        assert candidate(decided) == {}
    else:
        assert "rejected" not in decided.status
        assert candidate(decided)["attempts"] == 2
        # the operator dies here: the verdict is still there, the forgiveness holds
        assert load(replace(seen, status=decided.status)).rejection_of(two.name) is None


def test_a_lost_status_is_no_commit() -> None:
    two = replace(TWO, verdict=rejected(side=Side.CONFIGURATION))
    decided = plan(world(ONE, two, version="2", deployment=carrying(ONE)))
    assert decided.status["rejected"][0]["version"] == "2"


def test_a_rollout_whose_pods_are_replaced_again_and_again_is_withdrawn_in_the_end() -> None:
    evicted = pod(41) | {"status": {"phase": "Failed", "reason": "Evicted"}}
    total = 1800 + 1800 + 600
    for age, phase in ((total - 1, "Scheduling"), (total, "Withdrawn")):
        state = RolloutState(SERVES_ONE, replace(tried(), since=ago(age)))
        decided = plan(in_flight(state, evicted))
        assert candidate(decided)["phase"] == phase
        assert decided.look_again == timedelta(seconds=1 if age < total else 60)


def test_a_long_rollout_between_two_pods_waits_for_an_event_and_not_for_a_clock() -> None:
    ready = pod(0, "server")
    ready["status"] = {"conditions": [{"type": t, "status": "True"} for t in ("PodScheduled", "Ready")]}
    decided = plan(in_flight(RolloutState(SERVES_ONE, replace(tried(), since=ago(9999))), ready))
    assert candidate(decided)["phase"] == "Rolling"
    assert decided.look_again is None


@pytest.mark.parametrize("kind", [RefusalKind.FORBIDDEN, RefusalKind.BROKEN, RefusalKind.QUOTA])
def test_a_template_that_a_policy_refuses_is_held_up_and_what_serves_is_ready(kind: RefusalKind) -> None:
    refused = RefusedWrite(ObjectRef(Kind.DEPLOYMENT, "crm", "churn"), kind, "image is not signed")
    status = status_of(RolloutState(SERVES_ONE, tried(Phase.APPLYING)))
    seen = world(ONE, TWO, version="2", deployment=carrying(ONE), status=status, refused_writes=(refused,))
    decided = plan(seen)
    assert (candidate(decided)["reason"], candidate(decided)["phase"]) == ("Refused", "Applying")
    assert {c["type"]: c["status"] for c in decided.status["conditions"]} == {
        "Ready": "True",
        "Current": "False",
        "Reconciling": "True",
        "Resolved": "True",
    }
    assert decided.look_again == REFUSAL_RETRY
    assert plan(replace(seen, status=decided.status)).status == decided.status


# --- slots, refused writes, scale ------------------------------------------------------------------------------


def test_a_rollout_in_flight_takes_a_slot_and_one_that_is_held_up_gives_it_back() -> None:
    state = RolloutState(SERVES_ONE, tried())
    assert plan(in_flight(state)).rollout_in_flight
    assert not plan(in_flight(state, pod(42))).rollout_in_flight
    assert not plan(world(ONE, deployment=carrying(ONE))).rollout_in_flight
    refused = RefusedWrite(ObjectRef(Kind.SERVICE, "crm", "churn"), RefusalKind.NAME_TAKEN, "it was there")
    held_up = plan(in_flight(state, refused_writes=(refused,)))
    assert not held_up.rollout_in_flight
    assert held_up.look_again == REFUSAL_RETRY


def test_a_rollout_goes_on_without_a_slot_when_another_version_is_wanted_meanwhile() -> None:
    status = status_of(RolloutState(SERVES_ONE, tried()))
    deployment = carrying(TWO, updatedReplicas=1)
    seen = world(ONE, TWO, THREE, version="3", deployment=deployment, status=status, slot_free=False)
    assert candidate(plan(seen))["version"] == "3"


def test_a_sick_candidate_is_reverted_although_a_name_is_taken() -> None:
    refused = RefusedWrite(ObjectRef(Kind.AUTOSCALER, "crm", "churn"), RefusalKind.NAME_TAKEN, "it was there")
    decided = plan(in_flight(RolloutState(SERVES_ONE, tried()), pod(41), refused_writes=(refused,)))
    assert decided.status["rejected"][0]["reason"] == "ArtifactMissing"


def test_a_candidate_without_pods_to_run_is_not_called_tested() -> None:
    payload = {"selfTest": {"payload": {"configMap": {"name": "smoke", "key": "req.json"}}}}
    state = RolloutState(SERVES_ONE, tried())
    for spec in ({}, payload, {"selfTest": {"mode": "LoadOnly"}}):
        two = revision("2", **spec)
        status = status_of(replace(state, candidate=replace(tried(), revision=two.name)))
        seen = world(ONE, two, version="2", deployment=carrying(two, replicas=0), status=status, spec=spec)
        decided = plan(seen)
        assert decided.status["serving"]["version"] == "2"
        assert "selfTest" not in decided.status["serving"]
        assert "untested" in decided.events[0].message


def test_the_life_of_an_earlier_modeldeployment_is_not_ones_own() -> None:
    seen = world(ONE, deployment=carrying(ONE), uid="uid-again")
    decided = plan(seen)
    assert decided.actions == ()
    assert "serving" not in decided.status
    assert decided.look_again is not None


def test_a_foreign_controller_stops_every_write() -> None:
    taken = carrying(ONE)
    taken["metadata"]["ownerReferences"] = [
        {"kind": "Rollout", "name": "shop", "uid": "u", "controller": True}
    ]
    decided = plan(world(ONE, version="2", deployment=taken))
    assert decided.actions == ()
    assert [e.reason for e in decided.events] == ["NameConflict"]


def test_the_plan_of_a_first_deployment_starts_with_what_it_has_to_remember() -> None:
    decided = plan(world())
    assert [a.ref.kind for a in decided.actions][:3] == [Kind.CONFIG_MAP, Kind.REVISION, Kind.DEPLOYMENT]
    assert all(isinstance(a, Create) for a in decided.actions)
    assert not any(isinstance(a, Apply) for a in decided.actions)
    assert decided.actions[2].ref == ObjectRef(Kind.DEPLOYMENT, OWNER.namespace, OWNER.name)


# --- failures that may have been an accident ---------------------------------------------------------------


def late(seconds: float = 700) -> Json:
    """A pod of version 2 whose server has not become ready for that long."""
    at = rfc3339(ago(seconds))
    conditions = [
        {"type": kind, "status": "True", "lastTransitionTime": at} for kind in ("PodScheduled", "Initialized")
    ]
    server = {"name": "server", "restartCount": 0, "state": {"running": {"startedAt": at}}}
    return {
        "metadata": {"creationTimestamp": at, "labels": {names.LABEL_REVISION: TWO.name}},
        "status": {"conditions": conditions, "containerStatuses": [server]},
    }


@pytest.mark.parametrize(
    ("attempts", "spec", "seconds"),
    [
        pytest.param(1, {}, 60, id="once: again in a minute"),
        pytest.param(2, {}, 120, id="twice: again in two"),
        pytest.param(3, {}, None, id="three times: quarantined"),
        pytest.param(1, NO_SURGE, None, id="where each try takes a serving pod away: quarantined"),
    ],
)
def test_a_startup_that_took_too_long(attempts: int, spec: Json, seconds: int | None) -> None:
    decided = plan(in_flight(RolloutState(SERVES_ONE, tried(attempts=attempts)), late(), spec=spec))
    rejection = decided.status["rejected"][0]
    assert (rejection["reason"], rejection["attempts"]) == ("StartupDeadline", attempts)
    assert rejection.get("retryAt") == (rfc3339(NOW + timedelta(seconds=seconds)) if seconds else None)
    assert decided.look_again == (timedelta(seconds=seconds) if seconds else None)
    assert ("tried 3 times" in rejection["message"]) == (attempts == 3)


def test_the_policy_never_leaves_a_failed_candidate_in_place_and_does_not_try_it_again() -> None:
    spec = {"revert": {"policy": "Never"}}
    decided = plan(in_flight(RolloutState(SERVES_ONE, tried()), pod(41), spec=spec))
    assert candidate(decided)["phase"] == "Failed"
    assert decided.status["serving"]["version"] == "1"
    assert "retryAt" not in decided.status["rejected"][0]
    assert not [
        a
        for a in decided.actions
        if a.ref.kind is Kind.DEPLOYMENT
        and a.body["metadata"]["annotations"][names.LABEL_REVISION] == ONE.name
    ]


def test_a_field_that_is_refused_has_side_and_remedy_of_the_table() -> None:
    refused = RefusedWrite(ObjectRef(Kind.DEPLOYMENT, "crm", "churn"), RefusalKind.INVALID, "spec.x: bad")
    status = status_of(RolloutState(SERVES_ONE, tried(Phase.APPLYING)))
    seen = world(ONE, TWO, version="2", deployment=carrying(ONE), status=status, refused_writes=(refused,))
    rejection = plan(seen).status["rejected"][0]
    assert (rejection["reason"], rejection["side"]) == ("FieldRefused", "Configuration")
    assert rejection["message"].endswith("; correct the field that the message names")


@pytest.mark.parametrize(
    ("waits", "reason"),
    [
        pytest.param(
            {"reason": "CreateContainerConfigError", "message": "no Secret"},
            "NoProgress",
            id="the manifest's",
        ),
        pytest.param(
            {"reason": "ErrImagePull", "message": "i/o timeout"}, "ImageUnreachable", id="the environment's"
        ),
    ],
)
def test_what_comes_to_nothing_is_withdrawn_under_a_reason_that_blames_nobody(
    waits: Json, reason: str
) -> None:
    stuck = late(30)
    stuck["status"]["containerStatuses"][0]["state"] = {"waiting": waits}
    seen = in_flight(RolloutState(SERVES_ONE, replace(tried(), since=ago(9999))), stuck)
    found = candidate(plan(seen))
    assert (found["phase"], found["reason"]) == ("Withdrawn", reason)
    assert waits["message"] in found["message"]

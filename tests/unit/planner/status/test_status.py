"""What a person reads: conditions and events for every decision."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.planner.worlds import ago, carrying, live, revision, world

from model_operator.domain.objects import Kind, ObjectRef
from model_operator.domain.registry import Resolution, ResolutionReason
from model_operator.domain.revision import Revision, Side
from model_operator.domain.rollout import Candidate, Phase, Rejection, RolloutState, Serving
from model_operator.domain.world import RefusalKind, RefusedWrite, World
from model_operator.planner.decision import Decision
from model_operator.planner.health import Failure
from model_operator.planner.status import report
from model_operator.planner.status.events import events_for

Json = dict[str, Any]

ONE, TWO = revision("1", verdict=live()), revision("2")
SERVES_ONE = Serving(ONE.name, "1", "@champion", ago(600), track="churn", settled=True)
REJECTED_TWO = Rejection(TWO.name, "2", "@champion", Side.MODEL, "LoadFailed", "no weights", ago(300))


def conditions(status: Json) -> dict[str, str]:
    return {
        c["type"]: c["reason"] if c["status"] == "True" else f"{c['status']} {c['reason']}"
        for c in status["conditions"]
    }


def told(
    seen: World, state: RolloutState, desired: Revision | None = None, problem: Failure | None = None
) -> Json:
    decision = Decision(state, desired=desired, problem=problem, revisions=seen.children.revisions)
    return conditions(report(seen, decision))


def candidate(phase: Phase = Phase.FETCHING, **more: Any) -> Candidate:
    return Candidate(TWO.name, "2", "@champion", ago(60), phase, track="churn", **more)


AT_REST = world(ONE, deployment=carrying(ONE))
MOVED = world(ONE, TWO, version="2", deployment=carrying(TWO, updatedReplicas=0))
COMMITTED = world(ONE, deployment=carrying(ONE), spec={"server": {"resources": {"requests": {"cpu": "1"}}}})
BIGGER = revision("1", 2, server={"resources": {"requests": {"cpu": "1"}}})
OUTAGE = Resolution(ResolutionReason.UNREACHABLE, "no answer")
NO_ALIAS = Resolution(ResolutionReason.ALIAS_NOT_FOUND, "no alias champion")


def refusal(kind: Kind, what: RefusalKind) -> tuple[RefusedWrite, ...]:
    return (RefusedWrite(ObjectRef(kind, "crm", "churn"), what, "spec.x: bad"),)


CASES: list[tuple[str, World, RolloutState, Revision | None, Json]] = [
    (
        "all is well",
        AT_REST,
        RolloutState(SERVES_ONE),
        ONE,
        {"Ready": "Serving", "Current": "Serving", "Resolved": "Resolved"},
    ),
    (
        "an alias moved and its version is on its way",
        MOVED,
        RolloutState(SERVES_ONE, candidate()),
        TWO,
        {
            "Ready": "Serving",
            "Current": "False RollingOut",
            "Reconciling": "RollingOut",
            "Resolved": "Resolved",
        },
    ),
    (
        "an alias moved to a bad version",
        replace(MOVED, children=AT_REST.children),
        RolloutState(SERVES_ONE, None, (REJECTED_TWO,)),
        TWO,
        {"Ready": "Serving", "Current": "False VersionRejected", "Resolved": "Resolved"},
    ),
    (
        "a commit is on its way",
        COMMITTED,
        RolloutState(SERVES_ONE, replace(candidate(), revision=BIGGER.name)),
        BIGGER,
        {
            "Ready": "False RollingOut",
            "Current": "False RollingOut",
            "Reconciling": "RollingOut",
            "Resolved": "Resolved",
        },
    ),
    (
        "a commit is short of capacity, which may pass",
        COMMITTED,
        RolloutState(SERVES_ONE, replace(candidate(), revision=BIGGER.name, reason="InsufficientCapacity")),
        BIGGER,
        {
            "Ready": "False InsufficientCapacity",
            "Current": "False InsufficientCapacity",
            "Reconciling": "InsufficientCapacity",
            "Resolved": "Resolved",
        },
    ),
    (
        "a commit was bad",
        COMMITTED,
        RolloutState(SERVES_ONE, None, (replace(REJECTED_TWO, revision=BIGGER.name),)),
        BIGGER,
        {
            "Ready": "False VersionRejected",
            "Current": "False VersionRejected",
            "Stalled": "VersionRejected",
            "Resolved": "Resolved",
        },
    ),
    (
        "a commit while the registry is away",
        replace(COMMITTED, resolution=OUTAGE),
        RolloutState(SERVES_ONE),
        None,
        {
            "Ready": "False RegistryUnreachable",
            "Current": "Unknown RegistryUnreachable",
            "Resolved": "Unknown RegistryUnreachable",
        },
    ),
    (
        "the registry is away",
        replace(AT_REST, resolution=OUTAGE),
        RolloutState(SERVES_ONE),
        None,
        {
            "Ready": "Serving",
            "Current": "Unknown RegistryUnreachable",
            "Resolved": "Unknown RegistryUnreachable",
        },
    ),
    (
        "the alias is gone",
        replace(AT_REST, resolution=NO_ALIAS),
        RolloutState(SERVES_ONE),
        None,
        {"Ready": "Serving", "Current": "False AliasNotFound", "Resolved": "False AliasNotFound"},
    ),
    (
        "the alias never was",
        world(resolution=NO_ALIAS),
        RolloutState(),
        None,
        {
            "Ready": "False AliasNotFound",
            "Current": "False AliasNotFound",
            "Stalled": "AliasNotFound",
            "Resolved": "False AliasNotFound",
        },
    ),
    (
        "the registry was never reached",
        world(resolution=OUTAGE),
        RolloutState(),
        None,
        {
            "Ready": "False RegistryUnreachable",
            "Current": "Unknown RegistryUnreachable",
            "Reconciling": "RegistryUnreachable",
            "Resolved": "Unknown RegistryUnreachable",
        },
    ),
    (
        "all pods are gone",
        world(ONE, deployment=carrying(ONE, availableReplicas=0)),
        RolloutState(SERVES_ONE),
        ONE,
        {
            "Ready": "False PodsUnavailable",
            "Current": "Serving",
            "Reconciling": "Progressing",
            "Resolved": "Resolved",
        },
    ),
    (
        "scaled to nothing",
        world(ONE, deployment=carrying(ONE, replicas=0)),
        RolloutState(SERVES_ONE),
        ONE,
        {"Ready": "ScaledToZero", "Current": "Serving", "Resolved": "Resolved"},
    ),
    (
        "the serving template is refused",
        replace(AT_REST, refused_writes=refusal(Kind.DEPLOYMENT, RefusalKind.INVALID)),
        RolloutState(SERVES_ONE),
        ONE,
        {
            "Ready": "False FieldRefused",
            "Current": "Serving",
            "Stalled": "FieldRefused",
            "Resolved": "Resolved",
        },
    ),
    (
        "a name is taken",
        replace(AT_REST, refused_writes=refusal(Kind.SERVICE, RefusalKind.NAME_TAKEN)),
        RolloutState(SERVES_ONE),
        ONE,
        {
            "Ready": "False NameConflict",
            "Current": "Serving",
            "Stalled": "NameConflict",
            "Resolved": "Resolved",
        },
    ),
    (
        "the operator may not write",
        replace(AT_REST, refused_writes=refusal(Kind.SERVICE, RefusalKind.FORBIDDEN)),
        RolloutState(SERVES_ONE),
        ONE,
        {"Ready": "False Refused", "Current": "Serving", "Stalled": "Refused", "Resolved": "Resolved"},
    ),
    (
        "the spec can't be read",
        replace(AT_REST, parsed_spec=None, spec_error="spec.replicas: should be a number"),
        RolloutState(SERVES_ONE),
        None,
        {
            "Ready": "False InvalidSpec",
            "Current": "Unknown InvalidSpec",
            "Stalled": "InvalidSpec",
            "Resolved": "Resolved",
        },
    ),
]


@pytest.mark.parametrize(
    ("seen", "state", "desired", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_the_conditions_when(
    seen: World, state: RolloutState, desired: Revision | None, expected: Json
) -> None:
    assert told(seen, state, desired) == expected


def test_requests_that_are_about_to_move_leave_ready_alone_and_make_current_wait() -> None:
    seen, state = switching()
    assert told(seen, state, TWO) == {
        "Ready": "Serving",
        "Current": "False Switching",
        "Reconciling": "Switching",
        "Resolved": "Resolved",
    }
    assert (
        list(events_for(AT_REST.status, report(seen, Decision(state, desired=TWO, revisions=(ONE, TWO)))))
        == []
    )


def test_requests_that_still_go_to_a_rejected_version_are_no_good_service() -> None:
    seen, state = switching()
    sick = Rejection(ONE.name, "1", "@champion", Side.MODEL, "OutOfMemory", "too big", ago(1))
    back = replace(state, rejected=(sick,))
    assert told(seen, back, TWO) == {
        "Ready": "False Switching",
        "Current": "False Switching",
        "Reconciling": "Switching",
        "Resolved": "Resolved",
    }


def switching() -> tuple[World, RolloutState]:
    """Version 2 serves from now on, on its own track, and the Service still selects the other."""
    tracks = {"churn": carrying(ONE), "churn-green": carrying(TWO)}
    service = {"spec": {"selector": {"model-operator.io/track": "churn"}}}
    seen = world(ONE, TWO, version="2", deployments=tracks, service=service)
    return seen, RolloutState(Serving(TWO.name, "2", "@champion", ago(1), track="churn-green"))


def test_a_commit_to_another_registry_is_not_in_force_before_it_is_rolled_out() -> None:
    answer = replace(AT_REST.resolution, registry_url="http://other:5000")
    other = replace(ONE, target=replace(ONE.target, registry_url="http://other:5000"), name="v1-other")
    moved = replace(candidate(), revision=other.name)
    assert (
        told(replace(AT_REST, resolution=answer), RolloutState(SERVES_ONE, moved), other)["Ready"]
        == "False RollingOut"
    )


def test_a_pinned_version_that_was_rejected_is_not_in_force_even_if_the_alias_was_forgotten() -> None:
    pinned = world(
        ONE, TWO, version="2", deployment=carrying(ONE), spec={"model": {"name": "churn", "version": "2"}}
    )
    state = RolloutState(replace(SERVES_ONE, alias=""), None, (REJECTED_TWO,))
    assert told(pinned, state, TWO)["Ready"] == "False VersionRejected"


def test_a_report_on_a_world_that_did_not_change_is_the_same_report() -> None:
    decision = Decision(RolloutState(SERVES_ONE), desired=ONE, revisions=(ONE,))
    first = report(AT_REST, decision)
    assert report(replace(AT_REST, status=first, now=ago(-500)), decision) == first


def test_a_forgotten_field_of_the_registrys_last_answer_stays_in_an_outage() -> None:
    decision = Decision(RolloutState(SERVES_ONE), desired=ONE, revisions=(ONE,))
    first = report(AT_REST, decision)
    assert first["resolved"]["version"] == "1"
    away = replace(AT_REST, status=first, resolution=OUTAGE)
    assert report(away, replace(decision, desired=None))["resolved"] == first["resolved"]


# --- events ------------------------------------------------------------------------------------------

MISSING = Failure(Side.CONFIGURATION, "CredentialsMissing", "there is no Secret mlflow")
IDLE = (
    RefusedWrite(ObjectRef(Kind.DEPLOYMENT, "crm", "churn-green"), RefusalKind.FORBIDDEN, "no scaling here"),
)
PROBLEMS: list[tuple[str, World, Decision, list[str]]] = [
    (
        "missing credentials beside a healthy service",
        MOVED,
        Decision(RolloutState(SERVES_ONE), problem=MISSING, revisions=(ONE,)),
        ["CredentialsMissing"],
    ),
    (
        "missing credentials at first",
        world(),
        Decision(RolloutState(), problem=MISSING),
        ["CredentialsMissing"],
    ),
    ("an alias that never was", world(resolution=NO_ALIAS), Decision(RolloutState()), ["AliasNotFound"]),
    (
        "a conflict of names",
        replace(AT_REST, refused_writes=refusal(Kind.SERVICE, RefusalKind.NAME_TAKEN)),
        Decision(RolloutState(SERVES_ONE), desired=ONE, revisions=(ONE,)),
        ["NameConflict"],
    ),
    (
        "a track that no longer serves and can't be scaled down",
        replace(AT_REST, refused_writes=IDLE),
        Decision(RolloutState(SERVES_ONE), desired=ONE, revisions=(ONE,)),
        ["Refused"],
    ),
    (
        "a rejected version that is wanted again",
        replace(
            MOVED,
            status={"rejected": report(MOVED, Decision(RolloutState(rejected=(REJECTED_TWO,))))["rejected"]},
        ),
        Decision(RolloutState(SERVES_ONE, None, (REJECTED_TWO,)), desired=TWO, revisions=(ONE, TWO)),
        ["VersionRejected"],
    ),
    (
        "a revert, which the planner tells",
        MOVED,
        Decision(RolloutState(SERVES_ONE, None, (REJECTED_TWO,)), desired=TWO, revisions=(ONE, TWO)),
        [],
    ),
    (
        "a first look",
        world(resolution=Resolution(ResolutionReason.PENDING, "")),
        Decision(RolloutState()),
        [],
    ),
    (
        "a rollout",
        MOVED,
        Decision(RolloutState(SERVES_ONE, candidate()), desired=TWO, revisions=(ONE, TWO)),
        [],
    ),
]


@pytest.mark.parametrize(
    ("seen", "decision", "events"), [p[1:] for p in PROBLEMS], ids=[p[0] for p in PROBLEMS]
)
def test_each_trouble_is_told_once(seen: World, decision: Decision, events: list[str]) -> None:
    after = report(seen, decision)
    assert [e.reason for e in events_for(seen.status, after)] == events
    assert list(events_for(after, report(replace(seen, status=after), decision))) == []


def test_a_track_that_can_not_be_scaled_down_leaves_ready_true_and_is_told_of() -> None:
    seen = replace(AT_REST, refused_writes=IDLE)
    status = report(seen, Decision(RolloutState(SERVES_ONE), desired=ONE, revisions=(ONE,)))
    assert conditions(status)["Ready"] == "Refused"
    assert "Deployment churn-green, which is no longer in use, can't be written: no scaling here" in str(
        status
    )


def test_the_remedy_stands_in_the_message_of_a_conflict() -> None:
    seen = replace(AT_REST, refused_writes=refusal(Kind.SERVICE, RefusalKind.NAME_TAKEN))
    (ready,) = [
        c for c in report(seen, Decision(RolloutState(SERVES_ONE)))["conditions"] if c["type"] == "Ready"
    ]
    assert "Service churn" in ready["message"]
    assert "Rename this ModelDeployment" in ready["message"]

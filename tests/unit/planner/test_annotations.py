"""A person's requests: each is heard, answered, and harmless when it stays or comes again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.planner.execution import carry_out
from tests.unit.planner.worlds import ago, carrying, live, pointing, rejected, revision, world

from model_operator.api import names
from model_operator.domain.objects import Kind
from model_operator.domain.plan import Adopt, Create, Plan
from model_operator.domain.registry import Resolution, ResolutionReason
from model_operator.domain.revision import Side
from model_operator.domain.rollout import Candidate, Phase, Rejection, RolloutState, Serving
from model_operator.domain.world import World
from model_operator.planner.annotations import (
    VALUE_LIMIT,
    read_adoptions,
    read_handled,
    read_request,
    read_unanswered,
)
from model_operator.planner.plan import plan
from model_operator.planner.state import to_status

Json = dict[str, Any]

ONE, TWO = revision("1", verdict=live(5000, settled=True)), revision("2", verdict=rejected())
ON_ONE = Serving(ONE.name, "1", "@champion", ago(5000), track="churn", settled=True)
REFUSED = Rejection(TWO.name, "2", "@champion", Side.MODEL, "LoadFailed", "it said so", ago(300))
OUTAGE = Resolution(ResolutionReason.UNREACHABLE, "no answer")


def requested(state: RolloutState | None = None, answers: Json | None = None, **more: Any) -> World:
    """Version 1 serves, version 2 is wanted and was rejected; ``retry`` and so on are the requests' values."""
    wanted = {k: more.pop(k) for k in ("retry", "restart", "revert", "adopt") if k in more}
    annotations = {f"{names.GROUP}/{request}": value for request, value in wanted.items()}
    status = to_status(state or RolloutState(ON_ONE, None, (REFUSED,))) | {"observedGeneration": 1}
    status |= {"handledRequests": answers} if answers else {}
    more = {"version": "2", "deployment": carrying(ONE)} | more
    return world(ONE, TWO, status=status, annotations=annotations, **more)


def candidate(decided: Plan) -> tuple[str, str]:
    found = decided.status.get("candidate", {})
    return found.get("version", ""), found.get("phase", "")


def is_heard_once(seen: World) -> None:
    first = plan(seen)
    after = carry_out(seen, first)
    for _ in range(4):
        again = plan(after)
        after = carry_out(after, again)
    assert plan(after).actions == ()
    assert plan(after).status == after.status
    assert [e.reason for e in plan(after).events] == []


def test_a_value_is_read_without_blanks_and_not_beyond_its_limit() -> None:
    assert read_request(requested(retry=" now \n"), "retry") == "now"
    assert len(read_request(requested(retry="x" * 9999), "retry")) == VALUE_LIMIT
    assert read_request(requested(), "retry") == ""


@pytest.mark.parametrize("garbage", [5, "x", ["retry"], {"retry": 5}, None])
def test_garbage_has_answered_nothing(garbage: object) -> None:
    seen = replace(requested(retry="now"), status={"handledRequests": garbage, "observedGeneration": 1})
    assert read_handled(seen) == {}
    assert read_unanswered(seen, "retry") == "now"


# --- retry --------------------------------------------------------------------------------------------------


def test_a_retry_tries_what_was_rejected_once_more() -> None:
    decided = plan(requested(retry="now"))
    assert candidate(decided) == ("2", "Applying")
    assert decided.status["candidate"]["attempts"] == 2
    assert decided.status["handledRequests"] == {"retry": "now"}
    assert "rejected" not in decided.status
    is_heard_once(requested(retry="now"))


def test_a_retry_that_was_answered_is_not_heard_again() -> None:
    decided = plan(requested(answers={"retry": "now"}, retry="now"))
    assert candidate(decided) == ("", "")
    assert decided.status["rejected"][0]["version"] == "2"


def test_a_retry_waits_for_an_answer_of_the_registry() -> None:
    decided = plan(requested(retry="now", resolution=OUTAGE))
    assert "handledRequests" not in decided.status


def test_a_retry_of_what_serves_is_harmless() -> None:
    decided = plan(requested(retry="now", version="1"))
    assert candidate(decided) == ("", "")
    assert decided.status["handledRequests"] == {"retry": "now"}


WITHDRAWN = Candidate(TWO.name, "2", "@champion", ago(60), Phase.WITHDRAWN, attempts=3, track="churn")
NO_SECRET = "the Secret is missing"


@pytest.mark.parametrize("phase", [Phase.WITHDRAWN, Phase.FAILED])
@pytest.mark.parametrize("how", ["retry", "commit"])
def test_what_could_not_start_when_it_was_asked_for_starts_as_soon_as_it_can(phase: Phase, how: str) -> None:
    state = RolloutState(ON_ONE if phase is Phase.WITHDRAWN else None, replace(WITHDRAWN, phase=phase))
    more: Json = {"retry": "now"} if how == "retry" else {"generation": 2}
    seen = requested(state, credentials_error=NO_SECRET, **more)
    waits = plan(seen)
    assert candidate(waits) == ("2", phase.value)
    starts = plan(replace(seen, status=waits.status, credentials_error=""))
    assert candidate(starts) == ("2", "Applying")
    assert starts.status["candidate"]["attempts"] == 4


def test_a_commit_during_an_outage_of_the_registry_tries_again_after_it() -> None:
    seen = requested(RolloutState(ON_ONE, WITHDRAWN), generation=2, resolution=OUTAGE)
    waits = plan(seen)
    assert candidate(waits) == ("2", "Withdrawn")
    assert waits.look_again is None
    assert candidate(plan(replace(seen, status=waits.status, resolution=requested().resolution))) == (
        "2",
        "Applying",
    )


# --- restart ------------------------------------------------------------------------------------------------


def test_a_restart_renders_what_is_wanted_anew() -> None:
    seen = requested(RolloutState(ON_ONE), version="1", restart="today")
    decided = plan(seen)
    assert candidate(decided) == ("1", "Applying")
    assert decided.status["candidate"]["revision"] != ONE.name
    assert "handledRequests" not in decided.status, "the revision is not kept yet"
    assert plan(carry_out(seen, decided)).status["handledRequests"] == {"restart": "today"}
    assert [a for a in decided.actions if isinstance(a, Create) and a.ref.kind is Kind.REVISION]
    is_heard_once(seen)


def test_a_restart_while_the_wanted_version_is_rejected_restarts_what_serves() -> None:
    seen = requested(restart="today")
    first = plan(seen)
    assert candidate(first) == ("1", "Applying")
    second = plan(carry_out(seen, first))
    assert candidate(second)[0] == "1"
    assert second.status["candidate"]["revision"] == first.status["candidate"]["revision"]
    assert second.status["rejected"][0]["version"] == "2"
    is_heard_once(seen)


def test_a_restart_survives_an_operator_that_dies_before_it_keeps_the_revision() -> None:
    seen = requested(RolloutState(ON_ONE), version="1", restart="today")
    first = plan(seen)
    again = plan(replace(seen, status=first.status))
    assert again.status["candidate"]["revision"] == first.status["candidate"]["revision"]
    assert [a for a in again.actions if isinstance(a, Create) and a.ref.kind is Kind.REVISION]


def test_a_restart_waits_for_a_slot_and_is_answered_when_it_has_started() -> None:
    seen = requested(RolloutState(ON_ONE), version="1", restart="today", slot_free=False)
    waits = plan(seen)
    assert candidate(waits) == ("1", "WaitingForSlot")
    assert "handledRequests" not in waits.status
    free = replace(seen, status=waits.status, slot_free=True)
    started = plan(carry_out(free, plan(free)))
    assert started.status["handledRequests"] == {"restart": "today"}


# --- revert -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["2", TWO.name])
def test_a_revision_is_held_by_its_version_or_its_name(value: str) -> None:
    decided = plan(requested(revert=value, resolution=OUTAGE))
    assert candidate(decided) == ("2", "Applying")
    assert decided.status["handledRequests"] == {"revert": value}
    is_heard_once(requested(revert=value))


def test_what_is_held_and_serves_is_said_to_be_held() -> None:
    decided = plan(requested(revert="1"))
    current = next(c for c in decided.status["conditions"] if c["type"] == "Current")
    assert (current["status"], current["reason"]) == ("False", "RevisionHeld")
    assert candidate(decided) == ("", "")


def test_a_held_revision_that_fails_again_is_not_forgiven_again() -> None:
    decided = plan(requested(answers={"revert": "2"}, revert="2"))
    assert candidate(decided) == ("", "")
    assert decided.status["rejected"][0]["version"] == "2"


def test_a_revision_that_is_not_kept_is_named_with_those_that_are() -> None:
    decided = plan(requested(revert="7"))
    current = next(c for c in decided.status["conditions"] if c["type"] == "Current")
    assert current["reason"] == "RevisionNotFound"
    assert ONE.name in current["message"]
    assert TWO.name in current["message"]
    assert "handledRequests" not in decided.status
    assert decided.status["serving"]["version"] == "1"


# --- adopt --------------------------------------------------------------------------------------------------


def test_what_may_be_adopted_is_a_list_of_objects() -> None:
    assert read_adoptions(requested(adopt="Service/churn, Deployment/churn,")) == (
        "Service/churn",
        "Deployment/churn",
    )


def test_only_what_is_named_is_adopted() -> None:
    seen = requested(RolloutState(ON_ONE), version="1", adopt="Service/churn")
    created = {a.ref.kind: a.adopt for a in plan(seen).actions if isinstance(a, Create)}
    assert created[Kind.SERVICE]
    assert not created[Kind.DISRUPTION_BUDGET]
    assert plan(seen).status["handledRequests"] == {"adopt": "Service/churn"}
    assert not [a for a in plan(seen).actions if isinstance(a, Adopt)]
    is_heard_once(seen)


# --- approval -----------------------------------------------------------------------------------------------

THREE = revision("3")
GREEN = "churn-green"


def gated(approval: Json, strategy: str = "BlueGreen") -> Json:
    return {"rollout": {"strategy": strategy}, "gates": {"approval": {"mode": "Manual", **approval}}}


@pytest.mark.parametrize(
    ("approved", "phase"),
    [
        pytest.param("", "WaitingForApproval", id="nothing"),
        pytest.param("2", "WaitingForApproval", id="another version"),
        pytest.param("3", "Applying", id="the version"),
        pytest.param(THREE.name, "Applying", id="the revision"),
        pytest.param(revision("3", server={"port": 1}).name, "WaitingForApproval", id="another shape of it"),
    ],
)
def test_before_the_start_a_person_agrees_to(approved: str, phase: str) -> None:
    seen = requested(RolloutState(ON_ONE), version="3", spec=gated({"approved": approved}))
    assert candidate(plan(seen)) == ("3", phase)
    is_heard_once(seen)


def shown(spec: Json, phase: Phase = Phase.READY, **more: Any) -> World:
    """Version 3 is complete beside version 1 and takes no requests."""
    ready = Candidate(THREE.name, "3", "@champion", ago(60), phase, "WaitingForApproval", track=GREEN)
    tracks = {"churn": carrying(ONE), GREEN: carrying(THREE, track=GREEN)}
    more = {"version": "3", "deployments": tracks, "service": pointing("churn")} | more
    status = to_status(RolloutState(ON_ONE, ready)) | {"observedGeneration": 1}
    return world(ONE, THREE, spec=spec, status=status, **more)


@pytest.mark.parametrize(
    ("spec", "serves"),
    [
        pytest.param(gated({"at": "BeforeTraffic"}), "1", id="nobody agreed"),
        pytest.param(gated({"at": "BeforeTraffic", "approved": "3"}), "3", id="somebody agreed"),
        pytest.param(gated({"at": "BeforeStart"}), "1", id="a commit moved the gate"),
        pytest.param(
            gated({"at": "BeforeStart"}, "RollingUpdate"), "1", id="a commit changed the strategy, too"
        ),
        pytest.param({"rollout": {"strategy": "BlueGreen"}}, "3", id="a commit took the gate away"),
    ],
)
def test_before_the_traffic(spec: Json, serves: str) -> None:
    decided = plan(shown(spec))
    assert decided.status["serving"]["version"] == serves


def test_going_back_by_hand_never_waits_for_an_approval() -> None:
    spec = gated({"at": "BeforeTraffic"})
    annotations = {names.REQUEST_REVERT: THREE.name}
    assert plan(shown(spec, annotations=annotations)).status["serving"]["version"] == "3"
    annotations = {names.REQUEST_REVERT: ONE.name}
    assert plan(shown(spec, annotations=annotations)).status["serving"]["version"] == "1"


def test_the_preview_goes_when_it_is_over() -> None:
    live_preview = {"kind": "Service", "metadata": {"name": "churn-candidate", "uid": "u"}, "spec": {}}
    decided = plan(shown(gated({"at": "BeforeTraffic", "approved": "3"}), preview=live_preview))
    gone = [a.ref.name for a in decided.actions if type(a).__name__ == "Delete"]
    assert gone == ["churn-candidate"]

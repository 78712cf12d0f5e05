"""What serves: watched, settled, sent back, and what it was blamed for taken back."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.planner.execution import endpoints, ready_pod
from tests.unit.planner.worlds import NOW, ago, carrying, live, pointing, rejected, revision, world

from model_operator.api import names
from model_operator.domain.objects import rfc3339
from model_operator.domain.plan import Plan, RecordVerdict
from model_operator.domain.revision import Side
from model_operator.domain.rollout import Candidate, Departed, Phase, Rejection, RolloutState, Serving
from model_operator.domain.world import Traffic, World
from model_operator.planner.plan import plan
from model_operator.planner.state import load, to_status

Json = dict[str, Any]

ONE, TWO = revision("1", verdict=live(5000, settled=True)), revision("2", verdict=live(60))
ON_TWO = Serving(TWO.name, "2", "@champion", ago(60), track="churn", watch_ends=NOW + timedelta(seconds=540))
SICK = Traffic(100, 50)


def silent() -> Json:
    """A pod of version 2 that had served and does not answer its probe for a while."""
    pod = ready_pod("churn-0", "churn", TWO.name)
    ready = pod["status"]["conditions"][2]
    ready |= {"status": "False", "lastTransitionTime": rfc3339(ago(40))}
    server = {"name": "server", "ready": False, "restartCount": 0}
    server["state"] = {"running": {"startedAt": rfc3339(ago(50))}}
    pod["status"]["containerStatuses"] = [server]
    return pod


def watched(state: RolloutState | None = None, *kept: Any, **more: Any) -> World:
    """Version 2 serves and is watched; version 1 served before."""
    more = {"version": "2", "deployment": carrying(TWO)} | more
    status = to_status(state or RolloutState(ON_TWO)) | {"observedGeneration": 1}
    return world(*(kept or (ONE, TWO)), status=status, **more)


def serves(decided: Plan) -> str:
    return str(decided.status["serving"]["version"])


def news(decided: Plan) -> list[str]:
    return [e.reason for e in decided.events]


# --- the self-test ---------------------------------------------------------------------------------------


def telling(example: bool, revision_name: str = TWO.name, ready: str = "True") -> Json:
    """A pod whose init container says whether the model came with an input example."""
    pod = ready_pod("churn-0", "churn", revision_name)
    pod["status"]["conditions"][2]["status"] = ready
    words = {"terminated": {"exitCode": 0, "message": json.dumps({"inputExample": example})}}
    pod["status"]["initContainerStatuses"] = [{"name": "fetch", "state": words}]
    return pod


@pytest.mark.parametrize("settled", [False, True])
def test_what_went_live_before_its_pods_were_seen_is_called_tested_once_they_are(settled: bool) -> None:
    state = RolloutState(replace(ON_TWO, settled=settled, watch_ends=None if settled else ON_TWO.watch_ends))
    unseen = plan(watched(state))
    assert "selfTest" not in unseen.status["serving"]
    assert plan(watched(state, pods=(telling(True),))).status["serving"]["selfTest"] == "Passed"
    assert plan(watched(state, pods=(telling(False),))).status["serving"]["selfTest"] == "NoExample"


@pytest.mark.parametrize(
    "pod",
    [
        pytest.param(telling(True, ready="False"), id="that is not ready"),
        pytest.param(telling(True, ONE.name), id="of another revision"),
    ],
)
def test_a_pod_that_proves_nothing_is_not_believed(pod: Json) -> None:
    assert "selfTest" not in plan(watched(pods=(pod,))).status["serving"]


def test_a_known_outcome_stays_and_is_that_of_the_revision_not_of_the_spec_of_today() -> None:
    known = RolloutState(replace(ON_TWO, self_test="NoExample"))
    assert plan(watched(known, pods=(telling(True),))).status["serving"]["selfTest"] == "NoExample"
    only_loaded = revision("2", verdict=live(60), selfTest={"mode": "LoadOnly"})
    state = RolloutState(replace(ON_TWO, revision=only_loaded.name))
    pods = (telling(True, only_loaded.name),)
    decided = plan(watched(state, ONE, only_loaded, deployment=carrying(only_loaded), pods=pods))
    assert decided.status["serving"]["selfTest"] == "LoadOnly"


# --- the watch -----------------------------------------------------------------------------------------


def test_a_watch_begins_when_the_first_pod_is_there() -> None:
    state = RolloutState(replace(ON_TWO, watch_ends=None))
    nothing = plan(watched(state, deployment=carrying(TWO, 0)))
    assert "watchEnds" not in nothing.status["serving"]
    some = plan(watched(state))
    assert some.status["serving"]["watchEnds"] == rfc3339(NOW + timedelta(seconds=600))
    assert some.watched == TWO.name


@pytest.mark.parametrize(("seconds", "settled"), [(1, False), (0, True), (-5, True)])
def test_what_outlives_its_watch_is_settled(seconds: int, settled: bool) -> None:
    state = RolloutState(replace(ON_TWO, watch_ends=NOW + timedelta(seconds=seconds)))
    decided = plan(watched(state))
    assert decided.status["serving"]["settled"] is settled
    assert decided.watched == ("" if settled else TWO.name)
    verdicts = [a.verdict for a in decided.actions if isinstance(a, RecordVerdict) and TWO.name in a.ref.name]
    assert [v.settled for v in verdicts if v] == ([True] if settled else [])


def test_a_failure_in_the_watch_goes_back_to_what_settled_last() -> None:
    newer = revision("3", verdict=live(120))
    decided = plan(watched(None, ONE, TWO, newer, traffic=SICK))
    assert (serves(decided), news(decided)) == ("1", ["Reverted"])
    assert decided.status["serving"]["settled"] is True
    assert decided.status["rejected"][0]["reason"] == "ServerErrors"
    assert decided.status["history"][0]["reason"] == "ServerErrors"


def test_without_a_settled_one_it_goes_back_to_the_newest_that_served() -> None:
    one, three = revision("1", verdict=live(900)), revision("3", verdict=live(120))
    assert serves(plan(watched(None, one, TWO, three, traffic=SICK))) == "3"


@pytest.mark.parametrize(
    ("kept", "spec", "words"),
    [
        pytest.param((TWO,), {}, "no earlier version", id="with nothing to go back to"),
        pytest.param(
            (replace(ONE, verdict=rejected()), TWO), {}, "no earlier version", id="with a rejected one only"
        ),
        pytest.param(
            (ONE, TWO), {"revert": {"policy": "Never"}}, "is Never", id="where a person wants to decide"
        ),
    ],
)
def test_a_failure_is_only_told(kept: Any, spec: Json, words: str) -> None:
    decided = plan(watched(None, *kept, spec=spec, traffic=SICK))
    assert serves(decided) == "2"
    assert words in decided.status["serving"]["message"]
    assert news(decided) == ["ServerErrors"]
    worse = watched(load(replace(watched(None, *kept), status=decided.status)), *kept, spec=spec)
    again = plan(replace(worse, status=decided.status, traffic=Traffic(200, 150)))
    assert again.status == decided.status
    assert news(again) == []
    well = plan(replace(worse, status=decided.status))
    assert "reason" not in well.status["serving"]


def test_a_failure_that_lasts_beyond_the_watch_is_no_reason_to_look_every_second() -> None:
    state = RolloutState(replace(ON_TWO, watch_ends=ago(100), reason="ServerErrors", message="said"))
    decided = plan(watched(state, TWO, traffic=SICK))
    assert decided.status["serving"]["settled"] is False
    assert decided.look_again is None


def test_what_is_settled_is_never_sent_back() -> None:
    state = RolloutState(replace(ON_TWO, settled=True, watch_ends=None))
    decided = plan(watched(state, traffic=SICK, pods=(silent(),)))
    assert serves(decided) == "2"
    assert decided.watched == ""


# --- a failure that may have been an accident ---------------------------------------------------------------


@pytest.mark.parametrize("failures", [0, 1, 2])
def test_lost_readiness_is_not_tried_again_on_live_requests(failures: int) -> None:
    left = Departed(TWO.name, "2", "", ago(900), ago(800), "ReadinessLost")
    replaced = Departed(TWO.name, "2", "", ago(2000), ago(1900), "Replaced")
    decided = plan(watched(RolloutState(ON_TWO, history=(left,) * failures + (replaced,)), pods=(silent(),)))
    rejection = decided.status["rejected"][0]
    assert (rejection["reason"], rejection["attempts"]) == ("ReadinessLost", failures + 1)
    assert "retryAt" not in rejection


def test_what_is_sure_is_not_tried_again() -> None:
    assert "retryAt" not in plan(watched(traffic=SICK)).status["rejected"][0]


def test_the_next_try_begins_when_it_is_due_and_not_before() -> None:
    one = Serving(ONE.name, "1", "@champion", ago(60), track="churn", settled=True)
    for seconds, phase in ((1, None), (0, "Applying")):
        due = NOW + timedelta(seconds=seconds)
        refused = Rejection(TWO.name, "2", "", Side.MODEL, "ReadinessLost", "", ago(60), 2, due)
        seen = watched(
            RolloutState(one, None, (refused,)),
            ONE,
            replace(TWO, verdict=rejected()),
            deployment=carrying(ONE),
        )
        decided = plan(seen)
        assert decided.status.get("candidate", {}).get("phase") == phase
        assert ("rejected" in decided.status) == (phase is None)


# --- taken back -------------------------------------------------------------------------------------------


def restored(reason: str = "ServerErrors", seconds: float = 60, attempts: int = 1, **more: Any) -> World:
    """Version 1 was gone back to because version 2 failed, and fails too."""
    one = Serving(ONE.name, "1", "@champion", ago(seconds), track="churn", settled=True)
    refused = Rejection(TWO.name, "2", "@champion", Side.MODEL, reason, "", ago(seconds), attempts)
    more = {"deployment": carrying(ONE), "traffic": SICK} | more
    two = replace(TWO, verdict=replace(rejected(reason, seconds=seconds), attempts=attempts))
    return watched(RolloutState(one, None, (refused,)), ONE, two, **more)


@pytest.mark.parametrize(("attempts", "seconds"), [(1, 60), (2, 120), (3, 240), (99, 3600)])
def test_a_verdict_is_taken_back_when_what_was_restored_fails_in_the_same_way(
    attempts: int, seconds: int
) -> None:
    decided = plan(restored(attempts=attempts))
    assert news(decided)[0] == "VerdictTakenBack"
    assert "rejected" not in decided.status
    again = decided.status["candidate"]
    assert (again["phase"], again["attempts"]) == ("Withdrawn", attempts)
    assert again["retryAt"] == rfc3339(NOW + timedelta(seconds=seconds))
    assert [
        a.verdict for a in decided.actions if isinstance(a, RecordVerdict) and TWO.name in a.ref.name
    ] == [None]
    assert serves(decided) == "1"


@pytest.mark.parametrize(
    "seen",
    [
        pytest.param(restored("LoadFailed"), id="in another way"),
        pytest.param(restored(seconds=600), id="when the window is over"),
        pytest.param(restored(traffic=Traffic()), id="not at all"),
        pytest.param(restored(deployment=carrying(TWO)), id="before its pods are back"),
    ],
)
def test_the_verdict_stands_when_what_was_restored_fails(seen: World) -> None:
    decided = plan(seen)
    assert decided.status["rejected"][0]["version"] == "2"
    assert "candidate" not in decided.status


def test_a_status_lost_in_the_middle_of_a_revert_goes_on_with_it() -> None:
    decided = plan(watched(traffic=SICK))
    kept = (replace(ONE, verdict=live(0, settled=True)), replace(TWO, verdict=rejected("ServerErrors")))
    lost = watched(None, *kept, service=pointing("churn"))
    state = load(replace(lost, status={}))
    assert state.serving is not None
    assert state.serving.revision == decided.status["serving"]["revision"]
    assert state.candidate is None


def test_a_status_lost_in_the_middle_of_a_blue_green_switch_finds_what_serves() -> None:
    green = "churn-green"
    for verdict, pointed, expected in ((None, "churn", "1"), (live(5), "churn", "2"), (live(5), green, "2")):
        two = replace(TWO, verdict=verdict)
        tracks = {"churn": carrying(ONE), green: carrying(two, track=green)}
        pods = (ready_pod("one", "churn", ONE.name), ready_pod("two", green, two.name))
        seen = world(
            ONE,
            two,
            version="2",
            deployments=tracks,
            service=pointing(pointed),
            pods=pods,
            endpoint_slices=(endpoints("one"),),
            spec={"rollout": {"strategy": "BlueGreen"}},
        )
        state = load(seen)
        assert state.serving is not None
        assert (state.serving.version, state.serving.track) == (
            expected,
            "churn" if expected == "1" else green,
        )
        assert (state.candidate is None) == (verdict is not None)


def test_of_two_versions_that_went_live_in_one_second_the_later_is_found_again() -> None:
    green = "churn-green"
    one, two = replace(ONE, verdict=live(5)), replace(TWO, number=ONE.number + 1, verdict=live(5))
    for kept in ((one, two), (two, one)):
        tracks = {"churn": carrying(one), green: carrying(two, track=green)}
        seen = world(*kept, version="2", deployments=tracks, service=pointing(green))
        state = load(seen)
        assert state.serving is not None
        assert (state.serving.version, state.serving.track) == ("2", green)


def test_a_status_that_lost_only_what_serves_is_no_first_deployment() -> None:
    three = revision("3")
    tried = Candidate(three.name, "3", "@champion", ago(5), Phase.STARTING, track="churn-green")
    seen = watched(None, ONE, TWO, three)
    state = load(replace(seen, status=to_status(RolloutState(None, tried))))
    assert state.serving is not None
    assert (state.serving.version, state.candidate) == ("2", tried)


def test_a_request_that_was_answered_before_the_status_was_lost_is_not_heard_again() -> None:
    old = {names.REQUEST_RETRY: "now", names.REQUEST_RESTART: "now"}
    lost = watched(None, ONE, replace(TWO, verdict=rejected()), deployment=carrying(ONE), annotations=old)
    decided = plan(replace(lost, status={}))
    assert decided.status["rejected"][0]["version"] == "2"
    assert "candidate" not in decided.status
    assert decided.status["handledRequests"] == {"retry": "now", "restart": "now"}

"""What may be held against a revision that serves, and what not."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.planner.health.pod_objects import (
    JSON,
    NOW,
    REVISION,
    Json,
    deployment,
    fetching,
    pod,
    spoilt_pods,
    starting,
    track,
    waiting,
)

from model_operator.api import names
from model_operator.domain.objects import read_autoscaler, rfc3339
from model_operator.domain.revision import Side
from model_operator.domain.world import Traffic
from model_operator.planner.health import MESSAGE_LIMIT, Load, ServingJudgement, failure, judge_serving_pods

WATCHED_FOR = 300
SINCE = NOW - timedelta(seconds=WATCHED_FOR)
OLD = 5000
"""Age in seconds of a pod that is older than the watch."""
YOUNG = 100
"""Age in seconds of a pod that came in the watch."""
LIVE = {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}


def at(seconds_ago: float) -> str:
    return rfc3339(NOW - timedelta(seconds=seconds_ago))


def end(code: int, began: float, ended: float, reason: str = "Error", message: str = "") -> Json:
    """A run of a container, from so many seconds ago to so many."""
    times = {"startedAt": at(began), "finishedAt": at(ended)}
    return {"terminated": {"exitCode": code, "reason": reason, "message": message, **times}}


def runs(since: float, before: Json | None = None, restarts: int = 0, ready: bool = True) -> Json:
    """The status of a server that runs since so many seconds ago, and how its last run ended."""
    return {
        "name": "server",
        "ready": ready,
        "restartCount": restarts,
        "state": {"running": {"startedAt": at(since)}},
        "lastState": before or {},
    }


def down(last: Json, before: Json | None = None, restarts: int = 0) -> Json:
    """The status of a server that has ended."""
    return {"ready": False, "restartCount": restarts, "state": last, "lastState": before or {}}


def serving(server: Json, age: float = OLD, **fields: Any) -> Json:
    """A ready pod."""
    return pod("Ready", age, server, **fields)


def unready(server: Json, age: float = OLD, lost: float = 10, **readiness: Any) -> Json:
    """A pod that is not ready since so many seconds ago."""
    sick = starting({"name": "server", "ready": False} | server, age)
    lost_at = {"type": "Ready", "status": "False", "lastTransitionTime": at(lost)}
    sick["status"]["conditions"][-1] = lost_at | readiness
    return sick


def watched(
    *pods: Json, traffic: Traffic | None = None, scaler: Json | None = None, **status: Any
) -> ServingJudgement:
    load = Load(traffic or Traffic(), read_autoscaler(scaler) if scaler else None)
    return judge_serving_pods(REVISION, track(deployment(status=LIVE | status), *pods), load, SINCE, NOW)


def reason(result: ServingJudgement) -> str:
    return result.failure.reason if result.failure else ""


def trouble(result: ServingJudgement) -> str:
    return result.trouble.reason if result.trouble else ""


# --- pods that end -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sick",
    [
        pytest.param(serving(runs(20, end(137, 400, 30, "OOMKilled"), 1)), id="and serves again"),
        pytest.param(unready(down(end(137, 400, 30, "OOMKilled"))), id="and is down"),
        pytest.param(serving(runs(20, end(137, 90, 30, "OOMKilled"), 1), YOUNG), id="of a scale-up"),
        pytest.param(
            serving(runs(298, end(137, 310, WATCHED_FOR, "OOMKilled"), 1)), id="in the second it went live"
        ),
    ],
)
def test_a_server_that_was_out_of_memory_in_the_watch_is_the_models_fault(sick: Json) -> None:
    assert watched(sick).failure == failure("OutOfMemory")


def test_a_server_that_was_out_of_memory_before_the_watch_is_forgiven() -> None:
    assert watched(serving(runs(390, end(137, 900, 400, "OOMKilled"), 9))) == ServingJudgement()


def test_a_server_that_ends_with_a_code_of_ours_has_its_reason() -> None:
    said = '{"message": "KeyError: weights"}'
    assert watched(serving(runs(20, end(50, 40, 30, message=said), 1))).failure == failure(
        "LoadFailed", "KeyError: weights"
    )


def test_the_codes_of_an_image_of_ones_own_mean_nothing_special() -> None:
    assert watched(serving(runs(20, end(50, 400, 30), 1), runtime="Custom")) == ServingJudgement()


BARE: list[tuple[str, Json, bool]] = [
    ("one end in the watch", serving(runs(20, end(1, 400, 30), 1)), False),
    ("one end in the watch after many before it", serving(runs(20, end(1, 400, 30), 9)), False),
    (
        "two ends of which one is shown, since the run between began in the watch",
        serving(runs(20, end(1, 90, 30), 2)),
        True,
    ),
    ("two ends that are both shown", unready(down(end(1, 90, 30), end(1, 400, 100), 1)), True),
    ("an end in the watch and one before it", unready(down(end(1, 320, 30), end(1, 900, 330), 1)), False),
    (
        "two ends and a pause before the next start",
        unready(down({"waiting": {"reason": "CrashLoopBackOff"}}, end(1, 90, 30), 1)),
        True,
    ),
    ("two ends of a pod that came in the watch", serving(runs(5, end(1, 20, 10), 2), YOUNG), True),
    ("one end of a pod that came in the watch", serving(runs(5, end(1, 90, 10), 1), YOUNG), False),
    ("two ends by a failed liveness probe", serving(runs(20, end(143, 90, 30), 2)), True),
    ("two ends with success", serving(runs(20, end(0, 90, 30, "Completed"), 2)), True),
    ("two ends over which the node went down", serving(runs(20, end(255, 90, 30, "Unknown"), 2)), False),
    ("the end of a first run, by a clock that is ahead", serving(runs(20, end(1, 90, 30), 1)), False),
    ("an end without a time", serving(runs(20, {"terminated": {"exitCode": 1}}, 9)), False),
]


@pytest.mark.parametrize(("sick", "loop"), [b[1:] for b in BARE], ids=[b[0] for b in BARE])
def test_bare_exits_of_one_pod(sick: Json, loop: bool) -> None:
    result = watched(sick)
    assert reason(result) == ("CrashLoop" if loop else "")
    assert result.failure is None or not result.failure.definite


def test_three_bare_exits_over_all_pods_are_a_crash_loop_and_two_are_not() -> None:
    once = serving(runs(20, end(139, 400, 30), 1))
    assert reason(watched(once, once)) == ""
    found = watched(once, once, once).failure
    assert found is not None
    assert found.message.startswith(
        "the server containers of 3 pods exited 3 times since the version went live, one of them with code 139"
    )


def test_a_command_that_can_no_longer_be_run_is_not_the_models_crash() -> None:
    missing = end(128, 20, 10, "StartError", 'exec: "serve": executable file not found in $PATH')
    assert reason(watched(serving(runs(5, missing, 4), YOUNG))) == "ContainerCannotStart"


def test_a_server_that_its_node_can_not_start_has_not_crashed() -> None:
    broken = end(128, 20, 10, "StartError", "nvml error: driver/library version mismatch")
    waits = {"waiting": {"reason": "CrashLoopBackOff"}}
    pods = [serving(runs(5, broken, 4, ready=False) | {"state": waits}, YOUNG) for _ in range(4)]
    found = watched(*pods)
    assert (reason(found), trouble(found)) == ("", "DeviceFailed")


# --- pods that fall silent ---------------------------------------------------------------------------


def test_a_pod_that_is_not_ready_for_half_a_minute_has_lost_its_readiness() -> None:
    found = watched(unready(runs(OLD, ready=False), lost=30)).failure
    assert found is not None
    assert (found.side, found.reason, found.definite) == (Side.MODEL, "ReadinessLost", True)


def test_readiness_that_is_lost_in_the_second_it_went_live_counts() -> None:
    assert reason(watched(unready(runs(OLD, ready=False), lost=WATCHED_FOR))) == "ReadinessLost"


def test_a_pod_that_falls_silent_for_a_moment_is_looked_at_again() -> None:
    assert watched(unready(runs(OLD, ready=False), lost=10)) == ServingJudgement(
        look_at=NOW + timedelta(seconds=20)
    )


SILENT: list[tuple[str, Json]] = [
    ("a server that was started anew", unready(runs(50, end(1, 400, 60), 1, ready=False), lost=60)),
    ("a pod that never was ready", unready(runs(90, ready=False), YOUNG, lost=YOUNG)),
    ("a pod that was not ready before the watch began", unready(runs(OLD, ready=False), lost=400)),
    (
        "a readiness gate of somebody else's",
        unready(runs(OLD, ready=True), lost=60, reason="ReadinessGatesNotReady"),
    ),
]


@pytest.mark.parametrize("silent", [s[1] for s in SILENT], ids=[s[0] for s in SILENT])
def test_no_readiness_is_lost_by(silent: Json) -> None:
    assert watched(silent).failure is None


def autoscaler(current: int = 5, reason: str = "TooManyReplicas", target: str = "churn") -> Json:
    return {
        "spec": {"maxReplicas": 5, "scaleTargetRef": {"name": target}},
        "status": {
            "currentReplicas": current,
            "conditions": [{"type": "ScalingLimited", "status": "True", "reason": reason}],
        },
    }


SILENT_POD = unready(runs(OLD, ready=False), lost=60)


@pytest.mark.parametrize(
    ("scaler", "traffic"),
    [
        pytest.param(autoscaler(), Traffic(), id="an autoscaler at its maximum"),
        pytest.param(None, Traffic(5, 0, True), id="pods with all the requests that they can take"),
    ],
)
def test_readiness_that_is_lost_under_saturation_is_only_reported(
    scaler: Json | None, traffic: Traffic
) -> None:
    result = watched(SILENT_POD, scaler=scaler, traffic=traffic)
    assert (reason(result), trouble(result), result.look_at) == ("", "Saturated", None)


@pytest.mark.parametrize(
    "scaler",
    [
        pytest.param(autoscaler(current=4), id="that may still add a pod"),
        pytest.param(autoscaler(reason="TooFewReplicas"), id="that is held at its minimum"),
        pytest.param(autoscaler(target="churn-green"), id="of the other track"),
    ],
)
def test_an_autoscaler_excuses_nothing(scaler: Json) -> None:
    named = deployment(status=LIVE)
    named["metadata"]["name"] = "churn"
    load = Load(Traffic(), read_autoscaler(scaler))
    result = judge_serving_pods(REVISION, track(named, SILENT_POD), load, SINCE, NOW)
    assert reason(result) == "ReadinessLost"


def test_saturation_excuses_nothing_once_a_server_has_ended() -> None:
    result = watched(SILENT_POD, serving(runs(20, end(1, 400, 30), 1)), scaler=autoscaler())
    assert reason(result) == "ReadinessLost"


# --- answers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("requests", "errors", "judged"),
    [
        pytest.param(20, 2, True, id="a tenth of twenty is too many"),
        pytest.param(19, 19, False, id="nineteen requests tell nothing"),
        pytest.param(1000, 99, False, id="less than a tenth is let pass"),
        pytest.param(0, 0, False, id="no request tells nothing"),
    ],
)
def test_errors_among_the_answers(requests: int, errors: int, judged: bool) -> None:
    result = watched(serving(runs(OLD)), traffic=Traffic(requests, errors))
    assert reason(result) == ("ServerErrors" if judged else "")


def test_the_share_of_errors_is_told_in_numbers() -> None:
    found = watched(traffic=Traffic(240, 60)).failure
    assert found is not None
    assert found.message.startswith("60 of 240 requests since the version went live (25 %)")


@pytest.mark.parametrize(
    ("traffic", "judged"),
    [
        pytest.param(Traffic(1000, 0, turned_away=900), False, id="a full queue is no error"),
        pytest.param(Traffic(1000, 10, turned_away=900), True, id="a full queue hides no error"),
        pytest.param(
            Traffic(1000, 19, turned_away=981), False, id="nineteen that the model got tell nothing"
        ),
        pytest.param(Traffic(20, 0, broken_streams=2), True, id="streams that fail are errors"),
        pytest.param(Traffic(20, 1, broken_streams=1), True, id="streams are added to the others"),
        pytest.param(Traffic(100, 5, broken_streams=4), False, id="less than a tenth in all"),
        pytest.param(Traffic(5, 0, turned_away=90), False, id="impossible counts"),
    ],
)
def test_a_full_queue_and_streams_among_the_answers(traffic: Traffic, judged: bool) -> None:
    assert reason(watched(serving(runs(OLD)), traffic=traffic)) == ("ServerErrors" if judged else "")


@pytest.mark.parametrize(
    ("traffic", "words"),
    [
        (
            Traffic(340, 60, turned_away=100),
            "60 of 240 requests since the version went live (25 %) were answered with 5xx",
        ),
        (
            Traffic(100, 0, broken_streams=25),
            "25 of 100 requests since the version went live (25 %) failed in mid-stream",
        ),
        (
            Traffic(100, 5, broken_streams=20),
            "25 of 100 requests since the version went live (25 %) were answered with 5xx or failed in mid-stream",
        ),
        (
            Traffic(100, 90, broken_streams=90),
            "100 of 100 requests since the version went live (100 %) were answered with 5xx or failed in mid-stream",
        ),
    ],
)
def test_the_failed_requests_are_described(traffic: Traffic, words: str) -> None:
    found = watched(traffic=traffic).failure
    assert found is not None
    assert found.message.partition(";")[0] == words


# --- new pods, and what the surroundings do --------------------------------------------------------------


def test_a_new_pod_that_finds_no_image_is_judged_as_in_a_rollout() -> None:
    assert reason(watched(starting(waiting("ErrImagePull", "not found"), 30))) == "ImageMissing"


def test_a_new_pod_without_its_secret_has_a_minute() -> None:
    missing = waiting("CreateContainerConfigError", 'secret "s3" not found')
    early = watched(starting(missing, 20))
    assert (reason(early), trouble(early)) == ("", "ContainerConfigError")
    assert early.look_at == NOW + timedelta(seconds=40)
    assert reason(watched(starting(missing, 60))) == "ContainerConfigError"


ENVIRONMENT: list[tuple[str, Json, str]] = [
    ("no node has room", pod("", 9000, reason="Unschedulable"), "InsufficientCapacity"),
    (
        "the image registry is away",
        starting(waiting("ErrImagePull", "i/o timeout"), 9000),
        "ImageUnreachable",
    ),
    (
        "the artifact store is away",
        fetching({"restartCount": 4, "state": end(42, 20, 10)}, YOUNG),
        "StoreUnreachable",
    ),
    ("the node is silent", unready(runs(OLD, ready=True), lost=60), "NodeLost"),
]


@pytest.mark.parametrize(("sick", "told"), [e[1:] for e in ENVIRONMENT], ids=[e[0] for e in ENVIRONMENT])
def test_the_environment_is_only_reported_however_long_it_lasts(sick: Json, told: str) -> None:
    result = watched(sick)
    assert (reason(result), trouble(result)) == ("", told)


def test_a_quota_that_hinders_a_scale_up_is_only_reported() -> None:
    refused = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: q"}
    assert trouble(watched(conditions=[refused])) == "QuotaExceeded"


def drained(server: Json) -> Json:
    leaving = unready(server, lost=60)
    leaving["metadata"]["deletionTimestamp"] = at(5)
    leaving["status"]["conditions"].append(
        {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
    )
    return leaving


@pytest.mark.parametrize(
    "server",
    [
        pytest.param(down(end(137, OLD, 30)), id="killed"),
        pytest.param(down(end(137, 90, 30), end(1, 400, 100), 1), id="killed twice"),
        pytest.param(runs(OLD, ready=False), id="silent"),
    ],
)
def test_a_server_that_ends_because_its_pod_is_drained_proves_nothing(server: Json) -> None:
    assert watched(drained(server)) == ServingJudgement()
    assert trouble(watched(drained(server), availableReplicas=1)) == "Evicted"


def test_a_pod_that_a_scale_down_deletes_proves_nothing() -> None:
    leaving = unready(down(end(137, 90, 30), end(1, 400, 100), 1))
    leaving["metadata"]["deletionTimestamp"] = at(5)
    assert watched(leaving) == ServingJudgement()


# --- whose pods -------------------------------------------------------------------------------------------

SICK = unready(down(end(50, 90, 30)))


def test_pods_of_another_revision_are_not_held_against_this_one() -> None:
    other = unready(down(end(50, 90, 30)))
    other["metadata"]["labels"][names.LABEL_REVISION] = "v2-0123456789"
    assert reason(watched(SICK)) == "LoadFailed"
    assert watched(other) == ServingJudgement()


@pytest.mark.parametrize(
    "carrier",
    [
        pytest.param(None, id="no Deployment"),
        pytest.param(deployment(0), id="a Deployment of 0 replicas"),
        pytest.param(deployment(template={}), id="a Deployment that carries something else"),
    ],
)
def test_nothing_is_judged_with(carrier: Json | None) -> None:
    seen, load = track(carrier, SICK), Load(Traffic(100, 100))
    assert judge_serving_pods(REVISION, seen, load, SINCE, NOW) == ServingJudgement()


@given(
    pods=st.lists(spoilt_pods(), max_size=3),
    scaler=st.none() | st.fixed_dictionaries({}, optional={"spec": JSON, "status": JSON}),
    counts=JSON,
)
def test_no_garbage_stops_the_watch_and_its_words_are_bounded(
    pods: list[Json], scaler: Json | None, counts: Any
) -> None:
    carrier = deployment(status={"availableReplicas": counts, "conditions": counts})
    load = Load(Traffic(), read_autoscaler(scaler) if scaler else None)
    result = judge_serving_pods(REVISION, track(carrier, *pods), load, SINCE, NOW)
    for said in (result.failure, result.trouble):
        assert said is None or 0 < len(said.message) <= MESSAGE_LIMIT
    assert result.failure is None or result.failure.side is not Side.ENVIRONMENT
    assert result.look_at is None or isinstance(result.look_at, datetime)

"""Whose fault is it? Every way in which a pod can be in trouble, and what is made of it."""

from __future__ import annotations

import ast
from datetime import timedelta
from pathlib import Path
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
    ended,
    fetching,
    pod,
    spoilt_pods,
    starting,
    track,
    waiting,
)

from model_operator.api import names
from model_operator.api.spec import RolloutSpec
from model_operator.domain.objects import rfc3339
from model_operator.domain.revision import Side
from model_operator.domain.rollout import Phase
from model_operator.planner.health import (
    EXIT_CODES,
    MESSAGE_LIMIT,
    REASONS,
    Failure,
    Judgement,
    failure,
    judge_candidate_pods,
)

LIMITS = RolloutSpec()
SCRIPTS = Path(__file__).parents[4] / "operator" / "model_operator" / "pod"

M, C, E = Side.MODEL, Side.CONFIGURATION, Side.ENVIRONMENT


def judged(*pods: Json, limits: RolloutSpec = LIMITS, **status: Any) -> Judgement:
    return judge_candidate_pods(REVISION, track(deployment(status=status), *pods), limits, NOW)


# --- the exit codes ----------------------------------------------------------------------------------


def codes_of(script: str) -> dict[int, str]:
    """REASONS of a script, with its constants put in; read from the text, since it is not for importing."""
    constants: dict[str, int] = {}
    reasons: dict[int, str] = {}
    for node in ast.parse((SCRIPTS / script).read_text("utf-8")).body:
        if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Name):
            continue
        target, value = node.targets[0].id, node.value
        if isinstance(value, ast.Constant) and isinstance(value.value, int):
            constants[target] = value.value
        if target == "REASONS" and isinstance(value, ast.Dict):
            for key, reason in zip(value.keys, value.values, strict=True):
                assert isinstance(key, ast.Name)
                reasons[constants[key.id]] = ast.literal_eval(reason)
    return reasons


def test_the_table_of_exit_codes_is_that_of_the_scripts_in_the_pods() -> None:
    scripts = codes_of("fetch.py") | codes_of("serve_failure.py")
    table = {code: reason for code, (reason, _) in EXIT_CODES.items()}
    assert table == scripts


DEFINITE_CODES = [(c, r, s) for c, (r, s) in EXIT_CODES.items() if s is not E]


@pytest.mark.parametrize(
    ("code", "reason", "side"), DEFINITE_CODES, ids=[f"{r} is the fault of {s}" for _, r, s in DEFINITE_CODES]
)
def test_an_exit_code_of_ours_is_judged_at_its_first_sight(code: int, reason: str, side: Side) -> None:
    words = f'{{"reason": "{reason}", "message": "said by the script"}}'
    sick = (fetching if code < 50 else starting)(ended(code, message=words))
    verdict = judged(sick).failure
    assert verdict == failure(reason, "said by the script")
    assert (verdict.side, verdict.definite) == (side, True)
    assert verdict.message.startswith("said by the script")


def test_an_unreachable_store_is_a_hint_until_the_fetch_deadline() -> None:
    down = ended(42, restarts=3, message='{"message": "no answer from s3"}')
    text = "no answer from s3; check the network and the registry's podUrl"
    assert judged(fetching(down, seconds=1799)) == Judgement(
        Phase.FETCHING, text, "StoreUnreachable", deadline=NOW + timedelta(seconds=1)
    )
    assert judged(fetching(down, seconds=1800)).failure == Failure(E, "StoreUnreachable", text)


def test_the_exit_codes_of_an_image_of_ones_own_mean_nothing_special() -> None:
    assert judged(starting(ended(50), runtime="Custom")).failure is None
    twice = judged(starting(ended(50, restarts=1), runtime="Custom")).failure
    assert twice == crash_loop("the server container exited 2 times, the last time with code 50")


# --- other ends --------------------------------------------------------------------------------------


def crash_loop(happened: str, last_words: str = "") -> Failure:
    text = f"{happened}; check its log (kubectl logs --previous)"
    return Failure(M, "CrashLoop", text + (f"; its last output: {last_words}" if last_words else ""), False)


EXPECTED_CRASH = '{"reason": "ImageMismatch", "message": "made with Python 3.10"}'

ENDINGS: list[tuple[str, Json, Failure | None]] = [
    ("one bare exit of the server may be bad luck", starting(ended(1)), None),
    (
        "two bare exits of the server are a crash loop",
        starting(ended(1, restarts=1, message="Traceback: no module named x")),
        crash_loop(
            "the server container exited 2 times, the last time with code 1", "Traceback: no module named x"
        ),
    ),
    (
        "a server that runs again after its first exit has ended once",
        starting({"restartCount": 1, "state": {"running": {}}, "lastState": {"terminated": {"exitCode": 1}}}),
        None,
    ),
    (
        "a server that waits after its second exit has ended twice",
        starting(
            {
                "restartCount": 1,
                "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": {"exitCode": 2, "reason": "Error"}},
            }
        ),
        crash_loop("the server container exited 2 times, the last time with code 2"),
    ),
    (
        "a server that was killed twice says that it was killed",
        starting(ended(137, restarts=1)),
        crash_loop(
            "the server container exited 2 times, the last time with code 137 (SIGKILL: the node was short of "
            "memory, or the container did not stop after SIGTERM)"
        ),
    ),
    (
        "a server that its liveness probe ended twice says so",
        starting(ended(143, restarts=1)),
        crash_loop(
            "the server container exited 2 times, the last time with code 143 (SIGTERM, as after a failed liveness "
            "probe)"
        ),
    ),
    (
        "a server that ends twice with success is a crash loop too",
        starting(ended(0, restarts=1, reason="Completed")),
        crash_loop("the server container exited 2 times, the last time with code 0"),
    ),
    (
        "a server that crashed twice in an image with other versions",
        starting(ended(139, restarts=1, message=EXPECTED_CRASH)),
        Failure(C, "ImageMismatch", "made with Python 3.10"),
    ),
    ("one crash may be bad luck in any image", starting(ended(139, message=EXPECTED_CRASH)), None),
    (
        "an exit that is no crash is not the image's",
        starting(ended(1, restarts=1, message=EXPECTED_CRASH)),
        crash_loop("the server container exited 2 times, the last time with code 1", "made with Python 3.10"),
    ),
    ("a fetch that ended well is no failure", fetching(ended(0, reason="Completed")), None),
    (
        "two bare exits of the fetch are a crash loop of the fetch",
        fetching(ended(2, restarts=1)),
        crash_loop("the fetch container exited 2 times, the last time with code 2"),
    ),
    (
        "a server over which its node went down has not ended by itself",
        starting(ended(255, restarts=3, reason="Unknown")),
        None,
    ),
    (
        "a server out of memory names the server's memory",
        starting(ended(137, reason="OOMKilled")),
        Failure(
            M,
            "OutOfMemory",
            "the server container was killed because it exceeded its memory limit; raise "
            "server.resources.limits.memory, or make the model smaller",
        ),
    ),
    (
        "a fetch out of memory names the fetch's memory",
        fetching(ended(137, reason="OOMKilled")),
        Failure(
            C,
            "FetchOutOfMemory",
            "the fetch container was killed because it exceeded its memory limit; raise "
            "fetch.resources.limits.memory, or use a volume for /model that is not in memory",
        ),
    ),
    (
        "a command that the image does not have is the manifest's fault",
        starting(ended(128, restarts=1, message='exec: "python": not found', reason="StartError")),
        Failure(
            C,
            "ContainerCannotStart",
            'the server container can\'t be started: exec: "python": not found; correct server.command or the image',
        ),
    ),
]


@pytest.mark.parametrize(("sick", "verdict"), [e[1:] for e in ENDINGS], ids=[e[0] for e in ENDINGS])
def test_the_way_in_which_a_container_ends(sick: Json, verdict: Failure | None) -> None:
    assert judged(sick).failure == verdict


# --- waiting -----------------------------------------------------------------------------------------

WAITS: list[tuple[str, Json, Side | None, str]] = [
    ("an image name that can't be one", waiting("InvalidImageName"), C, "ImageMissing"),
    ("an image that may never be pulled", waiting("ErrImageNeverPull"), C, "ImageMissing"),
    ("an image that is not there", waiting("ErrImagePull", "server:1: not found"), C, "ImageMissing"),
    (
        "an image that is not there, in the pause between tries",
        waiting("ImagePullBackOff", "Back-off pulling image: manifest unknown"),
        C,
        "ImageMissing",
    ),
    (
        "an image registry that does not answer",
        waiting("ErrImagePull", "i/o timeout"),
        None,
        "ImageUnreachable",
    ),
    ("a pause between pulls", waiting("ImagePullBackOff", "Back-off"), None, "ImageUnreachable"),
    (
        "a Secret that may still arrive",
        waiting("CreateContainerConfigError", 'secret "s3" not found'),
        None,
        "ContainerConfigError",
    ),
    (
        "a container that can't be made",
        waiting("CreateContainerError", "name clash"),
        None,
        "NodeRuntimeError",
    ),
    ("a container about to be made", waiting("ContainerCreating"), None, ""),
    ("a container that waits for the fetch", waiting("PodInitializing"), None, ""),
]


@pytest.mark.parametrize("where", [fetching, starting], ids=["in the fetch", "in the server"])
@pytest.mark.parametrize(("wait", "side", "reason"), [w[1:] for w in WAITS], ids=[w[0] for w in WAITS])
def test_what_a_container_waits_for(where: Any, wait: Json, side: Side | None, reason: str) -> None:
    judgement = judged(where(wait))
    if side is None:
        assert (judgement.failure, judgement.hint) == (None, reason)
    else:
        assert judgement.failure is not None
        assert (judgement.failure.side, judgement.failure.reason) == (side, reason)


def test_a_missing_secret_is_judged_after_a_minute_and_we_look_again_then() -> None:
    missing = waiting("CreateContainerConfigError", 'secret "s3" not found')
    assert judged(starting(missing, seconds=10)).deadline == NOW + timedelta(seconds=50)
    verdict = judged(starting(missing, seconds=60)).failure
    text = (
        'the server container can\'t be created: secret "s3" not found; create or correct the Secret, ConfigMap, key '
        "or mount that the message names"
    )
    assert verdict == Failure(C, "ContainerConfigError", text)


def test_a_pod_without_a_node_is_short_of_capacity_and_withdrawn_at_the_deadline() -> None:
    text = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
    homeless = {"reason": "Unschedulable", "message": text}
    early = judged(pod("", 10, **homeless))
    assert (early.phase, early.hint, early.failure) == (Phase.SCHEDULING, "InsufficientCapacity", None)
    assert "1 has too little nvidia.com/gpu left" in early.message
    late = judged(pod("", 1800, **homeless)).failure
    assert late is not None
    assert (late.side, late.reason) == (E, "InsufficientCapacity")


# --- deadlines ---------------------------------------------------------------------------------------

LATE: list[tuple[str, Json, Side, str, str]] = [
    (
        "no node",
        pod("", 1800),
        E,
        "SchedulingDeadline",
        "the pod was not scheduled within 1800 s; check the pod's events",
    ),
    (
        "no model",
        fetching({"state": {"running": {}}}, 1800),
        E,
        "FetchDeadline",
        "the model was not fetched within 1800 s; find out why the download is slow, or raise "
        "rollout.fetchSeconds",
    ),
    (
        "no answer",
        starting({"state": {"running": {}}}, 600),
        C,
        "StartupDeadline",
        "the server was not ready within 600 s of its start; if the model needs longer to load, raise "
        "rollout.startupSeconds",
    ),
]


@pytest.mark.parametrize(
    ("late", "side", "reason", "message"), [e[1:] for e in LATE], ids=[f"{e[0]} in time" for e in LATE]
)
def test_a_missed_deadline_names_its_limit(late: Json, side: Side, reason: str, message: str) -> None:
    assert judged(late).failure == Failure(side, reason, message, definite=reason != "StartupDeadline")


def test_the_first_deadline_counts_even_if_another_pod_is_further_behind() -> None:
    behind, ahead = pod("PodScheduled", 10), starting({"state": {"running": {}}}, 599)
    judgement = judged(behind, ahead)
    assert (judgement.phase, judgement.deadline) == (Phase.FETCHING, NOW + timedelta(seconds=1))
    overdue = judged(behind, starting({"state": {"running": {}}}, 600)).failure
    assert overdue is not None
    assert overdue.reason == "StartupDeadline"


def test_a_pod_that_loses_its_readiness_late_in_a_rollout_has_not_missed_its_start() -> None:
    flickering = starting({"state": {"running": {}}}, 5000)
    lost = {"type": "Ready", "status": "False", "lastTransitionTime": rfc3339(NOW - timedelta(seconds=2))}
    flickering["status"]["conditions"][-1] = lost
    judgement = judged(flickering)
    assert judgement.failure is None
    assert judgement.deadline == NOW + timedelta(seconds=598)


# --- pods that prove nothing, and the Deployment itself -------------------------------------------------


DISPLACED: list[tuple[str, Json, str]] = [
    ("evicted", {"reason": "Evicted", "message": "low on memory", "phase": "Failed"}, "Evicted"),
    ("preempted by its node", {"reason": "Preempting", "phase": "Failed"}, "Evicted"),
    ("refused by its node", {"reason": "UnexpectedAdmissionError", "phase": "Failed"}, "Evicted"),
    ("refused for want of room", {"reason": "OutOfnvidia.com/gpu", "phase": "Failed"}, "Evicted"),
    ("ended without a word", {"phase": "Failed"}, "Evicted"),
    ("ended by a node's shutdown", {"reason": "Terminated", "phase": "Failed"}, "NodeLost"),
    ("on a silent node", {"reason": "NodeLost"}, "NodeLost"),
    ("of which nobody knows anything", {"phase": "Unknown"}, "NodeLost"),
]


@pytest.mark.parametrize(
    ("change", "reason"), [d[1:] for d in DISPLACED], ids=[f"a pod {d[0]}" for d in DISPLACED]
)
def test_what_a_node_does_to_a_pod_is_never_the_models_fault(change: Json, reason: str) -> None:
    lost = starting(ended(1, restarts=7))
    lost["status"] |= change
    judgement = judged(lost)
    assert (judgement.phase, judgement.hint, judgement.failure) == (Phase.SCHEDULING, reason, None)
    # of a pod that is over nothing more can be said later
    over = change.get("phase") == "Failed"
    assert judgement.deadline == (None if over else NOW + timedelta(seconds=1795))


@pytest.mark.parametrize(
    ("by", "reason"),
    [
        pytest.param("PreemptionByScheduler", "Evicted", id="a pod of higher priority"),
        pytest.param("EvictionByEvictionAPI", "Evicted", id="a drain"),
        pytest.param("TerminationByKubelet", "Evicted", id="the kubelet"),
        pytest.param("DeletionByTaintManager", "NodeLost", id="the taint of a silent node"),
        pytest.param("DeletionByPodGC", "NodeLost", id="the removal of its node"),
    ],
)
def test_a_pod_that_was_disrupted_is_not_the_models_fault(by: str, reason: str) -> None:
    disrupted = starting(ended(50))
    disrupted["metadata"]["deletionTimestamp"] = rfc3339(NOW)
    disrupted["status"]["conditions"].append(
        {"type": "DisruptionTarget", "status": "True", "reason": by, "message": "no hard feelings"}
    )
    judgement = judged(disrupted)
    assert (judgement.hint, judgement.failure) == (reason, None)
    assert f"({by}: no hard feelings)" in judgement.message


def test_a_disruption_that_did_not_come_about_hides_nothing() -> None:
    spared = starting(ended(50))
    spared["status"]["conditions"].append({"type": "DisruptionTarget", "status": "False"})
    assert judged(spared).failure == failure("LoadFailed")


def silent_node(seconds: float, **readiness: Any) -> Json:
    """The node controller's mark: Ready is False, and nothing else has changed."""
    lost = starting({"ready": True, "state": {"running": {}}, "restartCount": 0}, 5000)
    at = rfc3339(NOW - timedelta(seconds=seconds))
    lost["status"]["conditions"][-1] = {
        "type": "Ready",
        "status": "False",
        "lastTransitionTime": at,
    } | readiness
    return lost


def test_a_pod_of_a_silent_node_is_withdrawn_at_the_deadline_of_its_scheduling() -> None:
    early = judged(silent_node(1799))
    assert (early.hint, early.failure) == ("NodeLost", None)
    late = judged(silent_node(1800)).failure
    assert late is not None
    assert (late.side, late.reason) == (E, "NodeLost")


def test_a_readiness_gate_of_somebody_elses_is_no_silent_node() -> None:
    assert judged(silent_node(10, reason="ReadinessGatesNotReady")).hint == ""


def evicted(seconds: float) -> Json:
    gone = pod("Initialized", seconds)
    gone["status"] |= {"phase": "Failed", "reason": "Evicted", "message": "low on memory"}
    return gone


def test_a_pod_that_came_after_an_evicted_one_has_its_own_deadline() -> None:
    judgement = judged(evicted(1000), fetching({"state": {"running": {}}}, 10))
    assert (judgement.phase, judgement.hint) == (Phase.FETCHING, "Evicted")
    assert judgement.message.startswith("fetching the model. Before that, the pod was evicted or refused")
    assert judgement.deadline == NOW + timedelta(seconds=1790)


def test_an_evicted_pod_that_lies_around_is_told_of_for_a_while_only() -> None:
    judgement = judged(evicted(1800), fetching({"state": {"running": {}}}, 10))
    assert (judgement.hint, judgement.message) == ("", "fetching the model")


def test_a_pod_that_is_being_deleted_is_not_looked_at() -> None:
    leaving = starting(ended(50))
    leaving["metadata"]["deletionTimestamp"] = rfc3339(NOW)
    assert judged(leaving).failure is None


def test_a_pod_of_another_revision_is_not_looked_at() -> None:
    other = starting(ended(50))
    other["metadata"]["labels"][names.LABEL_REVISION] = "v2-0123456789"
    assert judged(other).failure is None


def test_nothing_is_judged_before_the_deployment_took_the_template() -> None:
    stale = deployment() | {"status": {"observedGeneration": 1}}
    unseen, another = track(stale, starting(ended(50))), track(deployment())
    assert judge_candidate_pods(REVISION, unseen, LIMITS, NOW).phase is Phase.APPLYING
    assert judge_candidate_pods("v4-0123456789", another, LIMITS, NOW).phase is Phase.APPLYING
    assert judge_candidate_pods(REVISION, track(None), LIMITS, NOW).phase is Phase.APPLYING


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        pytest.param("pods is forbidden: exceeded quota: q", "QuotaExceeded", id="a used-up quota"),
        pytest.param("violates PodSecurity restricted", "PodsRefused", id="an admission policy"),
    ],
)
def test_pods_that_the_api_server_refuses_are_a_hint_first_and_withdrawn_later(
    message: str, reason: str
) -> None:
    def refused(seconds: int) -> Judgement:
        since = rfc3339(NOW - timedelta(seconds=seconds))
        condition = {
            "type": "ReplicaFailure",
            "status": "True",
            "message": message,
            "lastTransitionTime": since,
        }
        return judged(conditions=[condition])

    assert (refused(10).failure, refused(10).hint) == (None, reason)
    verdict = refused(1800).failure
    assert verdict is not None
    assert (verdict.side, verdict.reason) == (E, reason)
    assert verdict.message.startswith("the API server refuses the new pods")
    assert message in verdict.message


def test_a_deployment_that_somebody_paused_says_so() -> None:
    judgement = judge_candidate_pods(REVISION, track(deployment(paused=True)), LIMITS, NOW)
    assert judgement.hint == "DeploymentPaused"
    assert "kubectl rollout resume" in judgement.message


@pytest.mark.parametrize("counts", [(3, 2, 2), (2, 1, 2), (2, 2, 1)])
def test_live_means_all_updated_all_available_and_nothing_old_left(counts: tuple[int, int, int]) -> None:
    fields = ("replicas", "updatedReplicas", "availableReplicas")
    assert not judged(**dict(zip(fields, counts, strict=True))).live
    assert judged(**dict.fromkeys(fields, 2)).live


@pytest.mark.parametrize(
    ("words", "outcome"),
    [
        ('{"inputExample": true}', "Passed"),
        ('{"inputExample": false}', "NoExample"),
        ('{"inputExample": "yes"}', ""),
        ("not json", ""),
        ("[" * 4000, ""),
    ],
    ids=["an example", "none", "not said plainly", "other words", "hostile words"],
)
def test_the_fetch_tells_whether_there_was_an_example_to_test_with(words: str, outcome: str) -> None:
    ready = pod("Ready", 5, {"name": "fetch"} | ended(0, message=words))
    counts = dict.fromkeys(("replicas", "updatedReplicas", "availableReplicas"), 2)
    assert judged(ready, **counts).self_test == outcome


def test_the_model_is_blamed_before_the_manifest_when_pods_differ() -> None:
    pods = [starting(ended(51)), starting(ended(50)), starting(ended(53))]
    assert judged(*pods).failure == failure("LoadFailed")


def test_what_is_definite_is_named_before_what_may_pass() -> None:
    pods = [starting(ended(1, restarts=5)), starting(ended(52))]
    assert judged(*pods).failure == failure("SelfTestFailed")


# --- words -------------------------------------------------------------------------------------------


def test_the_end_of_a_long_log_is_quoted_because_there_stands_the_error() -> None:
    log = "\n".join([f"  line {number}" for number in range(400)] + ["ValueError: bad weights"])
    verdict = judged(starting(ended(1, restarts=1, message=log))).failure
    assert verdict is not None
    assert verdict.message.endswith("ValueError: bad weights")
    assert len(verdict.message) <= MESSAGE_LIMIT


def test_a_long_message_leaves_room_for_the_remedy() -> None:
    verdict = failure("LoadFailed", "x" * 5000)
    assert verdict.message.endswith("…; fix the model and log it again")
    assert len(verdict.message) == MESSAGE_LIMIT


def test_a_script_that_names_the_remedy_is_not_talked_over() -> None:
    said = "the model needs 'acme': set spec.server.image to an image with it"
    assert failure("RequirementMissing", said).message == said
    assert REASONS["RequirementMissing"].remedy in failure("RequirementMissing").message


@given(pods=st.lists(spoilt_pods(), max_size=3), counts=JSON)
def test_no_garbage_stops_the_judge_and_its_words_are_bounded(pods: list[Json], counts: Any) -> None:
    seen = track(deployment(status={"replicas": counts}), *pods)
    judgement = judge_candidate_pods(REVISION, seen, LIMITS, NOW)
    assert judgement == judge_candidate_pods(REVISION, seen, LIMITS, NOW)
    assert not (judgement.live and judgement.failure)
    assert len(judgement.message) <= MESSAGE_LIMIT + 64
    assert judgement.failure is None or 0 < len(judgement.failure.message) <= MESSAGE_LIMIT

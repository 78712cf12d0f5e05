"""Two tracks under a steady stream of requests: over, back by hand, back by itself, and from strategy to strategy."""

from __future__ import annotations

import pytest

from tests.e2e.figures import Figures, moment
from tests.e2e.stage import BETTER, ERRS, GOOD, Stage
from tests.workbench import Load, Namespace

SCALED = {"minReplicas": 2, "maxReplicas": 4, "targetCPUUtilizationPercentage": 1000}
PATIENCE = 180
BLUE_GREEN = {"strategy": "BlueGreen", "watchSeconds": 3, "warmSeconds": 3600, "warmReplicas": 2}
BLUE, GREEN = "iris", "iris-green"


def test_blue_green_switches_and_comes_back_without_losing_a_request(stage: Stage, figures: Figures) -> None:
    cluster = stage.cluster
    stage.create_serving("iris", autoscaling=SCALED, rollout=BLUE_GREEN)
    load = Load.start(cluster, "iris", rate=10)

    stage.alias("iris", BETTER)
    status = cluster.until_serving("iris", BETTER, PATIENCE)
    assert status["serving"]["track"] == GREEN
    figures.took("BlueGreen: decision to switch, to the first answer", answer_after(load, status, BETTER))
    cluster.until("autoscaler and budget follow", lambda: followed_track(cluster) == {GREEN})
    assert size(cluster, GREEN) == 2, "the candidate has the size that the autoscaler had reached"

    until_settled(cluster)
    old_pods = uids(cluster)
    cluster.ask("iris", "revert", GOOD)
    status = cluster.until_version_serves("iris", GOOD)
    figures.took("BlueGreen: revert by hand, to the first answer", answer_after(load, status, GOOD))
    assert cluster.condition("iris", "Current")["reason"] == "RevisionHeld"
    assert cluster.status("iris")["handledRequests"]["revert"] == GOOD
    cluster.ask("iris", "revert", None)
    status = cluster.until_serving("iris", BETTER, PATIENCE)
    figures.took("BlueGreen: release, to the first answer", answer_after(load, status, BETTER))
    assert uids(cluster) == old_pods, "there and back needed no new pod"

    until_settled(cluster)
    cluster.commit("iris", {"rollout": {"watchSeconds": 600}})
    stage.alias("iris", ERRS)
    rejection = cluster.until_rejected("iris", ERRS, PATIENCE)
    assert (rejection["side"], rejection["reason"]) == ("Model", "ServerErrors")
    status = cluster.status("iris")
    assert (status["serving"]["version"], status["serving"]["track"]) == (BETTER, GREEN)
    cluster.until_condition("iris", "Ready", "True", "Serving", 20)
    figures.took("BlueGreen: decision to revert, to the first answer", answer_after(load, status, BETTER))
    cluster.until("the rejected track drains", lambda: size(cluster, BLUE) == 0)
    cluster.until("only version 2 is left", lambda: cluster.pod_versions("iris") == [BETTER, BETTER])
    assert [past["version"] for past in status["history"]] == [ERRS, BETTER, GOOD, BETTER, GOOD]

    counted = load.stop()
    figures.sent("BlueGreen: over, back and over by hand, back from a version that errs", counted)
    assert counted.failed == 0, counted.failures
    assert set(counted.erred) == {ERRS}, "only the sick version answers with errors"


@pytest.mark.full
def test_the_strategy_of_a_living_model_deployment_changes_without_a_lost_request(
    stage: Stage, figures: Figures
) -> None:
    cluster = stage.cluster
    stage.create_serving("iris", replicas=2, rollout={"watchSeconds": 3})
    load = Load.start(cluster, "iris", rate=10)
    cluster.until_at_rest("iris")
    pods = uids(cluster)
    cluster.commit("iris", {"rollout": {**BLUE_GREEN, "warmSeconds": 3}})
    cluster.until_at_rest("iris")
    assert uids(cluster) == pods, "the change alone moves nothing"

    stage.alias("iris", BETTER)
    assert cluster.until_serving("iris", BETTER, PATIENCE)["serving"]["track"] == GREEN
    cluster.until("the first track is not kept warm for long", lambda: size(cluster, BLUE) == 0)
    cluster.until("its last pod has drained", lambda: len(uids(cluster)) == 2)
    pods = uids(cluster)
    cluster.commit("iris", {"rollout": {"strategy": "RollingUpdate"}})
    cluster.until("a track that is not needed is removed", lambda: cluster.get("Deployment", BLUE) is None)
    assert uids(cluster) == pods

    stage.alias("iris", GOOD)
    assert cluster.until_serving("iris", GOOD, PATIENCE)["serving"]["track"] == GREEN, (
        "pods are replaced where they are"
    )
    cluster.commit("iris", {"rollout": {"strategy": "BlueGreen"}})
    until_settled(cluster)
    stage.alias("iris", BETTER)
    assert cluster.until_serving("iris", BETTER, PATIENCE)["serving"]["track"] == BLUE
    cluster.until("version 2 answers", lambda: load.counters().changes[-1]["version"] == BETTER)
    counted = load.stop()
    figures.sent("RollingUpdate to BlueGreen, back, and to BlueGreen again", counted)
    assert counted.failed == 0, counted.failures


def answer_after(load: Load, status: dict[str, object], version: str) -> float:
    """Seconds from the moment since which that version serves by the status to its first answer."""
    serving = status["serving"]
    assert isinstance(serving, dict)
    since = moment(serving["since"])

    def answered() -> float | None:
        try:
            return load.counters().answered_first(version, since)
        except LookupError:
            return None

    first = float(load.namespace.until(f"version {version} answers", answered))
    load.namespace.until(f"only version {version} answers", lambda: answers_alone(load, version))
    return first - since


def answers_alone(load: Load, version: str) -> bool:
    """Whether fresh connections found no other version for longer than the status's times are exact."""
    counted = load.counters()
    change = counted.changes[-1] if counted.changes else {"version": ""}
    return change["version"] == version and counted.last.get(version, 0.0) - change["at"] > 1.5


def until_settled(cluster: Namespace) -> None:
    cluster.until("its watch is over", lambda: cluster.status("iris")["serving"].get("settled"))


def followed_track(cluster: Namespace) -> set[str]:
    """The tracks that Service, autoscaler and budget are about."""
    service, autoscaler, budget = (
        (cluster.get(kind, "iris") or {})["spec"]
        for kind in ("Service", "HorizontalPodAutoscaler", "PodDisruptionBudget")
    )
    label = "model-operator.io/track"
    return {
        service["selector"][label],
        autoscaler["scaleTargetRef"]["name"],
        budget["selector"]["matchLabels"][label],
    }


def size(cluster: Namespace, track: str) -> int:
    found = cluster.get("Deployment", track)
    return int(found["spec"]["replicas"]) if found else 0


def uids(cluster: Namespace) -> set[str]:
    return {pod["metadata"]["uid"] for pod in cluster.pods("iris")}

"""A candidate comes up beside what serves, and the requests move at once: forth, and back."""

from __future__ import annotations

from typing import Any

import pytest
from tests.integration.lives.bench import PLURALS, Bench
from tests.integration.lives.kubelet import Script

LOAD_FAILED = Script(50, '{"reason": "LoadFailed", "message": "ValueError: the pickle is broken"}')
OUT_OF_MEMORY = Script(dies="OOMKilled")
ROLLOUT = {"strategy": "BlueGreen", "watchSeconds": 4, "warmSeconds": 0}


def blue_green(model: str, **spec: Any) -> dict[str, Any]:
    return {"model": {"name": model, "alias": "champion"}, "replicas": 2, "rollout": ROLLOUT, **spec}


@pytest.fixture
def churn(bench: Bench, model: str) -> str:
    """A ModelDeployment called churn with version 1 beyond its watch; returns the model's name."""
    bench.create("churn", blue_green(model))
    bench.until_settled("churn", 1)
    return model


@pytest.fixture
def watched(bench: Bench, model: str) -> str:
    """Like churn, but version 2 serves and is watched for longer than any test takes."""
    long = ROLLOUT | {"watchSeconds": 3600, "warmSeconds": 3600}
    bench.create("churn", blue_green(model, rollout=ROLLOUT | {"watchSeconds": 1}))
    bench.until_settled("churn", 1)
    bench.patch("ModelDeployment", "churn", {"spec": {"rollout": long}})
    bench.alias(model, "champion", 2)
    bench.until_serving("churn", 2)
    bench.until("only version 2 is behind the Service", lambda: bench.behind("churn") == {"2"})
    bench.until("the budget follows", lambda: budget_track(bench) == "churn-green")
    return model


def budget_track(bench: Bench) -> str:
    found = bench.get("PodDisruptionBudget", "churn")
    return str(found["spec"]["selector"]["matchLabels"]["model-operator.io/track"]) if found else ""


def autoscaled_track(bench: Bench) -> str:
    found = bench.get("HorizontalPodAutoscaler", "churn")
    return str(found["spec"]["scaleTargetRef"]["name"]) if found else ""


def test_an_alias_move_brings_the_version_up_beside_the_other_and_then_moves_the_service(
    bench: Bench, churn: str
) -> None:
    bench.kubelet.scripts[(churn, "2")] = Script(stuck=True)
    bench.alias(churn, "champion", 2)
    bench.until("version 2 comes up beside", lambda: bench.size("churn-green") == 2)
    bench.until_condition("churn", "Current", "False", "InsufficientCapacity")
    assert bench.traffic("churn") == "churn"
    assert bench.behind("churn") == {"1"}
    assert bench.condition("churn", "Ready") == ("True", "Serving")
    assert bench.status("churn")["candidate"]["track"] == "churn-green"

    bench.kubelet.scripts[(churn, "2")] = Script()
    bench.until_serving("churn", 2)
    bench.until("only version 2 is behind the Service", lambda: bench.behind("churn") == {"2"})
    bench.until("the budget follows", lambda: budget_track(bench) == "churn-green")
    status = bench.status("churn")
    assert status["serving"]["track"] == "churn-green"
    assert status["selector"].endswith("track=churn-green")
    assert bench.size("churn") == 2, "the old track stays while the new one is watched"
    bench.until_settled("churn", 2)
    bench.until("the old track goes to nothing", lambda: bench.size("churn") == 0)

    bench.alias(churn, "champion", 3)
    bench.until_serving("churn", 3)
    bench.until("only version 3 is behind the Service", lambda: bench.behind("churn") == {"3"})
    assert bench.traffic("churn") == "churn", "and back to the first track"
    assert [past["version"] for past in bench.status("churn")["history"]] == ["2", "1"]


def test_the_candidate_has_the_size_that_the_autoscaler_had_reached_and_takes_it_over(
    bench: Bench, model: str
) -> None:
    scaled = blue_green(model, autoscaling={"minReplicas": 1, "maxReplicas": 5})
    del scaled["replicas"]
    bench.create("churn", scaled)
    bench.until_serving("churn", 1)
    bench.patch("Deployment", "churn", {"spec": {"replicas": 4}}, "/scale")
    bench.until("4 are ready", lambda: bench.status("churn").get("readyReplicas") == 4)

    bench.alias(model, "champion", 2)
    bench.until_serving("churn", 2)
    assert bench.size("churn-green") == 4
    bench.until("the autoscaler follows", lambda: autoscaled_track(bench) == "churn-green")
    bench.until("the budget follows", lambda: budget_track(bench) == "churn-green")
    bench.until_settled("churn", 2)
    bench.until("the old track goes to nothing", lambda: bench.size("churn") == 0)
    assert bench.size("churn-green") == 4


def test_a_size_that_a_person_set_is_the_candidates_too(bench: Bench, model: str) -> None:
    unsized = blue_green(model, rollout=ROLLOUT | {"watchSeconds": 3600})
    del unsized["replicas"]
    bench.create("churn", unsized)
    bench.until_serving("churn", 1)
    bench.patch("Deployment", "churn", {"spec": {"replicas": 3}}, "/scale")
    bench.until("3 are ready", lambda: bench.status("churn").get("readyReplicas") == 3)
    bench.alias(model, "champion", 2)
    bench.until_serving("churn", 2)
    assert bench.size("churn-green") == 3
    bench.until("only version 2 is behind the Service", lambda: bench.behind("churn") == {"2"})

    bench.patch("Deployment", "churn-green", {"spec": {"replicas": 4}}, "/scale")
    bench.until("what could take over follows in the watch", lambda: bench.size("churn") == 4)


def test_a_version_that_does_not_load_never_meets_a_request(bench: Bench, churn: str) -> None:
    service = bench.get("Service", "churn")
    serving = bench.generation("churn")
    bench.kubelet.scripts[(churn, "2")] = LOAD_FAILED
    bench.alias(churn, "champion", 2)
    bench.until_condition("churn", "Current", "False", "VersionRejected")
    bench.until("its track goes to nothing", lambda: bench.size("churn-green") == 0)
    assert bench.status("churn")["rejected"][0]["reason"] == "LoadFailed"
    assert bench.get("Service", "churn") == service, "the Service was not touched"
    assert bench.generation("churn") == serving, "nor was what serves"
    assert bench.behind("churn") == {"1"}


def test_a_failure_in_the_watch_moves_the_requests_back_to_the_pods_that_stayed(
    bench: Bench, watched: str
) -> None:
    old = {p["metadata"]["uid"] for p in bench.items("Pod") if version_of(p) == "1"}
    assert len(old) == 2
    bench.until_a_later_second()
    bench.kubelet.scripts[(watched, "2")] = OUT_OF_MEMORY
    bench.until_condition("churn", "Current", "False", "VersionRejected")
    bench.until("only version 1 is behind the Service", lambda: bench.behind("churn") == {"1"})
    bench.until("the rejected track goes to nothing", lambda: bench.size("churn-green") == 0)
    bench.until("the budget follows", lambda: budget_track(bench) == "churn")
    status = bench.status("churn")
    assert status["serving"]["version"] == "1"
    assert (status["rejected"][0]["version"], status["rejected"][0]["reason"]) == ("2", "OutOfMemory")
    assert (status["history"][0]["version"], status["history"][0]["reason"]) == ("2", "OutOfMemory")
    assert bench.condition("churn", "Ready") == ("True", "Serving")
    assert {p["metadata"]["uid"] for p in bench.items("Pod") if version_of(p) == "1"} == old
    bench.until_at_rest("churn")
    with bench.nothing_is_written(seconds=2):
        pass


def version_of(pod: dict[str, Any]) -> str:
    return str(pod["metadata"]["annotations"]["model-operator.io/version"])


def test_a_person_tries_a_version_before_its_first_request(bench: Bench, model: str) -> None:
    gates = {"approval": {"mode": "Manual", "at": "BeforeTraffic", "approved": "1"}}
    bench.create("churn", blue_green(model, gates=gates))
    bench.until_serving("churn", 1)
    bench.alias(model, "champion", 2)
    bench.until(
        "version 2 waits",
        lambda: bench.status("churn").get("candidate", {}).get("phase") == "ReadyForTraffic",
    )
    bench.until("it can be tried", lambda: bench.behind("churn-candidate") == {"2"})
    assert bench.traffic("churn-candidate") == "churn-green"
    assert bench.behind("churn") == {"1"}
    assert bench.condition("churn", "Ready") == ("True", "Serving")

    bench.patch("ModelDeployment", "churn", {"spec": {"gates": {"approval": {"approved": "2"}}}})
    bench.until_serving("churn", 2)
    bench.until("only version 2 is behind the Service", lambda: bench.behind("churn") == {"2"})
    bench.until("the preview is gone", lambda: bench.get("Service", "churn-candidate") is None)


def test_a_changed_strategy_restarts_nothing(bench: Bench, churn: str) -> None:
    pods = bench.pod_uids()
    bench.patch("ModelDeployment", "churn", {"spec": {"rollout": {"strategy": "RollingUpdate"}}})
    bench.until_observed("churn")
    bench.until_at_rest("churn")
    assert bench.pod_uids() == pods
    bench.alias(churn, "champion", 2)
    bench.until_serving("churn", 2)
    assert bench.traffic("churn") == "churn", "within the track that serves"
    assert bench.size("churn-green") is None

    pods = bench.pod_uids()
    bench.patch("ModelDeployment", "churn", {"spec": {"rollout": {"strategy": "BlueGreen"}}})
    bench.until_observed("churn")
    bench.until_settled("churn", 2)
    bench.until("only version 2 is left", lambda: {version_of(p) for p in bench.items("Pod")} == {"2"})
    assert pods >= bench.pod_uids()
    bench.alias(churn, "champion", 3)
    bench.until_serving("churn", 3)
    assert bench.traffic("churn") == "churn-green", "beside it again"


def test_a_changed_strategy_leaves_the_second_track_where_it_serves(bench: Bench, churn: str) -> None:
    bench.alias(churn, "champion", 2)
    bench.until_serving("churn", 2)
    pods = {p["metadata"]["uid"] for p in bench.items("Pod") if version_of(p) == "2"}
    bench.patch("ModelDeployment", "churn", {"spec": {"rollout": {"strategy": "RollingUpdate"}}})
    bench.until("the track beside is gone", lambda: bench.size("churn") is None)
    bench.until("only version 2 is left", lambda: bench.pod_uids() == pods)
    bench.alias(churn, "champion", 3)
    bench.until_serving("churn", 3)
    assert bench.traffic("churn") == "churn-green"
    bench.until("only version 3 is behind the Service", lambda: bench.behind("churn") == {"3"})


def test_deleted_in_the_middle_of_a_switch_nothing_is_left(bench: Bench, churn: str) -> None:
    bench.kubelet.scripts[(churn, "2")] = Script(stuck=True)
    bench.alias(churn, "champion", 2)
    bench.until("version 2 comes up beside", lambda: bench.size("churn-green") == 2)
    bench.delete("ModelDeployment", "churn")
    kinds = [k for k in PLURALS if k not in ("ModelDeployment", "Event", "Secret")]

    def left() -> list[str]:
        found = [f"{kind} {o['metadata']['name']}" for kind in kinds for o in bench.items(kind)]
        return [name for name in found if "churn" in name]

    bench.until("nothing is left", lambda: left() == [])

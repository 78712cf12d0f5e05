"""A person's hand on the wheel: restart, revert, adopt, suspend."""

from __future__ import annotations

from typing import Any

import pytest
from tests.integration.lives.bench import Bench
from tests.integration.lives.kubelet import Script

LOAD_FAILED = Script(50, '{"reason": "LoadFailed", "message": "ValueError: the pickle is broken"}')


def followed(model: str, **spec: Any) -> dict[str, Any]:
    return {"model": {"name": model, "alias": "champion"}, "replicas": 2, **spec}


@pytest.fixture
def churn(bench: Bench, model: str) -> str:
    """A ModelDeployment called churn that serves version 1; returns the model's name."""
    bench.create("churn", followed(model))
    bench.until_serving("churn", 1)
    bench.until_at_rest("churn")
    return model


@pytest.fixture
def moved(bench: Bench, churn: str) -> str:
    """Like churn, but it has followed the alias to version 2."""
    bench.alias(churn, "champion", 2)
    bench.until_serving("churn", 2)
    bench.until_at_rest("churn")
    return churn


def test_a_restart_makes_new_pods_of_the_same_version_once(bench: Bench, churn: str) -> None:
    before = bench.pod_uids()
    bench.annotate("churn", restart="monday")
    bench.until(
        "all pods are new", lambda: len(bench.pod_uids()) == 2 and before.isdisjoint(bench.pod_uids())
    )
    status = bench.until_serving("churn", 1)
    bench.until_at_rest("churn")
    assert status["handledRequests"] == {"restart": "monday"}
    assert len(bench.events("churn", "RolloutStarted")) == 2

    generation = bench.generation("churn")
    bench.annotate("churn", restart=None)
    bench.annotate("churn", restart="monday")
    bench.annotate("churn", restart=None)
    with bench.nothing_is_written(seconds=2):
        pass
    assert bench.generation("churn") == generation
    assert bench.status("churn")["handledRequests"] == {"restart": "monday"}


def test_a_restart_while_the_wanted_version_is_rejected_restarts_what_serves(
    bench: Bench, churn: str
) -> None:
    bench.kubelet.scripts[(churn, "2")] = LOAD_FAILED
    bench.alias(churn, "champion", 2)
    bench.until_condition("churn", "Current", "False", "VersionRejected")
    bench.until_at_rest("churn")
    before = bench.pod_uids()
    bench.annotate("churn", restart="tuesday")
    bench.until(
        "all pods are new", lambda: len(bench.pod_uids()) == 2 and before.isdisjoint(bench.pod_uids())
    )
    bench.until_condition("churn", "Current", "False", "VersionRejected")
    bench.until_at_rest("churn")
    status = bench.status("churn")
    assert status["serving"]["version"] == "1"
    assert status["handledRequests"] == {"restart": "tuesday"}
    with bench.nothing_is_written(seconds=2):
        pass


@pytest.mark.parametrize("by", ["version", "revision"])
@pytest.mark.usefixtures("own_operator")
def test_a_revert_holds_until_it_is_taken_away(bench: Bench, moved: str, by: str) -> None:
    kept = next(c for c in bench.items("ControllerRevision") if c["metadata"]["name"].startswith("churn-v1-"))
    named = "1" if by == "version" else kept["metadata"]["name"].removeprefix("churn-")
    with bench.silent_registry():
        bench.annotate("churn", revert=named)
        bench.until_condition("churn", "Current", "False", "RevisionHeld")
        bench.until("only version 1 is behind the Service", lambda: bench.behind("churn") == {"1"})
    status = bench.status("churn")
    assert status["serving"]["version"] == "1"
    assert status["handledRequests"] == {"revert": named}
    assert bench.condition("churn", "Ready") == ("True", "Serving")

    bench.alias(moved, "champion", 3)
    bench.until("the alias's move is seen", lambda: bench.status("churn")["resolved"]["version"] == "3")
    bench.restart_operator()
    bench.until_at_rest("churn")
    with bench.nothing_is_written(seconds=2):
        pass
    assert bench.status("churn")["serving"]["version"] == "1"

    bench.annotate("churn", revert=None)
    bench.until_serving("churn", 3)


def test_a_revert_to_what_nobody_kept_is_refused_in_words(bench: Bench, moved: str) -> None:
    bench.annotate("churn", revert="77")
    bench.until_condition("churn", "Current", "False", "RevisionNotFound")
    message = next(c["message"] for c in bench.status("churn")["conditions"] if c["type"] == "Current")
    assert "77" in message
    assert bench.status("churn")["serving"]["revision"] in message
    bench.until_at_rest("churn")
    with bench.nothing_is_written(seconds=2):
        pass
    assert bench.status("churn")["serving"]["version"] == "2"
    bench.annotate("churn", revert=None)
    bench.until_serving("churn", 2)


def test_a_service_that_a_person_names_is_taken_over(bench: Bench, model: str) -> None:
    spec = {"ports": [{"port": 99}], "selector": {"made": "by-hand"}}
    foreign = bench.post("Service", {"metadata": {"name": "churn"}, "spec": spec})
    created = bench.create("churn", followed(model))
    bench.until_condition("churn", "Ready", "False", "NameConflict")
    assert bench.get("Service", "churn") == foreign, "not named, not touched"

    bench.annotate("churn", adopt="Service/churn")
    bench.until_condition("churn", "Ready", "True", "Serving")
    # the status says what will be done before it is
    taken = bench.until("it has an owner", lambda: owned(bench.get("Service", "churn")))
    assert taken["metadata"]["uid"] == foreign["metadata"]["uid"]
    assert taken["metadata"]["ownerReferences"][0]["uid"] == created["metadata"]["uid"]
    assert bench.traffic("churn") == "churn"
    bench.until("version 1 is behind the Service", lambda: bench.behind("churn") == {"1"})
    assert bench.status("churn")["handledRequests"] == {"adopt": "Service/churn"}


def owned(found: dict[str, Any] | None) -> dict[str, Any] | None:
    """The object, once it has an owner."""
    return found if found and found["metadata"].get("ownerReferences") else None


@pytest.mark.usefixtures("own_operator")
def test_what_is_suspended_is_left_alone_until_it_is_resumed(bench: Bench, churn: str) -> None:
    bench.patch("ModelDeployment", "churn", {"spec": {"suspend": True}})
    bench.until_observed("churn")
    bench.alias(churn, "champion", 2)
    bench.until_condition("churn", "Current", "False", "Suspended")
    bench.patch("Deployment", "churn", {"spec": {"replicas": 3}}, "/scale")
    bench.patch("Deployment", "churn", {"spec": {"minReadySeconds": 77}})
    bench.patch("Service", "churn", {"spec": {"selector": {"model-operator.io/track": "elsewhere"}}})
    bench.until("3 are ready", lambda: bench.status("churn").get("readyReplicas") == 3)
    bench.until_quiet()
    with bench.nothing_is_written(seconds=3):
        bench.restart_operator()
    assert bench.size("churn") == 3
    assert bench.traffic("churn") == "elsewhere"
    assert bench.status("churn")["serving"]["version"] == "1"

    bench.patch("ModelDeployment", "churn", {"spec": {"suspend": False}})
    bench.until_serving("churn", 2)
    bench.until("what drifted is mended", lambda: bench.size("churn") == 2)
    assert bench.traffic("churn") == "churn"
    found = bench.get("Deployment", "churn")
    assert found
    assert found["spec"]["minReadySeconds"] != 77

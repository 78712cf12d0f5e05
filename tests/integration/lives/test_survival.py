"""The operator dies, or the status is lost, in the middle of everything; the end is the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.integration.lives.bench import Bench
from tests.integration.lives.kubelet import Script

OUT_OF_MEMORY = Script(dies="OOMKilled")


def blue_green(model: str, watch_seconds: int) -> dict[str, Any]:
    rollout = {"strategy": "BlueGreen", "watchSeconds": watch_seconds, "warmSeconds": 0}
    return {"model": {"name": model, "alias": "champion"}, "replicas": 2, "rollout": rollout}


@pytest.fixture
def churn(bench: Bench, model: str) -> str:
    """A ModelDeployment called churn that serves version 1, in its watch for as long as any test takes."""
    bench.create("churn", blue_green(model, 3600))
    bench.until_serving("churn", 1)
    bench.until_at_rest("churn")
    return model


def candidate_is_announced(bench: Bench) -> bool:
    return bool(bench.status("churn").get("candidate"))


def version_2_is_called_serving(bench: Bench) -> bool:
    return bool(bench.status("churn")["serving"]["version"] == "2")


def the_service_has_moved(bench: Bench) -> bool:
    return bench.traffic("churn") == "churn-green"


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(candidate_is_announced, id="the candidate is announced"),
        pytest.param(version_2_is_called_serving, id="the candidate is called serving"),
        pytest.param(the_service_has_moved, id="the Service has moved"),
    ],
)
@pytest.mark.usefixtures("own_operator")
def test_killed_in_mid_switch_when(bench: Bench, churn: str, moment: Callable[[Bench], bool]) -> None:
    bench.alias(churn, "champion", 2)
    bench.until("the moment", lambda: moment(bench))
    bench.operator.kill()
    bench.operator.start()
    bench.until_serving("churn", 2)
    bench.until("only version 2 is behind the Service", lambda: bench.behind("churn") == {"2"})
    bench.until_at_rest("churn")
    assert "rejected" not in bench.status("churn")
    assert rolled_out_once(bench)
    assert bench.size("churn") == 2, "what served stays through the watch"


def rolled_out_once(bench: Bench) -> bool:
    """Whether each version was rendered once, and got two pods once."""
    names = [c["metadata"]["name"] for c in bench.items("ControllerRevision")]
    made = {track: bench.pods_made(track) for track in ("churn", "churn-green")}
    return len(names) == 2 and made == {"churn": 2, "churn-green": 2}


def version_2_is_rejected(bench: Bench) -> bool:
    return bool(bench.status("churn").get("rejected"))


def the_service_is_back(bench: Bench) -> bool:
    return bench.traffic("churn") == "churn"


def nothing_is_decided(bench: Bench) -> bool:
    return True


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(nothing_is_decided, id="nothing is decided yet"),
        pytest.param(version_2_is_rejected, id="the version is rejected"),
        pytest.param(the_service_is_back, id="the Service is back"),
    ],
)
@pytest.mark.usefixtures("own_operator")
def test_killed_in_the_revert_of_a_watched_version_when(
    bench: Bench, churn: str, moment: Callable[[Bench], bool]
) -> None:
    bench.alias(churn, "champion", 2)
    bench.until_serving("churn", 2)
    bench.until("only version 2 is behind the Service", lambda: bench.behind("churn") == {"2"})
    bench.until_a_later_second()
    bench.kubelet.scripts[(churn, "2")] = OUT_OF_MEMORY
    bench.until("the moment", lambda: moment(bench))
    bench.operator.kill()
    bench.operator.start()
    bench.until_condition("churn", "Current", "False", "VersionRejected")
    bench.until("only version 1 is behind the Service", lambda: bench.behind("churn") == {"1"})
    bench.until("the rejected track goes to nothing", lambda: bench.size("churn-green") == 0)
    bench.until_at_rest("churn")
    # the one before the kill may have told all of this already; the one after it knows it once the registry was asked
    bench.until_quiet()
    status = bench.status("churn")
    assert [r["version"] for r in status["rejected"]] == ["2"]
    assert [past["version"] for past in status["history"]] == ["2", "1"]
    assert rolled_out_once(bench)
    with bench.nothing_is_written(seconds=3):
        bench.restart_operator()


def test_a_status_that_is_wiped_at_rest_comes_back_and_nothing_else_happens(bench: Bench, model: str) -> None:
    bench.create("churn", blue_green(model, 1))
    bench.until_settled("churn", 1)
    bench.alias(model, "champion", 2)
    before = bench.until_settled("churn", 2)
    bench.until("the old track goes to nothing", lambda: bench.size("churn") == 0)
    bench.until("its pods are gone", lambda: len(bench.pod_uids()) == 2)
    pods = bench.pod_uids()
    generations = [bench.generation("churn"), bench.generation("churn-green")]
    wipe(bench)
    after = bench.until_settled("churn", 2)
    bench.until_at_rest("churn")
    assert after["serving"] | {"selfTest": "Passed"} == before["serving"]
    assert [bench.generation("churn"), bench.generation("churn-green")] == generations
    assert bench.pod_uids() == pods
    assert bench.traffic("churn") == "churn-green"


def test_a_status_that_is_wiped_in_the_watch_costs_no_revert(bench: Bench, churn: str) -> None:
    bench.alias(churn, "champion", 2)
    bench.until_serving("churn", 2)
    bench.until("only version 2 is behind the Service", lambda: bench.behind("churn") == {"2"})
    bench.until_at_rest("churn")
    pods = bench.pod_uids()
    wipe(bench)
    bench.until_serving("churn", 2)
    bench.until_at_rest("churn")
    serving = bench.status("churn")["serving"]
    assert serving["track"] == "churn-green", bench.operator.all_words()
    assert not serving["settled"]
    assert bench.pod_uids() == pods, "the old track is as warm as before"

    bench.until_a_later_second()
    bench.kubelet.scripts[(churn, "2")] = OUT_OF_MEMORY
    bench.until_condition("churn", "Current", "False", "VersionRejected")
    bench.until("only version 1 is behind the Service", lambda: bench.behind("churn") == {"1"})


def test_a_status_that_is_wiped_in_mid_switch_starts_nothing_twice(bench: Bench, churn: str) -> None:
    bench.kubelet.scripts[(churn, "2")] = Script(stuck=True)
    bench.alias(churn, "champion", 2)
    bench.until("version 2 comes up beside", lambda: len(bench.items("Pod")) == 4)
    bench.until_condition("churn", "Current", "False", "InsufficientCapacity")
    wipe(bench)
    bench.until_condition("churn", "Current", "False", "InsufficientCapacity")
    assert bench.traffic("churn") == "churn"
    bench.kubelet.scripts[(churn, "2")] = Script()
    bench.until_serving("churn", 2)
    bench.until("only version 2 is behind the Service", lambda: bench.behind("churn") == {"2"})
    assert rolled_out_once(bench)


def wipe(bench: Bench) -> None:
    """The status is lost, as in a restore from a backup."""
    bench.patch("ModelDeployment", "churn", {"status": None}, "/status")

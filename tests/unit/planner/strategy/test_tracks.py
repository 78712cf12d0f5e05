"""Which track serves, which one a candidate takes, how big each is, and when requests move."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.planner.execution import endpoints, ready_pod
from tests.unit.planner.worlds import (
    NOW,
    ago,
    carrying,
    live,
    pointing,
    read_children,
    rejected,
    revision,
    world,
)

from model_operator.api.spec import ModelDeploymentSpec
from model_operator.domain.objects import Kind, read_service
from model_operator.domain.plan import Apply, Create, Delete, Scale
from model_operator.domain.rollout import Candidate, Phase, RolloutState, Serving
from model_operator.domain.world import World
from model_operator.planner.plan import plan
from model_operator.planner.state import load, to_status
from model_operator.planner.strategy.tracks import (
    candidate_track,
    desired_replicas,
    idle_replicas,
    is_confirmed,
    other_track,
    restored_track,
    traffic_track,
)

Json = dict[str, Any]

GREEN = "churn-green"
BLUE_GREEN: Json = {"rollout": {"strategy": "BlueGreen"}}
ONE, TWO, THREE = (
    revision("1", verdict=live(5000, settled=True)),
    revision("2", verdict=live(60)),
    revision("3"),
)
ON_FIRST = Serving(ONE.name, "1", "@champion", ago(5000), track="churn", settled=True)
ON_GREEN = Serving(TWO.name, "2", "@champion", ago(60), track=GREEN, watch_ends=NOW)


def switched(first: Json | None = None, green: Json | None = None, **more: Any) -> World:
    """Version 1 on the first track, version 2 on the second; the Service still points to the first."""
    tracks = {"churn": first or carrying(ONE), GREEN: green or carrying(TWO, track=GREEN)}
    more = {"spec": BLUE_GREEN, "service": pointing("churn"), "version": "2"} | more
    return world(ONE, TWO, deployments=tracks, **more)


def trying(phase: Phase = Phase.STARTING, track: str = GREEN) -> Candidate:
    return Candidate(THREE.name, "3", "@champion", ago(60), phase, track=track)


# --- where a candidate comes up ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "serving", "expected"),
    [
        pytest.param("RollingUpdate", None, "churn", id="the first version on the first track"),
        pytest.param("BlueGreen", None, "churn", id="the first version also where tracks change"),
        pytest.param("RollingUpdate", ON_FIRST, "churn", id="a rolling update within the track that serves"),
        pytest.param("RollingUpdate", ON_GREEN, GREEN, id="also where that is the second one"),
        pytest.param("BlueGreen", ON_FIRST, GREEN, id="blue-green beside the first"),
        pytest.param("BlueGreen", ON_GREEN, "churn", id="blue-green beside the second"),
    ],
)
def test_a_candidate_comes_up_on(strategy: str, serving: Serving | None, expected: str) -> None:
    seen = world(spec={"rollout": {"strategy": strategy}})
    assert candidate_track(seen, RolloutState(serving)) == expected


def test_the_second_try_of_a_first_version_stays_on_its_track() -> None:
    assert candidate_track(world(spec=BLUE_GREEN), RolloutState(None, trying())) == GREEN


def test_a_candidate_never_comes_up_on_the_track_that_still_takes_the_requests() -> None:
    # a revert to version 1 was decided, and its pods are not ready yet
    seen = switched(carrying(ONE, availableReplicas=0), service=pointing(GREEN))
    assert candidate_track(seen, RolloutState(ON_FIRST)) == "churn"


def test_there_are_two_tracks() -> None:
    assert other_track(world(), "churn") == GREEN
    assert other_track(world(), GREEN) == "churn"


@pytest.mark.parametrize(
    ("replicas", "expected"),
    [pytest.param(1, "churn", id="one pod kept warm"), pytest.param(0, "churn", id="none kept")],
)
def test_what_served_before_comes_back_on_the_other_track(replicas: int, expected: str) -> None:
    seen = switched(carrying(ONE, replicas), service=pointing(GREEN))
    assert restored_track(seen, RolloutState(ON_GREEN), ONE.name) == expected


def test_with_rolling_updates_it_comes_back_in_place_unless_it_is_still_warm_beside() -> None:
    rolling = {"rollout": {"strategy": "RollingUpdate"}}
    warm = switched(carrying(ONE, 1), service=pointing(GREEN), spec=rolling)
    cold = switched(carrying(ONE, 0), service=pointing(GREEN), spec=rolling)
    assert restored_track(warm, RolloutState(ON_GREEN), ONE.name) == "churn"
    assert restored_track(cold, RolloutState(ON_GREEN), ONE.name) == GREEN


# --- a new target in the middle of a switch ----------------------------------------------------------------


def wanted_three(seen: World, state: RolloutState) -> World:
    children = replace(seen.children, revisions=(ONE, TWO, THREE))
    status = to_status(state) | {"observedGeneration": 1}
    return replace(seen, children=children, status=status, resolution=world(version="3").resolution)


def test_a_new_target_waits_while_requests_still_go_to_the_track_that_it_would_take() -> None:
    pods = (ready_pod("old-1", "churn", ONE.name), ready_pod("new-1", GREEN, TWO.name))
    lagging = switched(service=pointing(GREEN), pods=pods, endpoint_slices=(endpoints("old-1", "new-1"),))
    waits = plan(wanted_three(lagging, RolloutState(ON_GREEN)))
    assert waits.status["candidate"]["reason"] == "Switching"
    assert not [a for a in waits.actions if a.ref == lagging.ref(Kind.DEPLOYMENT)]
    assert waits.look_again is not None
    moved = replace(lagging.children, **read_children(endpoint_slices=[endpoints("new-1")]))
    starts = plan(
        replace(wanted_three(replace(lagging, children=moved), RolloutState(ON_GREEN)), status=waits.status)
    )
    assert (starts.status["candidate"]["phase"], starts.status["candidate"]["track"]) == ("Applying", "churn")


def test_a_new_target_does_not_wait_for_a_serving_version_without_a_single_pod() -> None:
    seen = switched(green=carrying(TWO, track=GREEN, availableReplicas=0), service=pointing(GREEN))
    assert plan(wanted_three(seen, RolloutState(ON_GREEN))).status["candidate"]["phase"] == "Applying"


# --- sizes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("serving", "spec", "expected"),
    [
        pytest.param(ON_GREEN, {}, 2, id="all while the watch lasts"),
        pytest.param(
            replace(ON_GREEN, settled=True, watch_ends=None), {}, 1, id="warmReplicas of them after the watch"
        ),
        pytest.param(
            replace(ON_GREEN, settled=True, watch_ends=None),
            {"warmReplicas": 9},
            2,
            id="never more than serve",
        ),
        pytest.param(
            replace(ON_GREEN, settled=True, watch_ends=None),
            {"warmSeconds": 60},
            0,
            id="none when it is over",
        ),
        pytest.param(
            replace(ON_GREEN, watch_ends=None),
            {"warmSeconds": 60},
            2,
            id="its full size while another rollout interrupts the watch",
        ),
        pytest.param(None, {}, 0, id="none where nothing serves"),
    ],
)
def test_the_track_before_keeps(serving: Serving | None, spec: Json, expected: int) -> None:
    seen = switched(service=pointing(GREEN), spec={"rollout": {"strategy": "BlueGreen", **spec}})
    assert idle_replicas(seen, RolloutState(serving), "churn") == expected


def test_a_track_that_was_never_live_or_was_rejected_keeps_nothing() -> None:
    untried = switched(carrying(THREE), service=pointing(GREEN))
    assert idle_replicas(untried, RolloutState(ON_GREEN), "churn") == 0
    sick = replace(TWO, verdict=rejected())
    seen = world(ONE, sick, deployments={GREEN: carrying(sick, track=GREEN)}, spec=BLUE_GREEN)
    state = plan_state_with_rejection(sick.name)
    assert idle_replicas(seen, state, GREEN) == 0


def plan_state_with_rejection(name: str) -> RolloutState:
    seen = world(ONE, replace(TWO, verdict=rejected()), status=to_status(RolloutState(ON_FIRST)))
    state = load(seen)
    assert state.rejection_of(name)
    return state


@pytest.mark.parametrize(
    ("spec", "tracks", "expected"),
    [
        pytest.param({"replicas": 5}, {"churn": 2}, 5, id="what the spec says"),
        pytest.param({"replicas": 0}, {"churn": 2}, 0, id="also none"),
        pytest.param({"replicas": None}, {"churn": 7}, 7, id="what somebody scaled to"),
        pytest.param({"replicas": None}, {"churn": 0}, 0, id="also to nothing"),
        pytest.param(
            {"replicas": None}, {"churn": 7, GREEN: 2}, 7, id="what the track with the requests has"
        ),
        pytest.param({"replicas": None}, {}, 1, id="one to begin with"),
        pytest.param(
            {"replicas": None, "autoscaling": {"minReplicas": 3, "maxReplicas": 9}},
            {},
            3,
            id="the least of the autoscaler",
        ),
    ],
)
def test_a_track_should_have(spec: Json, tracks: dict[str, int], expected: int) -> None:
    deployments = {track: carrying(ONE, number, track) for track, number in tracks.items()}
    raw = {name: value for name, value in ({"replicas": 2} | spec).items() if value is not None}
    seen = world(ONE, deployments=deployments, service=pointing("churn"))
    asked = {"model": {"name": "churn", "alias": "champion"}, **raw}
    seen = replace(seen, parsed_spec=ModelDeploymentSpec.model_validate(asked))
    assert desired_replicas(seen, replace(ON_GREEN)) == expected


def test_a_deployment_that_was_deleted_comes_back_at_the_size_that_its_autoscaler_had_reached() -> None:
    spec = {"autoscaling": {"minReplicas": 2, "maxReplicas": 9}}
    parsed = ModelDeploymentSpec.model_validate({"model": {"name": "churn", "alias": "champion"}, **spec})
    for before, expected in ((7, 7), (50, 9), (0, 2), ("7", 2)):
        seen = replace(world(ONE, status={"replicas": before}), parsed_spec=parsed)
        assert desired_replicas(seen, ON_FIRST) == expected


# --- requests --------------------------------------------------------------------------------------------

UNREADY = {"availableReplicas": 0}


@pytest.mark.parametrize(
    ("first", "green", "expected"),
    [
        pytest.param(
            carrying(ONE), carrying(TWO, track=GREEN), GREEN, id="to the new track when it is complete"
        ),
        pytest.param(
            carrying(ONE),
            carrying(TWO, track=GREEN, availableReplicas=1),
            "churn",
            id="not while a pod is missing",
        ),
        pytest.param(carrying(ONE), carrying(TWO, 1, GREEN), "churn", id="not while it is smaller"),
        pytest.param(
            carrying(ONE, **UNREADY),
            carrying(TWO, track=GREEN, availableReplicas=1),
            GREEN,
            id="to a single pod when there is no other",
        ),
        pytest.param(
            carrying(ONE, **UNREADY),
            carrying(TWO, track=GREEN, **UNREADY),
            "churn",
            id="nowhere else when nobody has any",
        ),
        pytest.param(carrying(ONE), carrying(ONE, track=GREEN), "churn", id="not to another revision"),
        pytest.param(
            carrying(ONE, 1), carrying(TWO, 1, GREEN), GREEN, id="to one as small as the old one is"
        ),
    ],
)
def test_requests_go(first: Json, green: Json, expected: str) -> None:
    assert traffic_track(switched(first, green), RolloutState(ON_GREEN)) == expected


def test_a_service_that_was_deleted_comes_back_where_pods_are() -> None:
    seen = switched(carrying(ONE, **UNREADY), service=None)
    assert traffic_track(seen, RolloutState(ON_FIRST)) == GREEN
    assert traffic_track(switched(service=None), RolloutState(ON_FIRST)) == "churn"


def test_a_service_that_was_deleted_never_comes_back_on_a_candidate() -> None:
    seen = switched(carrying(ONE, **UNREADY), carrying(THREE, track=GREEN), service=None)
    assert traffic_track(seen, RolloutState(ON_FIRST, trying(Phase.READY))) == "churn"


HIDDEN: Json = {**BLUE_GREEN, "gates": {"approval": {"mode": "Manual", "at": "BeforeTraffic"}}}


@pytest.mark.parametrize(
    ("spec", "service", "expected"),
    [
        pytest.param({}, None, "churn", id="a first version at once"),
        pytest.param(HIDDEN, None, "", id="a first version that a person has to agree to, nowhere"),
        pytest.param(HIDDEN, pointing("churn"), "churn", id="a Service that exists stays"),
    ],
)
def test_requests_of_a_first_version_go_for(spec: Json, service: Json | None, expected: str) -> None:
    assert (
        traffic_track(world(spec=spec, service=service), RolloutState(None, trying(track="churn")))
        == expected
    )


POD_ONE, POD_TWO = ready_pod("one", "churn", ONE.name), ready_pod("two", GREEN, TWO.name)


@pytest.mark.parametrize(
    ("slices", "expected"),
    [
        pytest.param([endpoints("two")], True, id="only its pods are ready"),
        pytest.param([endpoints("one", "two")], False, id="an old one is ready still"),
        pytest.param([endpoints("two"), endpoints("one")], False, id="also in another slice"),
        pytest.param([endpoints()], False, id="nobody is ready"),
        pytest.param([endpoints("gone", "two")], False, id="one that is unknown is ready"),
        pytest.param(
            [endpoints("two"), endpoints("one", service="churn-candidate")], True, id="but not of the preview"
        ),
        pytest.param([endpoints("two", service="churn-candidate")], False, id="nor by the preview alone"),
        pytest.param([{"metadata": 5, "endpoints": "x"}], False, id="garbage"),
    ],
)
def test_the_endpoints_confirm_a_track_when(slices: list[Json], expected: bool) -> None:
    seen = switched(service=pointing(GREEN), pods=(POD_ONE, POD_TWO), endpoint_slices=slices)
    assert is_confirmed(seen, GREEN) is expected


def test_a_track_that_the_service_does_not_select_is_never_confirmed() -> None:
    assert not is_confirmed(switched(pods=(POD_TWO,), endpoint_slices=(endpoints("two"),)), GREEN)


def test_a_pod_that_does_not_say_whose_it_is_belongs_to_the_first_track() -> None:
    old: Json = {"metadata": {"name": "old"}}
    seen = switched(pods=(old, POD_TWO))
    assert [pod.name for pod in seen.track("churn").pods] == ["old"]
    assert [pod.name for pod in seen.track(GREEN).pods] == ["two"]


# --- what may never happen to the track that serves ---------------------------------------------------------


def test_a_serving_track_stays_even_if_its_revision_is_kept_no_longer() -> None:
    state = RolloutState(ON_FIRST, trying())
    tracks = {"churn": carrying(ONE), GREEN: carrying(THREE, track=GREEN, **UNREADY)}
    pods = (ready_pod("one", "churn", ONE.name),)
    seen = world(
        THREE,
        version="3",
        deployments=tracks,
        service=pointing("churn"),
        pods=pods,
        endpoint_slices=(endpoints("one"),),
        spec=BLUE_GREEN,
        status=to_status(state) | {"observedGeneration": 1},
    )
    touched = [a for a in plan(seen).actions if a.ref == seen.ref(Kind.DEPLOYMENT)]
    assert not [a for a in touched if isinstance(a, Delete | Scale)]


@pytest.mark.parametrize("slices", [(), (endpoints("one"),), (endpoints("one", "two"),)])
def test_the_track_before_is_left_alone_until_the_endpoints_have_moved(slices: tuple[Json, ...]) -> None:
    settled = replace(ON_GREEN, settled=True, watch_ends=None, since=ago(5000))
    status = to_status(RolloutState(settled)) | {"observedGeneration": 1}
    seen = switched(service=pointing(GREEN), pods=(POD_ONE, POD_TWO), endpoint_slices=slices, status=status)
    assert not [a for a in plan(seen).actions if isinstance(a, Delete | Scale)]
    endpoints_of_two = read_children(endpoint_slices=[endpoints("two")])
    moved = replace(seen, children=replace(seen.children, **endpoints_of_two))
    assert [a for a in plan(moved).actions if isinstance(a, Scale)] == [
        Scale(seen.ref(Kind.DEPLOYMENT), 0, "7")
    ]


def test_a_status_can_not_name_a_third_track() -> None:
    status = to_status(RolloutState(replace(ON_FIRST, track="payments"), trying(track="kube-dns")))
    seen = world(ONE, THREE, version="3", status=status | {"observedGeneration": 1}, deployment=carrying(ONE))
    names = {a.ref.name for a in plan(seen).actions if isinstance(a, Create | Apply)}
    assert not names & {"payments", "kube-dns"}
    moved = [a for a in plan(seen).actions if isinstance(a, Apply) and a.ref.kind is Kind.SERVICE]
    assert all(read_service(a.body).track == "churn" for a in moved)

"""What holds for every plan, whatever stands in the status and the cluster, in both strategies."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.unit.planner.execution import carry_out, endpoints, ready_pod, with_pods
from tests.unit.planner.worlds import (
    NOW,
    ago,
    carrying,
    kept_objects,
    live,
    pointing,
    rejected,
    revision,
    world,
)

from model_operator.api import names
from model_operator.domain.objects import Kind, ObjectRef, read_service, rfc3339
from model_operator.domain.plan import Apply, Delete, Scale
from model_operator.domain.registry import Resolution, ResolutionReason
from model_operator.domain.revision import Revision, Side
from model_operator.domain.rollout import Candidate, Departed, Phase, Rejection, RolloutState, Serving
from model_operator.domain.world import RefusalKind, RefusedWrite, Traffic, World
from model_operator.planner.plan import plan
from model_operator.planner.state import load, to_status
from model_operator.planner.strategy.tracks import is_confirmed

Json = dict[str, Any]

TRACKS = ("churn", "churn-green")
NUMBERS = ("1", "2", "3")
OUTAGE = Resolution(ResolutionReason.UNREACHABLE, "no answer")
REQUESTS = (names.REQUEST_RETRY, names.REQUEST_RESTART, names.REQUEST_REVERT, names.REQUEST_ADOPT)

VERDICTS = st.sampled_from(
    [None, live(5000, settled=True), live(300), live(50), rejected(), rejected("CrashLoop")]
)
SPECS = st.fixed_dictionaries(
    {
        "rollout": st.fixed_dictionaries(
            {"strategy": st.sampled_from(["RollingUpdate", "BlueGreen"])},
            optional={
                "watchSeconds": st.sampled_from([0, 600]),
                "warmSeconds": st.sampled_from([0, 400]),
                "maxUnavailable": st.just(1),
            },
        )
    },
    optional={
        "revert": st.sampled_from([{"policy": "Never"}, {"historyLimit": 1}]),
        "replicas": st.sampled_from([None, 0, 2]),
        "suspend": st.sampled_from([False, False, False, True]),
        "gates": st.sampled_from(
            [
                {"approval": {"mode": "Manual"}},
                {"approval": {"mode": "Manual", "at": "BeforeTraffic"}},
                {"integrity": {"required": True}},
            ]
        ),
    },
)


@st.composite
def pods(draw: st.DrawFn, track: str, name: str) -> list[Json]:
    """Up to two pods of a track: ready, ended, or unready after they had served."""
    found = []
    for n in range(draw(st.integers(0, 2))):
        pod = ready_pod(f"{track}-{n}", track, name)
        code = draw(st.sampled_from([None, None, 41, 42, 1]))
        if code is not None:
            pod["status"]["conditions"] = pod["status"]["conditions"][:1]
            ended = {"exitCode": code, "finishedAt": rfc3339(ago(20))}
            fetch = {"name": "fetch" if code > 1 else "server", "restartCount": 3}
            fetch |= {"state": {"waiting": {}}, "lastState": {"terminated": ended}}
            pod["status"]["initContainerStatuses" if code > 1 else "containerStatuses"] = [fetch]
        found.append(pod)
    return found


@st.composite
def states(draw: st.DrawFn, revisions: Json) -> RolloutState:
    known = st.sampled_from(sorted(revisions))
    moments = st.sampled_from([5, 60, 500, 700, 5000]).map(ago)
    later = st.none() | st.sampled_from([NOW, NOW - timedelta(5), NOW + timedelta(seconds=50)])
    track = st.sampled_from(TRACKS)
    serving = candidate = None
    if draw(st.integers(0, 3)):
        name, settled = draw(known), draw(st.booleans())
        ends = None if settled else draw(later)
        version = revisions[name].target.version
        serving = Serving(name, version, "@champion", draw(moments), "", draw(track), settled, ends)
    if draw(st.booleans()) and (
        others := [n for n in sorted(revisions) if not serving or n != serving.revision]
    ):
        name, phase = draw(st.sampled_from(others)), draw(st.sampled_from(Phase))
        version = revisions[name].target.version
        candidate = Candidate(
            name,
            version,
            "@champion",
            draw(moments),
            phase,
            attempts=draw(st.integers(1, 4)),
            retry_at=draw(later) if phase is Phase.WITHDRAWN else None,
            track=draw(track),
        )
    refused = draw(st.sets(known, max_size=2)) - {serving.revision if serving else ""}
    rejections = tuple(
        Rejection(
            n,
            revisions[n].target.version,
            "",
            draw(st.sampled_from(list(Side)[:2])),
            "CrashLoop",
            "",
            draw(moments),
            draw(st.integers(1, 3)),
            draw(later),
        )
        for n in sorted(refused)
    )
    history = tuple(
        Departed(n, revisions[n].target.version, "", ago(900), ago(800), "CrashLoop")
        for n in sorted(draw(st.sets(known)))
    )
    return RolloutState(
        serving, candidate, tuple(sorted(rejections, key=lambda r: r.at, reverse=True)), history
    )


@st.composite
def parts_of_worlds(draw: st.DrawFn) -> tuple[list[Revision], Json]:
    """Kept revisions and everything else that makes a world in the middle of anything.

    Switches, watches, reverts, requests, outages, lost statuses.
    """
    spec = draw(SPECS)
    if spec.get("gates", {}).get("approval", {}).get("at"):
        spec["rollout"] = {**spec["rollout"], "strategy": "BlueGreen"}
    kept = {
        r.name: r for r in (revision(n, verdict=draw(VERDICTS)) for n in NUMBERS[: draw(st.integers(0, 3))])
    }
    deployments, found = {}, []
    if kept:
        for track in draw(st.sets(st.sampled_from(TRACKS))):
            carried = draw(st.sampled_from(sorted(kept)))
            number = draw(st.integers(0, 2))
            available = draw(st.sampled_from([0, number]))
            deployments[track] = carrying(kept[carried], number, track, availableReplicas=available)
            found += draw(pods(track, carried))
    service = draw(st.none() | st.sampled_from(TRACKS))
    state = draw(states(kept)) if kept else RolloutState()
    status = draw(st.sampled_from([{}, to_status(state) | {"observedGeneration": 1}, to_status(state)]))
    ready = draw(st.sets(st.sampled_from([p["metadata"]["name"] for p in found]))) if found else set()
    values = st.sampled_from(["1", "2", "now", *sorted(kept)])
    refused = st.sampled_from(RefusalKind).flatmap(
        lambda kind: st.sampled_from([Kind.DEPLOYMENT, Kind.SERVICE]).map(
            lambda of: (RefusedWrite(ObjectRef(of, "crm", "churn"), kind, "no"),)
        )
    )
    return list(kept.values()), dict(
        version=draw(st.sampled_from(NUMBERS)),
        spec={k: v for k, v in spec.items() if v is not None},
        deployments=deployments,
        service=pointing(service) if service else None,
        pods=tuple(found),
        endpoint_slices=(endpoints(*sorted(ready)),),
        status=status,
        generation=draw(st.integers(1, 2)),
        annotations=draw(st.dictionaries(st.sampled_from(REQUESTS), values, max_size=2)),
        slot_free=draw(st.booleans()),
        credentials_error=draw(st.sampled_from(["", "", "the Secret is missing"])),
        refused_writes=draw(st.just(()) | refused),
        traffic=draw(
            st.sampled_from([Traffic(), Traffic(100, 50), Traffic(100, turned_away=90, broken_streams=5)])
        ),
        **draw(st.sampled_from([{}, {}, {"resolution": OUTAGE}])),
    )


def worlds() -> st.SearchStrategy[World]:
    return parts_of_worlds().map(lambda parts: world(*parts[0], **parts[1]))


@settings(max_examples=60, deadline=None)
@given(worlds())
def test_a_plan_that_was_carried_out_leaves_nothing_to_be_written_at_the_same_moment(seen: World) -> None:
    first = plan(seen)
    # what was changed is looked at once, and put into words; then all is said
    after = replace(carry_out(seen, first), refused_writes=())
    for _ in range(6):
        again = plan(after)
        if not again.actions and again.status == after.status:
            return
        after = carry_out(after, again)
    raise AssertionError(f"it never comes to rest: {again.actions}")


@settings(max_examples=60, deadline=None)
@given(worlds())
def test_what_serves_is_never_among_the_rejected(seen: World) -> None:
    status = plan(seen).status
    serving = status.get("serving", {}).get("revision")
    assert serving not in [r["revision"] for r in status.get("rejected", [])]


@settings(max_examples=60, deadline=None)
@given(worlds())
def test_a_revert_never_goes_to_what_was_rejected_and_not_pardoned(seen: World) -> None:
    before = load(seen)
    after = plan(seen).status.get("serving", {}).get("revision", "")
    if (
        before.serving
        and after != before.serving.revision
        and not (before.candidate and after == before.candidate.revision)
    ):
        rejection = before.rejection_of(after)
        # a commit, whatever is in it, may have mended what a rejected configuration lacked
        committed = seen.status.get("observedGeneration") not in (None, seen.generation)
        assert rejection is None or (rejection.side is Side.CONFIGURATION and committed)


@settings(max_examples=60, deadline=None)
@given(worlds())
def test_the_track_that_takes_requests_is_neither_deleted_nor_scaled_down(seen: World) -> None:
    decided = plan(seen)
    state = load(replace(seen, status=decided.status))
    for action in decided.actions:
        if action.ref.kind is not Kind.DEPLOYMENT or not isinstance(action, Delete | Scale):
            continue
        track = action.ref.name
        fewer = isinstance(action, Delete) or action.replicas < seen.track(track).replicas
        asked = seen.spec is not None and seen.spec.replicas is not None
        if fewer and not (asked and isinstance(action, Scale) and action.replicas == seen.spec.replicas):
            assert seen.service_track != track
            assert state.serving is not None
            assert track != state.serving.track
            assert is_confirmed(seen, state.serving.track)


@settings(max_examples=60, deadline=None)
@given(worlds())
def test_the_service_is_never_moved_to_a_track_without_pods_while_the_one_it_has_has_some(
    seen: World,
) -> None:
    assume(seen.spec.replicas != 0)  # then nobody is meant to answer
    decided = plan(seen)
    pointed = seen.track(seen.service_track)
    for action in decided.actions:
        if isinstance(action, Apply) and action.ref == seen.ref(Kind.SERVICE):
            to = seen.track(read_service(action.body).track)
            if to.name != pointed.name and pointed.available:
                assert to.available


@settings(max_examples=60, deadline=None)
@given(worlds())
def test_what_is_suspended_is_neither_touched_nor_remembered_otherwise(seen: World) -> None:
    frozen = replace(seen, parsed_spec=seen.spec.model_copy(update={"suspend": True}))
    decided = plan(frozen)
    assert decided.actions == ()
    before = to_status(load(frozen))
    assert {name: decided.status.get(name) for name in before} == before
    assert decided.look_again is None


@settings(max_examples=60, deadline=None)
@given(worlds())
def test_a_spec_that_can_not_be_read_leaves_everything_as_it_is(seen: World) -> None:
    unreadable = replace(seen, parsed_spec=None, spec_error="spec.replicas: should be a number")
    decided = plan(unreadable)
    assert decided.actions == ()
    before = to_status(load(unreadable))
    assert {name: decided.status.get(name) for name in before} == before
    assert {c["reason"] for c in decided.status["conditions"] if c["type"] in ("Ready", "Current")} == {
        "InvalidSpec"
    }


@settings(max_examples=60, deadline=None)
@given(worlds())
def test_with_the_policy_never_no_failure_moves_what_serves(seen: World) -> None:
    never = replace(
        seen,
        parsed_spec=seen.spec.model_copy(
            update={"revert": seen.spec.revert.model_copy(update={"policy": "Never"})}
        ),
    )
    before = load(never)
    decided = plan(never)
    serving = decided.status.get("serving", {}).get("revision")
    if before.serving:
        assert serving in (before.serving.revision, before.candidate.revision if before.candidate else "")


@settings(max_examples=60, deadline=None)
@given(worlds())
def test_the_next_look_is_never_in_the_past_and_never_a_busy_loop(seen: World) -> None:
    decided = plan(seen)
    assert decided.look_again is None or decided.look_again >= timedelta(seconds=1)


@settings(max_examples=60, deadline=None)
@given(worlds())
def test_everything_comes_to_rest_when_kubernetes_does_its_part(seen: World) -> None:
    seen = replace(seen, refused_writes=(), traffic=Traffic())
    for _ in range(12):
        decided = plan(seen)
        after = with_pods(carry_out(seen, decided))
        if after == seen:
            return
        seen = after
    raise AssertionError(f"it does not come to rest: {decided.actions}, {decided.events}")


# --- garbage ---------------------------------------------------------------------------------------------

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 3) | st.sampled_from(["", "x", "churn", "1", rfc3339(NOW)]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                ["labels", "template", "metadata", "spec", "replicas", "selector", "name", "track"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


def garbled(obj: Json, draw: st.DrawFn) -> Json:
    """The object with parts of it replaced; name and uid are what the API server gives."""
    found = dict(obj)
    for field in draw(st.sets(st.sampled_from(["spec", "status", "endpoints", "data", "revision"]))):
        found[field] = draw(JSON)
    metadata = dict(obj["metadata"])
    for field in draw(st.sets(st.sampled_from(["labels", "annotations", "ownerReferences", "generation"]))):
        metadata[field] = draw(JSON)
    return found | {"metadata": metadata}


@st.composite
def garbled_worlds(draw: st.DrawFn) -> World:
    kept, parts = draw(parts_of_worlds())
    requests = st.dictionaries(st.sampled_from(REQUESTS), JSON, max_size=3)
    fields = ("serving", "candidate", "rejected", "history", "conditions", "handledRequests", "resolved")
    status = draw(st.dictionaries(st.sampled_from((*fields, "replicas", "plan")), JSON))
    service = parts["service"]
    garbage: Json = {
        "deployments": {track: garbled(raw, draw) for track, raw in parts["deployments"].items()},
        "service": garbled(service, draw) if service else None,
        "config_maps": [garbled(pointing("churn"), draw) for _ in range(draw(st.integers(0, 1)))],
        "revision_objects": [garbled(raw, draw) for raw in kept_objects(*kept)],
        "pods": [garbled(raw, draw) for raw in parts["pods"]],
        "endpoint_slices": [garbled(raw, draw) for raw in parts["endpoint_slices"]],
        "status": parts["status"] | status,
        "annotations": draw(requests),
    }
    for field in ("preview", "autoscaler", "disruption_budget"):
        garbage[field] = garbled(pointing("churn"), draw) if draw(st.booleans()) else None
    return world(*kept, **(parts | garbage))


@settings(max_examples=60, deadline=None)
@given(garbled_worlds())
def test_no_garbage_anywhere_stops_the_planner(seen: World) -> None:
    decided = plan(seen)
    assert decided == plan(seen)
    tracks = {a.ref.name for a in decided.actions if a.ref.kind is Kind.DEPLOYMENT}
    assert tracks <= set(TRACKS)

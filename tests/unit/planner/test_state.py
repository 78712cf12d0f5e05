"""What is remembered: out of the status, or rebuilt when there is none."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.planner.worlds import NOW, ago, carrying, live, rejected, revision, world

from model_operator.domain.objects import read_time, rfc3339
from model_operator.domain.revision import Side
from model_operator.domain.rollout import Candidate, Departed, Phase, Rejection, RolloutState, Serving
from model_operator.planner.state import HISTORY_SHOWN, REJECTIONS_SHOWN, load, to_status

MOMENTS = st.integers(0, 10**9).map(lambda s: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=s))
NAMES = st.from_regex(r"v[1-9]-[0-9a-f]{10}", fullmatch=True)
TEXTS = st.text(max_size=20)
TRACKS = st.sampled_from(["churn", "churn-green"])
SERVING = st.builds(
    Serving,
    NAMES,
    TEXTS,
    TEXTS,
    MOMENTS,
    TEXTS,
    TRACKS,
    st.booleans(),
    st.none() | MOMENTS,
    TEXTS,
    TEXTS,
)
CANDIDATES = st.builds(
    Candidate,
    NAMES,
    TEXTS,
    TEXTS,
    MOMENTS,
    st.sampled_from(Phase),
    TEXTS,
    TEXTS,
    st.none() | MOMENTS,
    st.integers(1, 99),
    st.none() | MOMENTS,
    TRACKS,
)
REJECTIONS = st.builds(
    Rejection,
    NAMES,
    TEXTS,
    TEXTS,
    st.sampled_from(Side),
    TEXTS,
    TEXTS,
    MOMENTS,
    st.integers(1, 99),
    st.none() | MOMENTS,
)
PASTS = st.builds(Departed, NAMES, TEXTS, TEXTS, MOMENTS, MOMENTS, TEXTS, TEXTS)


@st.composite
def states(draw: st.DrawFn) -> RolloutState:
    """Memories as the planner makes them: what serves or is tried is not rejected, and the newest come first."""
    serving, candidate = draw(st.none() | SERVING), draw(st.none() | CANDIDATES)
    found = draw(st.lists(REJECTIONS, max_size=REJECTIONS_SHOWN, unique_by=lambda r: r.revision))
    tried = {s.revision for s in (serving, candidate) if s}
    kept = sorted((r for r in found if r.revision not in tried), key=lambda r: r.at, reverse=True)
    history = draw(st.lists(PASTS, max_size=HISTORY_SHOWN))
    return RolloutState(serving, candidate, tuple(kept), tuple(history))


@settings(suppress_health_check=[HealthCheck.too_slow])  # it measures how busy the machine is
@given(states())
def test_the_status_holds_the_whole_state(state: RolloutState) -> None:
    assert load(world(status=to_status(state))) == state


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "2026-11-20T09:00:00", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00", 5, None],
)
def test_what_is_no_usable_time_is_none(text: object) -> None:
    assert read_time(text) is None


def test_a_time_is_read_in_utc() -> None:
    assert read_time("2026-11-20T10:00:00+01:00") == NOW
    assert rfc3339(NOW) == "2026-11-20T09:00:00Z"


def rejections(count: int) -> tuple[Rejection, ...]:
    return tuple(
        Rejection(f"v{n}-0123456789", str(n), "", Side.MODEL, "LoadFailed", "", ago(n)) for n in range(count)
    )


def test_the_status_shows_the_newest_rejections() -> None:
    shown = to_status(RolloutState(rejected=rejections(30)))["rejected"]
    assert [r["version"] for r in shown] == [str(n) for n in range(REJECTIONS_SHOWN)]


def test_the_rejection_of_the_present_target_is_never_cut_off() -> None:
    shown = to_status(RolloutState(rejected=rejections(30)), keep="v29-0123456789")["rejected"]
    assert len(shown) == REJECTIONS_SHOWN
    assert shown[-1]["version"] == "29"


# --- rebuilding --------------------------------------------------------------------------------------


def test_without_a_status_what_went_live_last_serves() -> None:
    one, two = revision("1", verdict=live(900)), revision("2", verdict=live(60))
    state = load(world(one, two, deployment=carrying(two)))
    assert state.serving == Serving(two.name, "2", "", ago(60), track="churn")
    assert state.candidate is None


def test_without_a_status_what_the_deployment_carries_untried_is_the_candidate() -> None:
    one, two = revision("1", verdict=live()), revision("2")
    state = load(world(one, two, deployment=carrying(two)))
    assert state.serving is not None
    assert state.serving.revision == one.name
    assert state.candidate == Candidate(two.name, "2", "", NOW, Phase.APPLYING, track="churn")


def test_without_a_status_a_revert_that_was_decided_is_carried_out() -> None:
    one, two = revision("1", verdict=live()), revision("2", verdict=rejected())
    state = load(world(one, two, deployment=carrying(two)))
    assert state.carried() == {"churn": one.name}
    assert [r.revision for r in state.rejected] == [two.name]


def test_without_a_status_a_first_version_that_failed_has_failed() -> None:
    one = revision("1", verdict=rejected())
    candidate = load(world(one, deployment=carrying(one))).candidate
    assert candidate is not None
    assert (candidate.phase, candidate.reason) == (Phase.FAILED, "LoadFailed")


def test_without_a_status_the_revisions_tell_what_served_before() -> None:
    one, two = revision("1", verdict=live(900, settled=True)), revision("2", verdict=live(600, settled=True))
    three, four = revision("3", verdict=rejected(seconds=300)), revision("4", verdict=live(60))
    state = load(world(one, two, three, four, deployment=carrying(four)))
    assert [
        (departed.version, departed.since, departed.until, departed.message) for departed in state.history
    ] == [
        ("2", ago(600), ago(60), "by version 4"),
        ("1", ago(900), ago(600), "by version 2"),
    ]


def test_a_history_that_the_status_has_is_left_alone() -> None:
    one, two = revision("1", verdict=live(900)), revision("2", verdict=live(60))
    status = {"observedGeneration": 1}
    assert load(world(one, two, deployment=carrying(two), status=status)).history == ()


def test_nothing_at_all_is_a_first_deployment() -> None:
    assert load(world()) == RolloutState()


def test_a_rejection_that_only_the_verdict_knows_is_remembered() -> None:
    one, two = revision("1", verdict=live()), revision("2", verdict=rejected())
    status = to_status(RolloutState(Serving(one.name, "1", "@champion", ago(600))))
    state = load(world(one, two, deployment=carrying(one), status=status))
    assert state.rejection_of(two.name) == Rejection(
        two.name, "2", "", Side.MODEL, "LoadFailed", "it said so", ago(300)
    )


def test_what_serves_is_not_rejected_whatever_an_old_verdict_says() -> None:
    two = revision("2", verdict=rejected())
    status = to_status(
        RolloutState(Serving(two.name, "2", "@champion", ago(5)), None, rejections(1)),
    )
    status["rejected"].append(status["rejected"][0] | {"revision": two.name})
    state = load(world(two, deployment=carrying(two), status=status))
    assert state.rejection_of(two.name) is None
    assert len(state.rejected) == 1


@pytest.mark.parametrize(
    ("phase", "is_rejected"),
    [
        (Phase.APPLYING, False),
        (Phase.WITHDRAWN, False),
        (Phase.WAITING_FOR_SLOT, False),
        (Phase.FAILED, True),
    ],
)
def test_a_candidate_that_is_tried_again_is_not_rejected(phase: Phase, is_rejected: bool) -> None:
    one = revision("1", verdict=rejected())
    status = to_status(RolloutState(candidate=Candidate(one.name, "1", "@champion", ago(5), phase)))
    state = load(world(one, deployment=carrying(one), status=status))
    assert (state.rejection_of(one.name) is not None) == is_rejected


# --- garbage -----------------------------------------------------------------------------------------

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just(rfc3339(NOW)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ("revision", "version", "since", "phase", "deadline", "attempts", "retryAt", "at", "side")
PART = st.fixed_dictionaries({}, optional={f: JSON | st.sampled_from(["Fetching", "Model"]) for f in FIELDS})
GARBAGE = st.fixed_dictionaries(
    {}, optional={"serving": PART | JSON, "candidate": PART | JSON, "rejected": st.lists(PART | JSON) | JSON}
)


@given(GARBAGE)
def test_a_garbage_status_is_read_as_far_as_it_makes_sense(status: dict[str, Any]) -> None:
    state = load(world(status=status))
    again = load(world(status=to_status(state)))
    assert replace(again, rejected=()) == replace(state, rejected=())

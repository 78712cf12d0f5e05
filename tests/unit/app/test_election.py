"""Who leads: the decision, for every state of the Lease and of our own clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_operator.app.election import (
    POD_VARIABLE,
    Election,
    Seen,
    Step,
    decide,
    identity,
    observe_lease,
    steady_clock,
)
from model_operator.domain.objects import Kind, ObjectRef
from model_operator.kube import Conflict, KubeClient, NotFound
from model_operator.settings import MAX_LEASE_SECONDS, LeaderElection

TERMS = LeaderElection(lease_seconds=15, renew_seconds=10, retry_seconds=2)


def lease(holder: str | None, version: str = "1", **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"resourceVersion": version},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15, **spec},
    }


def seen(holder: str | None, since: float = 0.0, **spec: Any) -> Seen:
    return observe_lease(None, lease(holder, **spec), since)


@pytest.mark.parametrize(
    ("what", "renewed", "now", "step"),
    [
        pytest.param(observe_lease(None, None, 0), None, 0, Step.CREATE, id="there is no Lease"),
        pytest.param(seen(None), None, 0, Step.TAKE, id="it was released"),
        pytest.param(seen(""), None, 0, Step.TAKE, id="its holder is empty"),
        pytest.param(seen("other"), None, 14.9, Step.WAIT, id="another one holds it and was heard of"),
        pytest.param(seen("other"), None, 15.0, Step.TAKE, id="another one holds it and is silent"),
        pytest.param(
            seen("other", leaseDurationSeconds=60), None, 59, Step.WAIT, id="it promised more than we do"
        ),
        pytest.param(
            seen("other", leaseDurationSeconds=1), None, 1, Step.TAKE, id="it promised less than we do"
        ),
        pytest.param(
            seen("other", leaseDurationSeconds=2**31 - 1),
            None,
            MAX_LEASE_SECONDS,
            Step.TAKE,
            id="it promised eternity",
        ),
        pytest.param(seen("me"), None, 0, Step.RENEW, id="we took it and the answer was lost"),
        pytest.param(seen("me"), 0.0, 9.9, Step.RENEW, id="we hold it"),
        pytest.param(seen("me"), 0.0, 10.0, Step.LOST, id="we hold it and have not renewed it for too long"),
        pytest.param(seen("other"), 0.0, 1, Step.LOST, id="we held it and another one has it"),
        pytest.param(seen(None), 0.0, 1, Step.LOST, id="we held it and somebody emptied it"),
        pytest.param(
            observe_lease(None, None, 0), 0.0, 1, Step.LOST, id="we held it and somebody deleted it"
        ),
    ],
)
def test_the_next_step_when(what: Seen, renewed: float | None, now: float, step: Step) -> None:
    assert decide(what, "me", renewed, now, TERMS) is step


@pytest.mark.parametrize("when", ["1970-01-01T00:00:00.000000Z", "2999-01-01T00:00:00.000000Z"])
def test_what_the_holders_clock_says_makes_no_difference(when: str) -> None:
    silent = seen("other", renewTime=when, acquireTime=when)
    assert decide(silent, "me", None, 14.9, TERMS) is Step.WAIT
    assert decide(silent, "me", None, 15.0, TERMS) is Step.TAKE


def test_a_lease_that_makes_no_sense_is_one_that_nobody_holds() -> None:
    seen = observe_lease(
        None, {"metadata": [], "spec": {"holderIdentity": 5, "leaseTransitions": "many"}}, 0.0
    )
    assert (seen.holder, seen.transitions, seen.resource_version) == ("", 0, "")
    assert decide(seen, "me", None, 1.0, TERMS) is Step.TAKE


def test_only_a_changed_spec_is_a_sign_of_life() -> None:
    first = observe_lease(None, lease("other", "1", renewTime="a"), 0.0)
    touched = observe_lease(first, lease("other", "2", renewTime="a"), 5.0)
    assert (touched.since, touched.resource_version) == (0.0, "2"), "somebody set a label"
    renewed = observe_lease(touched, lease("other", "3", renewTime="b"), 9.0)
    assert renewed.since == 9.0
    assert observe_lease(renewed, None, 10.0).since == 10.0


def test_two_processes_are_never_the_same_candidate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(POD_VARIABLE, raising=False)
    assert identity() != identity()


def test_a_container_that_is_started_again_in_its_pod_is_the_same_candidate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(POD_VARIABLE, "a7c1")
    assert identity() == identity()
    assert identity().endswith("_a7c1")
    assert decide(seen(identity()), identity(), None, 0, TERMS) is Step.RENEW


def test_the_clock_never_runs_backwards_and_is_not_the_walls() -> None:
    before = steady_clock()
    assert steady_clock() >= before
    assert abs(steady_clock() - time.time()) > 1e6


TIMES = st.floats(min_value=0, max_value=60)


class Replica:
    """A candidate whose clock starts anywhere, which may be frozen, and whose calls always come through."""

    def __init__(self, name: str, offset: float) -> None:
        self.name = name
        self.offset = offset
        self.seen: Seen | None = None
        self.renewed: float | None = None
        self.over = False

    def leads(self, now: float) -> bool:
        return self.renewed is not None and now + self.offset < self.renewed + TERMS.renew_seconds


def life(moves: list[tuple[int, float]], offsets: list[float]) -> Iterator[list[str]]:
    """Who leads after each move: (replica that gets to run, seconds that passed before it did)."""
    replicas = [Replica(f"r{number}", offset) for number, offset in enumerate(offsets)]
    stored: dict[str, Any] | None = None
    now, version = 0.0, 0
    for number, passed in moves:
        now += passed
        replica = replicas[number % len(replicas)]
        clock = now + replica.offset
        if not replica.over:
            replica.seen = observe_lease(replica.seen, stored, clock)
            step = decide(replica.seen, replica.name, replica.renewed, clock, TERMS)
            if step is Step.LOST:
                replica.renewed, replica.over = None, True
            elif step is not Step.WAIT:
                version += 1
                stored = lease(replica.name, str(version), renewTime=str(version))
                replica.seen, replica.renewed = observe_lease(replica.seen, stored, clock), clock
        yield [r.name for r in replicas if r.leads(now)]


@given(
    st.lists(st.tuples(st.integers(0, 2), TIMES), max_size=60),
    st.lists(st.floats(min_value=-1e6, max_value=1e6), min_size=3, max_size=3),
)
def test_two_never_lead_at_once_whatever_their_clocks_say_and_however_long_they_are_frozen(
    moves: list[tuple[int, float]], offsets: list[float]
) -> None:
    for leaders in life(moves, offsets):
        assert len(leaders) <= 1


class OneLease:
    """An API server that holds one Lease, and knows its versions."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None

    @property
    def holder(self) -> str | None:
        assert self.lease is not None
        holder: str | None = self.lease["spec"]["holderIdentity"]
        return holder

    def write(self, **spec: Any) -> dict[str, Any]:
        """Somebody writes, and this is what is stored."""
        before = self.lease or {"metadata": {"resourceVersion": "0"}, "spec": {}}
        version = str(int(before["metadata"]["resourceVersion"]) + 1)
        self.lease = {"metadata": {"resourceVersion": version}, "spec": before["spec"] | spec}
        return self.lease

    async def get(self, where: ObjectRef) -> dict[str, Any]:
        if self.lease is None:
            raise NotFound(404, "NotFound", "no such Lease")
        return self.lease

    async def create(self, where: ObjectRef, body: dict[str, Any]) -> dict[str, Any]:
        return self.write(**body["spec"])

    async def merge_patch(
        self, where: ObjectRef, body: dict[str, Any], resource_version: str
    ) -> dict[str, Any]:
        assert self.lease is not None
        if resource_version != self.lease["metadata"]["resourceVersion"]:
            raise Conflict(409, "Conflict", "the object has been modified")
        return self.write(**body["spec"])


@pytest.fixture
async def elected() -> tuple[Election, OneLease]:
    """A process that leads, and the server that says so."""
    server = OneLease()
    election = Election(cast(KubeClient, server), ObjectRef(Kind.LEASE, "system", "leader"), "me", TERMS)
    running = asyncio.ensure_future(election.run())
    await election.elected.wait()
    running.cancel()
    return election, server


async def test_a_leader_that_ends_lets_the_next_one_begin(elected: tuple[Election, OneLease]) -> None:
    election, server = elected
    await election.release()
    assert server.holder is None
    assert not election.leads


async def test_a_renewal_that_was_cut_off_on_its_way_does_not_keep_the_lease(
    elected: tuple[Election, OneLease],
) -> None:
    election, server = elected
    server.write(holderIdentity="me")
    await election.release()
    assert server.holder is None


async def test_a_lease_that_another_one_took_is_left_alone(elected: tuple[Election, OneLease]) -> None:
    election, server = elected
    server.write(holderIdentity="other")
    await election.release()
    assert server.holder == "other"

"""Two operators on a real API server: one works, and whatever becomes of it, nothing is done twice."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.api import ApiClient
from tests.cluster.process import wait_until
from tests.integration.accounts import reader_of
from tests.integration.lives.bench import MERGE, Bench
from tests.integration.lives.kubelet import Script, ScriptedKubelet
from tests.integration.lives.replicas import LEASE, LEASES, Replica, election, lease
from tests.mlflow_server import MlflowServer

from model_operator.controller.cache import WATCHED_KINDS

LOAD_FAILED = Script(50, '{"reason": "LoadFailed", "message": "ValueError: the pickle is broken"}')


@dataclass
class Pair:
    """A bench with two replicas."""

    bench: Bench
    replicas: tuple[Replica, Replica]
    model: str

    def leader(self) -> Replica:
        """The replica that the Lease names, once it names one that runs."""

        def named() -> Replica | None:
            found = lease(self.bench.api, self.bench.namespace)
            return next((r for r in self.replicas if r.holds(found) and r.ended is None), None)

        leader: Replica = self.bench.until("somebody leads", named)
        return leader

    def other(self, replica: Replica) -> Replica:
        """The other one."""
        return next(r for r in self.replicas if r is not replica)

    def until_leads(self, replica: Replica) -> None:
        """Waits until the Lease names that one."""
        self.bench.until(
            "the other one leads", lambda: replica.holds(lease(self.bench.api, self.bench.namespace))
        )

    def told(self, reason: str) -> int:
        """How many events with that reason there are."""
        return len(self.bench.events("churn", reason))

    def generation(self) -> int:
        """How often the spec of the Deployment was changed."""
        return self.bench.generation("churn")


@pytest.fixture
def pair(
    api: ApiClient,
    control_plane: Path,
    namespace: str,
    registry: MlflowServer,
    kubelet: ScriptedKubelet,
    tmp_path: Path,
) -> Iterator[Pair]:
    """Two running replicas; churn serves version 1."""
    settings = {
        "registries": {"default": {"url": registry.url}},
        "pollSeconds": 1,
        "watchNamespaces": [namespace],
        **election(namespace),
    }
    one, two = (Replica(tmp_path / name, control_plane, dict(settings)) for name in ("one", "two"))
    try:
        for replica in (one, two):
            replica.log_in(registry.username, registry.password)
            replica.start()
        bench = Bench(api, namespace, registry, kubelet, one)
        model = f"model-{secrets.token_hex(4)}"
        bench.register(model)
        bench.alias(model, "champion", 1)
        bench.create("churn", {"model": {"name": model, "alias": "champion"}, "replicas": 1})
        bench.until_serving("churn", 1)
        bench.until("both are ready", lambda: [r.answer("/readyz")[0] for r in (one, two)] == [200, 200])
        yield Pair(bench, (one, two), model)
    finally:
        for replica in (one, two):
            replica.kill()


def test_one_works_and_the_other_stands_by_with_a_warm_cache_and_writes_nothing(pair: Pair) -> None:
    bench, leader = pair.bench, pair.leader()
    standby = pair.other(leader)
    bench.until_at_rest("churn")
    assert leader.answer("/readyz") == (200, "ok\n")
    holder = (lease(bench.api, bench.namespace) or {})["spec"]["holderIdentity"]
    assert standby.answer("/readyz") == (200, f"ok: standing by, {holder} leads\n")
    assert standby.answer("/healthz") == (200, "ok\n")
    assert (leader.figure("is_leader"), standby.figure("is_leader")) == (1, 0)
    bench.until(
        "both know the same", lambda: leader.figure("cached_objects") == standby.figure("cached_objects")
    )
    calls = [
        line
        for line in standby.answer("/metrics")[1].splitlines()
        if line.startswith("model_operator_api_request_seconds_count")
    ]
    assert all('verb="get"' in c or 'verb="list"' in c or 'code="409"' in c for c in calls), calls


def test_on_sigterm_the_leader_lets_go_and_the_other_goes_on_at_once(pair: Pair) -> None:
    bench, leader = pair.bench, pair.leader()
    bench.alias(pair.model, "champion", 2)
    bench.until("the rollout is under way", lambda: bench.status("churn").get("candidate"))
    assert leader.terminate() == 0, leader.words()
    assert "released the Lease operator" in leader.all_words()
    standby = pair.other(leader)
    pair.until_leads(standby)
    bench.until_serving("churn", 2)
    bench.until_at_rest("churn")
    assert (pair.generation(), pair.told("RolloutStarted"), pair.told("RolledOut")) == (2, 2, 2)
    assert standby.figure("leader_transitions") == 1


def test_when_the_leader_is_killed_the_other_waits_for_its_lease_and_finishes_what_it_began(
    pair: Pair,
) -> None:
    bench, leader = pair.bench, pair.leader()
    bench.kubelet.scripts[(pair.model, "2")] = LOAD_FAILED
    bench.alias(pair.model, "champion", 2)
    bench.until("the rollout is under way", lambda: bench.status("churn").get("candidate"))
    leader.kill()
    pair.until_leads(pair.other(leader))
    bench.until_condition("churn", "Current", "False", "VersionRejected")
    bench.until("the Deployment is back", lambda: pair.generation() == 3)
    bench.until_at_rest("churn")
    # an event that the dead one had not sent yet is not made up for
    assert pair.told("RolloutStarted") <= 2
    assert pair.told("Reverted") == 1
    assert bench.pods_made("churn") == 2


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("at rest", id="at rest"),
        pytest.param("in mid-rollout", id="in the middle of a rollout"),
    ],
)
def test_a_leader_that_was_frozen_while_the_other_worked_ends_and_repeats_nothing(
    pair: Pair, moment: str
) -> None:
    bench, frozen = pair.bench, pair.leader()
    worker = pair.other(frozen)
    bench.kubelet.scripts[(pair.model, "2")] = LOAD_FAILED
    if moment == "in mid-rollout":
        bench.alias(pair.model, "champion", 2)
        bench.until("the rollout is under way", lambda: bench.status("churn").get("candidate"))
    frozen.freeze()
    pair.until_leads(worker)
    bench.alias(pair.model, "champion", 2)
    bench.until_condition("churn", "Current", "False", "VersionRejected")
    bench.alias(pair.model, "champion", 3)
    bench.until_serving("churn", 3)
    bench.until_at_rest("churn")
    told = [pair.told(reason) for reason in ("RolloutStarted", "RolledOut", "Reverted")]
    with bench.nothing_is_written(seconds=3):
        frozen.thaw()
        bench.until("the old leader has ended", lambda: frozen.ended is not None)
    assert frozen.ended == 1
    assert "election ended" in frozen.all_words()
    assert [pair.told(reason) for reason in ("RolloutStarted", "RolledOut", "Reverted")] == told
    # the rollout of 2, its revert, the rollout of 3
    assert pair.generation() == 4
    assert bench.status("churn")["serving"]["version"] == "3"


def test_a_leader_whose_lease_was_taken_away_ends_and_writes_nothing_more(pair: Pair) -> None:
    bench, leader = pair.bench, pair.leader()
    pair.other(leader).kill()
    bench.until_at_rest("churn")
    somebody = {"holderIdentity": "somebody", "leaseDurationSeconds": 300}
    path = f"{LEASES.format(bench.namespace)}/{LEASE}"
    assert bench.api.http.patch(path, json={"spec": somebody}, headers=MERGE).status_code == 200
    bench.until("it has ended", lambda: leader.ended is not None)
    assert leader.ended == 1
    assert "election ended: somebody holds the Lease operator" in leader.all_words()
    with bench.nothing_is_written(seconds=3):
        leader.look_after()
        bench.until("it stands by", lambda: "standing by, somebody leads" in leader.answer("/readyz")[1])
        bench.alias(pair.model, "champion", 2)
    assert bench.status("churn")["serving"]["version"] == "1"


def test_an_operator_that_may_not_touch_leases_is_not_ready_and_says_what_it_needs(
    api: ApiClient, control_plane: Path, namespace: str, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {
        "registries": {"default": {"url": "http://127.0.0.1:9"}},
        "watchNamespaces": [namespace],
        **election(namespace),
    }
    replica = Replica(tmp_path, reader_of(WATCHED_KINDS, api, control_plane, namespace, tmp_path), settings)
    replica.start()
    try:
        assert wait_until(lambda: "needs get, create and patch" in replica.answer("/readyz")[1], 60)
        assert replica.answer("/readyz")[0] == 503
        assert replica.answer("/healthz") == (200, "ok\n")
    finally:
        replica.kill()

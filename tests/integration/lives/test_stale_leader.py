"""A leader's write that is on its way for long: whoever leads by then has gone on, and it changes nothing.

One replica reaches the API server by a wire that holds requests back; the other one has a good connection.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.cluster.api import ApiClient
from tests.integration.lives.bench import Bench
from tests.integration.lives.kubelet import Script, ScriptedKubelet
from tests.integration.lives.replicas import Replica, election, lease
from tests.mlflow_server import MlflowServer
from tests.wire.faults import Held, any_of_them
from tests.wire.kubeconfig import Listener, upstream
from tests.wire.wire import Exchange, Wire

LOAD_FAILED = Script(50, '{"reason": "LoadFailed", "message": "ValueError: the pickle is broken"}')


@dataclass
class Heldback:
    """A leader behind a wire, and a replica that stands by; churn serves version 1."""

    bench: Bench
    wire: Wire
    leader: Replica
    standby: Replica
    model: str

    def told(self) -> list[int]:
        """How often each turn was announced."""
        return [
            len(self.bench.events("churn", reason)) for reason in ("RolloutStarted", "RolledOut", "Reverted")
        ]

    def go_on_without_it(self) -> None:
        """Waits until the other one leads and has tried version 2, and is back at version 1."""
        bench = self.bench
        bench.until("the other one leads", lambda: self.standby.holds(lease(bench.api, bench.namespace)))
        bench.until_condition("churn", "Current", "False", "VersionRejected")
        bench.until("the Deployment is back", lambda: bench.generation("churn") == 3)
        bench.until_at_rest("churn")


@pytest.fixture
def heldback(
    api: ApiClient,
    control_plane: Path,
    namespace: str,
    registry: MlflowServer,
    kubelet: ScriptedKubelet,
    tmp_path: Path,
) -> Iterator[Heldback]:
    server, tls = upstream(control_plane)
    listener = Listener(tmp_path / "pki")
    settings = {
        "registries": {"default": {"url": registry.url}},
        "pollSeconds": 1,
        "watchNamespaces": [namespace],
        **election(namespace),
    }
    with Wire(server, tls, listener.tls) as wire:
        by_wire = listener.kubeconfig(tmp_path / "kubeconfig", wire.url)
        leader, standby = (
            Replica(tmp_path / "one", by_wire, dict(settings)),
            Replica(tmp_path / "two", control_plane, dict(settings)),
        )
        try:
            bench = Bench(api, namespace, registry, kubelet, leader)
            for replica in (leader, standby):
                replica.log_in(registry.username, registry.password)
                replica.start()
                bench.until("it is ready", lambda r=replica: r.answer("/readyz")[0] == 200)  # type: ignore[misc]
                bench.until("somebody leads", lambda: leader.holds(lease(api, namespace)))
            model = f"model-{secrets.token_hex(4)}"
            bench.register(model)
            bench.alias(model, "champion", 1)
            bench.kubelet.scripts[(model, "2")] = LOAD_FAILED
            bench.create("churn", {"model": {"name": model, "alias": "champion"}, "replicas": 1})
            bench.until_serving("churn", 1)
            bench.until_at_rest("churn")
            yield Heldback(bench, wire, leader, standby, model)
        finally:
            for replica in (leader, standby):
                replica.kill()


def _status(exchange: Exchange) -> bool:
    return exchange.method == "PATCH" and exchange.path.endswith("/modeldeployments/churn/status")


def _template(exchange: Exchange) -> bool:
    return exchange.method == "PATCH" and exchange.path.endswith("/deployments/churn")


@pytest.mark.parametrize(
    "which",
    [
        pytest.param(_status, id="that starts a rollout"),
        pytest.param(_template, id="that changes the pods"),
    ],
)
def test_a_held_write_of_a_frozen_leader_meets_a_conflict(
    heldback: Heldback, which: Callable[[Exchange], bool]
) -> None:
    bench, held = heldback.bench, Held(which)
    heldback.wire.faults = [held]
    bench.alias(heldback.model, "champion", 2)
    bench.until("its write is held", lambda: held.waiting)
    heldback.leader.freeze()
    heldback.go_on_without_it()
    told = heldback.told()
    with bench.nothing_is_written(seconds=2):
        held.let_go()
        bench.until("it has arrived", lambda: len(held.answers) == len(held.waiting))
        heldback.leader.thaw()
        bench.until("the old leader has ended", lambda: heldback.leader.ended is not None)
    assert {status for _, status in held.answers} == {409}
    assert heldback.leader.ended == 1
    assert heldback.told() == told
    assert told[2] == 1


def test_a_leader_whose_api_server_hangs_ends_and_what_it_had_sent_meets_conflicts(
    heldback: Heldback,
) -> None:
    bench, held = heldback.bench, Held(any_of_them)
    heldback.wire.faults = [held]
    bench.alias(heldback.model, "champion", 2)
    bench.until("its write is held", lambda: any(_status(e) for e in held.waiting))
    bench.until("the leader has ended", lambda: heldback.leader.ended is not None)
    assert heldback.leader.ended == 1
    assert "election ended" in heldback.leader.all_words()
    heldback.go_on_without_it()
    told = heldback.told()
    with bench.nothing_is_written(seconds=2):
        held.let_go()
        bench.until("all has arrived", lambda: len(held.answers) == len(held.waiting))
    written = {status for exchange, status in held.answers if exchange.writes}
    assert written == {409}
    assert heldback.told() == told
    assert told[2] == 1

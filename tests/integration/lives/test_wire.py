"""One whole life on a faulty wire: a first version, a moved alias, a bad version and its revert.

Each fault has a namespace, a wire and an operator of its own, and one control plane serves them all. The end is that of
the life without faults, object by object, and nothing was rolled out or reverted once more.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.cluster.api import ApiClient
from tests.integration.lives.bench import PLURALS, Bench
from tests.integration.lives.endurance.likeness import Remains, differences, remains
from tests.integration.lives.kubelet import Script, ScriptedKubelet
from tests.integration.lives.replicas import Kubelet, Replica
from tests.mlflow_server import MlflowServer
from tests.wire import faults
from tests.wire.faults import (
    Every,
    changed,
    changes,
    done_but,
    ends_after,
    error_event,
    lists,
    refused,
    watches,
    writes,
)
from tests.wire.kubeconfig import Listener, upstream
from tests.wire.wire import Fault, Wire

LOAD_FAILED = Script(50, '{"reason": "LoadFailed", "message": "ValueError: the pickle is broken"}')
PATIENCE_SECONDS = 150
AT_ONCE = 6
KINDS = [kind for kind in PLURALS if kind not in ("Event", "Secret", "EndpointSlice")]
REASONS = ("RolloutStarted", "RolledOut", "Reverted")


@dataclass(frozen=True)
class Case:
    """What is broken, on which side, and for how long everything is out at each of the two moves of the alias."""

    kube: Callable[[], list[Fault]] = list
    registry: Callable[[], list[Fault]] = list
    kube_outage: float = 0
    registry_outage: float = 0


NOTHING = "nothing"
OUTAGE_SECONDS = 6.0
FULL = ("internal errors", "watches refused as too old", "slow bodies", "a minute without the API server")
"""Played by ``make wire`` only."""
CASES: Mapping[str, Case] = {
    # the longest first
    "a minute without the API server": Case(kube_outage=60),
    "watches that fall silent": Case(lambda: [Every(1, changed(faults.silent_after(1)), watches)]),
    "too many requests, with a time to wait": Case(
        lambda: [Every(4, refused(429, retry_after="1"))],
        lambda: [Every(3, refused(429, retry_after="1"))],
    ),
    "internal errors": Case(lambda: [Every(3, refused(500))], lambda: [Every(3, refused(500))]),
    "no backend, though the write was done": Case(
        lambda: [Every(3, done_but(503), writes), Every(4, refused(503))], lambda: [Every(2, refused(503))]
    ),
    "conflicts that are none": Case(lambda: [Every(2, refused(409), changes)]),
    "watches that are too old": Case(lambda: [Every(1, changed(ends_after(2, error_event(410))), watches)]),
    "watches refused as too old": Case(lambda: [Every(20, refused(410), watches)]),
    "lists refused as too old": Case(lambda: [Every(4, refused(410), lists)]),
    "resets before and after the work is done": Case(
        lambda: [Every(4, faults.reset), Every(3, done_but(), writes)], lambda: [Every(2, faults.reset)]
    ),
    "slow bodies": Case(
        lambda: [Every(1, changed(faults.slowly))], lambda: [Every(1, changed(faults.slowly))]
    ),
    "bodies that are cut short": Case(
        lambda: [Every(3, changed(faults.cut_short))], lambda: [Every(2, changed(faults.cut_short))]
    ),
    "events that come late and twice": Case(lambda: [Every(1, changed(faults.twice_and_late), watches)]),
    "an outage of the API server": Case(kube_outage=OUTAGE_SECONDS),
    "an outage of the registry": Case(registry_outage=OUTAGE_SECONDS),
}


@dataclass
class Outcome:
    """What became of one life."""

    remains: Remains
    told: Counter[str]
    """How often each turn was announced."""
    pods_made: int
    broken: Counter[str]
    exits: list[int]
    complaints: list[str] = field(default_factory=list)
    words: str = ""


@dataclass
class Stage:
    """What all lives share."""

    kubeconfig: Path
    registry: MlflowServer
    kubelet: ScriptedKubelet
    listener: Listener
    directory: Path

    def play(self, case: Case, undisturbed: Future[Outcome] | None = None) -> Outcome:
        """Lives one life; compares its end with that of another. Raises AssertionError when it gets stuck."""
        home = self.directory / secrets.token_hex(4)
        home.mkdir()
        server, tls = upstream(self.kubeconfig)
        with contextlib.ExitStack() as stack:
            api = stack.enter_context(ApiClient(self.kubeconfig))
            namespace = stack.enter_context(_namespace(api))
            kube = stack.enter_context(Wire(server, tls, self.listener.tls, case.kube()))
            registry = stack.enter_context(Wire(self.registry.url, faults=case.registry()))
            settings = {
                "registries": {"default": {"url": registry.url}},
                "pollSeconds": 1,
                "watchNamespaces": [namespace],
                "watchSilenceSeconds": 3,
            }
            operator = Replica(home, self.listener.kubeconfig(home / "kubeconfig", kube.url), settings)
            operator.log_in(self.registry.username, self.registry.password)
            stack.callback(operator.kill)
            operator.start()
            caretaker = Kubelet([operator])
            caretaker.start()
            stack.callback(caretaker.stop)
            bench = Bench(api, namespace, self.registry, self.kubelet, operator)

            @contextlib.contextmanager
            def out() -> Iterator[None]:
                with contextlib.ExitStack() as outages:
                    if case.kube_outage:
                        outages.enter_context(kube.outage())
                    if case.registry_outage:
                        outages.enter_context(registry.outage())
                    yield
                    time.sleep(max(case.kube_outage, case.registry_outage))

            model = _live(bench, out)

            def outcome() -> Outcome:
                told = Counter({reason: len(bench.events("churn", reason)) for reason in REASONS})
                found = {kind: bench.items(kind) for kind in KINDS}
                sets = [s["metadata"]["labels"]["pod-template-hash"] for s in found["ReplicaSet"]]
                (uid,) = [o["metadata"]["uid"] for o in found["ModelDeployment"]]
                words = {model: "MODEL", namespace: "NAMESPACE", registry.url: "REGISTRY", uid: "UID"}
                words |= dict.fromkeys(sets, "HASH")
                names = [r["metadata"]["name"] for r in found["ControllerRevision"]]
                words |= {n.removeprefix("churn-"): n.removeprefix("churn-").split("-")[0] for n in names}
                made = bench.pods_made("churn")
                broken = kube.broken + registry.broken
                return Outcome(remains(found, words), told, made, broken, list(operator.exits))

            # from here on only what the faults left behind counts
            kube.faults = registry.faults = ()
            ended = outcome()
            if undisturbed is not None:
                wanted = undisturbed.result()
                deadline = time.monotonic() + PATIENCE_SECONDS
                while (complaints := _complaints(wanted, ended)) and time.monotonic() < deadline:
                    time.sleep(0.5)
                    ended = outcome()
                ended.complaints = complaints
            ended.words = operator.words()
            return ended


def _live(bench: Bench, out: Callable[[], contextlib.AbstractContextManager[None]]) -> str:
    """A first version, a better one, a bad one and back; returns the model's name."""
    model = f"model-{secrets.token_hex(4)}"
    bench.register(model)
    bench.alias(model, "champion", 1)
    bench.kubelet.scripts[(model, "3")] = LOAD_FAILED
    bench.create("churn", {"model": {"name": model, "alias": "champion"}, "replicas": 1})

    def serves(version: str, reason: str) -> Callable[[], bool]:
        def look() -> bool:
            status = bench.status("churn")
            current = bench.condition("churn", "Current")
            return status.get("serving", {}).get("version") == version and current[1] == reason

        return look

    bench.until("version 1 serves", serves("1", "Serving"), PATIENCE_SECONDS)
    with out():
        bench.alias(model, "champion", 2)
    bench.until("version 2 serves", serves("2", "Serving"), PATIENCE_SECONDS)
    with out():
        bench.alias(model, "champion", 3)
    bench.until("version 3 is rejected", serves("2", "VersionRejected"), PATIENCE_SECONDS)
    bench.until("the Deployment is back", lambda: bench.generation("churn") >= 4, PATIENCE_SECONDS)
    bench.until_at_rest("churn")
    bench.until("the pods are counted", bench.is_counted)
    return model


def _complaints(wanted: Outcome, ended: Outcome) -> list[str]:
    found = differences(wanted.remains, ended.remains)
    # an event may be lost, and is then not made up for; none may be told twice
    found += [f"{reason} was told {n} times more" for reason, n in (ended.told - wanted.told).items()]
    if ended.pods_made != wanted.pods_made:
        found.append(f"{ended.pods_made} pods were made instead of {wanted.pods_made}")
    return found


@contextlib.contextmanager
def _namespace(api: ApiClient) -> Iterator[str]:
    name = f"test-{secrets.token_hex(4)}"
    created = api.http.post("/api/v1/namespaces", json={"metadata": {"name": name}})
    assert created.status_code == 201, created.text
    yield name
    api.http.delete(f"/api/v1/namespaces/{name}")


@pytest.fixture(scope="module")
def stage(
    control_plane: Path,
    registry: MlflowServer,
    kubelet: ScriptedKubelet,
    tmp_path_factory: pytest.TempPathFactory,
) -> Stage:
    directory = tmp_path_factory.mktemp("wire")
    return Stage(control_plane, registry, kubelet, Listener(directory / "pki"), directory)


Lives = Mapping[str, Future[Outcome]]


@pytest.fixture(scope="module")
def lives(request: pytest.FixtureRequest, stage: Stage) -> Iterator[Lives]:
    """The life without faults and those of the cases that were asked for, a few at a time."""
    asked = {item.callspec.params.get("name") for item in request.session.items if hasattr(item, "callspec")}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        begun = {NOTHING: pool.submit(stage.play, Case())}
        for name in CASES:
            if name in asked:
                begun[name] = pool.submit(stage.play, CASES[name], begun[NOTHING])
        yield begun
        pool.shutdown(cancel_futures=True)


@pytest.mark.timeout(900)
def test_without_a_fault_each_version_is_rolled_out_once_and_the_bad_one_reverted_once(
    lives: Lives,
) -> None:
    undisturbed = lives[NOTHING].result()
    assert undisturbed.told == {"RolloutStarted": 3, "RolledOut": 2, "Reverted": 1}
    assert (undisturbed.pods_made, undisturbed.exits) == (3, [])


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.full if name in FULL else ()) for name in CASES]
)
def test_the_end_is_the_same_and_nothing_is_done_twice_with(name: str, lives: Lives) -> None:
    ended = lives[name].result()
    assert ended.broken, "the wire broke nothing"
    assert not ended.complaints, "\n".join([*ended.complaints, ended.words])
    assert not ended.exits, ended.words

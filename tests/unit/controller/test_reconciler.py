"""What a reconcile tells those who work beside it, and what it asks them. No API server is needed for that."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from model_operator import settings
from model_operator.controller import reconciler as module
from model_operator.controller.cache import Cache
from model_operator.controller.reconciler import Reconciler
from model_operator.controller.services import Services
from model_operator.domain.objects import Key, Kind, Object, Pod
from model_operator.domain.plan import Plan, VersionTag
from model_operator.domain.registry import (
    FactsWanted,
    Resolution,
    ResolutionReason,
    ResolvedVersion,
    VersionFacts,
    VersionId,
)
from model_operator.domain.world import Traffic, World
from model_operator.kube import Conflict, KubeClient
from model_operator.registry import RegistryId, WantedModel

CHURN: Key = ("crm", "churn")
RESOLVED = ResolvedVersion("churn", "8", "@champion", tags={"team": "crm"})
TAG = VersionTag("churn", "8", "Serving")
STATUS: Mapping[str, Any] = {"serving": {"revision": "v8-abc"}}


class Told:
    """Stands for the registry's answers, the write-back and the counter; keeps what it was told."""

    def __init__(self) -> None:
        self.noted: list[tuple[Any, ...]] = []
        self.followed: list[tuple[Key, str, list[str]]] = []
        self.forgotten: list[Key] = []
        self.closely = False
        self.resolution = Resolution(ResolutionReason.RESOLVED, "ok", "http://mlflow:5000", RESOLVED)

    def want(self, key: Key, wanted: WantedModel | None) -> None:
        pass

    def answer(self, key: Key) -> Resolution:
        return self.resolution

    def watch_closely(self, key: Key, closely: bool) -> None:
        self.closely = closely

    def note(self, *given: Any) -> None:
        self.noted.append(given)

    def follow(self, key: Key, revision: str, pods: Sequence[Pod]) -> None:
        self.followed.append((key, revision, [pod.name for pod in pods]))

    def forget(self, key: Key) -> None:
        self.forgotten.append(key)

    def traffic(self, key: Key, revision: str = "") -> Traffic:
        return Traffic(requests=100, errors=7) if revision == "v8-abc" else Traffic()


class Read:
    """Stands for what reads for the gates."""

    def __init__(self) -> None:
        self.followed: list[tuple[Any, ...]] = []

    def follow(self, *given: Any) -> None:
        self.followed.append(given)

    def forget(self, key: Key) -> None:
        self.followed.append((key, None))

    def look_up(self, key: Key) -> Mapping[VersionId, VersionFacts]:
        return {VersionId("churn", "8"): VersionFacts(metrics=())}


class Statuses:
    """All of the API server that a plan without actions needs."""

    def __init__(self) -> None:
        self.conflict = False

    async def patch_status(self, _ref: object, status: Object, **_: object) -> Object:
        if self.conflict:
            raise Conflict(409, "Conflict", "the object has been modified")
        return _object("churn") | {"status": status}


class Bench:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.api = Statuses()
        self.told = Told()
        self.cache = Cache()
        self.planned = Plan([], STATUS)
        self.worlds: list[World] = []
        monkeypatch.setattr(module, "plan", self._plan)
        configured = settings.parse(
            "{registries: {prod: {url: 'http://mlflow:5000'}}, maxConcurrentRollouts: 1}", "config.yaml"
        )
        self.read = Read()
        services = Services(self.told, self.told, self.told, self.read, lambda key: None)
        self.now = datetime(2026, 11, 27, tzinfo=UTC)
        kube = cast(KubeClient, self.api)
        self.reconciler = Reconciler(kube, self.cache, configured, services, lambda: self.now)

    def put(self, status: Mapping[str, Any] = STATUS, name: str = "churn", **metadata: str) -> None:
        spec = {"model": {"uri": "models:/churn@champion"}, "registry": {"name": "prod"}}
        self.cache.put(Kind.MODEL_DEPLOYMENT, _object(name, **metadata) | {"spec": spec, "status": status})
        labels = {"app.kubernetes.io/managed-by": "model-operator", "model-operator.io/deployment": "churn"}
        pod = _object("churn-0")
        self.cache.put(Kind.POD, pod | {"metadata": pod["metadata"] | {"labels": labels}})

    def _plan(self, world: World) -> Plan:
        self.worlds.append(world)
        return self.planned


def _object(name: str, **metadata: str) -> dict[str, Any]:
    given = {"name": name, "namespace": "crm", "uid": f"uid-{name}", "resourceVersion": "1"}
    return {
        "apiVersion": "model-operator.io/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": given | metadata,
    }


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


async def test_tags_go_to_the_registry_of_the_spec_with_what_the_poller_knows(bench: Bench) -> None:
    bench.put()
    bench.planned = Plan([], STATUS, tags=[TAG])
    await bench.reconciler.reconcile(CHURN)
    assert bench.told.noted == [(CHURN, "prod", [TAG], RESOLVED)]


async def test_a_new_one_waits_for_the_first_answer_of_its_registry_and_not_for_long(bench: Bench) -> None:
    bench.put({})
    bench.planned = Plan([], {})
    bench.told.resolution = Resolution(ResolutionReason.PENDING, "was not asked yet")
    assert await bench.reconciler.reconcile(CHURN) == 1
    assert await bench.reconciler.reconcile(CHURN) == 1
    assert not bench.worlds
    bench.now += timedelta(seconds=1)
    await bench.reconciler.reconcile(CHURN)
    assert [world.resolution.reason for world in bench.worlds] == [ResolutionReason.PENDING]


async def test_one_that_has_a_status_does_not_wait_for_the_registry(bench: Bench) -> None:
    bench.put()
    bench.told.resolution = Resolution(ResolutionReason.PENDING, "was not asked yet")
    assert await bench.reconciler.reconcile(CHURN) is None
    assert len(bench.worlds) == 1


async def test_the_pods_of_a_watched_revision_are_followed(bench: Bench) -> None:
    bench.put()
    bench.planned = Plan([], STATUS, watched="v8-abc")
    await bench.reconciler.reconcile(CHURN)
    assert bench.told.followed == [(CHURN, "v8-abc", ["churn-0"])]
    assert bench.told.forgotten == []


async def test_when_the_watch_is_over_nothing_is_followed(bench: Bench) -> None:
    bench.put()
    await bench.reconciler.reconcile(CHURN)
    assert bench.told.followed == []
    assert bench.told.forgotten == [CHURN]


async def test_what_the_gates_ask_is_read_and_given_to_the_next_plan(bench: Bench) -> None:
    bench.put()
    wanted = FactsWanted(VersionId("churn", "8"), "run", "source", metrics=True)
    bench.planned = Plan([], STATUS, facts=[wanted], kept_out=True)
    await bench.reconciler.reconcile(CHURN)
    assert bench.read.followed == [(CHURN, RegistryId("prod"), [wanted])]
    assert bench.told.closely
    assert bench.worlds[0].facts == {VersionId("churn", "8"): VersionFacts(metrics=())}


async def test_a_rollout_keeps_its_slot_until_the_status_says_that_it_is_over(bench: Bench) -> None:
    bench.put()
    bench.put(name="other")
    bench.planned = Plan([], STATUS, rollout_in_flight=True)
    await bench.reconciler.reconcile(CHURN)

    async def a_slot_is_free_for_the_other() -> bool:
        bench.planned = Plan([], STATUS)
        await bench.reconciler.reconcile(("crm", "other"))
        return bench.worlds[-1].slot_free

    for conflict in (True, False):
        bench.api.conflict = conflict
        bench.planned = Plan([], {**STATUS, "settled": True})
        await bench.reconciler.reconcile(CHURN)
        assert await a_slot_is_free_for_the_other() is not conflict


@pytest.mark.parametrize(
    ("status", "traffic"),
    [
        pytest.param(STATUS, Traffic(requests=100, errors=7), id="the serving revision is the watched one"),
        pytest.param({"serving": {"revision": "v7-def"}}, Traffic(), id="another revision serves"),
        pytest.param({}, Traffic(), id="nothing serves"),
        pytest.param({"serving": "odd"}, Traffic(), id="the status is not ours"),
    ],
)
async def test_the_plan_is_given_what_was_counted_for_the_serving_revision(
    bench: Bench, status: Mapping[str, Any], traffic: Traffic
) -> None:
    bench.put(status)
    bench.planned = Plan([], status)
    await bench.reconciler.reconcile(CHURN)
    assert bench.worlds[0].traffic == traffic


@pytest.mark.parametrize(
    "leave",
    [
        pytest.param(lambda bench: None, id="it does not exist"),
        pytest.param(lambda bench: bench.put(deletionTimestamp="2026-11-20T10:00:00Z"), id="it is deleted"),
    ],
)
async def test_both_forget_a_model_deployment_that_is_gone(
    bench: Bench, leave: Callable[[Bench], None]
) -> None:
    leave(bench)
    await bench.reconciler.reconcile(CHURN)
    assert bench.told.forgotten == [CHURN, CHURN]
    assert bench.told.noted == []

"""Watching a real API server: what happens becomes a key, what is not ours is not seen, nothing is written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.api import ApiClient
from tests.integration.accounts import reader_of

from model_operator.api.spec import ModelDeploymentSpec
from model_operator.controller import kopf_pump, relist, watches
from model_operator.controller.cache import WATCHED_KINDS, Cache
from model_operator.domain.objects import Key, Kind, Object, ObjectRef
from model_operator.kube import Forbidden, KubeClient
from model_operator.planner.manifests import Owner, child_labels, preview_service, service, track_selector

SECONDS = 60
LABELS = {"app.kubernetes.io/managed-by": "model-operator", "model-operator.io/deployment": "churn"}


class Seen:
    """A cache, and the keys that were enqueued since ``forget`` was called."""

    def __init__(self, namespace: str) -> None:
        self.cache = Cache()
        self.keys: set[Key] = set()
        self.namespace = namespace

    def config_map(self, name: str = "scripts") -> Object | None:
        return self.cache.get(ObjectRef(Kind.CONFIG_MAP, self.namespace, name))

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(SECONDS):
            while not condition():  # noqa: ASYNC110 - the cache tells nobody of changes
                await asyncio.sleep(0.02)


@pytest.fixture
async def somebody(control_plane: Path) -> AsyncIterator[KubeClient]:
    """A client that is not the operator: what it writes is seen through watches only."""
    client = await KubeClient.connect(kubeconfig=control_plane)
    yield client
    await client.close()


@pytest.fixture
async def seen(somebody: KubeClient, namespace: str) -> AsyncIterator[Seen]:
    seen = Seen(namespace)
    watching = asyncio.create_task(
        watches.watch(somebody, seen.cache, seen.keys.add, namespaces=[namespace]), name="watches"
    )
    yield seen
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


def wish() -> dict[str, Any]:
    return {
        "apiVersion": "model-operator.io/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "churn"},
        "spec": {"model": {"uri": "models:/churn@champion"}},
    }


def config_map(name: str = "scripts", labels: dict[str, str] | None = None) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels or LABELS}}


async def test_a_model_deployment_is_seen_enqueued_and_not_written_to(
    seen: Seen, somebody: KubeClient, namespace: str
) -> None:
    ref = ObjectRef(Kind.MODEL_DEPLOYMENT, namespace, "churn")
    await somebody.create(ref, wish())
    await seen.until(lambda: seen.cache.get(ref))
    assert seen.keys == {(namespace, "churn")}
    # a second event makes sure that the first has been handled to its end
    changed = await somebody.merge_patch(ref, {"metadata": {"labels": {"a": "b"}}})
    await seen.until(lambda: (seen.cache.get(ref) or {}).get("metadata", {}).get("labels") == {"a": "b"})
    now = await somebody.get(ref)
    assert now["metadata"]["resourceVersion"] == changed["metadata"]["resourceVersion"]
    assert "annotations" not in now["metadata"]
    assert "finalizers" not in now["metadata"]


async def test_a_child_enqueues_its_owner_from_birth_to_death(
    seen: Seen, somebody: KubeClient, namespace: str
) -> None:
    ref = ObjectRef(Kind.CONFIG_MAP, namespace, "scripts")
    await somebody.create(ref, config_map())
    await seen.until(seen.config_map)
    assert seen.keys == {(namespace, "churn")}
    seen.keys.clear()
    await somebody.delete(ref)
    await seen.until(lambda: not seen.config_map())
    assert seen.keys == {(namespace, "churn")}


async def test_a_child_that_loses_its_label_is_gone_and_comes_back_with_it(
    seen: Seen, somebody: KubeClient, namespace: str
) -> None:
    ref = ObjectRef(Kind.CONFIG_MAP, namespace, "scripts")
    await somebody.create(ref, config_map())
    await seen.until(seen.config_map)
    key = "app.kubernetes.io/managed-by"
    await somebody.merge_patch(ref, {"metadata": {"labels": {key: None}}})
    await seen.until(lambda: not seen.config_map())
    await somebody.merge_patch(ref, {"metadata": {"labels": {key: "model-operator"}}})
    await seen.until(seen.config_map)


async def test_objects_of_others_are_not_seen(seen: Seen, somebody: KubeClient, namespace: str) -> None:
    theirs = ObjectRef(Kind.CONFIG_MAP, namespace, "theirs")
    await somebody.create(theirs, config_map("theirs", {"model-operator.io/deployment": "churn"}))
    await somebody.create(ObjectRef(Kind.CONFIG_MAP, namespace, "scripts"), config_map())
    await seen.until(seen.config_map)
    assert seen.config_map("theirs") is None


async def test_what_was_there_before_the_watches_is_seen_without_a_task_for_each(
    somebody: KubeClient, namespace: str
) -> None:
    await somebody.create(ObjectRef(Kind.CONFIG_MAP, namespace, "scripts"), config_map())
    await somebody.create(ObjectRef(Kind.MODEL_DEPLOYMENT, namespace, "churn"), wish())
    seen = Seen(namespace)
    wanted = ObjectRef(Kind.MODEL_DEPLOYMENT, namespace, "churn")
    watching = asyncio.create_task(
        watches.watch(somebody, seen.cache, seen.keys.add, namespaces=[namespace]), name="watches"
    )
    try:
        await seen.until(lambda: seen.config_map() and seen.cache.get(wanted))
        workers = [task for task in asyncio.all_tasks() if task.get_name().startswith("worker for ")]
        assert not workers, "kopf has one for each object that it knows of"
        assert seen.keys == {(namespace, "churn")}
        # and the watches go on from there
        await somebody.delete(wanted)
        await seen.until(lambda: not seen.cache.get(wanted))
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def test_a_list_finds_what_is_there_and_evicts_what_was_deleted_unseen(
    somebody: KubeClient, namespace: str
) -> None:
    seen = Seen(namespace)
    await somebody.create(ObjectRef(Kind.CONFIG_MAP, namespace, "scripts"), config_map())
    assert (namespace, "churn") in await relist.fill(somebody, seen.cache)
    assert seen.config_map()
    await somebody.delete(ObjectRef(Kind.CONFIG_MAP, namespace, "scripts"))
    assert seen.config_map(), "nobody has told the cache yet"
    assert (namespace, "churn") in await relist.fill(somebody, seen.cache, [namespace])
    assert seen.config_map() is None


async def test_the_resync_enqueues_what_changed_unseen_and_every_model_deployment_later(
    somebody: KubeClient, namespace: str
) -> None:
    seen = Seen(namespace)
    later: dict[Key, float] = {}
    await somebody.create(ObjectRef(Kind.MODEL_DEPLOYMENT, namespace, "churn"), wish())
    resync = asyncio.create_task(
        relist.resync(
            somebody, seen.cache, seen.keys.add, later.__setitem__, namespaces=[namespace], every_seconds=0.1
        )
    )
    await seen.until(lambda: later)
    resync.cancel()
    assert seen.keys == set(later) == {(namespace, "churn")}


@pytest.fixture
def node(api: ApiClient, namespace: str) -> Iterator[str]:
    """The name of a node that nobody runs: without one a pod has no endpoint."""
    name = f"node-of-{namespace}"
    created = api.http.post("/api/v1/nodes", json={"metadata": {"name": name}})
    assert created.status_code == 201, created.text
    yield name
    api.http.delete(f"/api/v1/nodes/{name}")


async def test_the_endpoint_slices_of_our_service_are_seen_with_their_pods_and_follow_a_switch(
    seen: Seen, somebody: KubeClient, api: ApiClient, namespace: str, node: str
) -> None:
    owner = Owner(namespace, "churn", "uid-of-nobody")
    spec = ModelDeploymentSpec.model_validate({"model": {"name": "churn", "alias": "champion"}})
    pods = f"/api/v1/namespaces/{namespace}/pods"
    for last, track in enumerate(("churn", "churn-green"), start=1):
        metadata = {"name": f"{track}-1", "labels": child_labels(owner) | track_selector(owner, track)}
        ports = [{"name": "http", "containerPort": 8080}]
        server = {"name": "server", "image": "example.com/none:1", "ports": ports}
        pod = {
            "metadata": metadata,
            "spec": {"nodeName": node, "containers": [server], "terminationGracePeriodSeconds": 0},
        }
        created = api.http.post(pods, json=pod)
        assert created.status_code == 201, created.text
        address = f"10.99.0.{last}"
        ready = {"type": "Ready", "status": "True"}
        status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": [ready]}
        patched = api.http.patch(
            f"{pods}/{track}-1/status",
            json={"status": status},
            headers={"content-type": "application/merge-patch+json"},
        )
        assert patched.status_code == 200, patched.text

    def in_service(name: str) -> set[str]:
        return {
            endpoint["targetRef"]["name"]
            for found in seen.cache.snapshot((namespace, "churn"))[Kind.ENDPOINT_SLICE]
            if found["metadata"]["labels"]["kubernetes.io/service-name"] == name
            for endpoint in found["endpoints"]
            if endpoint["conditions"]["ready"]
        }

    def unowned(body: dict[str, Any]) -> dict[str, Any]:
        # its owner does not exist, so it would be collected
        body["metadata"].pop("ownerReferences")
        return body

    ref = ObjectRef(Kind.SERVICE, namespace, "churn")
    made = await somebody.create(ref, unowned(service(owner, spec)))
    preview = ObjectRef(Kind.SERVICE, namespace, "churn-candidate")
    await somebody.create(preview, unowned(preview_service(owner, spec, "churn-green")))
    await seen.until(lambda: in_service("churn") == {"churn-1"})
    await seen.until(lambda: in_service("churn-candidate") == {"churn-green-1"})
    green = unowned(service(owner, spec, "churn-green"))
    await somebody.apply(ref, green, uid=made["metadata"]["uid"])
    await seen.until(lambda: in_service("churn") == {"churn-green-1"})


@pytest.fixture
def without_pods(api: ApiClient, control_plane: Path, namespace: str, tmp_path: Path) -> Path:
    """The kubeconfig of a service account that may watch everything that is watched, but not pods."""
    kinds = [kind for kind in WATCHED_KINDS if kind is not Kind.POD]
    return reader_of(kinds, api, control_plane, namespace, tmp_path)


async def test_a_list_that_is_not_allowed_names_who_may_not_do_what(
    without_pods: Path, namespace: str
) -> None:
    client = await KubeClient.connect(kubeconfig=without_pods)
    try:
        with pytest.raises(Forbidden, match='somebody" cannot list resource "pods"'):
            await relist.fill(client, Cache(), [namespace])
    finally:
        await client.close()


async def test_one_watch_that_is_lost_for_good_ends_them_all_with_its_error(
    without_pods: Path, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasty = kopf_pump.watch_settings()
    hasty.networking.error_backoffs = (0.1, 0.1)
    monkeypatch.setattr(watches, "watch_settings", lambda silence_seconds: hasty)
    client = await KubeClient.connect(kubeconfig=without_pods)
    before = asyncio.all_tasks()
    try:
        async with asyncio.timeout(SECONDS):
            with pytest.raises(Exception, match='cannot list resource "pods"'):
                await watches.watch(client, Cache(), set().add, namespaces=[namespace])
    finally:
        await client.close()
    assert asyncio.all_tasks() <= before

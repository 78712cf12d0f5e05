"""Writing to a real API server: sole ownership of fields, replicas, preconditions, refusals."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from model_operator.controller.cache import Cache
from model_operator.domain.objects import Kind, ObjectRef
from model_operator.kube import (
    AlreadyExists,
    Conflict,
    Fenced,
    Forbidden,
    Invalid,
    KubeClient,
    NotFound,
    QuotaExceeded,
)

LABELS = {
    "app.kubernetes.io/managed-by": "model-operator",
    "model-operator.io/deployment": "churn",
    "model-operator.io/track": "churn",
}
STRANGER = "11111111-2222-3333-4444-555555555555"


@pytest.fixture
def cache() -> Cache:
    return Cache()


@pytest.fixture
async def kube(control_plane: Path, cache: Cache) -> AsyncIterator[KubeClient]:
    client = await KubeClient.connect(kubeconfig=control_plane, observer=cache)
    yield client
    await client.close()


def deployment(**spec: Any) -> dict[str, Any]:
    selector = {key: LABELS[key] for key in ("model-operator.io/deployment", "model-operator.io/track")}
    container = {
        "name": "server",
        "image": "example.com/server:1",
        "env": [{"name": "MODEL_NAME", "value": "churn"}, {"name": "MODEL_VERSION", "value": "1"}],
        "readinessProbe": {"httpGet": {"path": "/ping", "port": 8080}},
        "securityContext": {"readOnlyRootFilesystem": True},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "churn", "labels": LABELS, "annotations": {"example.com/note": "kept"}},
        "spec": {
            "selector": {"matchLabels": selector},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "minReadySeconds": 5,
            "template": {
                "metadata": {"labels": LABELS, "annotations": {"model-operator.io/version": "1"}},
                "spec": {
                    "containers": [container],
                    "securityContext": {"runAsNonRoot": True},
                    "volumes": [{"name": "tmp", "emptyDir": {}}],
                },
            },
            **spec,
        },
    }


def service(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "churn", "labels": LABELS},
        "spec": {
            "selector": {"model-operator.io/track": "churn"},
            "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
            **spec,
        },
    }


def autoscaler(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "churn", "labels": LABELS},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "churn"},
            "minReplicas": 2,
            "maxReplicas": 5,
            **spec,
        },
    }


def disruption_budget(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "churn", "labels": LABELS},
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": {"model-operator.io/track": "churn"}},
            **spec,
        },
    }


BODIES = {
    Kind.DEPLOYMENT: deployment,
    Kind.SERVICE: service,
    Kind.AUTOSCALER: autoscaler,
    Kind.DISRUPTION_BUDGET: disruption_budget,
}


def ref(namespace: str, kind: Kind = Kind.DEPLOYMENT, name: str = "churn") -> ObjectRef:
    return ObjectRef(kind, namespace, name)


def owners(body: dict[str, Any]) -> list[tuple[str, str, str]]:
    return sorted(
        (entry["manager"], entry["operation"], entry.get("subresource", ""))
        for entry in body["metadata"]["managedFields"]
        if entry["manager"] == "model-operator"
    )


# --- ownership -------------------------------------------------------------------------------------


async def test_of_a_config_map_that_was_made_the_metadata_comes_back(
    kube: KubeClient, cache: Cache, namespace: str
) -> None:
    ref = ObjectRef(Kind.CONFIG_MAP, namespace, "scripts")
    metadata = {"name": "scripts", "labels": LABELS}
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"serve.py": "pass"}}
    answer = await kube.create(ref, body)
    assert "data" not in answer
    (kept,) = cache.snapshot((namespace, "churn"))[Kind.CONFIG_MAP]
    assert (kept["kind"], kept["metadata"]["uid"]) == ("ConfigMap", answer["metadata"]["uid"])
    assert (await kube.get(ref))["data"] == {"serve.py": "pass"}


async def test_a_field_that_was_posted_goes_away_when_an_apply_leaves_it_out(
    kube: KubeClient, namespace: str
) -> None:
    created = await kube.create(ref(namespace), deployment(replicas=3))
    shorter = deployment()
    del shorter["spec"]["minReadySeconds"]
    del shorter["metadata"]["annotations"]
    del shorter["spec"]["template"]["spec"]["containers"][0]["env"][0]
    del shorter["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]
    await kube.apply(ref(namespace), shorter, uid=created["metadata"]["uid"])
    now = await kube.get(ref(namespace))
    container = now["spec"]["template"]["spec"]["containers"][0]
    assert "minReadySeconds" not in now["spec"]
    assert "example.com/note" not in now["metadata"].get("annotations", {})
    assert container["env"] == [{"name": "MODEL_VERSION", "value": "1"}]
    assert "readinessProbe" not in container


async def test_a_posted_port_gives_way_to_another_of_the_same_name(kube: KubeClient, namespace: str) -> None:
    created = await kube.create(ref(namespace, Kind.SERVICE), BODIES[Kind.SERVICE]())
    other = BODIES[Kind.SERVICE]()
    other["spec"]["ports"][0]["port"] += 1
    answer = await kube.apply(ref(namespace, Kind.SERVICE), other, uid=created["metadata"]["uid"])
    assert [p["port"] for p in answer["spec"]["ports"]] == [other["spec"]["ports"][0]["port"]]


@pytest.mark.parametrize("writes", range(4))
async def test_an_apply_that_breaks_off_leaves_nothing_that_looks_done_and_is_not(
    kube: KubeClient, control_plane: Path, namespace: str, writes: int
) -> None:
    created = await kube.create(ref(namespace), deployment(replicas=3))
    left = iter([True] * writes)
    dying = await KubeClient.connect(kubeconfig=control_plane, may_write=lambda: next(left, False))
    shorter = deployment(minReadySeconds=7)
    del shorter["spec"]["template"]["spec"]["containers"][0]["env"][0]
    with contextlib.suppress(Fenced):
        await dying.apply(ref(namespace), shorter, uid=created["metadata"]["uid"])
    await dying.close()
    now = (await kube.get(ref(namespace)))["spec"]
    env = now["template"]["spec"]["containers"][0]["env"]
    assert (now["minReadySeconds"], [e["name"] for e in env]) in (
        (5, ["MODEL_NAME", "MODEL_VERSION"]),
        (7, ["MODEL_VERSION"]),
    )


async def test_applies_that_never_name_replicas_leave_them_as_posted(
    kube: KubeClient, namespace: str
) -> None:
    created = await kube.create(ref(namespace), deployment(replicas=3))
    uid = created["metadata"]["uid"]
    for seconds in (6, 7):
        answer = await kube.apply(ref(namespace), deployment(minReadySeconds=seconds), uid=uid)
        assert answer["spec"]["replicas"] == 3
    await kube.scale(ref(namespace), 4)
    answer = await kube.apply(ref(namespace), deployment(minReadySeconds=8), uid=uid)
    assert answer["spec"]["replicas"] == 4


async def test_replicas_given_by_somebody_else_survive_the_first_apply(
    kube: KubeClient, namespace: str
) -> None:
    created = await kube.create(ref(namespace), deployment(replicas=1))
    await kube.scale(ref(namespace), 7)
    answer = await kube.apply(ref(namespace), deployment(minReadySeconds=9), uid=created["metadata"]["uid"])
    assert answer["spec"]["replicas"] == 7


@pytest.mark.parametrize("kind", BODIES)
async def test_applying_what_was_posted_changes_nothing_but_the_ownership(
    kube: KubeClient, namespace: str, kind: Kind
) -> None:
    replicas = {"replicas": 2} if kind is Kind.DEPLOYMENT else {}
    created = await kube.create(ref(namespace, kind), BODIES[kind](**replicas))
    answer = await kube.apply(ref(namespace, kind), BODIES[kind](), uid=created["metadata"]["uid"])
    assert answer["spec"] == created["spec"]
    assert answer["metadata"].get("generation") == created["metadata"].get("generation")
    kept = [("model-operator", "Update", "")] if kind is Kind.DEPLOYMENT else []
    assert owners(answer) == [("model-operator", "Apply", ""), *kept]


async def test_a_second_apply_of_the_same_writes_nothing(kube: KubeClient, namespace: str) -> None:
    created = await kube.create(ref(namespace), deployment(replicas=2))
    uid = created["metadata"]["uid"]
    first = await kube.apply(ref(namespace), deployment(), uid=uid)
    second = await kube.apply(ref(namespace), deployment(), uid=uid)
    assert owners(second) == owners(first)
    assert second["spec"] == first["spec"]
    assert second["metadata"]["generation"] == first["metadata"]["generation"]


async def test_an_apply_brings_any_text_as_it_is(kube: KubeClient, namespace: str) -> None:
    created = await kube.create(ref(namespace), deployment(replicas=2))
    body = deployment(minReadySeconds=6)
    # models are named by people, and YAML knows neither surrogate pairs nor all that JSON leaves as it is
    text = 'Söhne 日本語 🚀 \x7f\x85\u2028\ufeff\uffff "\\'
    annotated = {**body, "metadata": {**body["metadata"], "annotations": {"example.com/model": text}}}
    answer = await kube.apply(ref(namespace), annotated, uid=created["metadata"]["uid"])
    assert answer["metadata"]["annotations"]["example.com/model"] == text


async def test_what_others_added_is_left_alone(kube: KubeClient, namespace: str) -> None:
    created = await kube.create(ref(namespace), deployment(replicas=2))
    uid = created["metadata"]["uid"]
    await kube.apply(ref(namespace), deployment(), uid=uid)
    theirs = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "churn", "annotations": {"example.com/theirs": "yes"}},
    }
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/churn"
    await _as_somebody_else(kube, path, theirs)
    answer = await kube.apply(ref(namespace), deployment(minReadySeconds=6), uid=uid)
    assert answer["metadata"]["annotations"]["example.com/theirs"] == "yes"


async def _as_somebody_else(kube: KubeClient, path: str, body: dict[str, Any]) -> None:
    from model_operator.kube.transport import Call

    query = {"fieldManager": "somebody-else"}
    await kube._transport.send(Call("apply", "", "PATCH", path, query, body, "application/apply-patch+yaml"))


async def test_a_deployments_replicas_cannot_be_applied(kube: KubeClient, namespace: str) -> None:
    with pytest.raises(ValueError, match=r"spec\.replicas must not be applied"):
        await kube.apply(ref(namespace), deployment(replicas=2))


# --- preconditions ---------------------------------------------------------------------------------


async def test_an_apply_meant_for_another_uid_is_a_conflict_and_changes_nothing(
    kube: KubeClient, namespace: str
) -> None:
    await kube.create(ref(namespace), deployment())
    with pytest.raises(Conflict):
        await kube.apply(ref(namespace), deployment(minReadySeconds=99), uid=STRANGER)
    assert (await kube.get(ref(namespace)))["spec"]["minReadySeconds"] == 5


async def test_an_apply_bound_to_a_uid_does_not_bring_a_deleted_object_back(
    kube: KubeClient, namespace: str
) -> None:
    with pytest.raises((Conflict, NotFound)):
        await kube.apply(ref(namespace), deployment(), uid=STRANGER)
    with pytest.raises(NotFound):
        await kube.get(ref(namespace))


async def test_an_apply_on_an_outdated_version_is_a_conflict(kube: KubeClient, namespace: str) -> None:
    created = await kube.create(ref(namespace, Kind.SERVICE), service())
    old = created["metadata"]["resourceVersion"]
    uid = created["metadata"]["uid"]
    await kube.apply(
        ref(namespace, Kind.SERVICE), service(sessionAffinity="ClientIP"), uid=uid, resource_version=old
    )
    with pytest.raises(Conflict):
        await kube.apply(ref(namespace, Kind.SERVICE), service(), uid=uid, resource_version=old)


async def test_scaling_on_an_outdated_version_is_a_conflict(kube: KubeClient, namespace: str) -> None:
    created = await kube.create(ref(namespace), deployment(replicas=1))
    old = created["metadata"]["resourceVersion"]
    await kube.scale(ref(namespace), 2)
    with pytest.raises(Conflict):
        await kube.scale(ref(namespace), 3, resource_version=old)
    assert (await kube.get(ref(namespace)))["spec"]["replicas"] == 2


async def test_deleting_with_another_uid_is_a_conflict(kube: KubeClient, namespace: str) -> None:
    await kube.create(ref(namespace, Kind.SERVICE), service())
    with pytest.raises(Conflict):
        await kube.delete(ref(namespace, Kind.SERVICE), uid=STRANGER)
    assert await kube.get(ref(namespace, Kind.SERVICE))


async def test_deleting_what_is_not_there_is_no_error(kube: KubeClient, namespace: str) -> None:
    assert await kube.delete(ref(namespace, Kind.SERVICE)) is False


# --- refusals --------------------------------------------------------------------------------------


async def test_creating_what_exists_says_so(kube: KubeClient, namespace: str) -> None:
    await kube.create(ref(namespace), deployment())
    with pytest.raises(AlreadyExists):
        await kube.create(ref(namespace), deployment())


async def test_a_bad_value_names_its_field(kube: KubeClient, namespace: str) -> None:
    with pytest.raises(Invalid, match="minReadySeconds") as refused:
        await kube.create(ref(namespace), deployment(minReadySeconds=-1))
    assert refused.value.causes[0]["field"] == "spec.minReadySeconds"


async def test_a_misspelt_field_is_refused_by_a_create_and_by_an_apply(
    kube: KubeClient, namespace: str
) -> None:
    with pytest.raises(Invalid, match="minReadySecond"):
        await kube.create(ref(namespace), deployment(minReadySecond=1))
    await kube.create(ref(namespace), deployment())
    with pytest.raises(Invalid, match="minReadySecond"):
        await kube.apply(ref(namespace), deployment(minReadySecond=1))


async def test_a_dry_run_judges_and_leaves_nothing(kube: KubeClient, cache: Cache, namespace: str) -> None:
    await kube.create(ref(namespace), deployment(), dry_run=True)
    with pytest.raises(NotFound):
        await kube.get(ref(namespace))
    assert len(cache) == 0


async def test_a_namespace_that_does_not_exist_is_not_found(kube: KubeClient) -> None:
    with pytest.raises(NotFound):
        await kube.create(ref("nowhere"), deployment())


async def test_an_exceeded_quota_is_told_apart_from_missing_rights(kube: KubeClient, namespace: str) -> None:
    from model_operator.kube.transport import Call

    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "tight"},
        "spec": {"hard": {"count/configmaps": "0"}},
    }
    path = f"/api/v1/namespaces/{namespace}/resourcequotas"
    await kube._transport.send(Call("create", "", "POST", path, {}, quota))

    async def create_until_refused() -> None:
        # the API server learns of a new quota a moment later
        for number in range(1000):
            body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"c{number}"}}
            await kube.create(ref(namespace, Kind.CONFIG_MAP, f"c{number}"), body)

    with pytest.raises(Forbidden) as refused:
        await create_until_refused()
    assert isinstance(refused.value, QuotaExceeded)


# --- status, events, secrets -----------------------------------------------------------------------


def wish() -> dict[str, Any]:
    return {
        "apiVersion": "model-operator.io/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "churn"},
        "spec": {"model": {"uri": "models:/churn@champion"}},
    }


async def test_a_status_patch_removes_what_is_no_longer_in_the_status(
    kube: KubeClient, namespace: str
) -> None:
    target = ref(namespace, Kind.MODEL_DEPLOYMENT)
    await kube.create(target, wish())
    first = {"observedGeneration": 1, "serving": {"version": "7"}, "modelName": "churn"}
    answer = await kube.patch_status(target, first)
    second = {"observedGeneration": 1, "modelName": "churn"}
    answer = await kube.patch_status(target, second, was=answer["status"])
    assert answer["status"] == second


async def test_a_status_patch_on_an_outdated_version_is_a_conflict(kube: KubeClient, namespace: str) -> None:
    target = ref(namespace, Kind.MODEL_DEPLOYMENT)
    created = await kube.create(target, wish())
    old = created["metadata"]["resourceVersion"]
    await kube.patch_status(target, {"modelName": "a"}, resource_version=old)
    with pytest.raises(Conflict):
        await kube.patch_status(target, {"modelName": "b"}, resource_version=old)


async def test_of_a_secret_the_filled_keys_are_told(kube: KubeClient, namespace: str) -> None:
    target = ref(namespace, Kind.SECRET, "mlflow")
    assert await kube.get_secret(namespace, "mlflow") is None
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "mlflow"},
        "data": {"username": "bWU=", "password": ""},
    }
    await kube.create(target, secret)
    assert await kube.get_secret(namespace, "mlflow") == {"username": b"me"}


# --- write-through ---------------------------------------------------------------------------------


async def test_answers_to_writes_are_in_the_cache_at_once(
    kube: KubeClient, cache: Cache, namespace: str
) -> None:
    created = await kube.create(ref(namespace), deployment())
    assert cache.get(ref(namespace))["metadata"]["uid"] == created["metadata"]["uid"]  # type: ignore[index]
    await kube.apply(ref(namespace), deployment(minReadySeconds=6), uid=created["metadata"]["uid"])
    assert cache.get(ref(namespace))["spec"]["minReadySeconds"] == 6  # type: ignore[index]
    assert await kube.delete(ref(namespace), uid=created["metadata"]["uid"]) is True
    assert cache.get(ref(namespace)) is None


async def test_a_conflict_shows_the_cache_what_is_really_there(
    kube: KubeClient, cache: Cache, control_plane: Path, namespace: str
) -> None:
    created = await kube.create(ref(namespace, Kind.SERVICE), service())
    somebody = await KubeClient.connect(kubeconfig=control_plane)
    await somebody.delete(ref(namespace, Kind.SERVICE))
    await somebody.create(ref(namespace, Kind.SERVICE), service(sessionAffinity="ClientIP"))
    await somebody.close()
    with pytest.raises(Conflict):
        await kube.apply(ref(namespace, Kind.SERVICE), service(), uid=created["metadata"]["uid"])
    known = cache.get(ref(namespace, Kind.SERVICE))
    assert known is not None
    assert known["spec"]["sessionAffinity"] == "ClientIP"


async def test_a_write_to_a_ghost_evicts_it(
    kube: KubeClient, cache: Cache, control_plane: Path, namespace: str
) -> None:
    created = await kube.create(ref(namespace), deployment())
    somebody = await KubeClient.connect(kubeconfig=control_plane)
    await somebody.delete(ref(namespace))
    await somebody.close()
    with pytest.raises((Conflict, NotFound)):
        await kube.apply(ref(namespace), deployment(), uid=created["metadata"]["uid"])
    assert cache.get(ref(namespace)) is None


# --- lists -----------------------------------------------------------------------------------------


async def test_a_long_list_is_read_in_pages(
    kube: KubeClient, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model_operator.kube.client._PAGE", 2)
    for number in range(5):
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": f"c{number}", "labels": LABELS},
            "data": {"serve.py": "x"},
        }
        await kube.create(ref(namespace, Kind.CONFIG_MAP, f"c{number}"), body)
    listing = await kube.list(
        Kind.CONFIG_MAP, dict, namespace=namespace, label_selector="model-operator.io/deployment=churn"
    )
    assert sorted(item["metadata"]["name"] for item in listing.items) == ["c0", "c1", "c2", "c3", "c4"]
    assert {item["kind"] for item in listing.items} == {"ConfigMap"}
    assert not any("data" in item for item in listing.items), "of ConfigMaps only the metadata is asked for"
    assert int(listing.resource_version) > 0


async def test_a_kept_revision_can_be_annotated_and_adopted_whatever_its_data_says(
    kube: KubeClient, namespace: str
) -> None:
    ref = ObjectRef(Kind.REVISION, namespace, "churn-v1-0123456789")
    odd = "<a> & 'b' \" \\ \t \x7f\x85 \u2028 \ufeff é 模型 \U0001f600"
    data = {"z": 1, "a": {"y": [0.5, True, None, ""], "b": odd}, odd: "key"}
    body = {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {"name": ref.name, "namespace": namespace, "labels": LABELS},
        "revision": 1,
        "data": data,
    }
    created = await kube.create(ref, body)
    assert created["data"] == data
    patched = await kube.merge_patch(ref, {"metadata": {"annotations": {"model-operator.io/verdict": odd}}})
    assert patched["metadata"]["annotations"]["model-operator.io/verdict"] == odd
    keeper = ObjectRef(Kind.CONFIG_MAP, namespace, "keeper")
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "keeper", "namespace": namespace},
    }
    uid = (await kube.create(keeper, config_map))["metadata"]["uid"]
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "keeper", "uid": uid, "controller": True}
    adopted = await kube.merge_patch(
        ref, {"metadata": {"ownerReferences": [owner]}}, uid=created["metadata"]["uid"]
    )
    assert adopted["metadata"]["ownerReferences"][0]["uid"] == uid
    assert adopted["data"] == data

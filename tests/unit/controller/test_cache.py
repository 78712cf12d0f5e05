"""The cache: who owns what, and that nothing old ever passes for new."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_operator.api.names import ANNOTATION_RUNTIME
from model_operator.controller.cache import WATCHED_KINDS, Cache, TimeWentBack, entry, owner_of
from model_operator.domain.objects import Kind, Object, ObjectRef

CHURN = ("crm", "churn")
OTHER = ("crm", "other")
REF = ObjectRef(Kind.DEPLOYMENT, "crm", "churn")


def child(
    version: int, owner: str | None = "churn", uid: str = "u1", name: str = "churn", **rest: Any
) -> Object:
    labels = {"app.kubernetes.io/managed-by": "model-operator", "model-operator.io/deployment": owner}
    metadata = {
        "namespace": "crm",
        "name": name,
        "uid": uid,
        "resourceVersion": str(version),
        "labels": labels if owner else {},
    }
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, **rest}


def wish(version: int, name: str = "churn", uid: str = "m1") -> Object:
    metadata = {"namespace": "crm", "name": name, "uid": uid, "resourceVersion": str(version)}
    return {"apiVersion": "model-operator.io/v1alpha1", "kind": "ModelDeployment", "metadata": metadata}


def known_version(cache: Cache) -> str | None:
    body = cache.get(REF)
    return body["metadata"]["resourceVersion"] if body else None


@pytest.fixture
def cache() -> Cache:
    return Cache()


def test_a_snapshot_has_the_model_deployment_and_all_its_children_by_kind(cache: Cache) -> None:
    cache.put(Kind.MODEL_DEPLOYMENT, wish(1))
    cache.put(Kind.DEPLOYMENT, child(2))
    cache.put(Kind.REVISION, child(3, name="churn-b", uid="r2"))
    cache.put(Kind.REVISION, child(4, name="churn-a", uid="r1"))
    cache.put(Kind.DEPLOYMENT, child(5, owner="other", name="other", uid="o1"))
    snapshot = cache.snapshot(CHURN)
    names = {
        kind: [body["metadata"]["name"] for body in bodies] for kind, bodies in snapshot.items() if bodies
    }
    assert names == {
        Kind.MODEL_DEPLOYMENT: ["churn"],
        Kind.DEPLOYMENT: ["churn"],
        Kind.REVISION: ["churn-a", "churn-b"],
    }
    assert set(snapshot) == set(WATCHED_KINDS)
    assert cache.model_deployments() == [CHURN]


def test_children_of_the_same_name_in_another_namespace_belong_to_another_key(cache: Cache) -> None:
    stranger = child(2)
    cache.put(Kind.DEPLOYMENT, {**stranger, "metadata": {**stranger["metadata"], "namespace": "shop"}})
    assert cache.snapshot(CHURN)[Kind.DEPLOYMENT] == ()
    assert len(cache.snapshot(("shop", "churn"))[Kind.DEPLOYMENT]) == 1


def test_an_object_without_our_labels_is_not_taken(cache: Cache) -> None:
    assert cache.put(Kind.DEPLOYMENT, child(1, owner=None)) == frozenset()
    assert cache.get(REF) is None


def test_an_object_that_only_says_whose_it_is_but_not_managed_by_us_is_not_taken() -> None:
    body = child(1)
    labels = {"model-operator.io/deployment": "churn"}
    assert owner_of(Kind.SERVICE, {**body, "metadata": {**body["metadata"], "labels": labels}}) is None


@pytest.mark.parametrize(
    ("version", "news"),
    [
        pytest.param(9, False, id="older than what is known"),
        pytest.param(10, False, id="exactly what is known"),
        pytest.param(11, True, id="newer than what is known"),
        pytest.param(100, True, id="newer as a number though not as text"),
    ],
)
def test_only_a_newer_version_is_news(cache: Cache, version: int, news: bool) -> None:
    cache.put(Kind.DEPLOYMENT, child(10))
    assert cache.put(Kind.DEPLOYMENT, child(version)) == (frozenset({CHURN}) if news else frozenset())
    assert known_version(cache) == str(version if news else 10)


def test_a_child_that_changes_its_owner_concerns_both(cache: Cache) -> None:
    cache.put(Kind.DEPLOYMENT, child(1))
    assert cache.put(Kind.DEPLOYMENT, child(2, owner="other")) == {CHURN, OTHER}
    assert cache.snapshot(CHURN)[Kind.DEPLOYMENT] == ()
    assert len(cache.snapshot(OTHER)[Kind.DEPLOYMENT]) == 1


def test_a_child_that_lost_our_labels_is_gone_and_its_owner_is_told(cache: Cache) -> None:
    cache.put(Kind.DEPLOYMENT, child(1))
    assert cache.put(Kind.DEPLOYMENT, child(2, owner=None)) == {CHURN}
    assert cache.get(REF) is None


def test_a_late_event_about_a_deleted_object_does_not_bring_it_back(cache: Cache) -> None:
    cache.put(Kind.DEPLOYMENT, child(1))
    assert cache.remove(Kind.DEPLOYMENT, child(5)) == {CHURN}
    assert cache.put(Kind.DEPLOYMENT, child(4)) == frozenset()
    assert cache.get(REF) is None


def test_an_object_that_left_the_watch_comes_back_when_its_label_is_set_again(cache: Cache) -> None:
    cache.put(Kind.DEPLOYMENT, child(1))
    cache.remove(Kind.DEPLOYMENT, child(5))
    assert cache.put(Kind.DEPLOYMENT, child(6)) == {CHURN}
    assert known_version(cache) == "6"


def test_the_deletion_of_an_old_object_does_not_remove_its_successor_of_the_same_name(cache: Cache) -> None:
    cache.put(Kind.DEPLOYMENT, child(1))
    cache.put(Kind.DEPLOYMENT, child(7, uid="u2"))
    assert cache.remove(Kind.DEPLOYMENT, child(5)) == frozenset()
    assert known_version(cache) == "7"


def test_an_object_that_the_api_server_denies_is_forgotten_for_good(cache: Cache) -> None:
    cache.put(Kind.DEPLOYMENT, child(1))
    assert cache.forget(REF, "u1") == {CHURN}
    assert cache.put(Kind.DEPLOYMENT, child(2)) == frozenset()
    assert cache.put(Kind.DEPLOYMENT, child(3, uid="u2")) == {CHURN}


def test_forgetting_one_uid_leaves_another_object_of_that_name_alone(cache: Cache) -> None:
    cache.put(Kind.DEPLOYMENT, child(3, uid="u2"))
    assert cache.forget(REF, "u1") == frozenset()
    assert known_version(cache) == "3"


def test_a_list_evicts_ghosts_of_its_kind_and_keeps_what_is_newer_than_it(cache: Cache) -> None:
    cache.put(Kind.DEPLOYMENT, child(3, name="ghost", uid="g"))
    cache.put(Kind.DEPLOYMENT, child(12, name="young", uid="y"))
    cache.put(Kind.SERVICE, child(4, name="churn", uid="s"))
    assert cache.replace(Kind.DEPLOYMENT, [entry(Kind.DEPLOYMENT, child(5))], "10") == {CHURN}
    names = [body["metadata"]["name"] for body in cache.snapshot(CHURN)[Kind.DEPLOYMENT]]
    assert names == ["churn", "young"]
    assert len(cache.snapshot(CHURN)[Kind.SERVICE]) == 1


def test_a_list_of_one_namespace_evicts_nothing_elsewhere(cache: Cache) -> None:
    cache.put(Kind.DEPLOYMENT, child(3))
    assert cache.replace(Kind.DEPLOYMENT, [], "10", namespace="shop") == frozenset()
    assert known_version(cache) == "3"


def test_a_list_that_brings_nothing_new_concerns_nobody(cache: Cache) -> None:
    cache.put(Kind.DEPLOYMENT, child(3))
    assert cache.replace(Kind.DEPLOYMENT, [entry(Kind.DEPLOYMENT, child(3))], "10") == frozenset()


def test_what_is_known_as_it_stands_is_not_packed_again(cache: Cache) -> None:
    cache.put(Kind.DEPLOYMENT, child(5))
    known = cache.kept(Kind.DEPLOYMENT, child(5))
    assert known is cache.kept(Kind.DEPLOYMENT, child(5))
    assert known == entry(Kind.DEPLOYMENT, child(5))
    later, successor = child(6), child(5, uid="u2")
    assert cache.kept(Kind.DEPLOYMENT, later) == entry(Kind.DEPLOYMENT, later)
    assert cache.kept(Kind.DEPLOYMENT, successor) == entry(Kind.DEPLOYMENT, successor)


def test_a_cluster_that_was_set_back_in_time_is_noticed(cache: Cache) -> None:
    cache.put(Kind.DEPLOYMENT, child(50))
    with pytest.raises(TimeWentBack, match="resourceVersion 20, yet 50"):
        cache.replace(
            Kind.DEPLOYMENT,
            [entry(Kind.DEPLOYMENT, child(10))],
            "20",
            at_least=cache.newest_version(Kind.DEPLOYMENT),
        )


def test_managed_fields_are_not_kept_and_the_given_object_is_not_changed(cache: Cache) -> None:
    body = child(1)
    body["metadata"]["managedFields"] = [{"manager": "x"}]
    cache.put(Kind.DEPLOYMENT, body)
    kept = cache.get(REF)
    assert kept is not None
    assert "managedFields" not in kept["metadata"]
    assert "managedFields" in body["metadata"]


def test_of_a_pod_only_what_is_read_is_kept(cache: Cache) -> None:
    body = child(
        1,
        spec={
            "nodeName": "n1",
            "volumes": [{"name": "model"}],
            "containers": [
                {
                    "name": "server",
                    "env": [{"name": "PASSWORD", "value": "hunter2"}],
                    "ports": [{"name": "http", "containerPort": 8080}],
                    "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "2"}},
                }
            ],
        },
        status={
            "phase": "Running",
            "podIP": "10.0.0.1",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "server", "restartCount": 2, "containerID": "c", "state": {}}],
        },
    )
    body["metadata"]["annotations"] = {"long": "x" * 1000, ANNOTATION_RUNTIME: "Custom"}
    cache.put(Kind.POD, body)
    kept = cache.snapshot(CHURN)[Kind.POD][0]
    assert set(kept["metadata"]) == {
        "name",
        "namespace",
        "uid",
        "labels",
        "annotations",
        "resourceVersion",
    }
    assert kept["metadata"]["annotations"] == {ANNOTATION_RUNTIME: "Custom"}
    assert kept["spec"] == {
        "nodeName": "n1",
        "containers": [
            {
                "name": "server",
                "ports": [{"name": "http", "containerPort": 8080}],
                "resources": {"requests": {"cpu": "1"}},
            }
        ],
        "initContainers": [],
    }
    assert kept["status"] == {
        "phase": "Running",
        "podIP": "10.0.0.1",
        "conditions": [{"type": "Ready", "status": "True"}],
        "containerStatuses": [{"name": "server", "restartCount": 2, "state": {}}],
        "initContainerStatuses": [],
    }


def endpoint(pod: str, ready: bool = True, **rest: Any) -> dict[str, Any]:
    target = {"kind": "Pod", "namespace": "crm", "name": pod, "uid": f"u-{pod}"}
    return {"addresses": [f"10.0.0.{pod}"], "conditions": {"ready": ready}, "targetRef": target, **rest}


def put_slice(cache: Cache, version: int, *endpoints: dict[str, Any]) -> frozenset[tuple[str, str]]:
    body = child(version, ports=[{"port": 8080}], endpoints=list(endpoints))
    return cache.put(Kind.ENDPOINT_SLICE, body)


def test_of_an_endpoint_slice_only_the_pods_and_their_readiness_are_kept(cache: Cache) -> None:
    put_slice(cache, 1, endpoint("2", nodeName="n", zone="z", hints={"forZones": []}))
    (kept,) = cache.snapshot(CHURN)[Kind.ENDPOINT_SLICE]
    target = {"kind": "Pod", "name": "2", "uid": "u-2"}
    wanted = {"addresses": ["10.0.0.2"], "conditions": {"ready": True}, "targetRef": target}
    assert set(kept) == {"apiVersion", "kind", "metadata", "endpoints"}
    assert kept["endpoints"] == [wanted]


def test_a_change_of_an_endpoint_slice_that_says_nothing_new_wakes_nobody_and_counts_as_seen(
    cache: Cache,
) -> None:
    put_slice(cache, 1, endpoint("1"), endpoint("2"))
    assert put_slice(cache, 2, endpoint("2", zone="z"), endpoint("1")) == frozenset()
    (kept,) = cache.snapshot(CHURN)[Kind.ENDPOINT_SLICE]
    assert kept["metadata"]["resourceVersion"] == "2"
    assert put_slice(cache, 3, endpoint("1"), endpoint("2", ready=False)) == {CHURN}
    assert put_slice(cache, 4) == {CHURN}


def test_the_metrics_of_an_autoscaler_wake_nobody_and_its_end_does(cache: Cache) -> None:
    def told(version: int, usage: int, **limited: str) -> frozenset[tuple[str, str]]:
        condition = {"type": "ScalingLimited", "message": f"at {usage}", "lastTransitionTime": "t", **limited}
        metrics = [{"type": "Resource", "resource": {"current": {"averageUtilization": usage}}}]
        status = {"currentReplicas": 3, "currentMetrics": metrics, "conditions": [condition]}
        return cache.put(Kind.AUTOSCALER, child(version, spec={"maxReplicas": 3}, status=status))

    assert told(1, 50, status="False") == {CHURN}
    assert told(2, 60, status="False") == frozenset()
    assert told(3, 90, status="True", reason="TooManyReplicas") == {CHURN}
    (kept,) = cache.snapshot(CHURN)[Kind.AUTOSCALER]
    assert kept["metadata"]["resourceVersion"] == "3"
    assert kept["status"] == {
        "currentReplicas": 3,
        "conditions": [{"type": "ScalingLimited", "status": "True", "reason": "TooManyReplicas"}],
    }


def test_the_status_of_a_disruption_budget_wakes_nobody(cache: Cache) -> None:
    cache.put(Kind.DISRUPTION_BUDGET, child(1, spec={"maxUnavailable": 1}, status={"currentHealthy": 1}))
    seen = cache.put(
        Kind.DISRUPTION_BUDGET, child(2, spec={"maxUnavailable": 1}, status={"currentHealthy": 2})
    )
    assert seen == frozenset()
    (kept,) = cache.snapshot(CHURN)[Kind.DISRUPTION_BUDGET]
    assert "status" not in kept


@given(events=st.permutations([("put", n) for n in range(1, 6)] + [("remove", 6)]))
def test_whatever_the_order_of_the_news_the_latest_wins(events: list[tuple[str, int]]) -> None:
    cache = Cache()
    for verb, version in events:
        getattr(cache, verb)(Kind.DEPLOYMENT, child(version))
    assert cache.get(REF) is None
    assert len(cache) == 0
    assert cache.snapshot(CHURN)[Kind.DEPLOYMENT] == ()


def test_of_a_config_map_only_the_metadata_is_kept() -> None:
    cache = Cache()
    scripts = {**child(1), "kind": "ConfigMap", "data": {"serve.py": "x" * 1000}, "immutable": True}
    cache.put(Kind.CONFIG_MAP, scripts)
    (kept,) = cache.snapshot(CHURN)[Kind.CONFIG_MAP]
    assert kept == {"apiVersion": "v1", "kind": "ConfigMap", "metadata": scripts["metadata"]}


def test_who_changes_what_the_cache_gave_out_changes_a_copy() -> None:
    cache = Cache()
    cache.put(Kind.DEPLOYMENT, child(1, spec={"replicas": 1}))
    found = cache.get(REF)
    assert found is not None
    found["spec"]["replicas"] = 2
    again = cache.get(REF)
    assert again is not None
    assert again["spec"] == {"replicas": 1}

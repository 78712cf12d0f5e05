"""Lives in which somebody else touches the children, or the API server refuses them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.stories.conftest import Told
from tests.stories.simulation import SimulatedCluster, serving

from model_operator.domain.objects import Kind
from model_operator.domain.world import RefusalKind

Json = dict[str, Any]

AUTOSCALING = {"minReplicas": 2, "maxReplicas": 6}


def autoscaled(spec: Json) -> None:
    spec.pop("replicas", None)
    spec["autoscaling"] = dict(AUTOSCALING)


def fixed(spec: Json) -> None:
    spec.pop("autoscaling", None)
    spec["replicas"] = 2


# --- replicas ----------------------------------------------------------------------------------------


def test_from_fixed_replicas_to_autoscaling_and_back(manifest: Json, told: Told) -> None:
    cluster = serving(manifest, "1")
    cluster.commit("autoscaling instead of replicas", autoscaled)
    cluster.pass_time(30)
    cluster.change(
        Kind.DEPLOYMENT, "the autoscaler wants 5 pods", lambda live: live["spec"].update(replicas=5)
    )
    cluster.pass_time(30)
    assert cluster.serving_versions() == {"1": 5}
    cluster.move_alias("champion", "2")
    cluster.pass_time(120)
    assert cluster.serving_versions() == {"2": 5}
    cluster.commit("replicas instead of autoscaling", fixed)
    cluster.pass_time(30)
    told(cluster)
    assert cluster.fewest_ready >= 2
    assert cluster.serving_versions() == {"2": 2}
    assert (Kind.AUTOSCALER, "churn") not in cluster.objects


def test_an_autoscaled_deployment_that_is_deleted_comes_back_at_its_size(manifest: Json, told: Told) -> None:
    autoscaled(manifest)
    cluster = serving(manifest, "1")
    cluster.change(
        Kind.DEPLOYMENT, "the autoscaler wants 5 pods", lambda live: live["spec"].update(replicas=5)
    )
    cluster.pass_time(30)
    cluster.remove(Kind.DEPLOYMENT)
    cluster.pass_time(60)
    told(cluster)
    assert cluster.serving_versions() == {"1": 5}


def test_from_nothing_to_autoscaling(manifest: Json, told: Told) -> None:
    cluster = serving(manifest | {"replicas": 0}, "1")
    cluster.commit("autoscaling instead of replicas", autoscaled)
    cluster.pass_time(30)
    told(cluster)
    assert cluster.serving_versions() == {"1": 2}


def test_somebody_scales_a_deployment_whose_size_is_in_the_manifest(manifest: Json, told: Told) -> None:
    cluster = serving(manifest, "1")
    cluster.change(
        Kind.DEPLOYMENT,
        "kubectl scale deployment churn --replicas=5",
        lambda live: live["spec"].update(replicas=5),
    )
    cluster.pass_time(30)
    told(cluster)
    assert cluster.serving_versions() == {"1": 2}


def test_somebody_scales_a_deployment_whose_size_nobody_fixed(told: Told) -> None:
    cluster = serving({"model": {"uri": "models:/churn@champion"}}, "1")
    cluster.change(
        Kind.DEPLOYMENT,
        "kubectl scale deployment churn --replicas=5",
        lambda live: live["spec"].update(replicas=5),
    )
    cluster.pass_time(30)
    cluster.move_alias("champion", "2")
    cluster.pass_time(120)
    told(cluster)
    assert cluster.serving_versions() == {"2": 5}


# --- drift -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    [
        Kind.DEPLOYMENT,
        Kind.SERVICE,
        Kind.DISRUPTION_BUDGET,
        Kind.AUTOSCALER,
        Kind.CONFIG_MAP,
        Kind.REVISION,
    ],
)
def test_a_deleted_child_comes_back(manifest: Json, told: Told, kind: Kind) -> None:
    autoscaled(manifest)
    cluster = serving(manifest, "1")
    names = {key for key in cluster.objects if key[0] is kind}
    cluster.remove(kind)
    cluster.pass_time(60)
    told(cluster)
    assert {key for key in cluster.objects if key[0] is kind} == names
    assert cluster.serving_versions() == {"1": 2}
    assert cluster.condition("Ready") == ("True", "Serving")


def breaks_the_image(live: Json) -> None:
    live["spec"]["template"]["spec"]["containers"][0]["image"] = "evil:1"


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        pytest.param(Kind.DEPLOYMENT, breaks_the_image, id="image_of_the_server"),
        pytest.param(
            Kind.DEPLOYMENT, lambda live: live["metadata"].update(labels={}), id="labels_of_the_deployment"
        ),
        pytest.param(
            Kind.SERVICE, lambda live: live["spec"].update(selector={}), id="selector_of_the_service"
        ),
        pytest.param(
            Kind.DISRUPTION_BUDGET, lambda live: live["spec"].update(maxUnavailable=0), id="disruption_budget"
        ),
        pytest.param(Kind.AUTOSCALER, lambda live: live["spec"].update(maxReplicas=100), id="autoscaler"),
    ],
)
def test_a_changed_field_comes_back(manifest: Json, told: Told, kind: Kind, how: Any) -> None:
    autoscaled(manifest)
    cluster = serving(manifest, "1")
    cluster.change(kind, f"somebody changes the {kind}", how)
    cluster.pass_time(60)
    told(cluster)
    assert cluster.serving_versions() == {"1": 2}
    assert cluster.condition("Ready") == ("True", "Serving")


# --- names and owners --------------------------------------------------------------------------------


def test_the_service_belongs_to_somebody_else(manifest: Json, told: Told) -> None:
    cluster = SimulatedCluster(manifest, {"champion": "1"})
    cluster.refused[Kind.SERVICE] = (RefusalKind.NAME_TAKEN, "it was there before")
    cluster.settle()
    cluster.pass_time(60)
    assert cluster.condition("Stalled") == ("True", "NameConflict")
    assert cluster.announced.count("NameConflict") == 1
    cluster.tell("the other Service is deleted")
    del cluster.refused[Kind.SERVICE]
    cluster.pass_time(60)
    told(cluster)
    assert cluster.condition("Ready") == ("True", "Serving")


def test_the_deployment_belongs_to_somebody_else(manifest: Json, told: Told) -> None:
    cluster = SimulatedCluster(manifest, {"champion": "1"})
    cluster.refused[Kind.DEPLOYMENT] = (RefusalKind.NAME_TAKEN, "it was there before")
    cluster.settle()
    cluster.pass_time(60)
    assert cluster.condition("Stalled") == ("True", "NameConflict")
    assert cluster.announced.count("NameConflict") == 1
    assert (Kind.SERVICE, "churn") not in cluster.objects, "it would send requests to the other's pods"
    cluster.tell("the other Deployment is deleted")
    del cluster.refused[Kind.DEPLOYMENT]
    cluster.pass_time(60)
    told(cluster)
    assert cluster.condition("Ready") == ("True", "Serving")


def test_the_name_of_the_scripts_is_taken(manifest: Json, told: Told) -> None:
    cluster = SimulatedCluster(manifest, {"champion": "1"})
    cluster.refused[Kind.CONFIG_MAP] = (RefusalKind.NAME_TAKEN, "it was there before")
    cluster.settle()
    cluster.pass_time(60)
    assert cluster.condition("Stalled") == ("True", "NameConflict")
    assert cluster.pods == []
    told(cluster)


def test_orphans_are_adopted_without_a_restart(manifest: Json, told: Told) -> None:
    cluster = serving(manifest, "1")
    pods = [pod.name for pod in cluster.pods]
    cluster.tell("kubectl delete mdep churn --cascade=orphan; kubectl apply")
    cluster.uid, cluster.status, cluster.generation = "uid-again", {}, 1
    for child in cluster.objects.values():
        del child["metadata"]["ownerReferences"]
    cluster.settle()
    cluster.pass_time(60)
    told(cluster)
    assert [pod.name for pod in cluster.pods] == pods
    assert cluster.status["serving"]["version"] == "1"
    for child in cluster.objects.values():
        assert child["metadata"]["ownerReferences"][0]["uid"] == "uid-again"


def test_children_of_an_earlier_life_go_first(manifest: Json, told: Told) -> None:
    cluster = serving(manifest, "1")
    cluster.tell("kubectl delete mdep churn; kubectl apply, with version 2 wanted")
    cluster.uid, cluster.status, cluster.generation = "uid-again", {}, 1
    cluster.move_alias("champion", "2")
    cluster.pass_time(10)
    assert cluster.condition("Ready") == ("False", "WaitingForDeletion")
    assert "serving" not in cluster.status
    cluster.tell("the garbage collector has come")
    cluster.objects.clear()
    cluster.pass_time(60)
    told(cluster)
    assert cluster.serving_versions() == {"2": 2}
    assert cluster.condition("Ready") == ("True", "Serving")


# --- refused fields ----------------------------------------------------------------------------------


def test_the_first_template_is_refused(manifest: Json, told: Told) -> None:
    manifest["pod"] = {"nodeSelector": {"a b": "c"}}
    cluster = SimulatedCluster(manifest, {"champion": "1"})
    cluster.refused[Kind.DEPLOYMENT] = (RefusalKind.INVALID, 'nodeSelector: Invalid value: "a b"')
    cluster.settle()
    cluster.pass_time(60)
    assert cluster.condition("Stalled") == ("True", "FirstVersionFailed")
    assert cluster.status["rejected"][0]["reason"] == "FieldRefused"
    assert cluster.announced.count("FieldRefused") == 1
    del cluster.refused[Kind.DEPLOYMENT]
    cluster.commit("pod.nodeSelector is mended", lambda spec: spec.update(pod={"nodeSelector": {"a": "c"}}))
    cluster.pass_time(60)
    told(cluster)
    assert cluster.condition("Ready") == ("True", "Serving")


def test_a_commits_template_is_refused(manifest: Json, told: Told) -> None:
    cluster = serving(manifest, "1")
    cluster.refused[Kind.DEPLOYMENT] = (RefusalKind.INVALID, 'nodeSelector: Invalid value: "a b"')
    cluster.commit("pod.nodeSelector: a b", lambda spec: spec.update(pod={"nodeSelector": {"a b": "c"}}))
    cluster.pass_time(60)
    assert cluster.condition("Stalled") == ("True", "VersionRejected")
    assert "nodeSelector" in cluster.status["conditions"][0]["message"]
    del cluster.refused[Kind.DEPLOYMENT]
    cluster.commit("pod.nodeSelector is mended", lambda spec: spec.update(pod={"nodeSelector": {"a": "c"}}))
    cluster.pass_time(60)
    told(cluster)
    assert cluster.fewest_ready >= 2
    assert cluster.condition("Ready") == ("True", "Serving")


def test_what_serves_is_refused_because_of_the_rollout_section(manifest: Json, told: Told) -> None:
    cluster = serving(manifest, "1")
    cluster.refused[Kind.DEPLOYMENT] = (RefusalKind.INVALID, "maxSurge: Invalid value")
    cluster.commit("rollout.maxSurge: 999%", lambda spec: spec.update(rollout={"maxSurge": "999%"}))
    cluster.pass_time(60)
    assert cluster.condition("Stalled") == ("True", "FieldRefused")
    assert cluster.announced.count("FieldRefused") == 1
    assert cluster.serving_versions() == {"1": 2}
    del cluster.refused[Kind.DEPLOYMENT]
    cluster.commit("rollout.maxSurge: 1", lambda spec: spec.update(rollout={"maxSurge": 1}))
    cluster.pass_time(60)
    told(cluster)
    assert cluster.condition("Ready") == ("True", "Serving")


def test_an_autoscaler_is_refused(manifest: Json, told: Told) -> None:
    cluster = serving(manifest, "1")
    cluster.refused[Kind.AUTOSCALER] = (RefusalKind.INVALID, "metrics: Unsupported value")
    cluster.commit("autoscaling with a metric that does not exist", autoscaled)
    cluster.pass_time(60)
    assert cluster.condition("Stalled") == ("True", "FieldRefused")
    assert cluster.announced.count("FieldRefused") == 1
    cluster.move_alias("champion", "2")
    cluster.pass_time(60)
    assert cluster.serving_versions() == {"2": 2}, "a bad autoscaler does not hold up the alias"
    del cluster.refused[Kind.AUTOSCALER]
    cluster.commit("autoscaling by CPU", autoscaled)
    cluster.pass_time(30)
    told(cluster)
    assert cluster.condition("Ready") == ("True", "Serving")

"""Lives in which somebody else touches the children, or the API server refuses them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.stories.story import Given, Story, Then, When, both_strategies

from model_operator.domain.objects import Kind

Json = dict[str, Any]

AUTOSCALING = {"minReplicas": 2, "maxReplicas": 6}


AUTOSCALED = {"replicas": None, "autoscaling": AUTOSCALING}
FIXED = {"autoscaling": None, "replicas": 2}


# --- replicas ----------------------------------------------------------------------------------------


def test_from_fixed_replicas_to_autoscaling_and_back(given: Given, when: When, then: Then) -> None:
    given.version_serves("1")
    when.commit_changes("autoscaling instead of replicas", **AUTOSCALED, wait=30)
    when.deployment_is_scaled(5, "the autoscaler wants 5 pods", wait=30)
    then.version_serves("1", pods=5)
    when.alias_moves_to("2", wait=120)
    then.version_serves("2", pods=5)
    when.commit_changes("replicas instead of autoscaling", **FIXED, wait=30)
    then.transcript_matches()
    then.no_request_is_lost()
    then.version_serves("2")
    then.there_is_no(Kind.AUTOSCALER)


def test_an_autoscaled_deployment_that_is_deleted_comes_back_at_its_size(
    given: Given, when: When, then: Then
) -> None:
    given.autoscaling(**AUTOSCALING)
    given.version_serves("1")
    when.deployment_is_scaled(5, "the autoscaler wants 5 pods", wait=30)
    when.child_is_deleted(Kind.DEPLOYMENT, wait=60)
    then.transcript_matches()
    then.version_serves("1", pods=5)


def test_from_nothing_to_autoscaling(given: Given, when: When, then: Then) -> None:
    given.spec(replicas=0)
    given.version_serves("1")
    when.commit_changes("autoscaling instead of replicas", **AUTOSCALED, wait=30)
    then.transcript_matches()
    then.version_serves("1")


def test_somebody_scales_a_deployment_whose_size_is_in_the_manifest(
    given: Given, when: When, then: Then
) -> None:
    given.version_serves("1")
    when.deployment_is_scaled(5, "kubectl scale deployment churn --replicas=5", wait=30)
    then.transcript_matches()
    then.version_serves("1")


def test_somebody_scales_a_deployment_whose_size_nobody_fixed(given: Given, when: When, then: Then) -> None:
    given.spec(model={"uri": "models:/churn@champion"})
    given.no_replicas()
    given.version_serves("1")
    when.deployment_is_scaled(5, "kubectl scale deployment churn --replicas=5", wait=30)
    when.alias_moves_to("2", wait=120)
    then.transcript_matches()
    then.version_serves("2", pods=5)


# --- drift -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    [Kind.DEPLOYMENT, Kind.SERVICE, Kind.DISRUPTION_BUDGET, Kind.AUTOSCALER, Kind.CONFIG_MAP, Kind.REVISION],
)
def test_a_deleted_child_comes_back(story: Story, given: Given, when: When, then: Then, kind: Kind) -> None:
    given.autoscaling(**AUTOSCALING)
    given.version_serves("1")
    names = story.names(kind)
    when.child_is_deleted(kind, wait=60)
    then.transcript_matches()
    assert story.names(kind) == names
    then.version_serves("1")
    then.condition_is("Ready", "True", "Serving")


def breaks_the_image(live: Json) -> None:
    live["spec"]["template"]["spec"]["containers"][0]["image"] = "evil:1"


@pytest.mark.parametrize(
    ("kind", "change"),
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
def test_a_changed_field_comes_back(given: Given, when: When, then: Then, kind: Kind, change: Any) -> None:
    given.autoscaling(**AUTOSCALING)
    given.version_serves("1")
    when.child_is_changed(kind, f"somebody changes the {kind}", change, wait=60)
    then.transcript_matches()
    then.version_serves("1")
    then.condition_is("Ready", "True", "Serving")


# --- names and owners --------------------------------------------------------------------------------


def test_the_service_belongs_to_somebody_else(given: Given, when: When, then: Then) -> None:
    given.name_is_taken(Kind.SERVICE)
    when.first_version_is_deployed("1", wait=60)
    then.condition_is("Stalled", "True", "NameConflict")
    then.operator_emitted("NameConflict", times=1)
    when.narrated("the other Service is deleted")
    given.api_server_accepts(Kind.SERVICE)
    when.time_passes(60)
    then.transcript_matches()
    then.condition_is("Ready", "True", "Serving")


def test_the_deployment_belongs_to_somebody_else(given: Given, when: When, then: Then) -> None:
    given.name_is_taken(Kind.DEPLOYMENT)
    when.first_version_is_deployed("1", wait=60)
    then.condition_is("Stalled", "True", "NameConflict")
    then.operator_emitted("NameConflict", times=1)
    then.there_is_no(Kind.SERVICE, why="it would send requests to the other's pods")
    when.narrated("the other Deployment is deleted")
    given.api_server_accepts(Kind.DEPLOYMENT)
    when.time_passes(60)
    then.transcript_matches()
    then.condition_is("Ready", "True", "Serving")


def test_the_name_of_the_scripts_is_taken(given: Given, when: When, then: Then) -> None:
    given.name_is_taken(Kind.CONFIG_MAP)
    when.first_version_is_deployed("1", wait=60)
    then.condition_is("Stalled", "True", "NameConflict")
    then.pods_are(set())
    then.transcript_matches()


def test_orphans_are_adopted_without_a_restart(story: Story, given: Given, when: When, then: Then) -> None:
    given.version_serves("1")
    pods = story.pods()
    when.replaced_without_its_children(wait=60)
    then.transcript_matches()
    then.pods_are(pods)
    then.serving_has(version="1")
    then.children_are_owned_by("uid-again")


def test_children_of_an_earlier_life_go_first(story: Story, given: Given, when: When, then: Then) -> None:
    given.version_serves("1")
    when.deleted_and_made_again("kubectl delete mdep churn; kubectl apply, with version 2 wanted")
    when.alias_moves_to("2", wait=10)
    then.condition_is("Ready", "False", "WaitingForDeletion")
    assert "serving" not in story.status
    when.garbage_is_collected(wait=60)
    then.transcript_matches()
    then.version_serves("2")
    then.condition_is("Ready", "True", "Serving")


# --- refused fields ----------------------------------------------------------------------------------


def test_the_first_template_is_refused(given: Given, when: When, then: Then) -> None:
    given.spec(pod={"nodeSelector": {"a b": "c"}})
    given.api_server_refuses(Kind.DEPLOYMENT, 'nodeSelector: Invalid value: "a b"')
    when.first_version_is_deployed("1", wait=60)
    then.condition_is("Stalled", "True", "FirstVersionFailed")
    then.rejection_has(reason="FieldRefused")
    then.operator_emitted("FieldRefused", times=1)
    given.api_server_accepts(Kind.DEPLOYMENT)
    when.commit_changes("pod.nodeSelector is mended", pod={"nodeSelector": {"a b": None, "a": "c"}}, wait=60)
    then.transcript_matches()
    then.condition_is("Ready", "True", "Serving")


def test_a_commits_template_is_refused(story: Story, given: Given, when: When, then: Then) -> None:
    given.version_serves("1")
    given.api_server_refuses(Kind.DEPLOYMENT, 'nodeSelector: Invalid value: "a b"')
    when.commit_changes("pod.nodeSelector: a b", pod={"nodeSelector": {"a b": "c"}}, wait=60)
    then.condition_is("Stalled", "True", "VersionRejected")
    assert "nodeSelector" in story.status["conditions"][0]["message"]
    given.api_server_accepts(Kind.DEPLOYMENT)
    when.commit_changes("pod.nodeSelector is mended", pod={"nodeSelector": {"a b": None, "a": "c"}}, wait=60)
    then.transcript_matches()
    then.no_request_is_lost()
    then.condition_is("Ready", "True", "Serving")


def test_what_serves_is_refused_because_of_the_rollout_section(given: Given, when: When, then: Then) -> None:
    given.version_serves("1")
    given.api_server_refuses(Kind.DEPLOYMENT, "maxSurge: Invalid value")
    when.commit_changes("rollout.maxSurge: 999%", rollout={"maxSurge": "999%"}, wait=60)
    then.condition_is("Stalled", "True", "FieldRefused")
    then.operator_emitted("FieldRefused", times=1)
    then.version_serves("1")
    given.api_server_accepts(Kind.DEPLOYMENT)
    when.commit_changes("rollout.maxSurge: 1", rollout={"maxSurge": 1}, wait=60)
    then.transcript_matches()
    then.condition_is("Ready", "True", "Serving")


def test_an_autoscaler_is_refused(given: Given, when: When, then: Then) -> None:
    given.version_serves("1")
    given.api_server_refuses(Kind.AUTOSCALER, "metrics: Unsupported value")
    when.commit_changes("autoscaling with a metric that does not exist", **AUTOSCALED, wait=60)
    then.condition_is("Stalled", "True", "FieldRefused")
    then.operator_emitted("FieldRefused", times=1)
    when.alias_moves_to("2", wait=60)
    then.version_serves("2", why="a bad autoscaler does not hold up the alias")
    given.api_server_accepts(Kind.AUTOSCALER)
    when.commit_changes("autoscaling by CPU", **AUTOSCALED, wait=30)
    then.transcript_matches()
    then.condition_is("Ready", "True", "Serving")


# --- admission ---------------------------------------------------------------------------------------


def mirrors_images(kind: Kind, body: Json) -> None:
    """Policies of a platform: images of a mirror, raised requests, bounds of autoscalers, types of Services."""
    if kind is Kind.DEPLOYMENT:
        server = body["spec"]["template"]["spec"]["containers"][0]
        server["image"] = "mirror.example/" + server["image"].removeprefix("mirror.example/")
        server["resources"] = {**server.get("resources", {}), "requests": {"cpu": "250m", "memory": "512Mi"}}
    elif kind is Kind.AUTOSCALER:
        body["spec"]["maxReplicas"] = 4
    elif kind is Kind.SERVICE:
        body["spec"]["type"] = "NodePort"


@both_strategies
def test_what_admission_changes_is_no_drift(given: Given, when: When, then: Then, strategy: str) -> None:
    given.autoscaling(**AUTOSCALING)
    given.admission(mirrors_images)
    when.first_version_is_deployed("1", wait=120)
    when.watch_window_passes()
    then.condition_is("Current", "True", "Serving")
    then.condition_is_absent("Reconciling")
    then.no_child_is_written_for(600)
    when.alias_moves_to("2", wait=120)
    when.operator_restarts(wait=60)
    then.transcript_matches()
    then.version_serves("2")
    then.operator_emitted("DriftRepaired", times=0)
    then.condition_is_absent("Reconciling")


def test_a_change_beside_that_of_admission_is_drift_and_told_once(
    given: Given, when: When, then: Then
) -> None:
    given.admission(mirrors_images)
    given.version_serves("1")
    when.child_is_changed(
        Kind.DEPLOYMENT, "somebody sets minReadySeconds", lambda live: live["spec"].update(minReadySeconds=77)
    )
    when.time_passes(60)
    then.transcript_matches()
    then.operator_emitted("DriftRepaired", times=1)
    then.no_child_is_written_for(600)
    then.version_serves("1")


def test_a_policy_that_goes_leaves_the_pods_until_the_next_version(
    story: Story, given: Given, when: When, then: Then
) -> None:
    given.admission(mirrors_images)
    given.version_serves("1")
    pods = story.pods()
    given.admission(lambda kind, body: None)
    when.narrated("the policy is deleted")
    when.operator_restarts(wait=60)
    then.pods_are(pods)
    when.alias_moves_to("2", wait=120)
    then.transcript_matches()
    then.version_serves("2")


def test_a_policy_that_comes_later_restarts_no_pod(
    story: Story, given: Given, when: When, then: Then
) -> None:
    given.version_serves("1")
    pods = story.pods()
    given.admission(mirrors_images)
    when.narrated("a policy for images is created")
    when.operator_restarts(wait=60)
    then.pods_are(pods)
    when.alias_moves_to("2", wait=120)
    then.transcript_matches()
    then.version_serves("2")
    then.condition_is_absent("Reconciling")
    then.operator_emitted("DriftRepaired", times=0)

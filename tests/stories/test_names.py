"""Lives beside another ModelDeployment that has, or needs, a name that this one derives for a child."""

from __future__ import annotations

from tests.stories.story import Given, Story, Then, When

from model_operator.domain.objects import Kind
from model_operator.planner.manifests import spare_name

GREEN, PREVIEW = "churn-green", "churn-candidate"
OTHER_GREEN, OTHER_PREVIEW = (spare_name("churn", name) for name in (GREEN, PREVIEW))
OTHER_FIRST = spare_name("churn", "churn")
AUTOSCALING = {"minReplicas": 2, "maxReplicas": 6}


def test_the_second_track_gets_round_a_model_deployment_of_its_name(
    given: Given, when: When, then: Then
) -> None:
    given.blue_green()
    given.autoscaling(**AUTOSCALING)
    given.another_has((Kind.DEPLOYMENT, GREEN))
    given.version_serves("1")
    when.alias_moves_to("2", wait=120)
    then.version_serves("2")
    then.serving_has(track=GREEN)
    then.autoscaler_scales(OTHER_GREEN)
    when.operator_restarts()
    when.watch_window_passes()
    when.alias_moves_to("3", wait=120)
    then.version_serves("3")
    then.autoscaler_scales("churn")
    then.transcript_matches()
    then.no_request_is_lost()
    then.operator_emitted("NameConflict", times=0)


def test_a_clash_of_an_earlier_operator_is_got_round(given: Given, when: When, then: Then) -> None:
    given.blue_green()
    given.version_serves("1")
    given.name_is_taken(Kind.DEPLOYMENT)
    when.alias_moves_to("2", wait=60)
    then.condition_is("Ready", "False", "NameConflict")
    given.api_server_accepts(Kind.DEPLOYMENT)
    given.another_has((Kind.DEPLOYMENT, GREEN))
    when.operator_restarts(build="2", wait=120)
    then.transcript_matches()
    then.version_serves("2")
    then.condition_is("Ready", "True", "Serving")


def test_the_first_track_gets_round_another_ones_second_track(given: Given, when: When, then: Then) -> None:
    given.another_has((Kind.DEPLOYMENT, "churn"))
    given.autoscaling(**AUTOSCALING)
    when.first_version_is_deployed("1", wait=120)
    then.version_serves("1")
    then.autoscaler_scales(OTHER_FIRST)
    when.deployment_is_deleted(OTHER_FIRST, wait=120)
    then.version_serves("1")
    given.another_has()
    when.narrated("the other ModelDeployment is gone")
    when.alias_moves_to("2", wait=120)
    then.transcript_matches()
    then.version_serves("2", why="a Deployment keeps its name")
    then.tracks_are({OTHER_FIRST: 2})
    then.condition_is("Ready", "True", "Serving")


def test_tracks_that_exist_keep_their_names(story: Story, given: Given, when: When, then: Then) -> None:
    given.blue_green()
    given.version_serves("1")
    when.alias_moves_to("2", wait=120)
    pods = story.pods()
    given.another_has((Kind.DEPLOYMENT, GREEN), (Kind.DEPLOYMENT, "churn"))
    when.narrated("a ModelDeployment churn-green is created")
    when.time_passes(60)
    then.pods_are(pods)
    then.tracks_are({"churn": 2, GREEN: 2})
    then.version_serves("2")


def test_the_preview_makes_room_for_a_service(given: Given, when: When, then: Then) -> None:
    given.blue_green()
    given.spec(gates={"approval": {"mode": "Manual", "at": "BeforeTraffic", "approved": "1"}})
    given.version_serves("1")
    when.alias_moves_to("2", wait=120)
    then.preview_shows("2")
    given.another_has((Kind.SERVICE, PREVIEW))
    when.narrated("a ModelDeployment churn-candidate is created")
    when.time_passes(30)
    then.there_is_no(Kind.SERVICE, PREVIEW)
    then.preview_shows("2")
    when.commit_changes('gates.approval.approved: "2"', gates={"approval": {"approved": "2"}}, wait=60)
    then.transcript_matches()
    then.version_serves("2")
    then.there_is_no_preview()
    then.there_is_no(Kind.SERVICE, OTHER_PREVIEW)


def test_a_refused_template_on_a_track_of_another_name_is_the_candidates(
    given: Given, when: When, then: Then
) -> None:
    given.blue_green()
    given.another_has((Kind.DEPLOYMENT, GREEN))
    given.version_serves("1")
    given.api_server_refuses(Kind.DEPLOYMENT, 'nodeSelector: Invalid value: "a b"')
    when.commit_changes("pod.nodeSelector: a b", pod={"nodeSelector": {"a b": "c"}}, wait=60)
    then.condition_is("Stalled", "True", "VersionRejected")
    then.rejection_has(reason="FieldRefused")
    then.version_serves("1")

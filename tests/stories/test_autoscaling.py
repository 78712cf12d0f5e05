"""Lives with an autoscaler that can't work."""

from __future__ import annotations

from typing import Any

from tests.stories.story import Given, Story, Then, When

from model_operator.domain.objects import Kind, rfc3339

Json = dict[str, Any]
NO_REQUEST = (
    "the HPA was unable to compute the replica count: failed to get cpu utilization: "
    "missing request for cpu in container server of Pod churn-"
)


def scaling_active(story: Story, status: str, reason: str, message: str = "") -> Json:
    """The condition as the controller of Kubernetes writes it now."""
    now = rfc3339(story.cluster.now)
    return {
        "type": "ScalingActive",
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": now,
    }


def test_an_autoscaler_that_can_not_work_is_reported_once(
    story: Story, given: Given, when: When, then: Then
) -> None:
    given.autoscaling(minReplicas=2, maxReplicas=5)
    given.version_serves("1")
    condition = scaling_active(story, "False", "FailedGetResourceMetric", NO_REQUEST + "0")
    status = {"currentReplicas": 2, "conditions": [condition]}

    def fails(pod: int) -> None:
        condition["message"] = NO_REQUEST + str(pod)
        story.cluster.live(Kind.AUTOSCALER)["status"] = status

    fails(0)
    when.time_passes(290)
    then.condition_is("Ready", "True", "Serving")
    when.time_passes(20)
    then.condition_is("Ready", "True", "ScalingInactive")
    writes = story.cluster.status_writes
    for pod in range(30):
        fails(pod)
        when.time_passes(15)
    then.operator_emitted("ScalingInactive", times=1)
    assert story.cluster.status_writes == writes, "the name of a pod in the message changes nothing"
    when.narrated("a commit sets server.resources.requests.cpu")
    condition |= scaling_active(story, "True", "ValidMetricFound")
    when.time_passes(15)
    then.condition_is("Ready", "True", "Serving")
    then.transcript_matches()

"""Lives of versions whose pods the kubelet, the runtime or a webhook holds up: on which side is that?"""

from __future__ import annotations

import pytest
from tests.stories.behaviours import (
    CAN_NOT_BE_EXECUTED,
    FINDS_A_BROKEN_DEVICE,
    IS_HELD_BY_A_GATE,
    IS_HELD_BY_A_SIDECAR,
    IS_HELD_BY_AN_INIT_CONTAINER,
    LACKS_THE_SECRET_OF_A_VOLUME,
    waits_for,
)
from tests.stories.pods import Behaviour
from tests.stories.story import Given, Story, Then, When

DENIED = waits_for(
    "ErrImagePull",
    "pull access denied, repository does not exist or may require authorization: insufficient_scope",
)
UNSIGNED = waits_for(
    "SignatureValidationFailed", "image pull failed for server:2 because the signature validation failed"
)
RESERVED = waits_for(
    "CreateContainerError",
    'failed to reserve container name "server_churn": name "server_churn" is reserved for "5f3a"',
)
SLOW_RUNTIME = waits_for("CreateContainerError", "context deadline exceeded")


@pytest.mark.parametrize(
    ("life", "reason", "within"),
    [
        pytest.param(UNSIGNED, "ImageUntrusted", 11, id="its_image_is_not_signed"),
        pytest.param(CAN_NOT_BE_EXECUTED, "ImageNotForNode", 12, id="its_image_is_for_another_processor"),
        pytest.param(DENIED, "ImagePullDenied", 71, id="its_image_may_not_be_pulled"),
        pytest.param(
            LACKS_THE_SECRET_OF_A_VOLUME, "VolumesNotMounted", 305, id="a_secret_of_a_volume_is_missing"
        ),
    ],
)
def test_the_configuration_is_named_because(
    given: Given, when: When, then: Then, story: Story, life: Behaviour, reason: str, within: int
) -> None:
    given.version("2", life)
    given.version_serves("1")
    when.alias_moves_to("2", wait=within)
    then.transcript_matches(rests="retryAt" not in story.status["rejected"][0])
    then.no_request_is_lost()
    then.version_serves("1")
    then.rejection_has(version="2", reason=reason, side="Configuration")


@pytest.mark.parametrize(
    ("life", "reason", "phase"),
    [
        pytest.param(RESERVED, "NodeRuntimeError", "Starting", id="its_container_name_is_reserved"),
        pytest.param(SLOW_RUNTIME, "NodeRuntimeError", "Starting", id="the_runtime_is_slow"),
        pytest.param(FINDS_A_BROKEN_DEVICE, "DeviceFailed", "Starting", id="a_driver_does_not_match"),
        pytest.param(IS_HELD_BY_A_SIDECAR, "SidecarNotReady", "Starting", id="a_sidecar_is_not_ready"),
        pytest.param(
            IS_HELD_BY_A_GATE, "ReadinessGateNotReady", "Starting", id="a_readiness_gate_is_not_set"
        ),
        pytest.param(
            IS_HELD_BY_AN_INIT_CONTAINER,
            "InitContainerFailed",
            "Fetching",
            id="another_init_container_crashes",
        ),
    ],
)
def test_nothing_is_rejected_because(
    given: Given, when: When, then: Then, life: Behaviour, reason: str, phase: str
) -> None:
    given.rollout(fetchSeconds=120, startupSeconds=120)
    given.version("2", life)
    given.version_serves("1")
    when.alias_moves_to("2", wait=60)
    then.candidate_has(phase=phase)
    when.time_passes(80)
    then.candidate_has(phase="Withdrawn", reason=reason)
    then.rejections_are()
    when.version_recovers("2", "somebody repairs it", wait=120)
    then.transcript_matches()
    then.no_request_is_lost()
    then.version_serves("2")

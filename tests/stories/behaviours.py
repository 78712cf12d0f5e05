"""How versions fail in the stories."""

from __future__ import annotations

import json

from tests.stories.pods import OUT_OF_MEMORY, Behaviour


def last_words(reason: str, message: str = "") -> str:
    """What a script of ours writes to the termination message."""
    said = {"reason": reason, "message": message} if message else {"reason": reason}
    return json.dumps(said, separators=(",", ":"))


FAILS_TO_LOAD = Behaviour(exit_code=50, last_words=last_words("LoadFailed", "KeyError: weights"))
FAILS_ITS_SELF_TEST = Behaviour(exit_code=52, last_words=last_words("SelfTestFailed", "the example gave NaN"))
CRASHES = Behaviour(exit_code=1, exits=5, ready=None, last_words="Segmentation fault")
HANGS_AT_START = Behaviour(ready=None)
HAS_NO_ARTIFACT = Behaviour(
    fetched=None, exit_code=41, last_words=last_words("ArtifactMissing", "no MLmodel")
)
IS_TAMPERED_WITH = Behaviour(fetched=None, exit_code=40, last_words=last_words("DigestMismatch", "sha256:0"))
FINDS_NO_STORE = Behaviour(
    fetched=None, exit_code=42, last_words=last_words("StoreUnreachable", "no answer from s3")
)
FINDS_NO_ROOM = Behaviour(scheduled=None)
ANSWERS_WITH_ERRORS = Behaviour(error_ratio=0.3)
BREAKS_STREAMS = Behaviour(broken_stream_ratio=0.3)
IS_OVERRUN = Behaviour(turned_away_ratio=0.7, saturated=True)


CAN_NOT_BE_EXECUTED = Behaviour(
    exit_code=255, ready=None, last_words="exec /usr/local/bin/python: exec format error"
)
FINDS_A_BROKEN_DEVICE = Behaviour(
    exit_code=128,
    end_reason="StartError",
    ready=None,
    last_words="OCI runtime create failed: nvidia-container-cli: initialization error: nvml error: driver/library "
    "version mismatch",
)
IS_HELD_BY_A_SIDECAR = Behaviour(ready=None, held_by="sidecar")
IS_HELD_BY_A_GATE = Behaviour(ready=None, held_by="gate")
IS_HELD_BY_AN_INIT_CONTAINER = Behaviour(fetched=None, held_by="init")
LACKS_THE_SECRET_OF_A_VOLUME = Behaviour(fetched=None, held_by="volume")


def waits_for(reason: str, message: str) -> Behaviour:
    """Pods whose server container can't start, with the kubelet's reason and message."""
    return Behaviour(ready=None, waits=reason, last_words=message)


def image_is_missing(image: str) -> Behaviour:
    """Pods with a server image that the registry of images does not have."""
    return Behaviour(ready=None, waits="ErrImagePull", last_words=f"{image}: not found")


def runs_out_of_memory(after: float, lives_again: float = 5) -> Behaviour:
    """Pods that are killed for their memory so many seconds after their creation, and then again and again."""
    return Behaviour(dies_after=after, dies_with=OUT_OF_MEMORY, lives_again=lives_again)


def stops_answering(after: float) -> Behaviour:
    """Pods whose readiness probe begins to fail so many seconds after their creation."""
    return Behaviour(sick_after=after)

"""A target, the revision that is rendered from it, and the verdict on that revision. Plain frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from model_operator.domain.objects import Object


class Side(StrEnum):
    """The side that can fix a failure. It decides between a rejection, a revert and a retry."""

    MODEL = "Model"
    CONFIGURATION = "Configuration"
    ENVIRONMENT = "Environment"


@dataclass(frozen=True, slots=True)
class Target:
    """The input of a revision: an exact version of a registry, and the spec's pod settings as they were written."""

    registry_url: str
    model: str
    version: str
    run_id: str
    source: str
    digest: str
    pod_spec: Mapping[str, Any]
    restart: str = ""
    """The value of the request for which the same target was rendered again, such as the annotation restart."""


class VerdictState(StrEnum):
    """The state in a verdict."""

    LIVE = "Live"
    REJECTED = "Rejected"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The record on a revision: that it went live, or why it was rejected."""

    state: VerdictState
    at: datetime
    side: Side | None = None
    reason: str = ""
    message: str = ""
    attempts: int = 1
    settled: bool = False
    """For ``Live``: it passed its watch window, so a later failure reverts to it."""
    served: bool = False
    """For ``Rejected``: it failed on live requests, so each retry costs live requests."""


@dataclass(frozen=True, slots=True)
class Revision:
    """A target that was rendered once. It is stored in a ControllerRevision and never rendered again."""

    name: str
    """Such as ``v7-5d9f8a2b1c``."""
    number: int
    """It increases with each new revision of one ModelDeployment."""
    target: Target
    images: Mapping[str, str]
    """The resolved images, by container: ``server`` and ``fetch``."""
    template: Object
    """The pod template, exactly as it was applied."""
    config_map: str
    """The name of the ConfigMap with the scripts that the template mounts."""
    verdict: Verdict | None = None
    uid: str = ""
    """The uid of its ControllerRevision. Empty if it isn't stored yet."""
    resource_version: str = ""
    """The resourceVersion of its ControllerRevision as it was read."""

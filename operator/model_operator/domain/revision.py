"""A target, the revision that it becomes, and the verdict on that. Plain frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from model_operator.domain.objects import Object


class Side(StrEnum):
    """Whose fault a failure is; decides between quarantine, revert and retry."""

    MODEL = "Model"
    CONFIGURATION = "Configuration"
    ENVIRONMENT = "Environment"


@dataclass(frozen=True, slots=True)
class Target:
    """What should run: an exact version of a registry and the pod-shaping part of the spec as written."""

    registry_url: str
    model: str
    version: str
    run_id: str
    source: str
    digest: str
    pod_spec: Mapping[str, Any]
    restart: str = ""
    """The value of a person's request for a restart, by which the same target was rendered anew."""


class VerdictState(StrEnum):
    """How a revision ended up."""

    LIVE = "Live"
    REJECTED = "Rejected"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is remembered of a revision: that it served, or why it was refused."""

    state: VerdictState
    at: datetime
    side: Side | None = None
    reason: str = ""
    message: str = ""
    attempts: int = 1
    settled: bool = False
    """For ``Live``: it outlived its watch window, so it is what a later failure goes back to."""
    served: bool = False
    """For ``Rejected``: it failed on live requests, so no further try is free."""


@dataclass(frozen=True, slots=True)
class Revision:
    """A target that was rendered once; kept in a ControllerRevision and never rendered again."""

    name: str
    """Such as ``v7-5d9f8a2b1c``."""
    number: int
    """Counts up with each new revision of one ModelDeployment."""
    target: Target
    images: Mapping[str, str]
    """The resolved images, by container: ``server`` and ``fetch``."""
    template: Object
    """The pod template, exactly as it was applied."""
    config_map: str
    """The name of the ConfigMap that holds the scripts which the template mounts."""
    verdict: Verdict | None = None
    uid: str = ""
    """Of the object that keeps it."""
    resource_version: str = ""
    """As which that object was seen."""

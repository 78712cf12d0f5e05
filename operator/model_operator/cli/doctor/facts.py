"""What the doctor found out about a cluster, as far as the user may see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from model_operator.api import names
from model_operator.domain.objects import Object
from model_operator.settings import Settings

Right = tuple[str, str, str]
"""API group (empty for the core), resource (with its subresource), verb."""

YOURS: Mapping[Right, str] = {
    (names.GROUP, names.PLURAL, "list"): "get",
    (names.GROUP, names.PLURAL, "get"): "status, history, plan",
    (names.GROUP, names.PLURAL, "patch"): "retry, restart, revert, release, approve, suspend, resume",
    ("", "pods", "list"): "status (its pods)",
    ("apps", "controllerrevisions", "list"): "revert (what there is to go back to)",
}
"""What the commands need of the user."""


def _rights(group: str, resources: str, verbs: str) -> list[Right]:
    return [(group, resource, verb) for resource in resources.split() for verb in verbs.split()]


OPERATORS: Sequence[Right] = (
    *_rights(names.GROUP, names.PLURAL, "get list watch"),
    *_rights(names.GROUP, f"{names.PLURAL}/status", "patch"),
    *_rights("apps", "deployments", "get list watch create patch delete"),
    *_rights("apps", "deployments/scale", "patch"),
    *_rights("apps", "controllerrevisions", "get list watch create patch delete"),
    *_rights("", "services configmaps", "get list watch create patch delete"),
    *_rights("autoscaling", "horizontalpodautoscalers", "get list watch create patch delete"),
    *_rights("policy", "poddisruptionbudgets", "get list watch create patch delete"),
    *_rights("", "pods", "list watch"),
    *_rights("discovery.k8s.io", "endpointslices", "list watch"),
    *_rights("", "events", "create patch"),
)
"""What the operator needs in every namespace that it serves; a test compares it with the chart."""


class Answer(StrEnum):
    """What came of asking a registry from here."""

    ANSWERED = "answered"
    HOST_REFUSED = "host refused"
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class Probe:
    """The registry was called by the name ``host``, from here."""

    registry: str
    host: str
    answer: Answer
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Backend:
    """The Service that a registry's URL names: whether it is there, and how many endpoints are ready."""

    registry: str
    service: str
    exists: bool
    ready: int = 0


@dataclass(frozen=True, slots=True)
class Operator:
    """One Deployment that runs an operator."""

    deployment: Object
    settings: Settings | None = None
    settings_error: str = ""
    denied: Sequence[tuple[str, Right]] | None = None
    """By namespace (empty: the whole cluster) what it may not do; None: it could not be found out."""
    webhook_secret_keys: int | None = None
    """How many secrets deliveries may be signed with; None: not asked for, or not readable."""
    webhook_service: bool | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything. What the user may not read is None."""

    server_version: str
    yours: Mapping[Right, bool] = field(default_factory=dict)
    namespace: str = "default"
    crd: Mapping[str, Any] | None = None
    crd_readable: bool = True
    operators: Sequence[Operator] | None = None
    deployments: Sequence[Object] | None = None
    """The ModelDeployments."""
    secrets: Mapping[tuple[str, str], frozenset[str] | None] = field(default_factory=dict)
    """By namespace and name the keys that hold something; None: there is no such Secret. Unreadable ones are absent."""
    config_maps: Mapping[tuple[str, str], frozenset[str] | None] = field(default_factory=dict)
    probes: Sequence[Probe] = ()
    backends: Sequence[Backend] = ()

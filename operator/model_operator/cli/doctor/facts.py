"""The doctor's facts about a cluster, as far as the user may read them."""

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
    ("apps", "controllerrevisions", "list"): "revert (the kept revisions)",
}
"""The rights that commands need, with the commands that need them."""


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
"""The operator's rights in each of its namespaces. A test compares them with the chart."""


class Answer(StrEnum):
    """Result of a request to a registry from this machine."""

    ANSWERED = "answered"
    HOST_REFUSED = "host refused"
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class Probe:
    """A request to the registry under the host name ``host``, from this machine."""

    registry: str
    host: str
    answer: Answer
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Backend:
    """The Service in a registry's URL: whether it exists, and how many endpoints are ready."""

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
    """Rights that it lacks, with the namespace (empty: the whole cluster). None: they could not be checked."""
    webhook_secret_keys: int | None = None
    """Number of secrets for signed deliveries. None: webhooks are off, or the Secret can't be read."""
    webhook_service: bool | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """All facts. A fact that the user may not read is None."""

    server_version: str
    yours: Mapping[Right, bool] = field(default_factory=dict)
    namespace: str = "default"
    crd: Mapping[str, Any] | None = None
    crd_readable: bool = True
    operators: Sequence[Operator] | None = None
    deployments: Sequence[Object] | None = None
    """The ModelDeployments."""
    secrets: Mapping[tuple[str, str], frozenset[str] | None] = field(default_factory=dict)
    """Keys with a value by namespace and name. None: there is no such Secret. Those that can't be read are absent."""
    config_maps: Mapping[tuple[str, str], frozenset[str] | None] = field(default_factory=dict)
    probes: Sequence[Probe] = ()
    backends: Sequence[Backend] = ()

"""The kinds of objects that the operator reads or writes, and references to single objects."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

Key = tuple[str, str]
"""Namespace and name of a ModelDeployment."""


class Kind(StrEnum):
    """The kinds of objects that the operator reads or writes."""

    MODEL_DEPLOYMENT = "ModelDeployment"
    DEPLOYMENT = "Deployment"
    SERVICE = "Service"
    AUTOSCALER = "HorizontalPodAutoscaler"
    DISRUPTION_BUDGET = "PodDisruptionBudget"
    CONFIG_MAP = "ConfigMap"
    REVISION = "ControllerRevision"
    POD = "Pod"
    ENDPOINT_SLICE = "EndpointSlice"
    SECRET = "Secret"  # noqa: S105 - a kind, not a password
    EVENT = "Event"
    LEASE = "Lease"


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """A reference to one object by kind, namespace and name."""

    kind: Kind
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"

    @property
    def kubectl_name(self) -> str:
        """Such as ``Service/churn``, the form for kubectl and for annotations."""
        return f"{self.kind}/{self.name}"

"""Everything that one decision may depend on, gathered beforehand.

Plain frozen values, no I/O, no clock. Times are aware UTC datetimes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from model_operator.api.choices import DEFAULT_REGISTRY_KIND
from model_operator.api.spec import ModelDeploymentSpec
from model_operator.domain.objects import (
    Autoscaler,
    Child,
    Deployment,
    DisruptionBudget,
    EndpointSlice,
    Key,
    Kind,
    ObjectRef,
    Pod,
    Service,
)
from model_operator.domain.registry import ImageContents, Resolution, VersionFacts, VersionId
from model_operator.domain.revision import Revision

# --- the operator's side of rendering --------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PodRegistry:
    """How the pods of one namespace reach the registry; key names only, never a value."""

    url: str
    secret: str = ""
    secret_keys: frozenset[str] = frozenset()
    """Which of username, password, token, tls.crt and tls.key the Secret has."""
    ca_config_map: str = ""
    workspace: str = ""
    type: str = DEFAULT_REGISTRY_KIND
    """What kind of registry it is, as the operator's configuration names it."""


@dataclass(frozen=True, slots=True)
class Defaults:
    """What the operator's configuration adds to a spec when a revision is rendered."""

    server_image: str
    fetch_image: str
    scripts: Mapping[str, str]
    """File name to text of the scripts that run in the pods."""
    image_contents: Mapping[str, ImageContents] = field(default_factory=dict)
    """By image, for those whose contents the configuration tells."""


# --- the world -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Children:
    """The objects that carry this ModelDeployment's labels, as the cache has them."""

    deployments: Mapping[str, Deployment] = field(default_factory=dict)
    """By track: the Deployment of a track has the track's name."""
    service: Service | None = None
    preview: Service | None = None
    """The Service that shows a candidate which waits for approval."""
    autoscaler: Autoscaler | None = None
    disruption_budget: DisruptionBudget | None = None
    config_maps: Sequence[Child] = ()
    revisions: Sequence[Revision] = ()
    """Kept revisions, oldest first."""
    revision_objects: Sequence[Child] = ()
    """The ControllerRevisions that ``revisions`` were read from, and those that could not be read."""
    pods: Sequence[Pod] = ()
    endpoint_slices: Sequence[EndpointSlice] = ()
    """Of both Services."""


@dataclass(frozen=True, slots=True)
class Track:
    """One track: its Deployment, if there is one, and its pods. Without a Deployment everything counts as none."""

    name: str
    deployment: Deployment | None = None
    pods: Sequence[Pod] = ()

    @property
    def exists(self) -> bool:
        """Whether there is a Deployment."""
        return self.deployment is not None

    @property
    def revision(self) -> str:
        """The revision that it carries; empty when it carries none."""
        return self.deployment.revision if self.deployment else ""

    @property
    def replicas(self) -> int:
        """How many pods it should have."""
        return self.deployment.replicas if self.deployment else 0

    @property
    def available(self) -> int:
        """How many of its pods are available."""
        return self.deployment.available if self.deployment else 0

    @property
    def complete(self) -> bool:
        """Whether its rollout is complete, by Kubernetes' own test."""
        return self.deployment is not None and self.deployment.complete


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the pods of the watched revision answered since they are watched, as they counted it themselves."""

    requests: int = 0
    errors: int = 0
    """Of these, how many were answered with a status of 500 or more."""
    saturated: bool = False
    """Whether a pod has as many requests at once as it can work on."""


class RefusalKind(StrEnum):
    """Why the API server did not carry out an action."""

    NAME_TAKEN = "NameTaken"
    """An object of that name exists which this ModelDeployment does not control."""
    INVALID = "Invalid"
    """422: a field of the object is refused."""
    FORBIDDEN = "Forbidden"
    """403: RBAC or an admission policy refuses it."""
    QUOTA = "Quota"
    """403: a resource quota is used up."""
    BROKEN = "Broken"
    """500, again and again: an admission webhook can't be called, say, or no address is left for a Service."""
    CONTESTED = "Contested"
    """Not refused: postponed, because somebody else keeps undoing it."""


@dataclass(frozen=True, slots=True)
class RefusedWrite:
    """An action that the API server refused for good, as far as retrying at once goes."""

    ref: ObjectRef
    kind: RefusalKind
    message: str


@dataclass(frozen=True, slots=True)
class World:
    """Everything that the plan for one ModelDeployment may depend on."""

    now: datetime
    namespace: str
    name: str
    uid: str
    generation: int
    parsed_spec: ModelDeploymentSpec | None
    """None when the stored spec could not be read; then ``spec_error`` says why."""
    spec_raw: Mapping[str, Any]
    status: Mapping[str, Any]
    resolution: Resolution
    children: Children
    defaults: Defaults
    pod_registry: PodRegistry
    annotations: Mapping[str, str] = field(default_factory=dict)
    spec_error: str = ""
    credentials_error: str = ""
    """Why the pods' credentials can't be used; empty when they can or none are needed."""
    slot_free: bool = True
    """Whether one more rollout may start now."""
    refused_writes: Sequence[RefusedWrite] = ()
    """What the API server refused while this plan's predecessor was carried out."""
    traffic: Traffic = Traffic()
    """Of the revision that the plan before this one said to watch."""
    facts: Mapping[VersionId, VersionFacts] = field(default_factory=dict)
    """What is known of the versions that the plan before this one wanted to know about."""

    @property
    def spec(self) -> ModelDeploymentSpec:
        """The spec. Raises ValueError where it can't be read: the plan leaves before anything asks for it."""
        if self.parsed_spec is None:
            raise ValueError(f"the spec of {self.name} can't be read: {self.spec_error}")
        return self.parsed_spec

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return (self.namespace, self.name)

    def track(self, name: str) -> Track:
        """The track of that name, whether it has a Deployment or not."""
        # a pod that does not say whose it is belongs to the first track
        pods = [pod for pod in self.children.pods if (pod.track or self.name) == name]
        return Track(name, self.children.deployments.get(name), pods)

    @property
    def service_track(self) -> str:
        """The track that the Service sends requests to; empty when there is none."""
        return self.children.service.track if self.children.service else ""

    def ref(self, kind: Kind, name: str = "") -> ObjectRef:
        """The child of that kind that is named like the ModelDeployment, or ``name``."""
        return ObjectRef(kind, self.namespace, name or self.name)

"""All inputs of one decision, gathered before it.

Plain frozen values, no I/O, no clock. Times are aware UTC datetimes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
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
    """The registry access of the pods in one namespace. It has only key names of the Secret, never a value."""

    url: str
    secret: str = ""
    secret_keys: frozenset[str] = frozenset()
    """The keys that the Secret has of username, password, token, tls.crt and tls.key."""
    ca_config_map: str = ""
    workspace: str = ""
    type: str = DEFAULT_REGISTRY_KIND
    """The kind of registry, from the operator's configuration."""


@dataclass(frozen=True, slots=True)
class Defaults:
    """The defaults of the operator's configuration for rendering a revision."""

    server_image: str
    fetch_image: str
    scripts: Mapping[str, str]
    """The scripts that run in the pods: text by file name."""
    image_contents: Mapping[str, ImageContents] = field(default_factory=dict)
    """By image, for those whose contents the configuration lists."""


# --- the world -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Children:
    """The objects with this ModelDeployment's labels, from the cache."""

    deployments: Mapping[str, Deployment] = field(default_factory=dict)
    """By track. A Deployment has its track's name, or another one if that name was taken."""
    service: Service | None = None
    preview: Service | None = None
    """The Service for testing a candidate that waits for its approval."""
    autoscaler: Autoscaler | None = None
    disruption_budget: DisruptionBudget | None = None
    config_maps: Sequence[Child] = ()
    revisions: Sequence[Revision] = ()
    """The stored revisions, oldest first."""
    revision_objects: Sequence[Child] = ()
    """The ControllerRevisions that ``revisions`` were read from, and those that could not be read."""
    pods: Sequence[Pod] = ()
    endpoint_slices: Sequence[EndpointSlice] = ()
    """The EndpointSlices of both Services."""


@dataclass(frozen=True, slots=True)
class Track:
    """One track: its Deployment, if there is one, and its pods. Without a Deployment, numbers are 0 and texts empty."""

    name: str
    deployment: Deployment | None = None
    pods: Sequence[Pod] = ()

    @property
    def exists(self) -> bool:
        """Whether there is a Deployment."""
        return self.deployment is not None

    @property
    def revision(self) -> str:
        """The revision that it runs. Empty if none."""
        return self.deployment.revision if self.deployment else ""

    @property
    def replicas(self) -> int:
        """The number of pods that it should have."""
        return self.deployment.replicas if self.deployment else 0

    @property
    def available(self) -> int:
        """The number of its available pods."""
        return self.deployment.available if self.deployment else 0

    @property
    def complete(self) -> bool:
        """Whether its rollout is complete by Kubernetes' own criteria."""
        return self.deployment is not None and self.deployment.complete


UNREAD_AFTER = timedelta(seconds=60)
"""How long the metrics of all pods must be unreadable until that is reported, and readable until it is withdrawn."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """The answers of the watched revision's pods since the watch began, as the pods counted them."""

    requests: int = 0
    errors: int = 0
    """The number of requests that were answered with a status of 500 or more, without those ``turned_away``."""
    saturated: bool = False
    """Whether a pod has as many concurrent requests as it can process."""
    read: bool = False
    """Whether the metrics of a pod were read, and not only long ago. False also before the first attempts."""
    unread: str = ""
    """Why the metrics of no pod could be read for UNREAD_AFTER. Empty if they were, and before that time."""
    turned_away: int = 0
    """The number of requests that were answered with 503 because a pod's queue was full. The model never got them."""
    broken_streams: int = 0
    """The number of requests that were answered with 200 and whose stream ended with an error of the model."""

    @property
    def judged(self) -> int:
        """The number of requests by which the model is judged."""
        return max(0, self.requests - self.turned_away)

    @property
    def failed(self) -> int:
        """The number of judged requests that the model failed."""
        return min(self.errors + self.broken_streams, self.judged)


class RefusalKind(StrEnum):
    """Why the API server did not carry out an action."""

    NAME_TAKEN = "NameTaken"
    """An object of that name exists, and this ModelDeployment does not control it."""
    INVALID = "Invalid"
    """422: a field of the object is invalid."""
    FORBIDDEN = "Forbidden"
    """403: RBAC or an admission policy denies it."""
    QUOTA = "Quota"
    """403: a resource quota is used up."""
    BROKEN = "Broken"
    """Repeatedly 500: for example, an admission webhook can't be called, or no address is left for a Service."""
    CONTESTED = "Contested"
    """Not refused by the API server, but postponed, because somebody else keeps reverting it."""


@dataclass(frozen=True, slots=True)
class RefusedWrite:
    """An action that the API server refused, and that an immediate retry would not fix."""

    ref: ObjectRef
    kind: RefusalKind
    message: str


@dataclass(frozen=True, slots=True)
class World:
    """All inputs of the plan for one ModelDeployment."""

    now: datetime
    namespace: str
    name: str
    uid: str
    generation: int
    parsed_spec: ModelDeploymentSpec | None
    """None if the stored spec can't be parsed. Then ``spec_error`` has the reason."""
    spec_raw: Mapping[str, Any]
    status: Mapping[str, Any]
    resolution: Resolution
    children: Children
    defaults: Defaults
    pod_registry: PodRegistry
    annotations: Mapping[str, str] = field(default_factory=dict)
    spec_error: str = ""
    credentials_error: str = ""
    """Why the pods' credentials can't be used. Empty if they can, or if none are needed."""
    slot_free: bool = True
    """Whether one more rollout may start now."""
    taken: frozenset[ObjectRef] = frozenset()
    """Those names of this ModelDeployment's children that another ModelDeployment's children have, or will need."""
    refused_writes: Sequence[RefusedWrite] = ()
    """The actions of the previous plan that the API server refused."""
    traffic: Traffic = Traffic()
    """The traffic of the revision that the previous plan named as watched."""
    facts: Mapping[VersionId, VersionFacts] = field(default_factory=dict)
    """The facts of the versions that the previous plan requested."""

    @property
    def spec(self) -> ModelDeploymentSpec:
        """The spec. Raises ValueError if it can't be parsed. The plan returns before any use of it in that case."""
        if self.parsed_spec is None:
            raise ValueError(f"the spec of {self.name} can't be read: {self.spec_error}")
        return self.parsed_spec

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return (self.namespace, self.name)

    def track(self, name: str) -> Track:
        """The track of that name, whether it has a Deployment or not."""
        # a pod without a track's label belongs to the first track
        pods = [pod for pod in self.children.pods if (pod.track or self.name) == name]
        return Track(name, self.children.deployments.get(name), pods)

    @property
    def service_track(self) -> str:
        """The track that the Service selects. Empty without a Service."""
        return self.children.service.track if self.children.service else ""

    def ref(self, kind: Kind, name: str = "") -> ObjectRef:
        """The reference to a child of that kind with the given name, by default the ModelDeployment's."""
        return ObjectRef(kind, self.namespace, name or self.name)

"""What the planner is given and what it answers: plain frozen values, no I/O, no clock.

``World`` is everything that one decision may depend on, gathered beforehand. ``Plan`` is the answer:
actions to carry out in order, the status to report, and when to look again. Times are aware UTC datetimes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from model_operator.api.spec import ModelDeploymentSpec
from model_operator.domain.registry import FactsWanted, ImageContents, VersionFacts, VersionId

Key = tuple[str, str]
"""Namespace and name of a ModelDeployment."""

Object = Mapping[str, Any]
"""A Kubernetes object (or a part of one) as the JSON that the API server speaks. Read, never changed."""


class Kind(StrEnum):
    """The kinds of object that the operator touches."""

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
    """One object in the cluster, by kind, namespace and name."""

    kind: Kind
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


# --- the registry's answer -------------------------------------------------------------------------


class ResolutionReason(StrEnum):
    """Why a model reference is, or is not, resolved; these are reasons of the condition ``Resolved``."""

    RESOLVED = "Resolved"
    PENDING = "Pending"
    MODEL_NOT_FOUND = "ModelNotFound"
    ALIAS_NOT_FOUND = "AliasNotFound"
    VERSION_NOT_FOUND = "VersionNotFound"
    STAGE_NOT_FOUND = "StageNotFound"
    VERSION_NOT_READY = "VersionNotReady"
    UNAUTHORIZED = "Unauthorized"
    FORBIDDEN = "Forbidden"
    HOST_HEADER_REFUSED = "HostHeaderRefused"
    UNREACHABLE = "RegistryUnreachable"
    REGISTRY_ERROR = "RegistryError"
    UNEXPECTED_ANSWER = "UnexpectedAnswer"
    ANSWER_TOO_LARGE = "AnswerTooLarge"
    UNKNOWN_REGISTRY = "UnknownRegistry"
    MISCONFIGURED = "RegistryMisconfigured"

    @property
    def definite(self) -> bool:
        """True when the answer is a fact about the registry, False when it could not be found out."""
        return self in _DEFINITE


_DEFINITE = frozenset(
    {
        ResolutionReason.RESOLVED,
        ResolutionReason.MODEL_NOT_FOUND,
        ResolutionReason.ALIAS_NOT_FOUND,
        ResolutionReason.VERSION_NOT_FOUND,
        ResolutionReason.STAGE_NOT_FOUND,
        ResolutionReason.VERSION_NOT_READY,
        ResolutionReason.UNAUTHORIZED,
        ResolutionReason.FORBIDDEN,
        ResolutionReason.HOST_HEADER_REFUSED,
        ResolutionReason.UNKNOWN_REGISTRY,
        ResolutionReason.MISCONFIGURED,
    }
)


@dataclass(frozen=True, slots=True)
class ResolvedVersion:
    """An exact model version, as the registry described it.

    ``alias`` is the reference as a person would write it: ``@champion``, ``3``, ``latest``, ``Production``.
    """

    model: str
    version: str
    alias: str
    run_id: str = ""
    source: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Resolution:
    """The registry's answer for one reference; ``version`` may be the last good one beside a failure."""

    reason: ResolutionReason
    message: str
    registry_url: str = ""
    version: ResolvedVersion | None = None

    @property
    def ok(self) -> bool:
        """True when ``version`` is what the registry says now."""
        return self.reason is ResolutionReason.RESOLVED and self.version is not None


# --- wishes, revisions, verdicts -------------------------------------------------------------------


class Side(StrEnum):
    """Whose fault a failure is; decides between quarantine, revert and retry."""

    MODEL = "Model"
    CONFIGURATION = "Configuration"
    ENVIRONMENT = "Environment"


@dataclass(frozen=True, slots=True)
class Wish:
    """What should run: an exact version of a registry and the pod-shaping part of the spec as written."""

    registry_url: str
    model: str
    version: str
    run_id: str
    source: str
    digest: str
    shape: Mapping[str, Any]
    restart: str = ""
    """The value of a person's request for a restart, by which the same wish was rendered anew."""


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
    """For ``Live``: it outlived its watch, so it is what a later failure goes back to."""
    served: bool = False
    """For ``Rejected``: it failed on live requests, so no further try is free."""


@dataclass(frozen=True, slots=True)
class Revision:
    """A wish that was rendered once; kept in a ControllerRevision and never rendered again."""

    name: str
    """Such as ``v7-5d9f8a2b1c``."""
    number: int
    """Counts up with each new revision of one ModelDeployment."""
    wish: Wish
    images: Mapping[str, str]
    """The resolved images, by container: ``server`` and ``fetch``."""
    template: Object
    """The pod template, exactly as it was applied."""
    config_map: str
    """The name of the ConfigMap that holds the scripts which the template mounts."""
    verdict: Verdict | None = None
    uid: str = ""


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
    type: str = "MLflow"
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

    deployments: Mapping[str, Object] = field(default_factory=dict)
    """By track: the Deployment of a track has the track's name."""
    service: Object | None = None
    preview: Object | None = None
    """The Service that shows a candidate which waits for approval."""
    autoscaler: Object | None = None
    disruption_budget: Object | None = None
    config_maps: Sequence[Object] = ()
    revisions: Sequence[Revision] = ()
    """Kept revisions, oldest first."""
    revision_objects: Sequence[Object] = ()
    """The ControllerRevisions that ``revisions`` were read from, and those that could not be read."""
    pods: Sequence[Object] = ()
    endpoint_slices: Sequence[Object] = ()
    """Of both Services; the label ``kubernetes.io/service-name`` says of which."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the pods of the watched revision answered since they are watched, as they counted it themselves."""

    requests: int = 0
    errors: int = 0
    """Of these, how many were answered with a status of 500 or more."""
    saturated: bool = False
    """Whether a pod has as many requests at once as it can work on."""


class FaultKind(StrEnum):
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
class Fault:
    """An action that the API server refused for good, as far as retrying at once goes."""

    ref: ObjectRef
    kind: FaultKind
    message: str


@dataclass(frozen=True, slots=True)
class World:
    """Everything that the plan for one ModelDeployment may depend on."""

    now: datetime
    namespace: str
    name: str
    uid: str
    generation: int
    spec: ModelDeploymentSpec | None
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
    faults: Sequence[Fault] = ()
    """What the API server refused while this plan's predecessor was carried out."""
    traffic: Traffic = Traffic()
    """Of the revision that the plan before this one said to watch."""
    facts: Mapping[VersionId, VersionFacts] = field(default_factory=dict)
    """What is known of the versions that the plan before this one wanted to know about."""

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return (self.namespace, self.name)

    def deployment(self, track: str = "") -> Object | None:
        """The Deployment of ``track``; of the first track when left out."""
        return self.children.deployments.get(track or self.name)

    def ref(self, kind: Kind, name: str = "") -> ObjectRef:
        """The child of that kind that is named like the ModelDeployment, or ``name``."""
        return ObjectRef(kind, self.namespace, name or self.name)


# --- the plan --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Create:
    """POST an object that does not exist yet; an object that is there already is a conflict of names."""

    ref: ObjectRef
    body: Object
    adopt: bool = False
    """Take over an object of that name that nobody controls: a person asked for it."""


@dataclass(frozen=True, slots=True)
class Apply:
    """Server-side apply to an object of ours, bound to the uid and the resourceVersion that were seen."""

    ref: ObjectRef
    body: Object
    uid: str
    resource_version: str = ""
    repair: bool = False
    """It only puts back what somebody changed, and moves nothing on."""


@dataclass(frozen=True, slots=True)
class Adopt:
    """Make ``owner`` the controller of an object that has none; nothing else of it changes."""

    ref: ObjectRef
    uid: str
    owner: Object


@dataclass(frozen=True, slots=True)
class Scale:
    """Set ``spec.replicas`` through the scale subresource."""

    ref: ObjectRef
    replicas: int
    resource_version: str = ""


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete an object of ours, bound to the uid and the resourceVersion that were seen."""

    ref: ObjectRef
    uid: str
    resource_version: str = ""


@dataclass(frozen=True, slots=True)
class RecordVerdict:
    """Write a verdict beside a kept revision, so that it outlives the status."""

    ref: ObjectRef
    verdict: Verdict | None
    resource_version: str = ""


@dataclass(frozen=True, slots=True)
class VersionTag:
    """What the registry's entry of a model version should say of it."""

    model: str
    version: str
    value: str
    """``Serving``, ``Settled``, or ``Rejected: REASON``."""


@dataclass(frozen=True, slots=True)
class Announce:
    """A Kubernetes event on the ModelDeployment."""

    warning: bool
    reason: str
    message: str


Action = Create | Apply | Adopt | Scale | Delete | RecordVerdict


@dataclass(frozen=True, slots=True)
class Plan:
    """The decision for one ModelDeployment.

    The status is written before the actions are carried out (intent before act).
    """

    actions: Sequence[Action]
    status: Mapping[str, Any]
    look_again: timedelta | None = None
    announcements: Sequence[Announce] = ()
    rollout_in_flight: bool = False
    """Whether this ModelDeployment takes one of the rollout slots."""
    watched: str = ""
    """The revision whose pods' requests are to be counted; empty when none is under watch."""
    tags: Sequence[VersionTag] = ()
    """What to write back to the registry, best effort."""
    facts: Sequence[FactsWanted] = ()
    """What the gates have to know of versions; they are asked for until a plan no longer wants them."""
    kept_out: bool = False
    """Whether a gate keeps the wanted version out, so that each poll should look at its tags."""

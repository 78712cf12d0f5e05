"""The planner's result: the ordered actions, the status to report, and the time of the next reconcile.

Plain frozen values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from model_operator.domain.objects import Object, ObjectRef
from model_operator.domain.registry import FactsWanted
from model_operator.domain.revision import Verdict


@dataclass(frozen=True, slots=True)
class Create:
    """POST a new object. An existing object of that name is a name conflict."""

    ref: ObjectRef
    body: Object
    adopt: bool = False
    """Take over an existing object without a controller, as a person requested by annotation."""


@dataclass(frozen=True, slots=True)
class Apply:
    """Server-side apply to an object of ours, bound to the uid and the resourceVersion that were read."""

    ref: ObjectRef
    body: Object
    uid: str
    resource_version: str = ""
    repair: bool = False
    """It only repairs drift, and moves no revision, Service or autoscaler."""
    drift: Sequence[tuple[str, Any]] = ()
    """The paths at which the object differs from the body, with the live values. Only for the report of a repair."""


@dataclass(frozen=True, slots=True)
class Adopt:
    """Make ``owner`` the controller of an object without one. Nothing else of the object changes."""

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
    """Delete an object of ours, bound to the uid and the resourceVersion that were read."""

    ref: ObjectRef
    uid: str
    resource_version: str = ""


@dataclass(frozen=True, slots=True)
class RecordVerdict:
    """Write a verdict to a stored revision, so that it survives the loss of the status."""

    ref: ObjectRef
    verdict: Verdict | None
    resource_version: str = ""


@dataclass(frozen=True, slots=True)
class VersionTag:
    """The tag for a model version in the registry."""

    model: str
    version: str
    value: str
    """``Serving``, ``Settled``, or ``Rejected: REASON``."""


@dataclass(frozen=True, slots=True)
class Event:
    """A Kubernetes event on the ModelDeployment."""

    warning: bool
    reason: str
    message: str


Action = Create | Apply | Adopt | Scale | Delete | RecordVerdict


@dataclass(frozen=True, slots=True)
class Plan:
    """The decision for one ModelDeployment.

    The status is written before the actions are carried out, so that a crash between them loses no intent.
    """

    actions: Sequence[Action]
    status: Mapping[str, Any]
    look_again: timedelta | None = None
    events: Sequence[Event] = ()
    rollout_in_flight: bool = False
    """Whether this ModelDeployment takes one of the rollout slots."""
    watched: str = ""
    """The revision whose pods' requests are counted. Empty if none is watched."""
    tags: Sequence[VersionTag] = ()
    """The tags to write to the registry, best effort."""
    facts: Sequence[FactsWanted] = ()
    """The facts of versions that the gates need. They are read repeatedly until a plan no longer needs them."""
    kept_out: bool = False
    """Whether the desired version is blocked by a gate, so that each poll reads its tags."""

"""The planner's answer: actions to carry out in order, the status to report, and when to look again.

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
class Event:
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
    events: Sequence[Event] = ()
    rollout_in_flight: bool = False
    """Whether this ModelDeployment takes one of the rollout slots."""
    watched: str = ""
    """The revision whose pods' requests are to be counted; empty when none is under watch."""
    tags: Sequence[VersionTag] = ()
    """What to write back to the registry, best effort."""
    facts: Sequence[FactsWanted] = ()
    """What the gates have to know of versions; they are asked for until a plan no longer wants them."""
    kept_out: bool = False
    """Whether a gate keeps the desired version out, so that each poll should look at its tags."""

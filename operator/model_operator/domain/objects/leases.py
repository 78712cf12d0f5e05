"""Leases: who leads, and for how long others have to believe it."""

from __future__ import annotations

from dataclasses import dataclass

from model_operator.domain.objects.fields import Object, count, metadata, spec, text


@dataclass(frozen=True, slots=True)
class Lease:
    """A Lease as it was seen."""

    resource_version: str
    holder: str
    """Who holds it; empty when nobody does."""
    transitions: int
    """How often it changed hands."""
    duration_seconds: int
    """What its holder promised; 0 when that is not said."""
    spec: Object
    """All that its holder writes: any change of it is a sign of life."""


def read_lease(raw: Object) -> Lease:
    """The view of a Lease."""
    said = spec(raw)
    return Lease(
        resource_version=text(metadata(raw).get("resourceVersion")),
        holder=text(said.get("holderIdentity")),
        transitions=count(said.get("leaseTransitions")),
        duration_seconds=count(said.get("leaseDurationSeconds")),
        spec=said,
    )

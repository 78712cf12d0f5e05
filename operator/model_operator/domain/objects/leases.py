"""Leases: the leader, and how long its lease is valid."""

from __future__ import annotations

from dataclasses import dataclass

from model_operator.domain.objects.fields import Object, count, metadata, spec, text


@dataclass(frozen=True, slots=True)
class Lease:
    """A Lease as it was read."""

    resource_version: str
    holder: str
    """The identity of its holder. Empty if nobody holds it."""
    transitions: int
    """The number of changes of its holder."""
    duration_seconds: int
    """The validity that its holder wrote. 0 if it is missing."""
    spec: Object
    """All fields that its holder writes. Any change of them is a renewal."""


def read_lease(raw: Object) -> Lease:
    """The view of a Lease."""
    written = spec(raw)
    return Lease(
        resource_version=text(metadata(raw).get("resourceVersion")),
        holder=text(written.get("holderIdentity")),
        transitions=count(written.get("leaseTransitions")),
        duration_seconds=count(written.get("leaseDurationSeconds")),
        spec=written,
    )

"""Services and their endpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from model_operator.api import names
from model_operator.domain.objects.children import Child, child_fields
from model_operator.domain.objects.fields import Object, metadata, part, spec, text
from model_operator.domain.objects.kinds import Kind

# on every EndpointSlice: the name of its Service
_LABEL_SERVICE = "kubernetes.io/service-name"


@dataclass(frozen=True, slots=True, kw_only=True)
class Service(Child):
    """A Service of ours."""

    track: str
    """The track that it selects. Empty if it selects none."""


@dataclass(frozen=True, slots=True)
class EndpointSlice:
    """Some of the endpoints of a Service."""

    service: str
    """The name of the Service."""
    ready: Sequence[str]
    """The names of the pods that get requests."""


def read_service(raw: Object) -> Service:
    """The view of a Service."""
    selector = part(spec(raw), "selector")
    return Service(**child_fields(Kind.SERVICE, raw), track=str(selector.get(names.LABEL_TRACK, "")))


def read_endpoint_slice(raw: Object) -> EndpointSlice:
    """The view of an EndpointSlice. An endpoint without the condition ready counts as ready."""
    found = raw.get("endpoints")
    endpoints = [e for e in found if isinstance(e, Mapping)] if isinstance(found, list) else []
    return EndpointSlice(
        text(part(metadata(raw), "labels").get(_LABEL_SERVICE)),
        tuple(
            text(part(endpoint, "targetRef").get("name"))
            for endpoint in endpoints
            if part(endpoint, "conditions").get("ready") is not False
        ),
    )

"""The paths of each kind in the API, and the format of its lists."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from model_operator.api.names import API_VERSION, PLURAL
from model_operator.domain.objects import Kind, Object, ObjectRef


@dataclass(frozen=True, slots=True)
class _Resource:
    api_version: str
    plural: str

    @property
    def root(self) -> str:
        return f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"


_RESOURCES = {
    Kind.MODEL_DEPLOYMENT: _Resource(API_VERSION, PLURAL),
    Kind.DEPLOYMENT: _Resource("apps/v1", "deployments"),
    Kind.SERVICE: _Resource("v1", "services"),
    Kind.AUTOSCALER: _Resource("autoscaling/v2", "horizontalpodautoscalers"),
    Kind.DISRUPTION_BUDGET: _Resource("policy/v1", "poddisruptionbudgets"),
    Kind.CONFIG_MAP: _Resource("v1", "configmaps"),
    Kind.REVISION: _Resource("apps/v1", "controllerrevisions"),
    Kind.POD: _Resource("v1", "pods"),
    Kind.ENDPOINT_SLICE: _Resource("discovery.k8s.io/v1", "endpointslices"),
    Kind.SECRET: _Resource("v1", "secrets"),
    Kind.EVENT: _Resource("v1", "events"),
    Kind.LEASE: _Resource("coordination.k8s.io/v1", "leases"),
}

API_VERSIONS = {kind: resource.api_version for kind, resource in _RESOURCES.items()}
"""The ``apiVersion`` of each kind."""


_TURN = 50
"""Number of listed objects that are converted in one turn of the event loop."""
_METADATA_ONLY = frozenset({Kind.CONFIG_MAP})


def accept_header(kind: Kind, *, single: bool = False) -> str:
    """Returns the Accept header for lists (or single objects) of a kind: only the metadata of ConfigMaps.

    A page of whole ConfigMaps, each with all scripts of the serving pods, would be tens of MiB.
    """
    if kind not in _METADATA_ONLY:
        return "application/json"
    form = "PartialObjectMetadata" if single else "PartialObjectMetadataList"
    return f"application/json;as={form};g=meta.k8s.io;v=v1"


async def read_items(kind: Kind, page: Mapping[str, Any]) -> AsyncIterator[Object]:
    """Yields the objects of a list, each with its ``apiVersion`` and ``kind``. Pauses for other tasks in between.

    The items of built-in lists have neither field, and those of metadata lists have the wrong values.
    """
    for number, item in enumerate(page.get("items") or ()):
        if number % _TURN == 0:
            await asyncio.sleep(0)
        yield {**item, "apiVersion": API_VERSIONS[kind], "kind": str(kind)}


def collection_path(kind: Kind, namespace: str | None) -> str:
    """Returns the path for lists and POSTs. Without a namespace, that of the whole cluster."""
    resource = _RESOURCES[kind]
    where = f"/namespaces/{quote(namespace, safe='')}" if namespace is not None else ""
    return f"{resource.root}{where}/{resource.plural}"


def object_path(ref: ObjectRef, subresource: str = "") -> str:
    """Returns the path of one object or its subresource. Raises ValueError if name or namespace is empty."""
    if not ref.namespace or not ref.name:
        # an empty name would turn a DELETE of one object into a DELETE of the collection
        raise ValueError(f"no name or namespace in {ref!r}")
    path = f"{collection_path(ref.kind, ref.namespace)}/{quote(ref.name, safe='')}"
    return f"{path}/{subresource}" if subresource else path


def group_and_plural(kind: Kind) -> tuple[str, str, str]:
    """Returns group (empty for the core), version and plural of a kind."""
    resource = _RESOURCES[kind]
    group, _, version = resource.api_version.rpartition("/")
    return group, version, resource.plural

"""The identity of a registry with its credentials, which separates pollers and the answers for different tenants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from model_operator.api.reference import ModelReference
from model_operator.registry.clients.base import RegistryClient

INLINE_ENTRY = "spec.registry"
"""The name, in messages and metrics, of registries that specs describe."""
INLINE_REQUESTS_PER_SECOND = 10.0


@dataclass(frozen=True, slots=True)
class RegistryId:
    """One registry for one tenant: an entry of the configuration, or a registry that a spec describes.

    Two ModelDeployments share a client, its answers and its rate if and only if their ids are equal.
    """

    entry: str = ""
    """Name in the operator's configuration. Empty for a registry that a spec describes."""
    url: str = ""
    """This and the next fields are only set without an entry."""
    type: str = ""
    namespace: str = ""
    """The namespace of the Secret and the ConfigMap."""
    credentials_secret: str = ""
    ca_config_map: str = ""

    def __str__(self) -> str:
        return self.entry or f"{self.url} of namespace {self.namespace}"


@dataclass(frozen=True, slots=True)
class WantedModel:
    """The reference that one ModelDeployment follows, with its registry."""

    registry: RegistryId
    reference: ModelReference


@dataclass(frozen=True, slots=True)
class InlineConfig:
    """A registry that a spec describes, in the form of a configuration entry without files."""

    url: str
    type: str
    credentials_dir: str = ""
    ca_file: str = ""
    workspace: str = ""
    requests_per_second: float = INLINE_REQUESTS_PER_SECOND


class Clients(Protocol):
    """Clients by registry, shared by all users of a registry. No method does I/O."""

    def open(self, registry: RegistryId) -> RegistryClient | None:
        """The client, or None if the configuration has no such entry or does not allow the URL."""
        ...

    def client(self, registry: RegistryId) -> RegistryClient | None:
        """The client. None also for a registry of a spec that no ModelDeployment follows."""
        ...

    def entries(self) -> Mapping[str, RegistryClient]:
        """The clients of all entries of the configuration."""
        ...

    def release(self, registry: RegistryId) -> None:
        """Drop a registry that no ModelDeployment follows. Its client may be closed already."""
        ...

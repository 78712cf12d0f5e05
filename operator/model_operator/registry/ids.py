"""Which registry is meant, and with whose access: what tells one poller, and one tenant's answers, from another's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from model_operator.api.reference import ModelReference
from model_operator.registry.clients.base import RegistryClient

INLINE_ENTRY = "spec.registry"
"""What a registry is called in messages and metrics that a spec describes itself."""
INLINE_REQUESTS_PER_SECOND = 10.0


@dataclass(frozen=True, slots=True)
class RegistryId:
    """One registry as one tenant sees it: an entry of the configuration, or what a spec says of its own.

    Two ModelDeployments share a client, its answers and its pace exactly when their ids are equal.
    """

    entry: str = ""
    """Name in the operator's configuration; empty for a registry that a spec describes itself."""
    url: str = ""
    """From here on: only without an entry."""
    type: str = ""
    namespace: str = ""
    """Whose Secret and ConfigMap are meant."""
    credentials_secret: str = ""
    ca_config_map: str = ""

    def __str__(self) -> str:
        return self.entry or f"{self.url} of namespace {self.namespace}"


@dataclass(frozen=True, slots=True)
class WantedModel:
    """What one ModelDeployment follows: a reference in that registry."""

    registry: RegistryId
    reference: ModelReference


@dataclass(frozen=True, slots=True)
class InlineConfig:
    """A registry that a spec describes, in the form of an entry of the configuration: no file of the operator's."""

    url: str
    type: str
    credentials_dir: str = ""
    ca_file: str = ""
    workspace: str = ""
    requests_per_second: float = INLINE_REQUESTS_PER_SECOND


class Clients(Protocol):
    """Clients by registry, shared by everything that asks a registry. No method does I/O."""

    def open(self, registry: RegistryId) -> RegistryClient | None:
        """The client; None when the configuration has no such entry, or does not allow the URL."""
        ...

    def client(self, registry: RegistryId) -> RegistryClient | None:
        """The client; None also for a registry that a spec describes itself, and that nobody follows."""
        ...

    def entries(self) -> Mapping[str, RegistryClient]:
        """The clients of all entries of the configuration."""
        ...

    def release(self, registry: RegistryId) -> None:
        """Nobody follows that registry any more; its client may be closed by now."""
        ...

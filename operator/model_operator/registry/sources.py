"""Which registry is meant, and with whose access: what tells one poller, and one tenant's answers, from another's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from model_operator.registry.client import RegistryClient


@dataclass(frozen=True, slots=True)
class RegistryId:
    """One registry as one tenant sees it: an entry of the configuration, or what a spec says of its own.

    Two ModelDeployments share a client, its answers and its pace exactly when their ids are equal.
    """

    entry: str = ""
    """Name in the operator's configuration; empty for a registry that a spec describes itself."""
    url: str = ""
    """From here on: only without an entry."""
    namespace: str = ""
    """Whose Secret and ConfigMap are meant."""
    credentials_secret: str = ""
    ca_config_map: str = ""
    workspace: str = ""

    def __str__(self) -> str:
        return self.entry or f"{self.url} of namespace {self.namespace}"


class Clients(Protocol):
    """Clients by registry, made when first asked for and shared by everything that asks a registry."""

    def client(self, registry: RegistryId) -> RegistryClient | None:
        """The client, or None when the configuration has no such entry. Does no I/O."""
        ...

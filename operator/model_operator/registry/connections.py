"""The clients of all registries: one for each, whoever asks through it."""

from __future__ import annotations

from collections.abc import Mapping

from model_operator.registry.client import Connect, RegistryClient, RegistryConfig
from model_operator.registry.sources import RegistryId


class Connections:
    """Makes the client of a registry when it is first asked for. Implements ``sources.Clients``."""

    def __init__(self, registries: Mapping[str, RegistryConfig], connect: Connect) -> None:
        """``registries`` are the entries of the configuration."""
        self._registries = registries
        self._connect = connect
        self._clients: dict[RegistryId, RegistryClient] = {}

    def client(self, registry: RegistryId) -> RegistryClient | None:
        """The client, or None when the configuration has no such entry. Does no I/O."""
        config = self._registries.get(registry.entry)
        if config is None:
            return None
        if registry not in self._clients:
            self._clients[registry] = self._connect(registry.entry, config)
        return self._clients[registry]

    def entry(self, name: str, config: RegistryConfig) -> RegistryClient:
        """The client of a configured entry, for those that know registries by their entries."""
        found = self._clients.get(RegistryId(name))
        if found is None:
            found = self._clients[RegistryId(name)] = self._connect(name, config)
        return found

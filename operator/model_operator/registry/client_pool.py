"""The clients of all registries. Each registry has one client, which all its users share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from model_operator.registry.clients.base import RegistryClient, RegistryConfig
from model_operator.registry.clients.credentials import Access, ObjectAccess, ReadObject
from model_operator.registry.ids import INLINE_ENTRY, InlineConfig, RegistryId

Connect = Callable[[str, RegistryConfig, Access | None], RegistryClient]
"""Creates a client from an entry's name, its configuration, and an access that replaces its files. Does no I/O."""


class ClientPool:
    """Creates the client of a registry on first use. Implements ``ids.Clients``."""

    def __init__(
        self,
        registries: Mapping[str, RegistryConfig],
        connect: Connect,
        allowed: Collection[str] = (),
        read_object: ReadObject | None = None,
    ) -> None:
        """``registries`` are the entries of the configuration. ``allowed`` are the URLs that a spec may name.
        ``read_object`` reads the Secrets and ConfigMaps of such a spec.
        """
        self._registries = registries
        self._connect = connect
        self._allowed = frozenset(allowed)
        self._read_object = read_object
        self._clients: dict[RegistryId, RegistryClient] = {}

    def open(self, registry: RegistryId) -> RegistryClient | None:
        """See ids.Clients."""
        if registry not in self._clients and (made := self._make(registry)) is not None:
            self._clients[registry] = made
        return self._clients.get(registry)

    def client(self, registry: RegistryId) -> RegistryClient | None:
        """See ids.Clients."""
        return self.open(registry) if registry.entry else self._clients.get(registry)

    def entries(self) -> Mapping[str, RegistryClient]:
        """See ids.Clients."""
        clients = ((entry, self.client(RegistryId(entry))) for entry in self._registries)
        return {entry: client for entry, client in clients if client is not None}

    def release(self, registry: RegistryId) -> None:
        """See ids.Clients. Keeps the client of an entry."""
        if not registry.entry:
            self._clients.pop(registry, None)

    def _make(self, registry: RegistryId) -> RegistryClient | None:
        if registry.entry:
            config = self._registries.get(registry.entry)
            return None if config is None else self._connect(registry.entry, config, None)
        if registry.url not in self._allowed or self._read_object is None:
            return None
        access = ObjectAccess(
            INLINE_ENTRY,
            self._read_object,
            registry.namespace,
            registry.credentials_secret,
            registry.ca_config_map,
        )
        return self._connect(INLINE_ENTRY, InlineConfig(registry.url, registry.type), access)

"""The kinds of registries, by what an entry of the configuration, or a spec, names as its ``type``."""

from __future__ import annotations

from typing import Protocol

from model_operator.registry.clients.base import RegistryClient, RegistryConfig
from model_operator.registry.clients.credentials import Access
from model_operator.registry.clients.mlflow.client import MlflowClient
from model_operator.registry.clients.unity_catalog import UnityCatalogClient


class Kind(Protocol):
    """Makes clients of one kind; ``access`` is in place of the files that the configuration names."""

    def __call__(self, entry: str, config: RegistryConfig, *, access: Access | None = None) -> RegistryClient:
        """A client; does no I/O."""
        ...


KINDS: dict[str, Kind] = {"MLflow": MlflowClient, "UnityCatalog": UnityCatalogClient}


def connect(entry: str, config: RegistryConfig, access: Access | None = None) -> RegistryClient:
    """The client of that registry; does no I/O. Raises KeyError for a type that the settings would not let in."""
    return KINDS[config.type](entry, config, access=access)

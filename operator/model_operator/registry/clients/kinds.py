"""The kinds of registries, by the ``type`` of a configuration entry or a spec."""

from __future__ import annotations

from typing import Protocol

from model_operator.registry.clients.base import RegistryClient, RegistryConfig
from model_operator.registry.clients.credentials import Access
from model_operator.registry.clients.mlflow.client import MlflowClient
from model_operator.registry.clients.unity_catalog import UnityCatalogClient


class Kind(Protocol):
    """Creates clients of one kind. ``access`` replaces the files of the configuration."""

    def __call__(self, entry: str, config: RegistryConfig, *, access: Access | None = None) -> RegistryClient:
        """A client. Does no I/O."""
        ...


KINDS: dict[str, Kind] = {"MLflow": MlflowClient, "UnityCatalog": UnityCatalogClient}


def connect(entry: str, config: RegistryConfig, access: Access | None = None) -> RegistryClient:
    """The client of that registry. Does no I/O. Raises KeyError for a type that the settings do not allow."""
    return KINDS[config.type](entry, config, access=access)

"""The kinds of registries, by what an entry of the configuration names as its ``type``."""

from __future__ import annotations

from collections.abc import Mapping

from model_operator.registry.client import Connect, RegistryClient, RegistryConfig
from model_operator.registry.mlflow import MlflowClient
from model_operator.registry.unity_catalog import UnityCatalogClient

KINDS: Mapping[str, Connect] = {"MLflow": MlflowClient, "UnityCatalog": UnityCatalogClient}


def connect(entry: str, config: RegistryConfig) -> RegistryClient:
    """The client of that entry; does no I/O. Raises KeyError for a type that the settings would not let in."""
    return KINDS[config.type](entry, config)

"""The model registry: clients, one poller per entry, an answer for every ModelDeployment, tags written back."""

from model_operator.registry.client import RegistryClient, RegistryConfig, RegistryError, resolve
from model_operator.registry.connections import Connections
from model_operator.registry.credentials import Access
from model_operator.registry.facts import FactsReader
from model_operator.registry.kinds import KINDS, connect
from model_operator.registry.mlflow import MlflowClient
from model_operator.registry.resolver import Resolver
from model_operator.registry.sources import RegistryId, WantedModel
from model_operator.registry.timed import TimedClient
from model_operator.registry.unity_catalog import UnityCatalogClient
from model_operator.registry.write_back import WriteBack, tag_prefix

__all__ = [
    "KINDS",
    "Access",
    "Connections",
    "FactsReader",
    "MlflowClient",
    "RegistryClient",
    "RegistryConfig",
    "RegistryError",
    "RegistryId",
    "Resolver",
    "TimedClient",
    "UnityCatalogClient",
    "WantedModel",
    "WriteBack",
    "connect",
    "resolve",
    "tag_prefix",
]

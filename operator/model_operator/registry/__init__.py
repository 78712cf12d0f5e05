"""Model registries: clients, one poller per registry, resolutions for ModelDeployments, and tags for verdicts."""

from model_operator.registry.client_pool import ClientPool
from model_operator.registry.clients.base import RegistryClient, RegistryConfig, RegistryError, resolve
from model_operator.registry.clients.credentials import Access
from model_operator.registry.clients.instrumented import TimedClient
from model_operator.registry.clients.kinds import KINDS, connect
from model_operator.registry.clients.mlflow.client import MlflowClient
from model_operator.registry.clients.unity_catalog import UnityCatalogClient
from model_operator.registry.ids import RegistryId, WantedModel
from model_operator.registry.resolver import Resolver
from model_operator.registry.version_facts import FactsReader
from model_operator.registry.version_tags import TagWriter, tag_prefix

__all__ = [
    "KINDS",
    "Access",
    "ClientPool",
    "FactsReader",
    "MlflowClient",
    "RegistryClient",
    "RegistryConfig",
    "RegistryError",
    "RegistryId",
    "Resolver",
    "TagWriter",
    "TimedClient",
    "UnityCatalogClient",
    "WantedModel",
    "connect",
    "resolve",
    "tag_prefix",
]

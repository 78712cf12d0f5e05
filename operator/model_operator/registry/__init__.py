"""The model registry: clients, one poller per entry, an answer for every ModelDeployment, tags written back."""

from model_operator.registry.client import RegistryClient, RegistryConfig, RegistryError, WantedModel, resolve
from model_operator.registry.connections import Connections
from model_operator.registry.facts import FactsReader
from model_operator.registry.mlflow import MlflowClient
from model_operator.registry.resolver import Resolver
from model_operator.registry.sources import RegistryId
from model_operator.registry.timed import TimedClient
from model_operator.registry.write_back import WriteBack, tag_prefix

__all__ = [
    "Connections",
    "FactsReader",
    "MlflowClient",
    "RegistryClient",
    "RegistryConfig",
    "RegistryError",
    "RegistryId",
    "Resolver",
    "TimedClient",
    "WantedModel",
    "WriteBack",
    "resolve",
    "tag_prefix",
]

"""The model registry: clients, one poller per entry, an answer for every ModelDeployment, tags written back."""

from model_operator.registry.client import RegistryClient, RegistryConfig, RegistryError, WantedModel, resolve
from model_operator.registry.mlflow import MlflowClient
from model_operator.registry.resolver import Resolver
from model_operator.registry.write_back import WriteBack, tag_prefix

__all__ = [
    "MlflowClient",
    "RegistryClient",
    "RegistryConfig",
    "RegistryError",
    "Resolver",
    "WantedModel",
    "WriteBack",
    "resolve",
    "tag_prefix",
]

"""The model registry: clients, one poller per entry, and an answer for every ModelDeployment."""

from model_operator.registry.client import RegistryClient, RegistryConfig, RegistryError, WantedModel, resolve
from model_operator.registry.mlflow import MlflowClient
from model_operator.registry.resolver import Resolver

__all__ = [
    "MlflowClient",
    "RegistryClient",
    "RegistryConfig",
    "RegistryError",
    "Resolver",
    "WantedModel",
    "resolve",
]

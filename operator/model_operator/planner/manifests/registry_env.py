"""The fetch container's access to a registry of each kind: variables, mounts and the keys of the Secret."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from model_operator.api.names import VOLUME_REGISTRY_CA, VOLUME_REGISTRY_CLIENT
from model_operator.domain.world import PodRegistry
from model_operator.planner.manifests.containers import mount, variable

REGISTRY_CA_DIR = "/opt/model-operator-registry-ca"
REGISTRY_CA_KEY = "ca.crt"
REGISTRY_CLIENT_DIR = "/opt/model-operator-registry-client"

_CERTIFICATE = ("tls.crt", "tls.key")
_PASSWORD = ("password", "username")


@dataclass(frozen=True, slots=True)
class RegistryAccess:
    """The pods' access to a registry of one kind. Its rules for the configuration are its row in api/choices.py."""

    address: Callable[[PodRegistry], Mapping[str, str]]
    """The variables with its address."""
    credentials: Mapping[str, str]
    """The variable for each key of the Secret."""
    missing: Callable[[frozenset[str]], str]
    """The missing keys of a Secret with these keys, as text. Empty if it has enough."""
    ca_variable: str
    """The variable with the path of the registry's CA certificate."""
    client_certificate: bool = False
    """Whether it supports a client certificate, tls.crt with tls.key."""

    @property
    def keys(self) -> frozenset[str]:
        """The keys of a Secret that are used."""
        return frozenset((*self.credentials, *(_CERTIFICATE if self.client_certificate else ())))


def _address_mlflow(registry: PodRegistry) -> Mapping[str, str]:
    address = {"MLFLOW_TRACKING_URI": registry.url}
    return address | {"MLFLOW_WORKSPACE": registry.workspace} if registry.workspace else address


def _missing_for_mlflow(keys: frozenset[str]) -> str:
    certificate = [key for key in _CERTIFICATE if key in keys]
    lacking = [key for key in _PASSWORD if key not in keys]
    if len(certificate) == 1:
        return next(key for key in _CERTIFICATE if key not in keys)
    if "token" in keys or not lacking or (certificate and len(lacking) == len(_PASSWORD)):
        return ""
    return f"{', '.join(lacking)} (or token)"


MLFLOW = RegistryAccess(
    _address_mlflow,
    {key: f"MLFLOW_TRACKING_{key.upper()}" for key in ("username", "password", "token")},
    _missing_for_mlflow,
    "MLFLOW_TRACKING_SERVER_CERT_PATH",
    client_certificate=True,
)


def _address_unity_catalog(registry: PodRegistry) -> Mapping[str, str]:
    return {
        "MLFLOW_TRACKING_URI": "databricks",
        "MLFLOW_REGISTRY_URI": "databricks-uc",
        "DATABRICKS_HOST": registry.url,
    }


UNITY_CATALOG = RegistryAccess(
    _address_unity_catalog,
    {"token": "DATABRICKS_TOKEN"},
    lambda keys: "" if "token" in keys else "token",
    # the clients of the workspace and of the clouds read no variable of MLflow
    "REQUESTS_CA_BUNDLE",
)

REGISTRY_ACCESS: dict[str, RegistryAccess] = {"MLflow": MLFLOW, "UnityCatalog": UNITY_CATALOG}


def registry_env(registry: PodRegistry) -> list[dict[str, Any]]:
    """The registry's variables in the fetch container."""
    access = REGISTRY_ACCESS[registry.type]
    variables = [variable(name, value) for name, value in access.address(registry).items()]
    variables += _credentials_env(registry, access.credentials)
    if registry.ca_config_map:
        variables.append(variable(access.ca_variable, f"{REGISTRY_CA_DIR}/{REGISTRY_CA_KEY}"))
    if _shows_certificate(registry):
        variables.append(variable("REGISTRY_CLIENT_CERT_DIR", REGISTRY_CLIENT_DIR))
    return variables


def registry_mounts(registry: PodRegistry) -> list[dict[str, Any]]:
    """The registry's mounts in the fetch container."""
    mounts = []
    if registry.ca_config_map:
        mounts.append(mount(VOLUME_REGISTRY_CA, REGISTRY_CA_DIR, read_only=True))
    if _shows_certificate(registry):
        mounts.append(mount(VOLUME_REGISTRY_CLIENT, REGISTRY_CLIENT_DIR, read_only=True))
    return mounts


def registry_volumes(registry: PodRegistry) -> list[dict[str, Any]]:
    """The volumes that ``registry_mounts`` mounts."""
    volumes: list[dict[str, Any]] = []
    if registry.ca_config_map:
        items = [{"key": REGISTRY_CA_KEY, "path": REGISTRY_CA_KEY}]
        source = {"name": registry.ca_config_map, "items": items}
        volumes.append({"name": VOLUME_REGISTRY_CA, "configMap": source})
    if _shows_certificate(registry):
        items = [{"key": key, "path": key} for key in _CERTIFICATE]
        secret = {"secretName": registry.secret, "items": items}
        volumes.append({"name": VOLUME_REGISTRY_CLIENT, "secret": secret})
    return volumes


def _credentials_env(registry: PodRegistry, variables: Mapping[str, str]) -> list[dict[str, Any]]:
    """The variables that are read from keys of the Secret."""
    known = registry.secret_keys
    given: list[dict[str, Any]] = []
    for key, name in variables.items() if registry.secret else ():
        # if the keys are unknown, all of them are optional. A known key that was removed keeps the pod waiting
        if key in known or not known:
            reference: dict[str, Any] = {"name": registry.secret, "key": key}
            if not known:
                reference["optional"] = True
            given.append({"name": name, "valueFrom": {"secretKeyRef": reference}})
    return given


def _shows_certificate(registry: PodRegistry) -> bool:
    takes_one = REGISTRY_ACCESS[registry.type].client_certificate
    return takes_one and registry.secret_keys.issuperset(_CERTIFICATE)

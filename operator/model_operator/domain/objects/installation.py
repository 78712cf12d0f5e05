"""The objects of an installation: the operator's Deployment, the CRD, and the data of Secrets and ConfigMaps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from model_operator.api import names
from model_operator.domain.objects.conditions import read_conditions
from model_operator.domain.objects.fields import Object, count, mapping, metadata, objects, part, spec, status

_CONFIG_VARIABLE = "MODEL_OPERATOR_CONFIG"


@dataclass(frozen=True, slots=True)
class OperatorDeployment:
    """A Deployment that may run an operator."""

    namespace: str
    name: str
    runs_operator: bool
    """Whether a container has the variable with an operator's configuration. Names and labels prove nothing."""
    image: str
    replicas: int
    ready: int
    service_account: str
    config_map: str
    """The ConfigMap with its configuration. Empty if it mounts none."""
    webhook_secret: str
    """The Secret for the check of webhooks. Empty if it mounts none."""


def read_operator_deployment(raw: Object) -> OperatorDeployment:
    """The view of a Deployment, as one that may run an operator."""
    meta, wanted = metadata(raw), spec(raw)
    pod_spec = part(part(wanted, "template"), "spec")
    containers = objects(pod_spec.get("containers"))
    volumes = {volume.get("name"): volume for volume in reversed(objects(pod_spec.get("volumes")))}
    replicas = wanted.get("replicas", 1)
    return OperatorDeployment(
        namespace=str(meta.get("namespace", "")),
        name=str(meta.get("name", "")),
        runs_operator=any(
            variable.get("name") == _CONFIG_VARIABLE
            for container in containers
            for variable in objects(container.get("env"))
        ),
        image=next((str(container.get("image")) for container in containers), "?"),
        replicas=replicas if isinstance(replicas, int) else 0,
        ready=count(status(raw).get("readyReplicas")),
        service_account=str(pod_spec.get("serviceAccountName") or "default"),
        config_map=str(part(mapping(volumes.get("config")), "configMap").get("name", "")),
        webhook_secret=str(part(mapping(volumes.get("webhook-secrets")), "secret").get("secretName", "")),
    )


@dataclass(frozen=True, slots=True)
class InstalledCrd:
    """The CustomResourceDefinition of ModelDeployments in a cluster."""

    established: bool
    fields: frozenset[str]
    """The paths of all fields in our version of the API, such as ``spec.gates.tags[].key``."""


def read_crd(raw: Object) -> InstalledCrd:
    """The view of the CRD."""
    established = read_conditions(status(raw)).get("Established")
    versions = objects(spec(raw).get("versions"))
    served = next((version for version in versions if version.get("name") == names.VERSION), {})
    schema = part(part(served, "schema"), "openAPIV3Schema")
    return InstalledCrd(established is not None and established.is_true, frozenset(_list_fields(schema, "")))


def _list_fields(schema: Object, path: str) -> Iterator[str]:
    for name, field in part(schema, "properties").items():
        # the API server defines metadata
        if (here := f"{path}.{name}".lstrip(".")) != "metadata":
            yield here
            yield from _list_fields(mapping(field), here)
    if "items" in schema:
        yield from _list_fields(mapping(schema["items"]), f"{path}[]")


def read_data(raw: Object) -> Object:
    """The data of a ConfigMap or a Secret, by key."""
    return part(raw, "data")


def read_is_allowed(review: Object) -> bool:
    """Whether a review of access allows the request."""
    return status(review).get("allowed") is True

"""What pods need in their own namespace to reach a registry, and what is said when it is not there."""

from __future__ import annotations

from typing import Any

import pytest

from model_operator.controller.pod_credentials import TTL_SECONDS, PodRegistries
from model_operator.domain.objects import Kind, ObjectRef
from model_operator.domain.world import PodRegistry
from model_operator.kube import Forbidden, NotFound
from model_operator.settings import RegistryConfig


class Cluster:
    """Secrets and ConfigMaps by name, each with its keys; counts how often it is asked."""

    def __init__(self, **objects: frozenset[str] | Exception) -> None:
        self.objects = objects
        self.asked = 0

    async def get_secret(self, namespace: str, name: str) -> dict[str, bytes] | None:
        self.asked += 1
        found = self.objects.get(name)
        if isinstance(found, Exception):
            raise found
        return None if found is None else dict.fromkeys(found, b"hunter2/Ready")

    async def get(self, ref: ObjectRef) -> dict[str, Any]:
        assert ref.kind is Kind.CONFIG_MAP
        keys = self.objects.get(ref.name)
        if keys is None or isinstance(keys, Exception):
            raise keys or NotFound(404, "NotFound", "none")
        return {"data": dict.fromkeys(keys, "PEM")}


def config(**changes: Any) -> RegistryConfig:
    return RegistryConfig.model_validate(
        {"url": "https://mlflow", "podCredentials": {"secret": "pods"}} | changes
    )


async def of(cluster: Cluster, entry: RegistryConfig) -> tuple[PodRegistry, str]:
    return await PodRegistries(cluster).of("crm", entry)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "keys", "lacking"),
    [
        pytest.param("MLflow", {"username", "password"}, "", id="user and password"),
        pytest.param("MLflow", {"token"}, "", id="a token"),
        pytest.param("MLflow", {"tls.crt", "tls.key"}, "", id="a certificate alone"),
        pytest.param("MLflow", {"tls.crt", "tls.key", "token"}, "", id="a certificate beside a token"),
        pytest.param("MLflow", {"username"}, "password (or token)", id="no password"),
        pytest.param("MLflow", {"user"}, "password, username (or token)", id="other keys"),
        pytest.param("MLflow", {"tls.crt", "token"}, "tls.key", id="a certificate without its key"),
        pytest.param(
            "MLflow", {"tls.crt", "tls.key", "username"}, "password (or token)", id="half a password"
        ),
        pytest.param("UnityCatalog", {"token"}, "", id="a token for Unity Catalog"),
        pytest.param("UnityCatalog", {"username", "password"}, "token", id="a password for Unity Catalog"),
    ],
)
async def test_a_secret_needs_one_complete_way_in(kind: str, keys: set[str], lacking: str) -> None:
    registry, problem = await of(Cluster(pods=frozenset(keys)), config(type=kind))
    assert problem == (f"the Secret pods in namespace crm has no value for {lacking}" if lacking else "")
    assert registry.secret_keys == (frozenset() if lacking else keys)
    assert registry.type == kind


async def test_what_is_missing_is_named_with_what_to_create() -> None:
    _, problem = await of(Cluster(), config())
    assert problem.startswith("there is no Secret pods in namespace crm: create it")
    _, problem = await of(Cluster(pods=frozenset({"token"})), config(podCa={"configMap": "ca"}))
    assert problem == "there is no ConfigMap ca in namespace crm: create it, with the key ca.crt"
    _, problem = await of(Cluster(ca=frozenset({"root.pem"})), config(podCa={"configMap": "ca"}))
    assert problem == "the ConfigMap ca in namespace crm has no key ca.crt"
    _, problem = await of(Cluster(pods=Forbidden(403, "Forbidden", "no")), config())
    assert problem == "the operator may not read the Secret pods in namespace crm: grant it get"


async def test_what_is_there_is_believed_for_a_minute_and_what_is_missing_is_not() -> None:
    cluster, now = Cluster(), 0.0
    registries = PodRegistries(cluster, lambda: now)  # type: ignore[arg-type]
    await registries.of("crm", config())
    cluster.objects["pods"] = frozenset({"token"})
    assert (await registries.of("crm", config()))[1] == ""
    del cluster.objects["pods"]
    assert (await registries.of("crm", config()))[1] == ""
    now = TTL_SECONDS
    assert "there is no Secret" in (await registries.of("crm", config()))[1]
    assert cluster.asked == 3


def dying(message: str) -> dict[str, Any]:
    """A pod whose container left these last words."""
    terminated = {"exitCode": 1, "reason": "Error", "message": message}
    status = {"name": "server", "lastState": {"terminated": terminated}, "state": {"waiting": {}}}
    return {"metadata": {"name": "churn-1"}, "status": {"phase": "Running", "containerStatuses": [status]}}


def last_words(pod: Any) -> str:
    return str(pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["message"])


@pytest.mark.parametrize(
    ("said", "quoted"),
    [
        pytest.param("login hunter2/Ready refused", "login *** refused", id="as it stands"),
        pytest.param("GET http://x/?p=hunter2%2FReady", "GET http://x/?p=***", id="in a URL"),
        pytest.param("key aHVudGVyMi9SZWFkeQ==", "key ***", id="in base64"),
        pytest.param(
            "Basic aHVudGVyMi9SZWFkeTpodW50ZXIyL1JlYWR5", "Basic ***", id="as a header of basic auth has it"
        ),
        pytest.param("no module named xgboost", "no module named xgboost", id="nothing of the kind"),
    ],
)
async def test_a_known_secret_is_struck_out_of_last_words(said: str, quoted: str) -> None:
    registries = PodRegistries(Cluster(pods=frozenset({"username", "password"})))  # type: ignore[arg-type]
    await registries.of("crm", config())
    pod = dying(said)

    (redacted,) = registries.redact("crm", [pod])

    assert last_words(redacted) == quoted
    assert last_words(pod) == said, "the cache is left alone"
    assert registries.redact("shop", [pod]) == [pod], "another namespace's secrets are another's"


async def test_what_a_status_says_in_kubernetes_own_words_is_left_alone() -> None:
    class Careless(Cluster):
        async def get_secret(self, namespace: str, name: str) -> dict[str, bytes] | None:
            return {"username": b"me", "password": b"Running"}

    registries = PodRegistries(Careless())  # type: ignore[arg-type]
    await registries.of("crm", config())

    (redacted,) = registries.redact("crm", [dying("Running out of memory")])

    assert redacted["status"]["phase"] == "Running"
    assert last_words(redacted) == "*** out of memory"


async def test_the_secret_of_before_a_change_is_struck_out_as_well() -> None:
    moments = [0.0]
    values = iter([b"first-password", b"second-password", b"second-password"])

    class Rotated(Cluster):
        async def get_secret(self, namespace: str, name: str) -> dict[str, bytes] | None:
            return {"token": next(values)}

    registries = PodRegistries(Rotated(), clock=lambda: moments[-1])  # type: ignore[arg-type]
    for moment in (0.0, TTL_SECONDS, 2 * TTL_SECONDS):
        moments.append(moment)
        await registries.of("crm", config())

    (redacted,) = registries.redact("crm", [dying("first-password, then second-password")])

    assert last_words(redacted) == "***, then ***"

"""A registry that a spec describes, on a real API server: what is allowed, what is read, and what is never asked."""

from __future__ import annotations

import base64

import pytest
from tests.integration.lives.bench import Bench


def message(bench: Bench, kind: str) -> str:
    return next(str(c["message"]) for c in bench.status("churn")["conditions"] if c["type"] == kind)


def test_nothing_is_allowed_until_the_operator_is_told(bench: Bench, model: str) -> None:
    registry = {"url": bench.mlflow.url, "credentialsSecret": "mlflow"}
    bench.create("churn", {"model": {"name": model, "alias": "champion"}, "registry": registry})
    bench.until_condition("churn", "Current", "False", "UnknownRegistry")
    assert "is not one of inlineRegistries.allowedUrls" in message(bench, "Resolved")
    assert bench.items("Deployment") == []


@pytest.mark.usefixtures("own_operator")
def test_this_machine_is_not_asked_even_where_its_url_is_allowed(bench: Bench, model: str) -> None:
    bench.operator.stop()
    allowed = {"allowedUrls": [bench.mlflow.url], "secretNames": ["mlflow"]}
    bench.operator.configure(inlineRegistries=allowed)
    bench.restart_operator()
    registry = {"url": bench.mlflow.url, "credentialsSecret": "mlflow"}
    bench.create("churn", {"model": {"name": model, "alias": "champion"}, "registry": registry})
    bench.until_condition("churn", "Current", "False", "RegistryMisconfigured")
    assert "there is no Secret mlflow in namespace" in message(bench, "Resolved")

    data = {key: base64.b64encode(value.encode()).decode() for key, value in _login(bench).items()}
    bench.post("Secret", {"apiVersion": "v1", "metadata": {"name": "mlflow"}, "data": data})
    bench.until("the address is refused", lambda: "a loopback address" in message(bench, "Resolved"))
    assert "127.0.0.1, a loopback address, which is not allowed" in message(bench, "Resolved")
    for secret in _login(bench).values():
        assert secret not in bench.operator.all_words()

    # back to the entry of the configuration: the same server, by an administrator's word
    bench.patch("ModelDeployment", "churn", {"spec": {"registry": None}})
    bench.until_serving("churn", 1)


@pytest.mark.usefixtures("own_operator")
def test_a_secret_of_another_name_is_not_read(bench: Bench, model: str) -> None:
    bench.operator.stop()
    bench.operator.configure(inlineRegistries={"allowedUrls": [bench.mlflow.url], "secretNames": ["mlflow"]})
    bench.restart_operator()
    data = {"token": base64.b64encode(b"of-the-database").decode()}
    bench.post("Secret", {"apiVersion": "v1", "metadata": {"name": "database"}, "data": data})
    registry = {"url": bench.mlflow.url, "credentialsSecret": "database"}
    bench.create("churn", {"model": {"name": model, "alias": "champion"}, "registry": registry})
    bench.until_condition("churn", "Current", "False", "RegistryMisconfigured")
    assert "database is not one of inlineRegistries.secretNames" in message(bench, "Resolved")


def _login(bench: Bench) -> dict[str, str]:
    return {
        "username": bench.mlflow.username or "nobody-at-all",
        "password": bench.mlflow.password or "no-password",
    }

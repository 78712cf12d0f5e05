"""P8: known secret values are put through a life full of failures, then looked for wherever the operator speaks."""

from __future__ import annotations

import base64
import json
import secrets
import socket
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from tests.integration.lives.bench import PLURALS, Bench
from tests.integration.lives.kubelet import Script
from tests.integration.security.conftest import POD_SECRET, Guarded
from tests.integration.security.installation import Installation
from tests.integration.security.lives import pods_secret


@dataclass(frozen=True)
class Canary:
    """A value that must turn up nowhere, in any of the forms that it may take."""

    whose: str
    value: str
    user: str = ""

    def forms(self) -> set[str]:
        """The value as it stands, in base64, in a URL, and as a basic Authorization header has it."""
        raw = self.value.encode()
        found = {self.value, base64.b64encode(raw).decode(), urllib.parse.quote(self.value, safe="")}
        if self.user:
            found.add(base64.b64encode(f"{self.user}:{self.value}".encode()).decode())
        return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _where(bench: Bench, installation: Installation, model: str, metrics: str) -> dict[str, str]:
    """All that the operator said, by the place where it can be read."""
    kinds = [kind for kind in PLURALS if kind != "Secret"]
    places = {f"{kind}s of the namespace": json.dumps(bench.items(kind)) for kind in kinds}
    places["the operator's log"] = bench.operator.all_words()
    places["metrics"] = metrics
    places["everything that it asked of the API server"] = "\n".join(it.text for it in installation.calls())
    places["tags in the registry"] = json.dumps([bench.tags(model, version) for version in (1, 2, 3)])
    return places


@pytest.mark.timeout(600)
def test_a_known_secret_value_is_nowhere_in_logs_events_status_metrics_and_tags(
    guarded: Guarded, serving_namespace: str, tmp_path: Path
) -> None:
    installation, bench = guarded(watchNamespaces=[serving_namespace], logLevel="DEBUG")
    port = _free_port()
    bench.operator.configure(metricsPort=port)
    bench.restart_operator()
    registry = bench.mlflow
    canaries = [
        Canary("the operator's password", registry.password, registry.username),
        Canary("a wrong password of the operator's", f"wr0ng/{secrets.token_hex(8)}&", "nobody"),
        Canary("the pods' password", f"p4ss/{secrets.token_hex(8)}+", "reader"),
        Canary("the pods' next password", f"n3xt/{secrets.token_hex(8)}+", "reader"),
        Canary("the artifact store's key", secrets.token_hex(16)),
    ]
    own, wrong, pods, pods_next, store = canaries
    model = f"model-{secrets.token_hex(4)}"
    bench.register(model)
    bench.alias(model, "champion", 1)
    bench.post("Secret", pods_secret(POD_SECRET, username="reader", password=pods.value))
    bench.post("Secret", pods_secret("store", AWS_SECRET_ACCESS_KEY=store.value))
    # what a server that is none of ours may print before it dies; the kubelet makes it the termination message
    talkative = f"GET https://reader:{pods.value}@mlflow failed: {pods.value}, {_basic(pods)}\nAborted"
    bench.kubelet.scripts[(model, "2")] = Script(50, talkative)
    bench.kubelet.scripts[(model, "3")] = Script(
        43, json.dumps({"reason": "StoreRefused", "message": f"401 for {pods.value}"})
    )
    bench.create(
        "churn",
        {
            "model": {"name": model, "alias": "champion"},
            "fetch": {"envFrom": [{"secretRef": {"name": "store"}}]},
            "rollout": {"watchSeconds": 1},
        },
    )
    bench.until_serving("churn", 1)
    bench.alias(model, "champion", 3)
    bench.until_condition("churn", "Current", "False", "VersionRejected")
    bench.alias(model, "champion", 2)
    bench.until(
        "version 2 has failed", lambda: "Aborted" in json.dumps(bench.status("churn").get("rejected"))
    )
    bench.operator.log_in(wrong.user, wrong.value)
    bench.until_condition("churn", "Resolved", "False", "Unauthorized")
    bench.operator.log_in(own.user, own.value)
    bench.until_condition("churn", "Resolved", "True", "Resolved")
    bench.delete("Secret", POD_SECRET)
    bench.post("Secret", pods_secret(POD_SECRET, username="reader", password=pods_next.value))
    bench.patch("ModelDeployment", "churn", {"spec": {"server": {"image": "bad image"}}})
    bench.until_observed("churn")
    with bench.silent_registry():
        bench.until_condition("churn", "Resolved", "Unknown", "RegistryUnreachable")
    metrics = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=10, trust_env=False).text

    places = _where(bench, installation, model, metrics)
    assert "model_operator_" in places["metrics"]
    assert "Aborted" in places["ModelDeployments of the namespace"], "the pod's other words are quoted"
    # the API server's own record of a Secret that was read has its name, and never its body
    found = [
        f"{canary.whose} in {where}"
        for where, text in places.items()
        for canary in canaries
        if any(form in text for form in canary.forms())
    ]
    assert found == []


def _basic(canary: Canary) -> str:
    return base64.b64encode(f"{canary.user}:{canary.value}".encode()).decode()

"""An alias that moves is seen by webhook long before the next poll, and by the poll where no webhook arrives."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest
from tests.cluster.network import free_ports
from tests.integration.lives.bench import Bench


@pytest.mark.usefixtures("own_operator")
def test_a_webhook_starts_a_rollout_long_before_the_next_poll(
    bench: Bench, model: str, tmp_path: Path
) -> None:
    secret = secrets.token_urlsafe(16)
    directory = tmp_path / "webhook-secrets"
    directory.mkdir()
    (directory / "secret").write_text(secret)
    (port,) = free_ports(1)
    bench.operator.stop()
    bench.operator.configure(pollSeconds=3600, webhooks={"port": port, "secretDir": str(directory)})
    bench.restart_operator()
    bench.create("churn", {"model": {"name": model, "alias": "champion"}})
    bench.until_serving("churn", 1)
    with bench.mlflow.webhook(f"http://127.0.0.1:{port}/webhooks/default", secret):
        bench.alias(model, "champion", 2)
        bench.until_serving("churn", 2)
        bench.alias(model, "champion", 3)
        bench.until_serving("churn", 3)


def test_an_operator_that_hears_no_webhook_follows_by_its_poll(bench: Bench, model: str) -> None:
    (nobody,) = free_ports(1)
    bench.create("churn", {"model": {"name": model, "alias": "champion"}})
    bench.until_serving("churn", 1)
    with bench.mlflow.webhook(f"http://127.0.0.1:{nobody}/webhooks/default", "unheard"):
        bench.alias(model, "champion", 2)
        bench.until_serving("churn", 2)

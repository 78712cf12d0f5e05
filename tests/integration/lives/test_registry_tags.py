"""What the registry is told about its versions, where the operator may write to it and where it may not."""

from __future__ import annotations

import pytest
from tests.integration.lives.bench import Bench
from tests.integration.lives.kubelet import Script

LOAD_FAILED = Script(50, '{"reason": "LoadFailed", "message": "ValueError: the pickle is broken"}')


def test_the_registry_learns_what_became_of_its_versions(bench: Bench, model: str) -> None:
    key = f"model-operator.io/default/{bench.namespace}/churn"
    spec = {"model": {"name": model, "alias": "champion"}, "rollout": {"watchSeconds": 5}}
    bench.create("churn", spec)
    bench.until("it serves", lambda: bench.tags(model, 1).get(key) == "Serving")
    bench.until("it has settled", lambda: bench.tags(model, 1).get(key) == "Settled")

    bench.kubelet.scripts[(model, "2")] = LOAD_FAILED
    bench.alias(model, "champion", 2)
    bench.until("it is rejected", lambda: bench.tags(model, 2).get(key) == "Rejected: LoadFailed")
    assert bench.tags(model, 1) == {key: "Settled"}
    assert bench.tags(model, 3) == {}


@pytest.mark.usefixtures("own_operator")
def test_a_registry_that_may_only_be_read_costs_one_line_in_the_log(bench: Bench, model: str) -> None:
    bench.operator.stop()
    reader = f"reader-of-{model}"
    grant = {"username": reader, "resource_type": "registered_model", "resource_id": model}
    with bench.mlflow.api() as api:
        api.post("users/create", json={"username": reader, "password": f"{reader}-password"})
        url = f"{bench.mlflow.url}/api/3.0/mlflow/users/permissions/grant"
        api.post(url, json=grant | {"permission": "READ"})
    bench.operator.log_in(reader, f"{reader}-password")
    bench.operator.start()

    spec = {"model": {"name": model, "alias": "champion"}, "rollout": {"watchSeconds": 1}}
    bench.create("churn", spec)
    bench.until_settled("churn", 1)
    bench.alias(model, "champion", 2)
    bench.until_settled("churn", 2)
    bench.until("it is said", lambda: "can't be written back" in bench.operator.all_words())
    assert bench.operator.all_words().count("can't be written back") == 1
    assert bench.tags(model, 1) == bench.tags(model, 2) == {}
    assert bench.condition("churn", "Ready") == ("True", "Serving")

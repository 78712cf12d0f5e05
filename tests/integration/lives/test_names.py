"""Names of models that Kubernetes would not take for one of its own, through to pods on a real API server."""

from __future__ import annotations

import pytest
from tests.integration.lives.bench import Bench

NAMES = {
    "blanks-and-signs": "Churn model 100% v2?&+#;[1]@x",
    "unicode": "Söhne & Töchter 日本語 🚀",
    "longest": "a" * 200 + " " + "é" * 54,
    "variables": "$(HOME) costs 5$",
    # the first and the second are one when they are made into labels
    "collides-1": "Credit Risk",
    "collides-2": "credit-risk",
    "dots": "ml.crm.churn",
}


@pytest.mark.parametrize("case", sorted(NAMES))
def test_a_model_of_any_name_is_rolled_out_and_its_alias_followed(bench: Bench, case: str) -> None:
    name = NAMES[case]
    bench.register(name, versions=2)
    bench.alias(name, "champion", 1)
    bench.create("churn", {"model": {"name": name, "alias": "champion"}, "replicas": 1})
    bench.until_serving("churn", 1)
    bench.alias(name, "champion", 2)
    bench.until_serving("churn", 2)
    (pod,) = [pod for pod in bench.items("Pod") if not pod["metadata"].get("deletionTimestamp")]
    assert pod["metadata"]["annotations"]["model-operator.io/model"] == name
    assert name not in pod["metadata"]["labels"].values()
    (container,) = pod["spec"]["initContainers"]
    variables = {variable["name"]: variable.get("value") for variable in container["env"]}
    # what the kubelet makes of it is the name again
    assert variables["MODEL_NAME"] == name.replace("$", "$$")
    assert variables["MODEL_VERSION"] == "2"
    assert bench.status("churn")["resolved"]["version"] == "2"


def test_names_that_are_one_as_labels_stay_two_models(bench: Bench) -> None:
    names = [f"Fraud {bench.namespace}", f"fraud-{bench.namespace}"]
    for number, name in enumerate(names, start=1):
        bench.register(name, versions=2)
        bench.alias(name, "champion", number)
        bench.create(f"fraud-{number}", {"model": {"name": name, "alias": "champion"}, "replicas": 1})
    for number in (1, 2):
        bench.until_serving(f"fraud-{number}", number)
    served = {
        pod["metadata"]["annotations"]["model-operator.io/model"]: pod["metadata"]["annotations"][
            "model-operator.io/version"
        ]
        for pod in bench.items("Pod")
    }
    assert served == {names[0]: "1", names[1]: "2"}
    assert bench.behind("fraud-1").isdisjoint(bench.behind("fraud-2"))

"""What lint tells of an autoscaler that has nothing to compare with."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_operator.cli.lint.structure import Severity
from model_operator.cli.lint.utilization import utilization_problems

Json = dict[str, Any]
BOUNDS: Json = {"maxReplicas": 3}
MEMORY = {
    "type": "Resource",
    "resource": {"name": "memory", "target": {"type": "Utilization", "averageUtilization": 80}},
}
ABSOLUTE = {
    "type": "Resource",
    "resource": {"name": "cpu", "target": {"type": "AverageValue", "averageValue": "1"}},
}


def of_container(name: str) -> Json:
    target = {"type": "Utilization", "averageUtilization": 80}
    source = {"name": "cpu", "container": name, "target": target}
    return {"type": "ContainerResource", "containerResource": source}


def spec(autoscaling: Json | None, **resources: Json) -> Json:
    found: Json = {"server": {"resources": resources}}
    return found | ({"autoscaling": autoscaling} if autoscaling else {})


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        (spec(BOUNDS), ["cpu"]),
        (spec(BOUNDS | {"targetCPUUtilizationPercentage": 50}, requests={"memory": "1Gi"}), ["cpu"]),
        (spec(BOUNDS | {"metrics": [MEMORY]}, requests={"cpu": "1"}), ["memory"]),
        (spec(BOUNDS | {"metrics": [of_container("server")]}), ["cpu"]),
        (spec(BOUNDS, requests={"cpu": "500m"}), []),
        (spec(BOUNDS, limits={"cpu": "1"}), []),
        (spec(BOUNDS | {"metrics": [ABSOLUTE]}), []),
        (spec(BOUNDS | {"metrics": [of_container("istio-proxy")]}), []),
        (spec(None), []),
    ],
)
def test_a_share_of_a_request_needs_the_request(given: Json, missing: list[str]) -> None:
    found = list(utilization_problems(given))
    assert [f.severity for f in found] == [Severity.WARNING] * len(missing)
    for problem, resource in zip(found, missing, strict=True):
        assert f"needs server.resources.requests.{resource}" in problem.message
        assert problem.path == ("spec", "autoscaling")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["metrics", "resource"]), inner)
    ),
)


@given(JSON, JSON)
def test_no_shape_raises(scaling: Any, server: Any) -> None:
    list(utilization_problems({"autoscaling": scaling, "server": server}))

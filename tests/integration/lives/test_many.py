"""Many ModelDeployments that follow one alias: forth a few at a time, back all at once."""

from __future__ import annotations

from typing import Any

import pytest
from tests.integration.lives.bench import Bench
from tests.integration.lives.kubelet import Script

pytestmark = pytest.mark.usefixtures("own_operator")

MANY = 60
SLOTS = 5
VERSION = "model-operator.io/version"


@pytest.mark.timeout(1000)
def test_many_follow_one_alias_a_few_at_a_time_and_come_back_at_once(bench: Bench, model: str) -> None:
    bench.operator.stop()
    bench.operator.configure(maxConcurrentRollouts=SLOTS)
    bench.operator.start()
    names = [f"churn-{number}" for number in range(MANY)]
    for name in names:
        spec = {"model": {"name": model, "alias": "champion"}, "replicas": 1}
        bench.create(name, spec)
    bench.until("all serve version 1", lambda: serving(bench, "1") == MANY, seconds=300, every=0.5)
    seen: list[int] = []

    def all_serve_version_2() -> bool:
        seen.append(under_way(bench, "2"))
        assert seen[-1] <= SLOTS
        return serving(bench, "2") == MANY

    bench.alias(model, "champion", 2)
    bench.until("all serve version 2", all_serve_version_2, seconds=300)
    assert max(seen) > 0
    assert bench.items("Deployment")[0]["spec"]["replicas"] == 1

    bench.until_a_later_second()
    bench.kubelet.scripts[(model, "2")] = Script(dies="OOMKilled")
    waited: set[str] = set()

    def all_are_back() -> bool:
        found = [o.get("status", {}) for o in bench.items("ModelDeployment")]
        waited.update(s["candidate"]["phase"] for s in found if s.get("candidate"))
        return all(s["serving"]["version"] == "1" and s["rejected"][0]["version"] == "2" for s in found if s)

    bench.until("all are back", lambda: serving(bench, "1") == MANY and all_are_back(), seconds=300)
    assert waited == set(), "a revert waits for no slot"


def serving(bench: Bench, version: str) -> int:
    """How many say that they serve that version."""
    found = [o.get("status", {}).get("serving", {}) for o in bench.items("ModelDeployment")]
    return len([s for s in found if s.get("version") == version])


def under_way(bench: Bench, version: str) -> int:
    """How many have pods of that version which they do not call serving yet, at one moment."""
    # pods first: who had one before and does not call it serving afterwards was under way in between
    pods = bench.items("Pod")
    with_pods = {owner(pod) for pod in pods if pod["metadata"]["annotations"].get(VERSION) == version}
    found = {o["metadata"]["name"]: o.get("status", {}) for o in bench.items("ModelDeployment")}
    return len([n for n in with_pods if found[n].get("serving", {}).get("version") != version])


def owner(pod: dict[str, Any]) -> str:
    return str(pod["metadata"]["labels"]["model-operator.io/deployment"])

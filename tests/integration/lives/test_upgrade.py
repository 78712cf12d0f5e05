"""Another build of the operator, whose pods would look different, takes over."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.integration.lives.bench import Bench

import model_operator

pytestmark = pytest.mark.usefixtures("own_operator")

NEWER = "# a newer build\n"


def test_a_newer_operator_restarts_nothing_until_a_person_asks(
    bench: Bench, model: str, tmp_path: Path
) -> None:
    spec = {"model": {"name": model, "alias": "champion"}, "replicas": 2, "rollout": {"watchSeconds": 1}}
    bench.create("churn", spec)
    bench.until_settled("churn", 1)
    bench.until_at_rest("churn")
    pods = bench.pod_uids()

    copy = tmp_path / "newer"
    package = Path(model_operator.__file__).parent
    shutil.copytree(package, copy / "model_operator", ignore=shutil.ignore_patterns("__pycache__"))
    script = copy / "model_operator" / "pod" / "serve.py"
    script.write_text(script.read_text() + NEWER)
    with bench.nothing_is_written(seconds=3):
        bench.operator.stop()
        bench.operator.run_from(copy)
        bench.restart_operator()
    assert bench.pod_uids() == pods
    assert newer_scripts(bench) == set()

    bench.annotate("churn", restart="to-the-newer-scripts")
    bench.until("all pods are new", lambda: len(bench.pod_uids()) == 2 and pods.isdisjoint(bench.pod_uids()))
    bench.until_serving("churn", 1)
    found = bench.get("Deployment", "churn")
    assert found
    mounted = {
        v["configMap"]["name"] for v in found["spec"]["template"]["spec"]["volumes"] if "configMap" in v
    }
    assert mounted & newer_scripts(bench)


def newer_scripts(bench: Bench) -> set[str]:
    """The ConfigMaps with the newer build's scripts."""
    maps = bench.items("ConfigMap")
    return {m["metadata"]["name"] for m in maps if NEWER in m.get("data", {}).get("serve.py", "")}

"""The main job: follow the alias, come back from a bad version, lose no request."""

from __future__ import annotations

from tests.e2e.stage import BETTER, GOOD, LOAD_FAILS, Stage
from tests.workbench import Load
from tests.workbench.namespace import LABEL_DEPLOYMENT

SCALED = {"minReplicas": 2, "maxReplicas": 4, "targetCPUUtilizationPercentage": 1000}


def test_it_follows_the_alias_and_comes_back_from_a_bad_version_without_losing_a_request(
    stage: Stage,
) -> None:
    stage.create_serving("iris", autoscaling=SCALED)
    cluster = stage.cluster
    assert cluster.pod_versions("iris") == [GOOD, GOOD]
    pods_are_locked_down(stage)
    load = Load.start(cluster, "iris", rate=20)

    stage.alias("iris", BETTER)
    cluster.until_serving("iris", BETTER)
    cluster.until("version 2 answers", lambda: BETTER in load.counters().answered)
    assert cluster.pod_versions("iris") == [BETTER, BETTER]
    # a pod that drains still answers on the connections that it has
    cluster.until("version 1 has drained", lambda: len(cluster.items("Pod", f"{LABEL_DEPLOYMENT}=iris")) == 2)
    by_the_old_one = load.counters().answered[GOOD]

    stage.alias("iris", LOAD_FAILS)
    rejection = cluster.until_rejected("iris", LOAD_FAILS)
    assert (rejection["side"], rejection["reason"]) == ("Model", "LoadFailed")
    assert "this model never loads" in rejection["message"]
    assert cluster.condition("iris", "Ready")["status"] == "True", (
        "a bad alias move does not block a GitOps sync"
    )
    assert cluster.condition("iris", "Stalled") == {}
    cluster.until("only version 2 is left", lambda: cluster.pod_versions("iris") == [BETTER, BETTER])

    stage.alias("iris", BETTER)
    status = cluster.until_serving("iris", BETTER)
    assert status["serving"]["selfTest"] == "Passed"

    counted = load.stop()
    assert counted.failed == 0, counted.failures
    assert set(counted.answered) == {GOOD, BETTER}
    assert counted.answered[GOOD] == by_the_old_one, "the version before answered again"
    assert {"RolloutStarted", "RolledOut", "Reverted"} <= {reason for reason, _ in cluster.events("iris")}


def pods_are_locked_down(stage: Stage) -> None:
    """The exact version, no root, no writable root file system, no token, no registry password in the server."""
    for pod in stage.cluster.pods("iris"):
        spec = pod["spec"]
        containers = [*spec["initContainers"], *spec["containers"]]
        versions = {e["value"] for c in containers for e in c["env"] if e["name"] == "MODEL_VERSION"}
        assert versions == {GOOD}
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        for container in containers:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"]["drop"] == ["ALL"]
        (server,) = spec["containers"]
        assert not [e for e in server["env"] if "secretKeyRef" in e.get("valueFrom", {})]
        assert not [e for c in containers for e in c["env"] if e.get("value") == stage.registry.password]

"""What GitOps tools see of a ModelDeployment in each state of its life: the objects as a simulated life leaves them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from model_operator.api import names
from tests.stories.pods import Behaviour
from tests.stories.simulation import NAMESPACE, SimulatedCluster, outage, serving

Json = dict[str, Any]

LOAD_FAILS = Behaviour(exit_code=50, last_words='{"reason": "LoadFailed", "message": "KeyError: weights"}')
NO_ROOM = Behaviour(scheduled=None)
NO_IMAGE = Behaviour(ready=None, waits="ErrImagePull", last_words="server:2: not found")


def _manifest(**more: Any) -> Json:
    return {"model": {"name": "churn", "alias": "champion"}, "replicas": 2, **more}


def _first(**more: Any) -> SimulatedCluster:
    cluster = SimulatedCluster(_manifest(), {"champion": "1"}, **more)
    cluster.settle()
    return cluster


def _not_seen() -> SimulatedCluster:
    return SimulatedCluster(_manifest(), {"champion": "1"})


def _first_rollout() -> SimulatedCluster:
    return _first()


def _serves() -> SimulatedCluster:
    return serving(_manifest(), "1")


def _alias_moves() -> SimulatedCluster:
    cluster = serving(_manifest(), "1")
    cluster.move_alias("champion", "2")
    cluster.pass_time(3)
    return cluster


def _alias_rejected() -> SimulatedCluster:
    cluster = serving(_manifest(), "1", behaviours={"2": LOAD_FAILS})
    cluster.move_alias("champion", "2")
    cluster.pass_time(60)
    return cluster


def _alias_without_room() -> SimulatedCluster:
    cluster = serving(_manifest(rollout={"schedulingSeconds": 60}), "1", behaviours={"2": NO_ROOM})
    cluster.move_alias("champion", "2")
    cluster.pass_until(lambda: cluster.status.get("candidate", {}).get("phase") == "Withdrawn")
    return cluster


def _alias_waits_for_approval() -> SimulatedCluster:
    cluster = serving(_manifest(gates={"approval": {"mode": "Manual", "approved": "1"}}), "1")
    cluster.move_alias("champion", "2")
    return cluster


def _alias_deleted() -> SimulatedCluster:
    cluster = serving(_manifest(), "1")
    del cluster.aliases["champion"]
    cluster.settle()
    return cluster


def _commit_rolls_out() -> SimulatedCluster:
    cluster = serving(_manifest(), "1")
    cluster.commit("another image", lambda spec: spec.update(server={"image": "server:2"}))
    cluster.pass_time(3)
    return cluster


def _commit_rejected() -> SimulatedCluster:
    cluster = serving(_manifest(), "1", behaviours={"server:2": NO_IMAGE})
    cluster.commit("an image that does not exist", lambda spec: spec.update(server={"image": "server:2"}))
    cluster.pass_time(120)
    return cluster


def _commit_not_seen() -> SimulatedCluster:
    cluster = serving(_manifest(), "1")
    cluster.generation += 1
    return cluster


def _commit_waits_for_approval() -> SimulatedCluster:
    cluster = serving(_manifest(gates={"approval": {"mode": "Manual", "approved": "1"}}), "1")
    cluster.commit("version 2", lambda spec: spec.update(model={"name": "churn", "version": "2"}))
    return cluster


def _first_version_fails() -> SimulatedCluster:
    cluster = _first(behaviours={"1": LOAD_FAILS})
    cluster.pass_time(60)
    return cluster


def _first_alias_missing() -> SimulatedCluster:
    cluster = SimulatedCluster(_manifest(), {})
    cluster.settle()
    return cluster


def _first_without_registry() -> SimulatedCluster:
    return _first(registry_failure=outage())


def _registry_down() -> SimulatedCluster:
    cluster = serving(_manifest(), "1")
    cluster.registry_failure = outage()
    cluster.settle()
    return cluster


def _suspended() -> SimulatedCluster:
    cluster = serving(_manifest(), "1")
    cluster.commit("suspend", lambda spec: spec.update(suspend=True))
    return cluster


def _scaled_to_zero() -> SimulatedCluster:
    return serving(_manifest() | {"replicas": 0}, "1")


def _pods_lost() -> SimulatedCluster:
    cluster = serving(_manifest(), "1")
    cluster.befall("both pods end", 2, ready=None)
    cluster.pass_time(5)
    return cluster


STATES: dict[str, Callable[[], SimulatedCluster]] = {
    "the operator has not seen the ModelDeployment yet": _not_seen,
    "the first version is being rolled out": _first_rollout,
    "the first version fails": _first_version_fails,
    "the alias does not exist": _first_alias_missing,
    "the registry is down, and no version serves yet": _first_without_registry,
    "a version is serving": _serves,
    "there are no replicas": _scaled_to_zero,
    "the alias moved, and the version is being rolled out": _alias_moves,
    "the alias moved to a version that was rejected": _alias_rejected,
    "the alias moved, and there is no room": _alias_without_room,
    "the alias moved, and the version waits for an approval": _alias_waits_for_approval,
    "the alias was deleted while a version is serving": _alias_deleted,
    "the registry is down while a version is serving": _registry_down,
    "the operator has not seen a commit yet": _commit_not_seen,
    "a commit is being rolled out": _commit_rolls_out,
    "a commit was rejected": _commit_rejected,
    "a commit waits for an approval": _commit_waits_for_approval,
    "the ModelDeployment is suspended": _suspended,
    "all pods are lost": _pods_lost,
}


@functools.cache
def seen_as(state: str) -> Json:
    """The object in that state, as the API server would show it. Not to be changed."""
    cluster = STATES[state]()
    metadata = {
        "name": cluster.name,
        "namespace": NAMESPACE,
        "uid": cluster.uid,
        "generation": cluster.generation,
    }
    found = {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": metadata, "spec": cluster.spec}
    return found | ({"status": cluster.status} if cluster.status else {})

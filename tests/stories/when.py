"""What happens in a story: people, the registry, the cluster, and time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.stories.pods import GOOD, Behaviour
from tests.stories.simulation import ALIAS, SimulatedCluster, outage

from model_operator.domain.objects import Kind
from model_operator.domain.registry import VersionFacts

Json = dict[str, Any]


@dataclass(frozen=True)
class When:
    """Events, each a line of the transcript. ``wait`` is how many seconds pass after one."""

    cluster: SimulatedCluster

    # --- time -----------------------------------------------------------------------------------

    def time_passes(self, seconds: float, step: float = 1) -> None:
        """The clock, the pods, the clients and the operator run."""
        self.cluster.pass_time(seconds, step)

    def watch_window_passes(self, step: float = 10) -> None:
        """The watch window ends, and the time for which a track is kept warm."""
        self.cluster.pass_watch(step)

    def operator_emits(self, reason: str, wait: float = 0) -> None:
        """Time passes until there is an event with that reason; AssertionError after 15 minutes."""
        self.cluster.pass_until(lambda: reason in self.cluster.announced)
        self.time_passes(wait)

    def narrated(self, text: str) -> None:
        """A line of the transcript, for what happens elsewhere or is given next."""
        self.cluster.tell(text)

    # --- the registry ---------------------------------------------------------------------------

    def first_version_is_deployed(self, version: str, wait: float = 0) -> None:
        """The manifest is applied in an empty namespace, while the alias names that version."""
        self.cluster.aliases[ALIAS] = version
        self.cluster.settle()
        self.time_passes(wait)

    def alias_moves_to(self, version: str, wait: float = 0) -> None:
        """Somebody moves the alias."""
        self.cluster.move_alias(ALIAS, version)
        self.time_passes(wait)

    def alias_is_deleted(self, wait: float = 0) -> None:
        """Somebody deletes the alias."""
        self.narrated(f"@{ALIAS} is deleted in the registry")
        del self.cluster.aliases[ALIAS]
        self.time_passes(wait)

    def version_is_deleted(self, version: str, wait: float = 0) -> None:
        """Somebody deletes a version, and with it the aliases that name it."""
        self.cluster.delete_version(version)
        self.time_passes(wait)

    def version_is_tagged(self, version: str, wait: float = 0, **tags: str) -> None:
        """Somebody tags a version."""
        self.cluster.tag(version, **tags)
        self.time_passes(wait)

    def registry_learns(self, version: str, text: str, facts: VersionFacts) -> None:
        """The registry knows this of a version from now on."""
        self.cluster.learn(version, text, facts)

    def registry_goes_away(self, wait: float = 0) -> None:
        """Nothing answers at the registry's address."""
        self.narrated("the registry stops answering")
        self.cluster.registry_failure = outage()
        self.time_passes(wait)

    def registry_is_back(self, wait: float = 0, text: str = "the registry is back") -> None:
        """The registry answers again."""
        self.narrated(text)
        self.cluster.registry_failure = None
        self.time_passes(wait)

    # --- people ---------------------------------------------------------------------------------

    def commit_changes(self, text: str, wait: float = 0, **fields: Any) -> None:
        """A commit changes the spec: a merge patch, so None takes a field out."""
        self.cluster.commit(text, lambda spec: merge(spec, fields))
        self.time_passes(wait)

    def annotated(self, request: str, value: str, wait: float = 0) -> None:
        """A person requests something, such as ``restart`` or ``revert``."""
        self.cluster.annotate(request, value)
        self.time_passes(wait)

    def annotation_is_removed(self, request: str, wait: float = 0) -> None:
        """A person takes a request back."""
        self.cluster.annotate(request, None)
        self.time_passes(wait)

    def retry_is_requested(self, value: str, wait: float = 0) -> None:
        """A person asks for another attempt."""
        self.cluster.ask_to_retry(value)
        self.time_passes(wait)

    def secret_is_made(self, wait: float = 0) -> None:
        """The missing credentials are there."""
        self.narrated("somebody makes the Secret")
        self.cluster.credentials_error = ""
        self.time_passes(wait)

    def child_is_deleted(self, kind: Kind, wait: float = 0) -> None:
        """Somebody deletes the objects of that kind."""
        self.cluster.remove(kind)
        self.time_passes(wait)

    def deployment_is_deleted(self, name: str, wait: float = 0) -> None:
        """Somebody deletes the Deployment of that name."""
        self.narrated(f"somebody deletes the Deployment {name}")
        del self.cluster.objects[(Kind.DEPLOYMENT, name)]
        self.time_passes(wait)

    def child_is_changed(
        self, kind: Kind, text: str, change: Callable[[Json], None], wait: float = 0
    ) -> None:
        """Somebody changes a live child behind the operator's back."""
        self.cluster.change(kind, text, change)
        self.time_passes(wait)

    def deployment_is_scaled(self, replicas: int, text: str, wait: float = 0) -> None:
        """Somebody sets the Deployment's replicas."""
        self.child_is_changed(
            Kind.DEPLOYMENT, text, lambda live: live["spec"].update(replicas=replicas), wait
        )

    def deleted_and_made_again(self, text: str = "kubectl delete mdep churn; kubectl apply") -> None:
        """The ModelDeployment is another one of the same name; the children of the first still exist."""
        self.narrated(text)
        self.cluster.uid, self.cluster.status, self.cluster.generation = "uid-again", {}, 1

    def garbage_is_collected(self, text: str = "the garbage collector has come", wait: float = 0) -> None:
        """The children of the deleted ModelDeployment are gone."""
        self.narrated(text)
        self.cluster.objects.clear()
        self.time_passes(wait)

    def replaced_without_its_children(self, wait: float = 0) -> None:
        """The ModelDeployment is another one of the same name, and its children have no owner."""
        self.deleted_and_made_again("kubectl delete mdep churn --cascade=orphan; kubectl apply")
        for child in self.cluster.objects.values():
            del child["metadata"]["ownerReferences"]
        self.cluster.settle()
        self.time_passes(wait)

    # --- the cluster ----------------------------------------------------------------------------

    def version_recovers(self, version: str, text: str = "", wait: float = 0) -> None:
        """Pods of that version are good from now on, also those that exist."""
        if text:
            self.narrated(text)
        self.pods_change(version, GOOD, wait)

    def pods_change(self, version: str, behaviour: Behaviour, wait: float = 0) -> None:
        """Pods of that version live like this from now on, also those that exist; adds no line."""
        self.cluster.mend(version, behaviour)
        self.time_passes(wait)

    def pods_suffer(self, text: str, pods: int, wait: float = 0, **changes: Any) -> None:
        """Something happens to that many pods behind the Service; moments in the past mean now."""
        self.cluster.befall(text, pods, **changes)
        self.time_passes(wait)

    def autoscaler_wants(self, replicas: int, wait: float = 0) -> None:
        """The autoscaler scales what its target names."""
        self.cluster.autoscale(replicas)
        self.time_passes(wait)

    def node_is_added(self, wait: float = 0) -> None:
        """There is room for every pod."""
        self.narrated("a node is added")
        self.cluster.kubernetes.room = None
        self.time_passes(wait)

    def slot_is_free(self, wait: float = 0) -> None:
        """Another rollout has ended."""
        self.narrated("another rollout ends, a slot is free")
        self.cluster.slot_free = True
        self.time_passes(wait)

    # --- the operator ---------------------------------------------------------------------------

    def operator_restarts(self, build: str = "", wait: float = 0) -> None:
        """A new process knows only what the cluster holds; perhaps it is a newer build."""
        self.cluster.restart_operator(build)
        self.time_passes(wait)

    def status_is_lost(self, wait: float = 0) -> None:
        """A restore from backup brings the ModelDeployment back without its status."""
        self.cluster.lose_status()
        self.time_passes(wait)


def merge(target: Json, patch: Json) -> None:
    """Changes ``target`` by a JSON merge patch (RFC 7386)."""
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict) and isinstance(target.get(key), dict):
            merge(target[key], value)
        else:
            target[key] = value

"""What a story starts from: the manifest, the versions, and the cluster around them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.stories.pods import Behaviour
from tests.stories.simulation import NAMESPACE, SimulatedCluster, outage, settle_on

from model_operator.domain.objects import Kind, ObjectRef
from model_operator.domain.registry import Resolution, ResolutionReason, VersionFacts
from model_operator.domain.world import RefusalKind


@dataclass(frozen=True)
class Given:
    """Changes that nobody sees happen: they add no line to the transcript."""

    cluster: SimulatedCluster

    # --- the manifest ---------------------------------------------------------------------------

    def spec(self, **fields: Any) -> None:
        """The manifest has these fields of the spec."""
        self.cluster.spec.update(fields)

    def rollout(self, **fields: Any) -> None:
        """The manifest has these fields of ``rollout``, beside those that it has already."""
        self.cluster.spec["rollout"] = {**self.cluster.spec.get("rollout", {}), **fields}

    def strategy(self, strategy: str) -> None:
        """The manifest has that strategy; the default stays unwritten."""
        if strategy != "RollingUpdate":
            self.rollout(strategy=strategy)

    def blue_green(self, **rollout: Any) -> None:
        """The manifest has the strategy BlueGreen, and other fields of ``rollout``."""
        self.rollout(strategy="BlueGreen", **rollout)

    def autoscaling(self, **fields: Any) -> None:
        """The manifest leaves the number of pods to an autoscaler."""
        self.no_replicas()
        self.spec(autoscaling=fields)

    def no_replicas(self) -> None:
        """The manifest has no number of pods."""
        del self.cluster.spec["replicas"]

    # --- the versions ---------------------------------------------------------------------------

    def version(self, name: str, behaviour: Behaviour) -> None:
        """Pods of that model version, or with that server image, live like this if they are made from now on."""
        self.cluster.behaviours[name] = behaviour

    def facts(self, version: str, facts: VersionFacts) -> None:
        """The registry knows this of a version."""
        self.cluster.facts[version] = facts

    def no_version_is_tagged(self) -> None:
        """All tags are gone from the registry."""
        self.cluster.version_tags.clear()

    def version_serves(self, version: str) -> None:
        """The alias's version has served for so long that it is settled. The transcript begins here."""
        settle_on(self.cluster, version)

    # --- the cluster and the registry -----------------------------------------------------------

    def requests_per_second(self, number: int) -> None:
        """Clients send that many requests."""
        self.cluster.kubernetes.requests_per_second = number

    def metrics_are_unreadable(self, why: str) -> None:
        """The operator can't read the metrics of the pods; it can again with an empty text."""
        self.cluster.kubernetes.metrics_are_unreadable = why

    def proxies_lag(self, seconds: float) -> None:
        """The proxies learn of pods and selectors that much later."""
        self.cluster.kubernetes.endpoints_lag = seconds

    def requests_are_counted_anew(self) -> None:
        """What was lost before is forgotten."""
        self.cluster.watch_ready()

    def room_for_pods(self, number: int) -> None:
        """The nodes have room for no more pods."""
        self.cluster.kubernetes.room = number

    def no_slot_is_free(self) -> None:
        """Other rollouts use all slots."""
        self.cluster.slot_free = False

    def credentials_are_missing(self) -> None:
        """The namespace has no Secret with the pods' credentials."""
        self.cluster.credentials_error = "there is no Secret mlflow in namespace crm; make one"

    def name_is_taken(self, kind: Kind) -> None:
        """An object of that kind and name belongs to somebody else."""
        self.cluster.refused[kind] = (RefusalKind.NAME_TAKEN, "it was there before")

    def another_has(self, *needed: tuple[Kind, str]) -> None:
        """Another ModelDeployment has children of these names, or needs them from now on."""
        self.cluster.taken = frozenset(ObjectRef(kind, NAMESPACE, name) for kind, name in needed)

    def api_server_refuses(self, kind: Kind, message: str) -> None:
        """The API server finds objects of that kind invalid."""
        self.cluster.refused[kind] = (RefusalKind.INVALID, message)

    def api_server_accepts(self, kind: Kind) -> None:
        """It refuses that kind no longer."""
        del self.cluster.refused[kind]

    def admission(self, changes: Callable[[Kind, dict[str, Any]], None]) -> None:
        """A webhook or a policy changes each object that somebody writes from now on."""
        self.cluster.api.admission = changes

    def registry_is_away(self) -> None:
        """The registry does not answer."""
        self.cluster.registry_failure = outage()

    def registry_is_pending(self) -> None:
        """The registry has not answered this process yet."""
        self.cluster.registry_failure = Resolution(
            ResolutionReason.PENDING, "the registry has not been asked yet"
        )

    def registry_answers(self) -> None:
        """The registry answers."""
        self.cluster.registry_failure = None

    def child_is_gone(self, kind: Kind, name: str) -> None:
        """The object does not exist any more; the operator sees it at the next step of time."""
        del self.cluster.objects[(kind, name)]

    def operator_dies_after(self, actions: int) -> None:
        """The operator dies once, when it has carried out that many more actions; never for -1."""
        self.cluster.dies_after_actions = actions

    def actions_are_lost(self, lost: bool = True) -> None:
        """The operator dies again and again between its status and its actions."""
        self.cluster.actions_are_lost = lost

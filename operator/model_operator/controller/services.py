"""The background services of the reconciler: their interfaces, and the handover of a plan to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from model_operator.api.spec import RegistrySpec
from model_operator.domain.objects import Key, Pod
from model_operator.domain.plan import Plan, VersionTag
from model_operator.domain.registry import FactsWanted, Resolution, ResolvedVersion, VersionFacts, VersionId
from model_operator.domain.world import Traffic, World
from model_operator.planner.status.transitions import RolloutTransition
from model_operator.registry import RegistryId, WantedModel


class Answers(Protocol):
    """The resolver's interface for a reconcile."""

    def want(self, key: Key, wanted: WantedModel | None) -> None:
        """Registers the model and reference that the key follows. None removes the key."""
        ...

    def answer(self, key: Key) -> Resolution:
        """The current answer. Never waits."""
        ...

    def watch_closely(self, key: Key, closely: bool) -> None:
        """Sets whether each poll reads the version's tags again."""
        ...


class VerdictTags(Protocol):
    """The interface of the writer of tags for a reconcile."""

    def note(
        self, key: Key, registry_name: str, tags: Sequence[VersionTag], known: ResolvedVersion | None = None
    ) -> None:
        """Sets the tags that the registry should have. ``known`` is its current state. Never waits."""
        ...

    def forget(self, key: Key) -> None:
        """Drop a key whose ModelDeployment was deleted."""
        ...


class Counts(Protocol):
    """The interface of the counter of requests to pods for a reconcile."""

    def follow(self, key: Key, revision: str, pods: Sequence[Pod]) -> None:
        """Start to count for that revision."""
        ...

    def forget(self, key: Key) -> None:
        """Stop counting."""
        ...

    def traffic(self, key: Key, revision: str = "") -> Traffic:
        """The counts so far. They are empty if that revision is not followed."""
        ...


class Facts(Protocol):
    """The interface of the reader of facts, which gates need, for a reconcile."""

    def follow(self, key: Key, registry: RegistryId, wanted: Sequence[FactsWanted]) -> None:
        """Start to read those facts."""
        ...

    def forget(self, key: Key) -> None:
        """Stop reading facts."""
        ...

    def look_up(self, key: Key) -> Mapping[VersionId, VersionFacts]:
        """The facts that are known so far. Never waits."""
        ...


@dataclass(frozen=True, slots=True)
class Services:
    """The background services. The reconciler hands them data and reads their results, and never waits for them."""

    answers: Answers
    tags: VerdictTags
    counts: Counts
    facts: Facts
    look_at: Callable[[Key], object]
    """Enqueues a key for a reconcile as soon as possible."""
    happened: Callable[[RolloutTransition], None] = lambda transition: None
    """Called for each transition of a rollout."""

    def add_facts(self, world: World, decided: Plan) -> World:
        """The world with the facts that the plan requests, as far as the reader remembers them from earlier.

        The same world if it has them already. A retry of a version then needs no second reconcile for its gates.
        """
        if world.parsed_spec is None or all(wanted.id in world.facts for wanted in decided.facts):
            return world
        self.facts.follow(world.key, registry_id(world.namespace, world.spec.registry), decided.facts)
        known = self.facts.look_up(world.key)
        return replace(world, facts=known) if known != world.facts else world

    def note(self, world: World, decided: Plan) -> None:
        """Hands the requests of a plan to each service."""
        if decided.watched:
            self.counts.follow(world.key, decided.watched, world.children.pods)
        else:
            self.counts.forget(world.key)
        if world.parsed_spec is None:
            return
        registry = registry_id(world.namespace, world.spec.registry)
        self.tags.note(world.key, registry.entry, decided.tags, world.resolution.version)
        self.facts.follow(world.key, registry, decided.facts)
        self.answers.watch_closely(world.key, decided.kept_out)

    def forget(self, key: Key) -> None:
        """Drop a key whose ModelDeployment was deleted."""
        self.answers.want(key, None)
        self.tags.forget(key)
        self.counts.forget(key)
        self.facts.forget(key)


def registry_id(namespace: str, registry: RegistrySpec) -> RegistryId:
    """The registry of a spec: an entry of the configuration, or a URL with the access of the namespace."""
    if not registry.url:
        return RegistryId(registry.name)
    return RegistryId(
        url=registry.url.rstrip("/"),
        type=registry.type,
        namespace=namespace,
        credentials_secret=registry.credentials_secret or "",
        ca_config_map=registry.ca_config_map or "",
    )

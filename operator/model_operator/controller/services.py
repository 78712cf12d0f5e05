"""What works beside the reconciler: what it needs of each part, and how it is told what a plan wants."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from model_operator.api.spec import RegistrySpec
from model_operator.domain.objects import Key, Pod
from model_operator.domain.plan import Plan, VersionTag
from model_operator.domain.registry import FactsWanted, Resolution, ResolvedVersion, VersionFacts, VersionId
from model_operator.domain.world import Traffic, World
from model_operator.planner.status.transitions import RolloutTransition
from model_operator.registry import RegistryId, WantedModel


class Answers(Protocol):
    """The registries' answers, as far as a reconcile asks for them."""

    def want(self, key: Key, wanted: WantedModel | None) -> None:
        """Registers what the key follows; None forgets it."""
        ...

    def answer(self, key: Key) -> Resolution:
        """The present answer; never waits."""
        ...

    def watch_closely(self, key: Key, closely: bool) -> None:
        """Whether each poll should read the version's tags anew."""
        ...


class VerdictTags(Protocol):
    """What writes to the registries, as far as a reconcile tells it."""

    def note(
        self, key: Key, registry_name: str, tags: Sequence[VersionTag], known: ResolvedVersion | None = None
    ) -> None:
        """What the registry should say from now on; ``known`` is what it says already. Never waits."""
        ...

    def forget(self, key: Key) -> None:
        """The key is gone."""
        ...


class Counts(Protocol):
    """What counts the requests of watched pods, as far as a reconcile uses it."""

    def follow(self, key: Key, revision: str, pods: Sequence[Pod]) -> None:
        """Count for that revision from now on."""
        ...

    def forget(self, key: Key) -> None:
        """Count no longer."""
        ...

    def traffic(self, key: Key, revision: str = "") -> Traffic:
        """What was counted; nothing when that revision is not followed."""
        ...


class Facts(Protocol):
    """What reads for the gates, as far as a reconcile uses it."""

    def follow(self, key: Key, registry: RegistryId, wanted: Sequence[FactsWanted]) -> None:
        """Find that out from now on."""
        ...

    def forget(self, key: Key) -> None:
        """Find nothing out any more."""
        ...

    def look_up(self, key: Key) -> Mapping[VersionId, VersionFacts]:
        """What was found out so far; never waits."""
        ...


@dataclass(frozen=True, slots=True)
class Services:
    """What works beside the reconciler, and is only told or read."""

    answers: Answers
    tags: VerdictTags
    counts: Counts
    facts: Facts
    look_at: Callable[[Key], object]
    """Has a key looked at as soon as may be."""
    happened: Callable[[RolloutTransition], None] = lambda transition: None
    """Is told what came of rollouts."""

    def note(self, world: World, decided: Plan) -> None:
        """Tells what a plan wants of everybody."""
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
        """The key is gone."""
        self.answers.want(key, None)
        self.tags.forget(key)
        self.counts.forget(key)
        self.facts.forget(key)


def registry_id(namespace: str, registry: RegistrySpec) -> RegistryId:
    """The registry that a spec means: an entry of the configuration, or one of its own with its namespace's access."""
    if not registry.url:
        return RegistryId(registry.name)
    return RegistryId(
        url=registry.url.rstrip("/"),
        type=registry.type,
        namespace=namespace,
        credentials_secret=registry.credentials_secret or "",
        ca_config_map=registry.ca_config_map or "",
    )

"""A whole life of a ModelDeployment in a simulated cluster: what is given, what happens, what must hold.

    def test_a_bad_version_takes_no_requests(given: Given, when: When, then: Then) -> None:
        given.version("2", FAILS_TO_LOAD)
        given.version_serves("1")
        when.alias_moves_to("2", wait=60)
        then.transcript_matches()
        then.version_serves("1")

The fixtures ``given``, ``when`` and ``then`` are those of the fixture ``story``.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from tests.stories.given import Given
from tests.stories.simulation import ALIAS, NAME, SimulatedCluster
from tests.stories.then import Recording, Then
from tests.stories.when import When

from model_operator.api import names
from model_operator.domain.objects import Kind

__all__ = ["Given", "Story", "Then", "When", "both_strategies"]

both_strategies = pytest.mark.parametrize("strategy", ["RollingUpdate", "BlueGreen"], indirect=True)
"""The story is played with each strategy; the fixture ``strategy`` is its name."""


def manifest() -> dict[str, Any]:
    """The spec that a newcomer would commit."""
    return {"model": {"name": "churn", "alias": ALIAS}, "replicas": 2}


@dataclass(frozen=True)
class Story:
    """One ModelDeployment, named churn, whose manifest follows the alias champion with two replicas."""

    cluster: SimulatedCluster
    recording: Recording

    @classmethod
    def begin(
        cls, recording: Recording, strategy: str = "RollingUpdate", name: str = NAME, **around: Any
    ) -> Story:
        """A story in which nothing has happened yet; ``around`` is for SimulatedCluster."""
        story = cls(SimulatedCluster(manifest(), name=name, **around), recording)
        story.given.strategy(strategy)
        return story

    def beside(self, name: str, strategy: str) -> Story:
        """Another ModelDeployment, which follows the same alias."""
        return Story.begin(self.recording, strategy, name, aliases=self.cluster.aliases)

    def again(self) -> Story:
        """The same story up to this moment, to be continued in another way."""
        return Story(copy.deepcopy(self.cluster), self.recording)

    def with_deaths(self) -> Iterator[tuple[int, Story]]:
        """The story again and again: the operator dies after no action, after one, after two.

        Ends with the number of actions after which nothing is left to die before: there the operator lives.
        """
        for number in itertools.count():
            again = self.again()
            again.given.operator_dies_after(number)
            yield number, again
            if not again.cluster.deaths:
                return

    @property
    def given(self) -> Given:
        """What the story starts from."""
        return Given(self.cluster)

    @property
    def when(self) -> When:
        """What happens."""
        return When(self.cluster)

    @property
    def then(self) -> Then:
        """What must hold."""
        return Then(self.cluster, self.recording)

    @property
    def status(self) -> dict[str, Any]:
        """The status now."""
        return self.cluster.status

    def pods(self) -> set[str]:
        """The names of the pods that exist."""
        return {pod.name for pod in self.cluster.pods}

    def reached_pods(self) -> set[str]:
        """The names of the pods that the Service reaches."""
        return {pod.name for pod in self.cluster.kubernetes.reached(self.cluster.now)}

    def names(self, kind: Kind) -> list[str]:
        """The names of the objects of that kind, the oldest first."""
        return [name for found, name in self.cluster.objects if found is kind]

    def revisions(self) -> list[str]:
        """The names of the revisions that are kept."""
        kept = self.cluster.api.all(Kind.REVISION)
        return [revision["metadata"]["labels"][names.LABEL_REVISION] for revision in kept]

    def scripts(self) -> set[str]:
        """The names of the ConfigMaps whose scripts the wanted pods run."""
        return {
            volume["configMap"]["name"]
            for deployment in self.cluster.api.all(Kind.DEPLOYMENT)
            if deployment["spec"]["replicas"]
            for volume in deployment["spec"]["template"]["spec"]["volumes"]
            if volume["name"] == "scripts"
        }

    def serving_template(self) -> dict[str, Any]:
        """The template of the pods that the Service reaches."""
        live = self.cluster.live(Kind.DEPLOYMENT, self.status["serving"]["track"])
        return dict(live["spec"]["template"])

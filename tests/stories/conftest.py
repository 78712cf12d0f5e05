"""How a story is compared with the one that was told before, and how its end is checked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.stories.simulation import SimulatedCluster

GOLDEN = Path(__file__).parent / "golden"

Told = Callable[..., None]


def transcript_of(test: str) -> Path:
    """The golden file of the test of that name, with its parameters."""
    return GOLDEN / f"{test.removeprefix('test_').replace('[', '_').rstrip(']')}.txt"


@pytest.fixture
def told(request: pytest.FixtureRequest) -> Told:
    """Call it with the cluster at the end of a story.

    Compares the transcript with the golden file that is named like the test, then lets ten more minutes pass in
    which nothing may be written; ``quiet=False`` for a story that ends with something under way.
    """

    def compare(cluster: SimulatedCluster, quiet: bool = True) -> None:
        text = "\n".join(cluster.transcript) + "\n"
        file = transcript_of(request.node.name)
        if request.config.getoption("--update-golden"):
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, "utf-8")
        assert file.exists(), "this story was never told; run pytest with --update-golden and read it"
        assert text == file.read_text("utf-8")
        if quiet:
            cluster.pass_watch(step=30)
            cluster.wakes_always = True
            before = cluster.writes, cluster.status_writes, len(cluster.announced)
            cluster.pass_time(600, step=20)
            assert (cluster.writes, cluster.status_writes, len(cluster.announced)) == before

    return compare


@pytest.fixture
def manifest() -> dict[str, Any]:
    """What a newcomer would commit."""
    return {"model": {"name": "churn", "alias": "champion"}, "replicas": 2}


def strategy(spec: dict[str, Any], how: str, **rollout: Any) -> dict[str, Any]:
    """The manifest with that strategy, and other fields of ``rollout``; nothing is added for the default."""
    chosen = {} if how == "RollingUpdate" else {"strategy": how}
    fields = {**spec.get("rollout", {}), **chosen, **rollout}
    return {**spec, "rollout": fields} if fields else dict(spec)

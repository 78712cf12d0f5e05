"""The story of a test, and its golden transcript."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.register_assert_rewrite("tests.stories.then")

from tests.stories import story as stories  # noqa: E402
from tests.stories.story import Given, Story, Then, When  # noqa: E402
from tests.stories.then import Recording  # noqa: E402

GOLDEN = Path(__file__).parent / "golden"


def transcript_of(test: str) -> Path:
    """The golden file of the test of that name, with its parameters."""
    return GOLDEN / f"{test.removeprefix('test_').replace('[', '_').rstrip(']')}.txt"


@pytest.fixture
def manifest() -> dict[str, Any]:
    """The spec that a newcomer would commit."""
    return stories.manifest()


@pytest.fixture
def strategy(request: pytest.FixtureRequest) -> str:
    """The strategy of the manifest; ``both_strategies`` chooses."""
    return str(getattr(request, "param", "RollingUpdate"))


@pytest.fixture
def story(request: pytest.FixtureRequest, strategy: str) -> Story:
    """The story of a manifest in a cluster in which nothing has happened yet."""
    recording = Recording(transcript_of(request.node.name), request.config.getoption("--update-golden"))
    return Story.begin(recording, strategy)


@pytest.fixture
def given(story: Story) -> Given:
    """What the story starts from."""
    return story.given


@pytest.fixture
def when(story: Story) -> When:
    """What happens in the story."""
    return story.when


@pytest.fixture
def then(story: Story) -> Then:
    """What must hold in the story."""
    return story.then

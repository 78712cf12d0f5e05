"""The pictures of the pages: up to date, and each text within its box."""

from __future__ import annotations

from pathlib import Path

import pytest
from hack.generators import diagrams, pictures
from hack.generators.diagrams import LINE_HEIGHT, WIDTH, Diagram, wrap_text

from model_operator.domain.rollout import Phase
from model_operator.planner.plan import STEPS

ROOT = Path(__file__).parents[3]
MANIFEST = (ROOT / "deploy" / "operator.yaml").read_text("utf-8")
DIAGRAMS = diagrams.make_diagrams(MANIFEST)


def test_the_committed_pictures_are_those_that_the_sources_give() -> None:
    for name, text in (pictures.render() | diagrams.render(MANIFEST)).items():
        assert (ROOT / "docs" / "pictures" / name).read_text("utf-8") == text, name


@pytest.mark.parametrize("diagram", DIAGRAMS.values(), ids=DIAGRAMS)
def test_a_text_fits_into_its_box(diagram: Diagram) -> None:
    for box in diagram.boxes:
        lines = wrap_text(box)
        assert LINE_HEIGHT * len(lines) <= box.height, box
        for look, line in lines:
            assert len(line) * (8.4 if look == "name" else 6.7) <= box.width, line


@pytest.mark.parametrize("diagram", DIAGRAMS.values(), ids=DIAGRAMS)
def test_everything_is_within_the_picture(diagram: Diagram) -> None:
    for box in (*diagram.zones, *diagram.boxes):
        assert 0 <= box.x <= box.x + box.width <= WIDTH
        assert 0 <= box.y <= box.y + box.height <= diagram.height
    for words in diagram.words:
        half = len(words.text) * 6.7 / (2 if words.anchor == "middle" else 1)
        assert words.x + half <= WIDTH, words.text


def test_the_life_of_a_rollout_has_every_phase_and_the_decision_every_step() -> None:
    life = [box.name for box in DIAGRAMS["rollout-life.svg"].boxes]
    assert set(Phase) - set(life) == set()
    steps = [box.name for box in DIAGRAMS["decision.svg"].boxes]
    assert [name for name in steps if name not in ("World", "Plan")] == [
        step.decide.__name__.lstrip("_") for step in STEPS
    ]

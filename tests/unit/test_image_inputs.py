"""What an image is made from decides whether it is made again."""

from __future__ import annotations

import re

import pytest
from tests.images.build import IMAGES, ROOT, Image


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: f"the {image.key}'s image")
def test_all_that_a_dockerfile_copies_is_among_its_inputs(image: Image) -> None:
    dockerfile = (ROOT / image.dockerfile).read_text()
    copied = [
        source
        for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE)
        for source in sources.split()
    ]
    assert copied
    assert set(copied) == set(image.inputs)


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: f"the {image.key}'s image")
def test_all_inputs_of_an_image_exist(image: Image) -> None:
    files = [str(file.relative_to(ROOT)) for file in image.files()]
    for wanted in image.inputs:
        assert any(file == wanted or file.startswith(f"{wanted}/") for file in files)
    assert len(files) == len(set(files))
    assert not any("__pycache__" in file for file in files)

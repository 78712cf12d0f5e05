"""What an image is made from decides whether it is made again."""

from __future__ import annotations

import re

import pytest
from tests.images.build import IMAGES, ROOT, Image
from tests.images.contents import server_contents

from model_operator import settings
from model_operator.domain.registry import ImageContents, ModelDescription
from model_operator.planner.gates.requirements import unmet


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


def test_the_server_images_contents_go_into_the_configuration_and_are_judged() -> None:
    server = settings.DEFAULT_SERVER_IMAGE
    loaded = settings.Settings.model_validate(
        {
            "registries": {"default": {"url": "http://mlflow"}},
            "images": {"contents": {server: server_contents()}},
        }
    )
    contents = loaded.images.contents[server]
    found = unmet(
        ModelDescription(python_version="3.11.9", requirements=["mlflow>=3", "scikit_learn>=1", "xgboost"]),
        ImageContents(contents.python_version, contents.packages),
    )
    assert list(found) == ["needs xgboost, which the image lacks"]

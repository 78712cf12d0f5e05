"""Where the facts of a version are kept, by its source."""

from __future__ import annotations

import pytest

from model_operator.domain.registry import ResolutionReason
from model_operator.registry.clients.base import RegistryError, VersionRecord
from model_operator.registry.clients.mlflow.lineage import MAX_COPIES, Lineage, follow_source

MODEL = "m-0123456789abcdef0123456789abcdef"


class NoRest:
    """A server that must not be asked."""

    url = "http://mlflow"


def originals(**sources: str):
    """Reads versions by model name; each has the run ``run of NAME``."""

    async def read(name: str, number: str) -> VersionRecord:
        if name not in sources:
            raise RegistryError(ResolutionReason.VERSION_NOT_FOUND, f"{name} does not exist")
        return VersionRecord(name, number, True, "READY", "", f"run of {name}", sources[name])

    return read


async def follow(source: str, **sources: str) -> Lineage:
    return await follow_source(NoRest(), originals(**sources), "run", source)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (f"models:/{MODEL}", Lineage("run", MODEL)),
        (f"models:///{MODEL}", Lineage("run", MODEL)),
        (f"s3://bucket/1/models/{MODEL}/artifacts", Lineage("run", MODEL)),
        (f"mlflow-artifacts:/1/models/{MODEL}/artifacts/part", Lineage("run", MODEL)),
        ("s3://bucket/1/0123/artifacts/model", Lineage("run", "")),
        ("dbfs:/databricks/mlflow-tracking/7/run1/artifacts/model", Lineage("run", "")),
        ("", Lineage("run", "")),
    ],
)
async def test_a_source_names_its_logged_model(source: str, expected: Lineage) -> None:
    assert await follow(source) == expected


async def test_a_copy_has_the_run_and_the_logged_model_of_its_original() -> None:
    found = await follow("models:/dev.risk/1", **{"dev.risk": f"models:/{MODEL}"})
    assert found == Lineage("run of dev.risk", MODEL)


@pytest.mark.parametrize(
    "source", ["models:/a@champion", "models:/a/Production", "models:/a/latest", "models:/a/1/2", "models:"]
)
async def test_a_source_that_names_no_exact_version_is_an_error(source: str) -> None:
    with pytest.raises(RegistryError, match="can't be followed"):
        await follow(source)


async def test_copies_are_followed_so_far_and_no_further() -> None:
    last = f"model{MAX_COPIES - 1}"
    chain = {f"model{n}": f"models:/model{n + 1}/1" for n in range(MAX_COPIES - 1)} | {last: "s3://b/model"}
    assert await follow("models:/model0/1", **chain) == Lineage(f"run of {last}", "")
    with pytest.raises(RegistryError, match=f"more than {MAX_COPIES} times"):
        await follow("models:/first/1", first="models:/model0/1", **chain)


async def test_copies_in_a_circle_are_an_error() -> None:
    with pytest.raises(RegistryError, match="copy of a copy"):
        await follow("models:/a/1", a="models:/b/1", b="models:/a/1")

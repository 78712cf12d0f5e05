"""What every kind of registry has to do for the operator, asked of each of them in the same words.

A new kind brings a `Shelf` (how a test puts models there) and an entry in SHELVES; see docs/project/add-a-registry.md.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import pytest
from tests.contract.registry.conftest import Access, Registry
from tests.contract.registry.unity_catalog_server import TOKEN, UnityCatalog, unity_catalog
from tests.mlflow_server import MlflowServer

from model_operator.api.reference import parse_reference
from model_operator.domain.registry import Resolution, ResolutionReason
from model_operator.registry import KINDS, RegistryClient, RegistryError, connect, resolve


class Shelf(Protocol):
    """A registry as its administrator sees it."""

    access: Access
    """With credentials that may read and write."""

    def name(self, model: str) -> str:
        """What a model of that plain name is called there."""
        ...

    def model(self, name: str, versions: int, **aliases: str) -> None:
        """Registers a model with that many versions and these aliases."""
        ...

    def alias(self, name: str, alias: str, version: str) -> None:
        """Moves an alias."""
        ...


@dataclass
class MlflowShelf:
    registry: Registry
    access: Access

    def name(self, model: str) -> str:
        return f"{model} of all kinds"

    def model(self, name: str, versions: int, **aliases: str) -> None:
        self.registry.model(name, versions, **aliases)

    def alias(self, name: str, alias: str, version: str) -> None:
        self.registry.alias(name, alias, version)


@dataclass
class CatalogShelf:
    catalog: UnityCatalog
    access: Access

    def name(self, model: str) -> str:
        return f"ml.kinds.{model}"

    def model(self, name: str, versions: int, **aliases: str) -> None:
        self.catalog.add(name, versions, **aliases)

    def alias(self, name: str, alias: str, version: str) -> None:
        self.catalog.aliases[name][alias] = version


@pytest.fixture(scope="module")
def catalog() -> Iterator[UnityCatalog]:
    with unity_catalog() as made:
        yield made


@pytest.fixture
def mlflow_shelf(mlflow: MlflowServer, admin: Access) -> MlflowShelf:
    return MlflowShelf(Registry(mlflow), admin)


@pytest.fixture
def catalog_shelf(catalog: UnityCatalog, credentials: Callable[..., Path]) -> CatalogShelf:
    return CatalogShelf(catalog, Access(catalog.url, str(credentials(token=TOKEN)), type="UnityCatalog"))


SHELVES = {"MLflow": "mlflow_shelf", "UnityCatalog": "catalog_shelf"}


@pytest.fixture(params=sorted(KINDS))
def shelf(request: pytest.FixtureRequest) -> Shelf:
    made: Shelf = request.getfixturevalue(SHELVES[request.param])
    return made


@pytest.fixture
async def client(shelf: Shelf) -> AsyncIterator[RegistryClient]:
    made = connect("prod", shelf.access)
    yield made
    await made.aclose()


async def ask(client: RegistryClient, uri: str) -> Resolution:
    return await resolve(client, parse_reference(uri))


async def test_an_alias_is_followed_when_it_moves(shelf: Shelf, client: RegistryClient) -> None:
    name = shelf.name("moving")
    shelf.model(name, 2, champion="1")
    before = await ask(client, f"models:/{name}@champion")
    shelf.alias(name, "champion", "2")
    after = await ask(client, f"models:/{name}@champion")
    assert before.version is not None, before.message
    assert after.version is not None, after.message
    assert (before.version.version, after.version.version) == ("1", "2")
    assert (after.version.model, after.version.alias) == (name, "@champion")
    assert after.registry_url == client.url
    assert not client.url.endswith("/")


async def test_an_exact_version_is_found(shelf: Shelf, client: RegistryClient) -> None:
    name = shelf.name("exact")
    shelf.model(name, 2)
    resolution = await ask(client, f"models:/{name}/1")
    assert resolution.version is not None, resolution.message
    assert resolution.version.version == "1"
    assert resolution.version.source


@pytest.mark.parametrize(
    ("suffix", "reason", "words"),
    [
        ("@nobody", ResolutionReason.ALIAS_NOT_FOUND, "It has @champion"),
        ("/99", ResolutionReason.VERSION_NOT_FOUND, "does not exist"),
    ],
)
async def test_what_a_model_has_not_is_named(
    shelf: Shelf, client: RegistryClient, suffix: str, reason: ResolutionReason, words: str
) -> None:
    name = shelf.name(f"known{len(suffix)}")
    shelf.model(name, 1, champion="1")
    resolution = await ask(client, f"models:/{name}{suffix}")
    assert resolution.reason is reason
    assert words in resolution.message


@pytest.mark.parametrize("suffix", ["@champion", "/1"])
async def test_a_model_that_is_not_there_is_told_from_a_version_that_is_not(
    shelf: Shelf, client: RegistryClient, suffix: str
) -> None:
    resolution = await ask(client, f"models:/{shelf.name('missing')}{suffix}")
    assert resolution.reason is ResolutionReason.MODEL_NOT_FOUND


async def test_a_tag_that_was_written_comes_back_with_the_version(
    shelf: Shelf, client: RegistryClient
) -> None:
    name = shelf.name("tagged")
    shelf.model(name, 1, champion="1")
    await client.set_version_tag(name, "1", "model-operator.io/a/b/c", "Serving")
    await client.set_version_tag(name, "1", "model-operator.io/a/b/c", "Settled")
    resolution = await ask(client, f"models:/{name}@champion")
    assert resolution.version is not None
    assert resolution.version.tags == {"model-operator.io/a/b/c": "Settled"}


async def test_a_version_that_is_not_there_can_not_be_tagged(shelf: Shelf, client: RegistryClient) -> None:
    name = shelf.name("untagged")
    shelf.model(name, 1)
    with pytest.raises(RegistryError) as failure:
        await client.set_version_tag(name, "9", "key", "value")
    assert failure.value.reason is ResolutionReason.VERSION_NOT_FOUND


async def test_wrong_credentials_concern_the_whole_registry_and_are_never_quoted(
    shelf: Shelf, credentials: Callable[..., Path]
) -> None:
    directory = credentials(
        **{Path(shelf.access.credentials_dir, key).name: "stale-secret" for key in keys(shelf)}
    )
    client = connect("prod", replace(shelf.access, credentials_dir=str(directory)))
    resolution = await ask(client, f"models:/{shelf.name('any')}@champion")
    await client.aclose()
    assert resolution.reason is ResolutionReason.UNAUTHORIZED
    assert str(directory) in resolution.message
    assert "stale-secret" not in resolution.message


def keys(shelf: Shelf) -> list[str]:
    return [path.name for path in Path(shelf.access.credentials_dir).iterdir()]


async def test_a_listing_tells_as_much_as_single_questions_or_is_empty(
    shelf: Shelf, client: RegistryClient
) -> None:
    name = shelf.name("listed")
    shelf.model(name, 2, champion="2")
    rows = {row.name: row async for page in client.models() for row in page}
    versions = {(row.model, row.version): row async for page in client.versions() for row in page}
    if client.lists_models:
        assert rows[name] == await client.model(name)
        assert versions[name, "1"] == await client.version(name, "1")
    else:
        assert not rows
        assert not versions

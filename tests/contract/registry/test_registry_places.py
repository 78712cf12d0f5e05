"""A registry below a path of its host, and one that is divided into workspaces."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from tests.contract.registry.conftest import Access, ask
from tests.mlflow_server import MlflowServer

from model_operator.domain.registry import ResolutionReason
from model_operator.registry import MlflowClient

PREFIX = "/teams/ml"
WORKSPACES = ("north", "south")


@pytest.fixture(scope="module")
def divided(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server below a prefix, with two workspaces that each have a model of the same name."""
    server = MlflowServer.start(
        tmp_path_factory.mktemp("mlflow-places"),
        basic_auth=False,
        options=["--enable-workspaces"],
        prefix=PREFIX,
    )
    url = server.url
    try:
        with httpx.Client(trust_env=False, timeout=30) as http:
            for number, workspace in enumerate(WORKSPACES, start=1):
                made = http.post(f"{url}/api/3.0/mlflow/workspaces", json={"name": workspace})
                assert made.status_code < 300, made.text
                where = {"X-MLFLOW-WORKSPACE": workspace}
                _register(http, f"{url}/api/2.0/mlflow", where, versions=number)
        yield url
    finally:
        server.stop()


def _register(http: httpx.Client, api: str, headers: dict[str, str], versions: int) -> None:
    """Model iris with so many versions; its alias champion is on the last."""
    answers = [http.post(f"{api}/registered-models/create", json={"name": "iris"}, headers=headers)]
    for _ in range(versions):
        version = {"name": "iris", "source": "s3://bucket/model"}
        answers.append(http.post(f"{api}/model-versions/create", json=version, headers=headers))
    alias = {"name": "iris", "alias": "champion", "version": str(versions)}
    answers.append(http.post(f"{api}/registered-models/alias", json=alias, headers=headers))
    assert [answer.text for answer in answers if answer.status_code != 200] == []


@pytest.mark.parametrize(("workspace", "version"), [("north", "1"), ("south", "2")])
async def test_each_workspace_has_its_own_models_below_the_prefix(
    divided: str, workspace: str, version: str
) -> None:
    resolution = await ask(Access(divided, workspace=workspace), "models:/iris@champion")
    assert resolution.version is not None, resolution.message
    assert resolution.version.version == version


async def test_a_listing_stays_in_its_workspace(divided: str) -> None:
    client = MlflowClient("prod", Access(divided, workspace="south"))
    rows = [row async for page in client.models() for row in page]
    await client.aclose()
    assert [(row.name, row.aliases) for row in rows] == [("iris", {"champion": "2"})]


async def test_a_workspace_that_does_not_exist_is_no_model_that_serves(divided: str) -> None:
    resolution = await ask(Access(divided, workspace="west"), "models:/iris@champion")
    assert not resolution.ok
    assert resolution.version is None


async def test_a_url_without_the_prefix_is_named_with_the_remedy(divided: str) -> None:
    resolution = await ask(Access(divided.removesuffix(PREFIX)), "models:/iris@champion")
    assert resolution.reason is ResolutionReason.UNEXPECTED_ANSWER
    assert "static prefix" in resolution.message

"""Unity Catalog's dialect, against a server of our own that MLflow's own client understands; never Databricks."""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from tests.contract.container import running
from tests.contract.registry.conftest import Access
from tests.contract.registry.unity_catalog_server import READERS_TOKEN, TOKEN, UnityCatalog, unity_catalog
from tests.mlflow_env import ensure_python

from model_operator.api.reference import parse_reference
from model_operator.domain.registry import Metric, Resolution, ResolutionReason
from model_operator.registry import (
    ClientPool,
    RegistryError,
    RegistryId,
    Resolver,
    UnityCatalogClient,
    WantedModel,
    connect,
    resolve,
)
from model_operator.registry.clients.http import Limits

NAME = "ml.team_crm.churn"
FILES = {
    "MLmodel": b"flavors: {python_function: {python_version: 3.11.9}}\nmodel_size_bytes: 7\n",
    "requirements.txt": b"mlflow==3.17.2\n",
    "data/weights.bin": b"weights",
}
# what a data scientist's notebook would do, with the client that the pods have
NOTEBOOK = """
import json
from mlflow import MlflowClient
client = MlflowClient(registry_uri="databricks-uc")
model = client.get_registered_model("ml.team_crm.churn")
client.set_model_version_tag("ml.team_crm.churn", "2", "validated", "yes")
version = client.get_model_version("ml.team_crm.churn", "2")
listed = client.search_registered_models()
print(json.dumps({"aliases": model.aliases, "status": version.status, "tags": version.tags, "run": version.run_id,
                  "listed": [row.name for row in listed]}))
"""


@pytest.fixture
def catalog() -> Iterator[UnityCatalog]:
    """A workspace with one model of three versions, whose champion is version 2."""
    with unity_catalog() as made:
        made.add(NAME, versions=3, files=FILES, champion="2")
        yield made


@pytest.fixture
async def client(
    catalog: UnityCatalog, credentials: Callable[..., Path]
) -> AsyncIterator[UnityCatalogClient]:
    made = UnityCatalogClient("uc", access(catalog, credentials), Limits(retry_seconds=0.01))
    yield made
    await made.aclose()


def access(catalog: UnityCatalog, credentials: Callable[..., Path], token: str = TOKEN) -> Access:
    return Access(catalog.url, str(credentials(token=token)), type="UnityCatalog")


async def ask(client: UnityCatalogClient, uri: str) -> Resolution:
    return await resolve(client, parse_reference(uri))


def test_mlflows_own_client_understands_the_server_of_these_tests(
    catalog: UnityCatalog, tmp_path: Path
) -> None:
    env = {"DATABRICKS_HOST": catalog.url, "DATABRICKS_TOKEN": TOKEN, "HOME": str(tmp_path), "NO_PROXY": "*"}
    done = subprocess.run(
        [str(ensure_python()), "-c", NOTEBOOK],
        env=env | {"MLFLOW_DISABLE_TELEMETRY": "true"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "aliases": {"champion": "2"},
        "status": "READY",
        "tags": {"validated": "yes"},
        "run": "run2",
        "listed": [NAME],
    }


async def test_an_alias_of_a_three_part_name_is_followed(
    client: UnityCatalogClient, catalog: UnityCatalog
) -> None:
    catalog.versions[NAME]["2"].tags["validated"] = "yes"
    resolution = await ask(client, f"models:/{NAME}@champion")
    assert resolution.version is not None, resolution.message
    assert (resolution.version.version, resolution.version.run_id) == ("2", "run2")
    assert resolution.version.tags == {"validated": "yes"}


@pytest.mark.parametrize(
    ("uri", "reason", "words"),
    [
        pytest.param(
            "models:/churn@champion", ResolutionReason.MODEL_NOT_FOUND, "CATALOG.SCHEMA.MODEL", id="one part"
        ),
        pytest.param(
            "models:/a.b.c.d/1", ResolutionReason.MODEL_NOT_FOUND, "CATALOG.SCHEMA.MODEL", id="four parts"
        ),
        pytest.param(
            "models:/ml..churn/1",
            ResolutionReason.MODEL_NOT_FOUND,
            "CATALOG.SCHEMA.MODEL",
            id="an empty part",
        ),
        pytest.param(
            f"models:/{NAME}/latest", ResolutionReason.VERSION_NOT_FOUND, "Follow an alias", id="latest"
        ),
        pytest.param(
            f"models:/{NAME}/Production", ResolutionReason.STAGE_NOT_FOUND, "no stages", id="a stage"
        ),
    ],
)
async def test_what_unity_catalog_has_not_is_told_with_what_to_write(
    client: UnityCatalogClient, uri: str, reason: ResolutionReason, words: str
) -> None:
    resolution = await ask(client, uri)
    assert resolution.reason is reason
    assert words in resolution.message


async def test_each_followed_model_is_asked_for_by_itself_since_listings_have_no_aliases(
    catalog: UnityCatalog, credentials: Callable[..., Path]
) -> None:
    names = [f"ml.many.model{number}" for number in range(30)]
    for name in names:
        catalog.add(name, champion="1")
    resolver = Resolver(ClientPool({"uc": access(catalog, credentials)}, connect), 15, lambda key: None)
    for name in names:
        resolver.want(
            ("crm", name), WantedModel(RegistryId("uc"), parse_reference(f"models:/{name}@champion"))
        )
    (poller,) = resolver._pollers.values()
    await poller.step()
    assert all(resolver.answer(("crm", name)).ok for name in names)
    catalog.requests.clear()
    await poller.step()
    await poller._client.aclose()
    assert not [request for request in catalog.requests if "search" in request]


async def test_gates_read_metrics_and_files(client: UnityCatalogClient) -> None:
    assert await client.metrics("run2", "dbfs:/databricks/mlflow-tracking/7/run2/artifacts/model") == (
        Metric("auc", 0.5, ""),
    )
    description = await client.description(NAME, "2")
    assert (description.size_bytes, description.python_version) == (7, "3.11.9")
    assert description.requirements == ("mlflow==3.17.2",)


async def test_who_may_not_write_learns_the_privilege(
    catalog: UnityCatalog, credentials: Callable[..., Path]
) -> None:
    client = UnityCatalogClient("uc", access(catalog, credentials, READERS_TOKEN))
    with pytest.raises(RegistryError, match="APPLY TAG on the model") as failure:
        await client.set_version_tag(NAME, "2", "verdict", "Serving")
    await client.aclose()
    assert failure.value.reason is ResolutionReason.FORBIDDEN


# ---- the pods ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "token", "ending"),
    [
        pytest.param("2", TOKEN, (0, "Fetched", "churn version 2"), id="a version that exists"),
        pytest.param("9", TOKEN, (41, "ArtifactMissing", f"has no {NAME} version 9"), id="one that does not"),
        pytest.param("2", "stale", (43, "StoreRefused", "401"), id="a token that is not valid"),
    ],
)
def test_a_pod_fetches_from_unity_catalog(
    catalog: UnityCatalog, tmp_path: Path, version: str, token: str, ending: tuple[int, str, str]
) -> None:
    (tmp_path / "model").mkdir()
    env = {
        "MODEL_NAME": NAME,
        "MODEL_VERSION": version,
        "MODEL_DIR": str(tmp_path / "model"),
        "MLFLOW_TRACKING_URI": "databricks",
        "MLFLOW_REGISTRY_URI": "databricks-uc",
        "DATABRICKS_HOST": catalog.url,
        "DATABRICKS_TOKEN": token,
    }
    with running("fetch.py", tmp_path, env) as container:
        code = container.ended()
    words = container.last_words
    assert (code, words["reason"]) == ending[:2], container.log
    assert ending[2] in words["message"]
    assert (catalog.url in words["message"]) == (code != 0)
    assert token not in container.log
    if code == 0:
        assert {path: (tmp_path / "model" / path).read_bytes() for path in FILES} == FILES

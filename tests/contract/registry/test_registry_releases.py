"""What real MLflow servers tell of models and versions: the newest that we support, and the oldest."""

from __future__ import annotations

import contextlib
import json
import math
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.contract.registry.conftest import Access
from tests.mlflow_env import OLDEST, REQUIREMENTS, ensure_python
from tests.mlflow_server import MlflowServer, shared_servers
from tests.mlflow_server.server import client_environment

from model_operator.api.reference import ModelReference, parse_reference
from model_operator.domain.registry import Metric, ResolutionReason
from model_operator.registry import MlflowClient, RegistryError, resolve
from model_operator.registry.clients.http import Limits

LOGGER = Path(__file__).with_name("log_facts.py")
LOG_SECONDS = 180


@dataclass(frozen=True)
class Told:
    """A registry with versions in it, by name: run_id and source."""

    client: MlflowClient
    versions: dict[str, dict[str, str]]
    newest: bool

    async def metrics(self, name: str) -> dict[tuple[str, str], float]:
        """By name and dataset."""
        version = self.versions[name]
        found = await self.client.metrics(version["run_id"], version["source"])
        assert all(isinstance(metric, Metric) for metric in found)
        return {(metric.name, metric.dataset): metric.value for metric in found}


@pytest.fixture(scope="module", params=[REQUIREMENTS, OLDEST], ids=["MLflow 3", "MLflow 2"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[MlflowServer, dict[str, Any]]]:
    """A server of that version, and what a client of the same version logged there."""
    requirements = request.param
    with contextlib.ExitStack() as stack:
        if requirements == REQUIREMENTS:
            server = shared_servers.without_users()
        else:
            directory = tmp_path_factory.mktemp("mlflow-facts")
            server = MlflowServer.start(directory, basic_auth=False, requirements=requirements)
            stack.callback(server.stop)
        logged = subprocess.run(
            [str(ensure_python(requirements)), str(LOGGER)],
            env=client_environment(server.url, "", ""),
            cwd=server.directory,
            capture_output=True,
            check=False,
            timeout=LOG_SECONDS,
        )
        assert logged.returncode == 0, logged.stderr[-3000:]
        yield server, json.loads(logged.stdout.splitlines()[-1])


@pytest.fixture
async def told(
    server: tuple[MlflowServer, dict[str, Any]], request: pytest.FixtureRequest
) -> AsyncIterator[Told]:
    where, versions = server
    client = MlflowClient("prod", Access(where.url), limits=Limits(retry_seconds=0.01))
    yield Told(client, versions, "MLflow 3" in request.node.name)
    await client.aclose()


async def test_the_last_value_of_each_metric_is_read(told: Told) -> None:
    found = await told.metrics("described")
    assert found["auc", ""] == 0.7
    assert math.isnan(found["undefined", ""])
    assert found["endless", ""] == -math.inf


async def test_the_same_metric_on_two_datasets_is_told_apart_where_mlflow_knows_them(told: Told) -> None:
    found = await told.metrics("described")
    datasets = {dataset: value for (name, dataset), value in found.items() if name == "f1"}
    assert datasets == ({"train": 0.99, "holdout": 0.7} if told.newest else {})


@pytest.mark.parametrize("name", ["promoted", "promoted twice", "named by run", "named by path"])
async def test_a_version_has_the_metrics_of_the_model_that_its_source_leads_to(told: Told, name: str) -> None:
    assert await told.metrics(name) == pytest.approx(await told.metrics("described"), nan_ok=True)
    assert await told.client.description(name, "1") == await told.client.description("described", "1")


async def test_a_version_whose_run_is_not_recorded_has_the_metrics_of_the_run_in_its_source(
    told: Told,
) -> None:
    found = await told.client.metrics("", told.versions["named by run"]["source"])
    assert ("auc", "", 0.7) in {(metric.name, metric.dataset, metric.value) for metric in found}


async def test_a_copy_whose_original_is_gone_has_no_metrics_that_a_gate_may_trust(told: Told) -> None:
    with pytest.raises(
        RegistryError, match=r"copy of models:/withdrawn/1, which can't be read: .*does not exist"
    ):
        await told.metrics("copy of withdrawn")


async def test_a_source_that_names_no_version_has_no_metrics_that_a_gate_may_trust(told: Told) -> None:
    with pytest.raises(RegistryError, match=r"source models:/described@champion can't be followed"):
        await told.client.metrics(told.versions["described"]["run_id"], "models:/described@champion")


@pytest.mark.parametrize("uri", ["models:/greeting@champion", "models:/greeting/1"])
async def test_a_prompt_is_no_model(told: Told, uri: str) -> None:
    answer = await resolve(told.client, parse_reference(uri))
    assert (answer.reason, answer.version) == (ResolutionReason.MODEL_NOT_FOUND, None)
    assert "'greeting' is a prompt, not a model" in answer.message


async def test_a_deleted_run_tells_no_metrics(told: Told) -> None:
    if told.newest:
        # the logged model outlives the run, and has its own
        assert (await told.metrics("orphan"))["f1", "holdout"] == 0.7
        return
    with pytest.raises(RegistryError, match="was deleted"):
        await told.metrics("orphan")


async def test_a_version_without_a_run_has_no_metrics(told: Told) -> None:
    assert await told.metrics("elsewhere") == {}


async def test_a_run_that_never_was_is_named(told: Told) -> None:
    with pytest.raises(RegistryError, match="run 0123456789abcdef0123456789abcdef does not exist"):
        await told.client.metrics("0123456789abcdef0123456789abcdef", "")


async def test_the_description_has_what_gates_ask(told: Told) -> None:
    model = await told.client.description("described", "1")
    assert model.signature is not None
    assert [(c["name"], c["type"]) for c in model.signature["inputs"]] == [
        ("age", "long"),
        ("income", "double"),
    ]
    assert [column["required"] for column in model.signature["inputs"]] == [True, False]
    assert [param["name"] for param in model.signature["params"]] == ["threshold"]
    assert model.input_example
    assert (model.size_bytes or 0) > 0
    assert model.python_version.startswith("3.")
    assert model.requirements == ("mlflow", "pandas>=2")


async def test_requirements_come_without_hashes_and_with_the_constraints_that_they_name(told: Told) -> None:
    model = await told.client.description("constrained", "1")
    names = [line.split("=")[0] for line in model.requirements or ()]
    assert names == ["mlflow", "pandas"]
    assert set(model.constraints) == {"pandas<3", "numpy>=1"}


async def test_a_model_without_signature_and_example_says_so(told: Told) -> None:
    model = await told.client.description("bare", "1")
    assert (model.signature, model.input_example) == (None, False)


async def test_files_that_the_tracking_server_cannot_read_are_named_with_the_remedy(told: Told) -> None:
    with pytest.raises(RegistryError, match="MLmodel of version 1 of model 'elsewhere'") as refused:
        await told.client.description("elsewhere", "1")
    assert "artifact store" in refused.value.message or "does not exist" in refused.value.message


async def test_a_version_that_does_not_exist_is_named(told: Told) -> None:
    with pytest.raises(RegistryError, match="version 99 of model 'described'"):
        await told.client.description("described", "99")


# --- following, also where the oldest answers in another way ------------------------------------------------


def register(server: MlflowServer, name: str, versions: int = 2, **aliases: str) -> None:
    with server.api() as api:
        api.post("registered-models/create", json={"name": name})
        for _ in range(versions):
            api.post("model-versions/create", json={"name": name, "source": "s3://bucket/model"})
        for alias, version in aliases.items():
            api.post("registered-models/alias", json={"name": name, "alias": alias, "version": version})


@pytest.mark.parametrize(
    "name",
    ["with space", "100%", "a%20b", "what?", "a&b=c", "a+b", "a#b", "Größe", "模型", "🌸", "x" * 255],
    ids=[
        "a space",
        "a percent sign",
        "an escape",
        "?",
        "&=",
        "+",
        "#",
        "umlauts",
        "Chinese",
        "an emoji",
        "255 long",
    ],
)
async def test_a_name_is_followed_to_the_letter(
    told: Told, server: tuple[MlflowServer, dict[str, Any]], name: str
) -> None:
    register(server[0], name, champion="1")
    for reference, version in (
        (ModelReference(name, alias="champion"), "1"),
        (ModelReference(name, version="2"), "2"),
        (ModelReference(name, latest=True), "2"),
    ):
        resolution = await resolve(told.client, reference)
        assert resolution.version is not None, resolution.message
        assert (resolution.version.model, resolution.version.version) == (name, version)


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        pytest.param("models:/never-made@champion", ResolutionReason.MODEL_NOT_FOUND, id="no such model"),
        pytest.param("models:/described@nobody", ResolutionReason.ALIAS_NOT_FOUND, id="no such alias"),
        pytest.param("models:/described/99", ResolutionReason.VERSION_NOT_FOUND, id="no such version"),
        pytest.param("models:/never-made/1", ResolutionReason.MODEL_NOT_FOUND, id="a version of no model"),
        pytest.param("models:/described/Production", ResolutionReason.STAGE_NOT_FOUND, id="an empty stage"),
    ],
)
async def test_what_is_missing_is_told_apart(told: Told, uri: str, reason: ResolutionReason) -> None:
    assert (await resolve(told.client, parse_reference(uri))).reason is reason


async def test_a_listing_tells_all_aliases(told: Told, server: tuple[MlflowServer, dict[str, Any]]) -> None:
    register(server[0], "listed", champion="1", challenger="2")
    rows = [row async for page in told.client.models() for row in page if row.name == "listed"]
    assert [row.aliases for row in rows] == [{"champion": "1", "challenger": "2"}]


async def test_a_verdict_is_written_back(told: Told, server: tuple[MlflowServer, dict[str, Any]]) -> None:
    register(server[0], "tagged", champion="1")
    await told.client.set_version_tag("tagged", "1", "model-operator.io/default/crm/churn", "Settled")
    resolution = await resolve(told.client, parse_reference("models:/tagged@champion"))
    assert resolution.version is not None
    assert resolution.version.tags == {"model-operator.io/default/crm/churn": "Settled"}

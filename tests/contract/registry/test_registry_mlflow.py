"""What a real MLflow server answers, and what we make of it."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from tests.contract.registry.conftest import ALLOWED_HOST, Access, Registry, ask
from tests.mlflow_server import MlflowServer

from model_operator.api.reference import ModelReference
from model_operator.domain.objects import Key
from model_operator.domain.registry import ResolutionReason
from model_operator.registry import ClientPool, MlflowClient, RegistryId, Resolver, WantedModel, connect
from model_operator.registry.clients.http import Limits


@pytest.mark.parametrize(
    ("suffix", "version"),
    [
        pytest.param("@champion", "2", id="an alias"),
        pytest.param("@Champion", "1", id="another alias that differs only in case"),
        pytest.param("/1", "1", id="an exact version"),
        pytest.param("/latest", "3", id="the latest version"),
        pytest.param("/Production", "2", id="a stage"),
        pytest.param("/staging", "1", id="a stage in lower case"),
    ],
)
async def test_a_reference_is_resolved(registry: Registry, admin: Access, suffix: str, version: str) -> None:
    name = f"iris {suffix.strip('@/')}"
    registry.model(name, versions=3, champion="2", Champion="1")
    for number, stage in (("2", "Production"), ("1", "Staging")):
        registry.post("model-versions/transition-stage", name=name, version=number, stage=stage)
    resolution = await ask(admin, f"models:/{name}{suffix}")
    assert resolution.reason is ResolutionReason.RESOLVED
    assert resolution.version is not None
    assert resolution.version.version == version
    assert resolution.version.source == "s3://bucket/model"
    assert resolution.registry_url == admin.url


async def test_tags_of_the_version_come_along(registry: Registry, admin: Access) -> None:
    registry.model("tagged", versions=2, champion="1")
    registry.post("model-versions/set-tag", name="tagged", version="1", key="serving_image", value="server:2")
    resolution = await ask(admin, "models:/tagged@champion")
    assert resolution.version is not None
    assert resolution.version.tags == {"serving_image": "server:2"}


@pytest.mark.parametrize(
    "name",
    ["with space", "100%", "a%20b", "what?", "a&b=c", "a+b", "a#b", "Größe", "模型", "🌸", "a'b\"c"],
)
async def test_any_name_that_mlflow_accepts_can_be_followed(
    registry: Registry, admin: Access, name: str
) -> None:
    registry.model(name, champion="1")
    resolution = await ask(admin, ModelReference(name, alias="champion"))
    assert resolution.reason is ResolutionReason.RESOLVED
    assert resolution.version is not None
    assert resolution.version.model == name


@pytest.mark.parametrize(
    ("reference", "reason", "words"),
    [
        pytest.param(
            "models:/known@nope",
            ResolutionReason.ALIAS_NOT_FOUND,
            ["'known'", "'nope'", "@champion"],
            id="alias",
        ),
        pytest.param("models:/missing@champion", ResolutionReason.MODEL_NOT_FOUND, ["'missing'"], id="model"),
        pytest.param(
            "models:/missing/3", ResolutionReason.MODEL_NOT_FOUND, ["'missing'"], id="model of a version"
        ),
        pytest.param(
            "models:/missing/latest", ResolutionReason.MODEL_NOT_FOUND, ["'missing'"], id="model of latest"
        ),
        pytest.param("models:/known/99", ResolutionReason.VERSION_NOT_FOUND, ["99", "'known'"], id="version"),
        pytest.param("models:/known/Archived", ResolutionReason.STAGE_NOT_FOUND, ["'Archived'"], id="stage"),
        pytest.param(
            "models:/empty/latest", ResolutionReason.VERSION_NOT_FOUND, ["no versions"], id="any version"
        ),
    ],
)
async def test_what_does_not_exist_is_named(
    registry: Registry, admin: Access, reference: str, reason: ResolutionReason, words: list[str]
) -> None:
    with contextlib.suppress(RuntimeError):
        registry.model("known", champion="1")
        registry.model("empty", versions=0)
    resolution = await ask(admin, reference)
    assert resolution.reason is reason
    assert [word for word in [*words, admin.url] if word not in resolution.message] == []
    assert resolution.version is None


async def test_a_version_that_is_not_ready_is_not_taken(
    registry: Registry, mlflow: MlflowServer, admin: Access
) -> None:
    registry.model("uploading", champion="1")
    # only a server with another store would leave it in this state
    with (
        contextlib.closing(sqlite3.connect(mlflow.directory / "mlflow.db", timeout=30)) as database,
        database,
    ):
        database.execute("UPDATE model_versions SET status='PENDING_REGISTRATION' WHERE name='uploading'")
    resolution = await ask(admin, "models:/uploading@champion")
    assert resolution.reason is ResolutionReason.VERSION_NOT_READY
    assert "PENDING_REGISTRATION" in resolution.message
    assert resolution.version is None


async def test_wrong_credentials_are_named_by_place_and_never_by_value(
    mlflow: MlflowServer, credentials: Callable[..., Path]
) -> None:
    directory = credentials(username="admin", password="not-the-password")
    resolution = await ask(Access(mlflow.url, str(directory)), "models:/iris@champion")
    assert resolution.reason is ResolutionReason.UNAUTHORIZED
    assert str(directory) in resolution.message
    assert "'prod'" in resolution.message
    assert "not-the-password" not in resolution.message


async def test_absent_credentials_are_asked_for(mlflow: MlflowServer) -> None:
    resolution = await ask(Access(mlflow.url), "models:/iris@champion")
    assert resolution.reason is ResolutionReason.UNAUTHORIZED
    assert "credentialsDir" in resolution.message


async def test_a_rotated_password_is_read_again_on_the_first_refusal(
    registry: Registry, mlflow: MlflowServer, credentials: Callable[..., Path]
) -> None:
    registry.model("rotated", champion="1")
    directory = credentials(username="admin", password="stale-password")
    now = 0.0
    client = MlflowClient("prod", Access(mlflow.url, str(directory)))
    client._rest.source._clock = lambda: now
    try:
        with pytest.raises(Exception, match="rejected the credentials"):
            await client.model("rotated")
        credentials(password=mlflow.password)
        # far less than the minute after which the files would be read anyway
        now += 5
        assert (await client.model("rotated")).aliases == {"champion": "1"}
    finally:
        await client.aclose()


async def test_a_user_without_permission_learns_what_to_ask_for(
    registry: Registry, mlflow: MlflowServer, credentials: Callable[..., Path]
) -> None:
    registry.model("secret", champion="1")
    registry.model("shared", champion="1")
    registry.post("users/create", username="reader", password="reader-password")
    with mlflow.api() as api:
        api.post(
            f"{mlflow.url}/api/3.0/mlflow/users/permissions/grant",
            json={
                "username": "reader",
                "resource_type": "registered_model",
                "resource_id": "shared",
                "permission": "READ",
            },
        )
    access = Access(mlflow.url, str(credentials(username="reader", password="reader-password")))
    shared = await ask(access, "models:/shared@champion")
    assert shared.reason is ResolutionReason.RESOLVED
    for name in ("secret", "missing-for-the-reader"):
        refused = await ask(access, f"models:/{name}@champion")
        assert refused.reason is ResolutionReason.FORBIDDEN
        assert [word for word in ("If it exists, ", "READ", "'prod'") if word not in refused.message] == []


class ClusterNames(httpx.AsyncHTTPTransport):
    """Finds the server under any name, as a cluster's DNS would."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.url = request.url.copy_with(host="127.0.0.1")
        return await super().handle_async_request(request)


async def test_a_refused_host_header_names_the_remedy(mlflow: MlflowServer, admin: Access) -> None:
    port = mlflow.url.rpartition(":")[2]
    access = Access(f"http://mlflow.ml.svc:{port}", admin.credentials_dir)
    resolution = await ask(access, "models:/iris@champion", transport=ClusterNames())
    assert resolution.reason is ResolutionReason.HOST_HEADER_REFUSED
    assert f"--allowed-hosts mlflow.ml.svc:{port}" in resolution.message


async def test_a_server_that_was_given_that_remedy_answers(
    registry: Registry, mlflow: MlflowServer, admin: Access
) -> None:
    registry.model("hosted", champion="1")
    access = Access(mlflow.url.replace("127.0.0.1", ALLOWED_HOST), admin.credentials_dir)
    resolution = await ask(access, "models:/hosted@champion", transport=ClusterNames())
    assert resolution.reason is ResolutionReason.RESOLVED


async def test_a_url_with_a_wrong_prefix_is_an_unexpected_answer(admin: Access) -> None:
    access = Access(f"{admin.url}/mlflow", admin.credentials_dir)
    resolution = await ask(access, "models:/iris@champion")
    assert resolution.reason is ResolutionReason.UNEXPECTED_ANSWER
    assert "static prefix" in resolution.message


async def test_a_listing_has_every_model_with_its_aliases(registry: Registry, admin: Access) -> None:
    for number in range(3):
        registry.model(f"listed-{number}", versions=2, champion="1")
    client = MlflowClient("prod", admin)
    try:
        models = {model.name: model async for page in client.models() for model in page}
        versions = {(version.model, version.version) async for page in client.versions() for version in page}
    finally:
        await client.aclose()
    for number in range(3):
        assert models[f"listed-{number}"].aliases == {"champion": "1"}
        assert {(f"listed-{number}", "1"), (f"listed-{number}", "2")} <= versions


async def test_the_resolver_sees_an_alias_move_and_wakes_who_follows_it(
    registry: Registry, admin: Access
) -> None:
    for name in ("moving", "resting"):
        registry.model(name, versions=2, champion="1")
    changed: asyncio.Queue[Key] = asyncio.Queue()
    resolver = Resolver(ClientPool({"default": admin}, connect), 0.5, changed.put_nowait)
    keys: dict[str, Key] = {name: ("crm", name) for name in ("moving", "resting")}
    task = asyncio.create_task(resolver.run())
    try:
        for name, key in keys.items():
            resolver.want(key, WantedModel(RegistryId("default"), ModelReference(name, alias="champion")))
        assert {await asyncio.wait_for(changed.get(), 60) for _ in keys} == set(keys.values())
        registry.alias("moving", "champion", "2")
        assert await asyncio.wait_for(changed.get(), 60) == keys["moving"]
        moved = resolver.answer(keys["moving"]).version
        assert moved is not None
        assert moved.version == "2"
        assert changed.empty()
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("http://127.0.0.1:1", id="nothing listens there"),
        pytest.param("http://mlflow.invalid", id="the name does not exist"),
    ],
)
async def test_a_registry_that_is_not_there_is_unreachable(url: str) -> None:
    resolution = await ask(Access(url), "models:/iris@champion", limits=Limits(retry_seconds=0.01))
    assert resolution.reason is ResolutionReason.UNREACHABLE
    assert url in resolution.message
    assert not resolution.reason.definite

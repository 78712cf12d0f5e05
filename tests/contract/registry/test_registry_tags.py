"""Verdicts as tags of a real MLflow server, with and without the right to write them."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.contract.registry.conftest import Access, Registry, ask
from tests.mlflow_server import MlflowServer

from model_operator.api.reference import parse_reference
from model_operator.domain.objects import Key
from model_operator.domain.plan import VersionTag
from model_operator.domain.registry import ResolutionReason
from model_operator.registry import (
    ClientPool,
    MlflowClient,
    RegistryError,
    RegistryId,
    Resolver,
    TagWriter,
    WantedModel,
    connect,
    tag_prefix,
)

CHURN: Key = ("crm", "churn")
TAG = "model-operator.io/prod-eu.1/crm/churn"


@pytest.fixture
def user(mlflow: MlflowServer, credentials: Callable[..., Path]) -> Callable[..., Access]:
    """Makes a user with one permission on one model: ``user("editor", "churn", "EDIT")``."""

    def make(name: str, model: str, permission: str) -> Access:
        with mlflow.api() as api:
            api.post("users/create", json={"username": name, "password": f"{name}-password"})
            grant = {"username": name, "resource_type": "registered_model"}
            grant |= {"resource_id": model, "permission": permission}
            api.post(f"{mlflow.url}/api/3.0/mlflow/users/permissions/grant", json=grant)
        return Access(mlflow.url, str(credentials(username=name, password=f"{name}-password")))

    return make


@pytest.fixture
async def writing() -> AsyncIterator[Callable[[Access], TagWriter]]:
    made: list[TagWriter] = []

    def make(access: Access) -> TagWriter:
        made.append(TagWriter({"prod": connect("prod", access)}, "prod-eu.1"))
        return made[-1]

    yield make
    for tag_writer in made:
        for outbox in tag_writer._outboxes.values():
            await outbox._client.aclose()


async def tags_of(access: Access, name: str, version: str) -> dict[str, str]:
    resolution = await ask(access, f"models:/{name}/{version}")
    assert resolution.version is not None
    return dict(resolution.version.tags)


async def test_a_user_with_edit_writes_a_verdict_and_overwrites_it(
    registry: Registry, user: Callable[..., Access], writing: Callable[[Access], TagWriter]
) -> None:
    registry.model("tag me", versions=2)
    access = user("editor", "tag me", "EDIT")
    tag_writer = writing(access)
    for value in ("Serving", "Settled"):
        tag_writer.note(CHURN, "prod", [VersionTag("tag me", "2", value)])
        await tag_writer.step()
        assert await tags_of(access, "tag me", "2") == {TAG: value}
    assert await tags_of(access, "tag me", "1") == {}


async def test_a_user_with_read_only_learns_once_what_to_do_and_reads_on(
    registry: Registry,
    user: Callable[..., Access],
    writing: Callable[[Access], TagWriter],
    caplog: pytest.LogCaptureFixture,
) -> None:
    registry.model("look only", versions=2)
    access = user("looker", "look only", "READ")
    tag_writer = writing(access)
    for value in ("Serving", "Settled"):
        tag_writer.note(
            CHURN, "prod", [VersionTag("look only", "1", value), VersionTag("look only", "2", value)]
        )
        await tag_writer.step()
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    for word in ("EDIT", "revert.tagVersion: Never", "'prod'", "'look only'"):
        assert word in warnings[0]
    assert "looker-password" not in caplog.text
    assert await tags_of(access, "look only", "1") == {}
    assert tag_writer.waiting == 2


@pytest.mark.parametrize("version", ["9", "1x"], ids=["a missing version", "no version number"])
async def test_what_does_not_exist_can_not_be_tagged(
    registry: Registry, admin: Access, writing: Callable[[Access], TagWriter], version: str
) -> None:
    registry.model(f"few versions {version}")
    client = MlflowClient("prod", admin)
    try:
        with pytest.raises(RegistryError) as refused:
            await client.set_version_tag(f"few versions {version}", version, TAG, "Serving")
    finally:
        await client.aclose()
    assert refused.value.reason is ResolutionReason.VERSION_NOT_FOUND
    tag_writer = writing(admin)
    tag_writer.note(CHURN, "prod", [VersionTag(f"few versions {version}", version, "Serving")])
    await tag_writer.step()
    assert tag_writer.waiting == 0


async def test_the_longest_key_and_value_are_taken(
    registry: Registry, admin: Access, writing: Callable[[Access], TagWriter]
) -> None:
    registry.model("long tags")
    cluster, namespace, name = f"C{'_.-' * 20}c", "n" * 63, "d" * 40
    tag_writer = TagWriter({"prod": connect("prod", admin)}, cluster)
    tag_writer.note((namespace, name), "prod", [VersionTag("long tags", "1", "Größe 🌸 " * 100)])
    await tag_writer.step()
    await tag_writer._outboxes["prod"]._client.aclose()
    (key,) = await tags_of(admin, "long tags", "1")
    assert key == f"model-operator.io/{cluster}/{namespace}/{name}"


async def test_the_tags_that_we_write_wake_nobody(
    registry: Registry, admin: Access, writing: Callable[[Access], TagWriter]
) -> None:
    registry.model("no echo", champion="1")
    woken: list[Key] = []
    resolver = Resolver(
        ClientPool({"prod": admin}, connect), 15, woken.append, quiet_tags=tag_prefix("prod-eu.1")
    )
    poller = resolver._pollers[RegistryId("prod")]
    reference = parse_reference("models:/no echo@champion")
    try:
        resolver.want(CHURN, WantedModel(RegistryId("prod"), reference))
        await poller.step()
        tag_writer = writing(admin)
        tag_writer.note(
            CHURN, "prod", [VersionTag("no echo", "1", "Serving")], resolver.answer(CHURN).version
        )
        await tag_writer.step()
        resolver.refresh(CHURN)
        await poller.step()
        assert woken == [CHURN]
        known = resolver.answer(CHURN).version
        assert known is not None
        assert known.tags == {TAG: "Serving"}
        after_a_restart = writing(admin)
        after_a_restart.note(CHURN, "prod", [VersionTag("no echo", "1", "Serving")], known)
        assert after_a_restart.waiting == 0
    finally:
        await poller._client.aclose()

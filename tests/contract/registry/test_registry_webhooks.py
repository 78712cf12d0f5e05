"""A real MLflow server sends webhooks to the receiver."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from tests.cluster.certificates import Authority
from tests.mlflow_env import ensure_python
from tests.mlflow_server import MlflowServer
from tests.mlflow_server.server import WEBHOOKS

from model_operator.settings import Webhooks
from model_operator.webhooks import receive

SECRET = "s3cret-of-the-webhook"
MODEL = "iris"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"), "ca")


@pytest.fixture(scope="module")
def sender(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[MlflowServer]:
    """An MLflow server that may send webhooks here; the bundle of its certifi has our authority, too."""
    find = "import certifi, pathlib; print(pathlib.Path(certifi.__file__).parent)"
    python = str(ensure_python())
    found = subprocess.run([python, "-c", find], capture_output=True, text=True, timeout=60, check=True)
    packages = tmp_path_factory.mktemp("packages")
    shutil.copytree(found.stdout.strip(), packages / "certifi")
    with (packages / "certifi" / "cacert.pem").open("ab") as bundle:
        bundle.write(authority.certificate.read_bytes())
    environment = {**WEBHOOKS, "PYTHONPATH": str(packages)}
    server = MlflowServer.start(tmp_path_factory.mktemp("sender"), environment=environment)
    try:
        with server.api() as api:
            api.post("registered-models/create", json={"name": MODEL})
            for _ in range(2):
                api.post("model-versions/create", json={"name": MODEL, "source": "s3://bucket/model"})
        yield server
    finally:
        server.stop()


class Receiver:
    """What the receiver told."""

    def __init__(self) -> None:
        self.hints: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self.counted: list[tuple[str, str]] = []
        self.port = 0

    def hint(self, entry: str, model: str) -> int:
        self.hints.put_nowait((entry, model))
        return 1

    def count(self, entry: str, outcome: str) -> None:
        self.counted.append((entry, outcome))


Start = Callable[..., AbstractAsyncContextManager[Receiver]]


@pytest.fixture
def receiver(tmp_path: Path) -> Start:
    """Starts a receiver."""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "secret").write_text(SECRET)

    @asynccontextmanager
    async def start(certificates: str = "") -> AsyncIterator[Receiver]:
        made = Receiver()
        configured = Webhooks(secret_dir=str(tmp_path / "secrets"), certificate_dir=certificates)
        async with receive(configured, ["prod"], made.hint, made.count, "127.0.0.1") as made.port:
            yield made

    return start


def set_alias(server: MlflowServer, version: str) -> None:
    with server.api() as api:
        body = {"name": MODEL, "alias": "champion", "version": version}
        api.post("registered-models/alias", json=body)


async def hint_after_an_alias_moved(server: MlflowServer, receiver: Receiver, url: str) -> tuple[str, str]:
    with server.webhook(url, SECRET):
        await asyncio.to_thread(set_alias, server, "1")
        async with asyncio.timeout(60):
            return await receiver.hints.get()


async def test_an_alias_that_moves_becomes_a_hint_by_http(sender: MlflowServer, receiver: Start) -> None:
    async with receiver() as started:
        url = f"http://127.0.0.1:{started.port}/webhooks/prod"
        assert await hint_after_an_alias_moved(sender, started, url) == ("prod", MODEL)
        assert started.counted == [("prod", "ok")]


async def test_an_alias_that_moves_becomes_a_hint_by_https_with_an_authority_of_our_own(
    sender: MlflowServer, receiver: Start, authority: Authority, tmp_path: Path
) -> None:
    pair = authority.issue("receiver", "receiver", addresses=["127.0.0.1"])
    (tmp_path / "tls").mkdir()
    shutil.copy(pair.certificate, tmp_path / "tls" / "tls.crt")
    shutil.copy(pair.key, tmp_path / "tls" / "tls.key")
    async with receiver(str(tmp_path / "tls")) as started:
        url = f"https://127.0.0.1:{started.port}/webhooks/prod"
        assert await hint_after_an_alias_moved(sender, started, url) == ("prod", MODEL)


async def test_mlflows_own_test_call_says_whether_the_receiver_took_it(
    sender: MlflowServer, receiver: Start
) -> None:
    def call(webhook: str) -> str:
        with sender.api() as api:
            return json.dumps(api.post(f"webhooks/{webhook}/test", json={}).json())

    async with receiver() as started:
        url = f"http://127.0.0.1:{started.port}/webhooks/prod"
        with sender.webhook(url, SECRET) as webhook:
            assert '"response_status": 204' in await asyncio.to_thread(call, webhook)
        with sender.webhook(url, "another secret") as webhook:
            assert '"response_status": 401' in await asyncio.to_thread(call, webhook)

"""A registry that a spec describes, by TLS: its name is what the certificate must say, its address what is asked."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.cluster.certificates import Authority
from tests.contract.registry.faulty_server import FaultyServer, document, faulty, response

from model_operator.domain.registry import ResolutionReason
from model_operator.registry import RegistryError
from model_operator.registry.clients import addresses
from model_operator.registry.clients.credentials import ObjectAccess
from model_operator.registry.clients.http import JsonSource, Limits, site_of
from model_operator.registry.ids import InlineConfig

NAME = "mlflow.team-a.test"


@pytest.fixture(autouse=True)
def loopback_counts_as_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The servers of tests have no other address; what is refused is the matter of the unit tests."""
    monkeypatch.setattr(addresses, "explain_address", lambda address: "")


class Namespace:
    """What a tenant has: a Secret with a client certificate, and a ConfigMap with its authority."""

    def __init__(self, directory: Path) -> None:
        self.authority = Authority(directory, "team-a")
        pair = self.authority.issue("operator", "operator")
        self.objects: dict[tuple[str, str], Mapping[str, bytes]] = {
            ("Secret", "mlflow"): {
                "token": b"tenants-token",
                "tls.crt": pair.certificate.read_bytes(),
                "tls.key": pair.key.read_bytes(),
            },
            ("ConfigMap", "ca"): {"ca.crt": self.authority.certificate.read_bytes()},
        }

    async def read(self, kind: str, namespace: str, name: str) -> Mapping[str, bytes] | str:
        assert namespace == "team-a"
        return self.objects[kind, name]

    def server_side(self, name: str) -> ssl.SSLContext:
        """TLS of a server of that name, which asks for a certificate of the same authority."""
        pair = self.authority.issue("server", "server", addresses=[name])
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(self.authority.certificate))
        context.load_cert_chain(pair.certificate, pair.key)
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    @asynccontextmanager
    async def asking(self, server: FaultyServer, config_map: str = "ca") -> AsyncIterator[JsonSource]:
        """What asks that server by the registry's name."""
        port = server.url.rpartition(":")[2]

        async def look_up(host: str, port: int) -> list[str]:
            assert host == NAME
            return ["127.0.0.1"]

        access = ObjectAccess("spec.registry", self.read, "team-a", "mlflow", config_map)
        site = site_of("spec.registry", InlineConfig(f"https://{NAME}:{port}", "MLflow"), access)
        source = JsonSource(site, Limits(retry_seconds=0.01), look_up=look_up)
        yield source
        await source.aclose()


@pytest.fixture
def namespace(tmp_path: Path) -> Namespace:
    return Namespace(tmp_path / "pki")


async def test_a_tenants_certificate_token_and_authority_are_used(namespace: Namespace) -> None:
    async with (
        faulty(document({"a": 1}), tls=namespace.server_side(NAME)) as server,
        namespace.asking(server) as source,
    ):
        answer = await source.get("/x", {}, 1000)
    assert answer.json() == {"a": 1}
    (request,) = server.requests
    assert f"host: {NAME}:" in request.lower()
    assert "authorization: bearer tenants-token" in request.lower()


async def test_a_server_with_another_name_at_that_address_gets_nothing(namespace: Namespace) -> None:
    async with (
        faulty(document({}), tls=namespace.server_side("127.0.0.1")) as server,
        namespace.asking(server) as source,
    ):
        with pytest.raises(RegistryError, match="certificate is not trusted") as failure:
            await source.get("/x", {}, 1000)
    assert failure.value.reason is ResolutionReason.UNREACHABLE
    assert "Check ca.crt in ConfigMap ca of namespace team-a" in failure.value.message
    assert server.requests == []


async def test_without_an_authority_the_remedy_names_the_field(namespace: Namespace) -> None:
    async with (
        faulty(document({}), tls=namespace.server_side(NAME)) as server,
        namespace.asking(server, config_map="") as source,
    ):
        with pytest.raises(
            RegistryError, match=r"Name a ConfigMap with ca\.crt in spec\.registry\.caConfigMap"
        ):
            await source.get("/x", {}, 1000)


async def test_a_redirect_to_the_clouds_credentials_is_not_followed(namespace: Namespace) -> None:
    place = "http://169.254.169.254/latest/meta-data/iam"
    async with (
        faulty(response("", "302 Found", location=place), tls=namespace.server_side(NAME)) as server,
        namespace.asking(server) as source,
    ):
        with pytest.raises(RegistryError, match="which is not followed") as failure:
            await source.get("/x", {}, 1000)
    assert failure.value.reason is ResolutionReason.UNEXPECTED_ANSWER
    assert len(server.requests) == 1

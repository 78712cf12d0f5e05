"""Registries that specs describe themselves: whose credentials go where, who sees what, and where nobody asks."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from tests.unit.registry.registry_double import QUICK, RegistryDouble, answer

from model_operator.api.reference import parse_reference
from model_operator.api.spec import RegistrySpec
from model_operator.controller.pod_credentials import TenantObjects, describe_registry
from model_operator.controller.services import registry_id
from model_operator.domain.objects import Key, ObjectRef
from model_operator.domain.registry import ResolutionReason
from model_operator.kube import Forbidden, NotFound, Unavailable
from model_operator.registry import (
    Access,
    ClientPool,
    MlflowClient,
    RegistryId,
    Resolver,
    WantedModel,
    resolve,
)
from model_operator.registry.clients.addresses import (
    RefusedAddressError,
    explain_address,
    find_permitted_address,
)
from model_operator.registry.clients.base import RegistryClient, RegistryConfig
from model_operator.registry.clients.credentials import ObjectAccess
from model_operator.registry.clients.http import JsonSource, site_of
from model_operator.registry.ids import InlineConfig
from model_operator.settings import parse

URL = "https://mlflow.team-a.test"
CHURN: Key = ("crm", "churn")
FRAUD: Key = ("risk", "fraud")
REFERENCE = parse_reference("models:/churn@champion")


def of(namespace: str, **spec: str) -> RegistryId:
    return registry_id(namespace, RegistrySpec.model_validate({"url": URL, **spec}))


class Tenants:
    """A resolver to which each registry that a spec describes is a double of its own."""

    def __init__(self) -> None:
        self.doubles: list[RegistryDouble] = []
        self.changes: asyncio.Queue[Key] = asyncio.Queue()

        def connect(entry: str, config: RegistryConfig, access: Access | None) -> RegistryClient:
            assert access is not None
            double = RegistryDouble()
            double.add("churn", versions=9, champion=str(len(self.doubles) + 1))
            self.doubles.append(double)
            return double.client()

        async def read(kind: str, namespace: str, name: str) -> str:
            return "not asked for here"

        self.clients = ClientPool({}, connect, [URL], read)
        self.resolver = Resolver(self.clients, 3600, self.changes.put_nowait)

    def want(self, key: Key, registry: RegistryId) -> None:
        self.resolver.want(key, WantedModel(registry, REFERENCE))

    async def until_answered(self, *keys: Key) -> list[str]:
        async with asyncio.timeout(30):
            while not all(self.resolver.answer(key).ok for key in keys):
                await self.changes.get()
        versions = [self.resolver.answer(key).version for key in keys]
        return [version.version for version in versions if version]


@pytest.fixture
def tenants() -> Tenants:
    return Tenants()


async def test_no_tenant_sees_what_another_ones_credentials_may_read(tenants: Tenants) -> None:
    task = asyncio.create_task(tenants.resolver.run())
    tenants.want(CHURN, of("crm", credentialsSecret="mlflow"))
    tenants.want(FRAUD, of("risk", credentialsSecret="mlflow"))
    assert await tenants.until_answered(CHURN, FRAUD) == ["1", "2"]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_one_namespaces_models_share_what_they_share_in_full(tenants: Tenants) -> None:
    for number, spec in enumerate(
        [{}, {}, {"credentialsSecret": "a"}, {"caConfigMap": "a"}, {"type": "UnityCatalog"}]
    ):
        tenants.want(("crm", f"churn-{number}"), of("crm", **spec))
    assert len(tenants.doubles) == 4


async def test_a_registry_that_nobody_follows_any_more_is_let_go_and_can_come_back(tenants: Tenants) -> None:
    task = asyncio.create_task(tenants.resolver.run())
    for round_ in (1, 2):
        tenants.want(CHURN, of("crm"))
        tenants.want(("crm", "other"), of("crm"))
        assert await tenants.until_answered(CHURN) == [str(round_)]
        tenants.resolver.want(CHURN, None)
        assert tenants.resolver._tasks
        tenants.resolver.want(("crm", "other"), None)
        assert not tenants.resolver._tasks
        assert not tenants.resolver._pollers
        # whoever still has a question gets no client that nobody would close
        assert tenants.clients.client(of("crm")) is None
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    "url", ["https://mlflow.team-b.test", URL + ":8443", URL + "/deeper", "http://mlflow.team-a.test"]
)
async def test_a_url_that_is_not_allowed_to_the_letter_is_not_asked(tenants: Tenants, url: str) -> None:
    tenants.want(CHURN, registry_id("crm", RegistrySpec(url=url)))
    resolution = tenants.resolver.answer(CHURN)
    assert resolution.reason is ResolutionReason.UNKNOWN_REGISTRY
    assert f"spec.registry.url: {url} is not one of inlineRegistries.allowedUrls" in resolution.message
    assert tenants.doubles == []


def test_by_default_no_url_is_allowed() -> None:
    configured = parse("registries: {default: {url: 'http://mlflow:5000'}}", "config.yaml")
    assert describe_registry(of("crm"), configured) is None


def test_pods_use_what_the_spec_describes() -> None:
    text = f"""
registries: {{default: {{url: 'http://m'}}}}
inlineRegistries: {{allowedUrls: ['{URL}/'], secretNames: [mlflow]}}
"""
    configured = parse(text, "config.yaml")
    found = describe_registry(of("crm", credentialsSecret="mlflow", caConfigMap="ca"), configured)
    assert found is not None
    assert (found.url, found.pod_credentials.secret, found.pod_ca.config_map) == (URL, "mlflow", "ca")
    assert describe_registry(of("crm", credentialsSecret="database"), configured) is None


# ---- credentials ---------------------------------------------------------------------------------------


class Asked:
    """A server that takes one Authorization header; a namespace with a Secret and a ConfigMap."""

    def __init__(self) -> None:
        self.valid = "Bearer first"
        self.objects: dict[tuple[str, str, str], Mapping[str, bytes] | str] = {
            ("Secret", "crm", "mlflow"): {"token": b"first\n"}
        }
        self.headers: list[httpx.Headers] = []
        self.reads = 0

    async def read(self, kind: str, namespace: str, name: str) -> Mapping[str, bytes] | str:
        self.reads += 1
        return self.objects[kind, namespace, name]

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.headers.append(request.headers)
        if request.headers.get("authorization") != self.valid:
            return answer({}, 401)
        return answer(
            {"registered_model": {"name": "churn", "aliases": [{"alias": "champion", "version": "7"}]}}
        )

    def source(self, look_up: Any, url: str = URL, **objects: str) -> JsonSource:
        names = {"secret": "mlflow", "config_map": ""} | objects
        access = ObjectAccess("spec.registry", self.read, "crm", names["secret"], names["config_map"])
        site = site_of("spec.registry", InlineConfig(url, "MLflow"), access)
        return JsonSource(site, QUICK, httpx.MockTransport(self.handle), look_up=look_up)


async def elsewhere(host: str, port: int) -> list[str]:
    return ["203.0.113.7"]


async def test_the_namespaces_secret_goes_to_the_address_that_was_judged() -> None:
    asked = Asked()
    source = asked.source(elsewhere, URL + ":8443/ml")
    sent: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return asked.handle(request)

    source._transport = httpx.MockTransport(handle)
    assert (await source.get("/x", {}, 1000)).status == 200
    (request,) = sent
    assert str(request.url) == "https://203.0.113.7:8443/ml/x"
    assert request.headers["host"] == "mlflow.team-a.test:8443"
    assert request.extensions["sni_hostname"] == "mlflow.team-a.test"
    await source.aclose()


async def test_a_rotated_secret_is_read_again_on_the_first_refusal() -> None:
    asked = Asked()
    now = 0.0
    source = asked.source(elsewhere)
    source._clock = lambda: now
    assert (await source.get("/x", {}, 1000)).status == 200
    asked.valid, now = "Bearer second", 5.0
    asked.objects["Secret", "crm", "mlflow"] = {"token": b"second"}
    assert (await source.get("/x", {}, 1000)).status == 200
    await source.aclose()


@pytest.mark.parametrize(
    ("secret", "words"),
    [
        pytest.param(
            "there is no Secret mlflow in namespace crm: create it", "there is no Secret", id="no Secret"
        ),
        pytest.param(
            {"username": b"ada"}, "Secret mlflow of namespace crm has no key password", id="half of it"
        ),
        pytest.param(
            {"token": b"to\nken"}, "has a key token that is empty, over 64 KiB", id="a token of two lines"
        ),
        pytest.param({"other": b"x"}, "has none of the keys", id="other keys"),
    ],
)
async def test_what_is_wrong_with_the_secret_is_told_and_nothing_is_sent(
    secret: Mapping[str, bytes] | str, words: str
) -> None:
    asked = Asked()
    asked.objects["Secret", "crm", "mlflow"] = secret
    source = asked.source(elsewhere)
    with pytest.raises(Exception, match=words) as failure:
        await source.get("/x", {}, 1000)
    assert getattr(failure.value, "reason", None) is ResolutionReason.MISCONFIGURED
    assert asked.headers == []


class Kube:
    """The API server, as far as single objects are read."""

    def __init__(self, found: dict[str, Any] | Exception) -> None:
        self.found = found
        self.read: list[str] = []

    async def get(self, ref: ObjectRef) -> dict[str, Any]:
        self.read.append(f"{ref} of {ref.namespace}")
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


async def test_only_secrets_of_known_names_are_read() -> None:
    kube = Kube({"data": {"token": base64.b64encode(b"abc").decode()}})
    objects = TenantObjects(kube, ["mlflow"])  # type: ignore[arg-type]
    assert await objects.read("Secret", "crm", "mlflow") == {"token": b"abc"}
    told = await objects.read("Secret", "crm", "database")
    assert told == (
        "spec.registry.credentialsSecret: database is not one of inlineRegistries.secretNames in the operator's "
        "configuration, which are: mlflow"
    )
    assert kube.read == ["Secret mlflow of crm"]


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (NotFound(404, "NotFound", "no"), "there is no Secret mlflow in namespace crm: create it"),
        (
            Forbidden(403, "Forbidden", "no"),
            "the operator may not read the Secret mlflow in namespace crm: grant it get",
        ),
        (
            Unavailable(0, "Unavailable", "no route"),
            "the Secret mlflow in namespace crm can't be read: no route",
        ),
        ({"data": {"token": "%%%"}}, "the Secret mlflow in namespace crm holds values that are not base64"),
    ],
)
async def test_a_secret_that_can_not_be_had_is_told_in_one_sentence(found: Any, words: str) -> None:
    assert await TenantObjects(Kube(found), ["mlflow"]).read("Secret", "crm", "mlflow") == words  # type: ignore[arg-type]


# ---- addresses -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.8.8",
        "::1",
        "::ffff:127.0.0.1",
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "64:ff9b::169.254.169.254",
        "2002:a9fe:a9fe::1",
        "fe80::1",
        "fe80::1%eth0",
        "fd00:ec2::254",
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "ff02::1",
        "255.255.255.255",
        "240.0.0.1",
    ],
)
def test_an_address_of_this_machine_or_of_the_cloud_is_refused(address: str) -> None:
    assert explain_address(address)


@pytest.mark.parametrize(
    "address", ["10.0.0.7", "192.168.1.1", "203.0.113.7", "2001:db8::7", "fd12::1", "100.64.0.1"]
)
def test_an_address_of_a_server_is_not(address: str) -> None:
    assert explain_address(address) == ""


async def test_one_refused_address_among_several_is_enough() -> None:
    async def several(host: str, port: int) -> list[str]:
        return ["203.0.113.7", "169.254.169.254"]

    with pytest.raises(RefusedAddressError, match=r"evil\.test is 169\.254\.169\.254, a link-local address"):
        await find_permitted_address("evil.test", 443, several)


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "[::1]", "2130706433", "0x7f000001", "127.1", "[::ffff:127.0.0.1]"]
)
async def test_no_spelling_of_this_machine_is_asked(host: str) -> None:
    # by the system's own look-up: what it makes of such a name is what counts
    asked = Asked()
    access = ObjectAccess("spec.registry", asked.read, "crm", "mlflow", "")
    client = MlflowClient(
        "spec.registry",
        InlineConfig(f"http://{host}:5000", "MLflow"),
        QUICK,
        httpx.MockTransport(asked.handle),
        access,
    )
    resolution = await resolve(client, REFERENCE)
    await client.aclose()
    assert resolution.reason in (ResolutionReason.MISCONFIGURED, ResolutionReason.UNREACHABLE)
    assert asked.headers == []


async def test_a_name_that_changes_its_mind_is_judged_each_time() -> None:
    answers = iter([["203.0.113.7"], ["127.0.0.1"]])

    async def rebinding(host: str, port: int) -> list[str]:
        return next(answers)

    asked = Asked()
    source = asked.source(rebinding)
    assert (await source.get("/x", {}, 1000)).status == 200
    with pytest.raises(Exception, match=r"is 127\.0\.0\.1, a loopback address, which is not allowed"):
        await source.get("/x", {}, 1000)
    assert len(asked.headers) == 1
    await source.aclose()


async def test_no_proxy_of_the_operators_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    asked = Asked()
    source = asked.source(elsewhere)
    assert (await source.get("/x", {}, 1000)).status == 200
    assert source._http is not None
    assert not source._http.trust_env
    await source.aclose()

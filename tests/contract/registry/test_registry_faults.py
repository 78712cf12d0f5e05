"""A registry that can't be trusted: each fault has its reason, its remedy, and its bounds."""

from __future__ import annotations

import datetime
import ipaddress
import json
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.cluster.certificates import Authority, KeyPair
from tests.contract.registry.conftest import Access, ask
from tests.contract.registry.faulty_server import (
    Answer,
    document,
    dripping,
    endless,
    faulty,
    response,
    silent,
)

from model_operator.domain.registry import ResolutionReason
from model_operator.registry import MlflowClient, RegistryError
from model_operator.registry.clients.http import Limits

REFERENCE = "models:/iris@champion"
VERSION = {"name": "iris", "version": "2", "status": "READY", "run_id": "r", "source": "models:/m-1"}
MODEL = {"name": "iris", "aliases": [{"alias": "champion", "version": "2"}], "latest_versions": [VERSION]}
GOOD = document({"registered_model": MODEL})
HURRIED = Limits(connect_seconds=1, total_seconds=0.5, retry_seconds=0.01)


def model_with(**changes: object) -> bytes:
    """A model's answer with some fields changed."""
    return document({"registered_model": MODEL | changes})


def version_with(**changes: object) -> bytes:
    """A model's answer with its newest version changed."""
    return model_with(latest_versions=[VERSION | changes])


@pytest.mark.parametrize(
    ("answer", "reason", "words"),
    [
        pytest.param(
            response("<html>Log in</html>", kind="text/html; charset=utf-8"),
            ResolutionReason.UNEXPECTED_ANSWER,
            ["text/html"],
            id="HTML where JSON belongs",
        ),
        pytest.param(
            response("{nope"), ResolutionReason.UNEXPECTED_ANSWER, ["malformed JSON"], id="malformed JSON"
        ),
        pytest.param(
            response("[" * 100_000),
            ResolutionReason.UNEXPECTED_ANSWER,
            ["malformed JSON"],
            id="a bomb of brackets",
        ),
        pytest.param(
            response(b"\xff\xfe\x00"),
            ResolutionReason.UNEXPECTED_ANSWER,
            ["malformed JSON"],
            id="bytes of no encoding",
        ),
        pytest.param(document([1]), ResolutionReason.UNEXPECTED_ANSWER, ["not an object"], id="a list"),
        pytest.param(
            document({}), ResolutionReason.UNEXPECTED_ANSWER, ["registered_model"], id="an empty object"
        ),
        pytest.param(
            model_with(aliases={"champion": "2"}),
            ResolutionReason.UNEXPECTED_ANSWER,
            ["aliases"],
            id="odd aliases",
        ),
        pytest.param(
            model_with(aliases=[{"alias": "champion", "version": "2; rm"}]),
            ResolutionReason.UNEXPECTED_ANSWER,
            ["version"],
            id="a version that is no number",
        ),
        pytest.param(
            model_with(aliases=[{"alias": "champion", "version": "²"}]),
            ResolutionReason.UNEXPECTED_ANSWER,
            ["version"],
            id="a version of unusual digits",
        ),
        pytest.param(
            version_with(version=2),
            ResolutionReason.UNEXPECTED_ANSWER,
            ["version"],
            id="a version that is no text",
        ),
        pytest.param(
            version_with(source="s" * 5000),
            ResolutionReason.UNEXPECTED_ANSWER,
            ["source"],
            id="an endless source",
        ),
        pytest.param(
            version_with(run_id=["r"]),
            ResolutionReason.UNEXPECTED_ANSWER,
            ["run_id"],
            id="a run id that is a list",
        ),
        pytest.param(
            version_with(tags=[{"key": 1, "value": "x"}]),
            ResolutionReason.UNEXPECTED_ANSWER,
            ["tags"],
            id="a tag whose key is a number",
        ),
        pytest.param(
            response("no such page", "404 Not Found", "text/html"),
            ResolutionReason.UNEXPECTED_ANSWER,
            ["404", "static prefix"],
            id="404 of another server",
        ),
        pytest.param(
            response(b"\x1f\x8b\x08", content_encoding="gzip"),
            ResolutionReason.UNEXPECTED_ANSWER,
            ["compressed"],
            id="a compressed body that nobody asked for",
        ),
        pytest.param(
            response("", "302 Found", location="https://login.example.com/?token=abc"),
            ResolutionReason.UNEXPECTED_ANSWER,
            ["https://login.example.com/", "not followed"],
            id="a redirect to a login page",
        ),
        pytest.param(
            response("oops", "500 Internal Server Error", "text/html"),
            ResolutionReason.REGISTRY_ERROR,
            ["500"],
            id="500",
        ),
        pytest.param(
            response("", "503 Service Unavailable"),
            ResolutionReason.REGISTRY_ERROR,
            ["503"],
            id="503 for long",
        ),
        pytest.param(
            response("", "429 Too Many Requests", retry_after="86400"),
            ResolutionReason.REGISTRY_ERROR,
            ["429"],
            id="429 with a Retry-After of a day",
        ),
        pytest.param(response("", "401 Unauthorized"), ResolutionReason.UNAUTHORIZED, ["'prod'"], id="401"),
        pytest.param(
            response("nope", "403 Forbidden", "text/plain"), ResolutionReason.FORBIDDEN, ["'prod'"], id="403"
        ),
        pytest.param(endless, ResolutionReason.ANSWER_TOO_LARGE, ["1024 KiB"], id="an endless body"),
        pytest.param(
            model_with(description="d" * 1_100_000),
            ResolutionReason.ANSWER_TOO_LARGE,
            ["1024 KiB"],
            id="a huge description",
        ),
        pytest.param(
            b"", ResolutionReason.UNREACHABLE, ["can't be reached"], id="a hang-up before the answer"
        ),
        pytest.param(
            GOOD[:-20],
            ResolutionReason.UNREACHABLE,
            ["can't be reached"],
            id="a hang-up in the middle of the body",
        ),
        pytest.param(
            b"SSH-2.0-x\r\n\r\n", ResolutionReason.UNREACHABLE, ["can't be reached"], id="another protocol"
        ),
    ],
)
async def test_a_fault_has_a_reason_and_names_the_registry(
    answer: Answer, reason: ResolutionReason, words: list[str]
) -> None:
    async with faulty(answer) as server:
        resolution = await ask(Access(server.url), REFERENCE)
    assert resolution.reason is reason
    assert [word for word in [*words, server.url] if word not in resolution.message] == []
    assert resolution.version is None
    assert len(resolution.message) < 1000
    assert resolution.message.isprintable()


@pytest.mark.parametrize(
    "answer", [pytest.param(dripping, id="a byte now and then"), pytest.param(silent, id="nothing")]
)
async def test_a_slow_answer_is_given_up(answer: Answer) -> None:
    async with faulty(answer) as server:
        resolution = await ask(Access(server.url), REFERENCE, limits=HURRIED)
        # not a second time; on a busy machine perhaps not even once
        assert len(server.requests) <= 1
    assert resolution.reason is ResolutionReason.UNREACHABLE


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(response("", "503 Service Unavailable"), id="503"),
        pytest.param(response("", "502 Bad Gateway"), id="502"),
        pytest.param(response("", "504 Gateway Timeout"), id="504"),
        pytest.param(response("", "429 Too Many Requests", retry_after="0"), id="429"),
        pytest.param(b"", id="a hang-up"),
    ],
)
async def test_a_passing_fault_is_retried(fault: bytes) -> None:
    async with faulty(fault, fault, GOOD) as server:
        resolution = await ask(Access(server.url), REFERENCE)
    assert resolution.reason is ResolutionReason.RESOLVED


@pytest.mark.parametrize(
    ("answer", "tries"),
    [
        pytest.param(response("", "503 Service Unavailable"), 3, id="503 three times"),
        pytest.param(b"", 3, id="a hang-up three times"),
        pytest.param(response("", "500 Internal Server Error"), 1, id="500 once"),
        pytest.param(response("", "401 Unauthorized"), 1, id="401 once"),
        pytest.param(response("", "403 Forbidden"), 1, id="403 once"),
        pytest.param(response("", "429 Too Many Requests", retry_after="3600"), 1, id="429 for an hour once"),
    ],
)
async def test_tries_are_bounded(answer: bytes, tries: int) -> None:
    async with faulty(answer) as server:
        await ask(Access(server.url), REFERENCE)
        assert len(server.requests) == tries


async def test_a_redirect_to_another_host_is_not_followed_and_its_query_not_quoted() -> None:
    async with faulty(GOOD) as other:
        async with faulty(
            response("", "307 Temporary Redirect", location=f"{other.url}/x?secret=abc")
        ) as server:
            resolution = await ask(Access(server.url), REFERENCE)
        assert other.requests == []
    assert "abc" not in resolution.message


async def test_credentials_are_sent_and_never_quoted_back(credentials: Callable[..., Path]) -> None:
    directory = credentials(username="op", password="hunter2-hunter2")
    async with faulty(response("", "500 x")) as server:
        await ask(Access(server.url, str(directory)), REFERENCE)
        header = next(
            line for line in server.requests[0].splitlines() if line.lower().startswith("authorization")
        )
    encoded = header.split()[-1]
    said = f"bad header Basic {encoded} (hunter2-hunter2)\x1b[31m\n" + "x" * 1000
    async with faulty(document({"error_code": "INTERNAL_ERROR", "message": said}, "500 x")) as server:
        resolution = await ask(Access(server.url, str(directory)), REFERENCE)
    assert "bad header" in resolution.message
    assert "hunter2" not in resolution.message
    assert encoded not in resolution.message
    assert resolution.message.isprintable()
    assert len(resolution.message) < 500


async def test_a_token_is_sent_as_a_bearer(credentials: Callable[..., Path]) -> None:
    async with faulty(GOOD) as server:
        await ask(Access(server.url, str(credentials(token="t0ken\n"))), REFERENCE)
        assert "authorization: bearer t0ken\r\n" in server.requests[0].lower()


async def test_a_static_prefix_of_the_url_is_kept() -> None:
    async with faulty(GOOD) as server:
        await ask(Access(f"{server.url}/ml/flow/"), REFERENCE)
        assert server.requests[0].startswith("GET /ml/flow/api/2.0/mlflow/registered-models/get?name=iris ")


async def test_long_tags_are_left_out_and_short_ones_kept() -> None:
    tags = [{"key": "short", "value": "v"}, {"key": "long", "value": "v" * 5000}]
    async with faulty(version_with(tags=tags)) as server:
        resolution = await ask(Access(server.url), REFERENCE)
    assert resolution.version is not None
    assert resolution.version.tags == {"short": "v"}


async def test_a_registry_cannot_answer_for_another_of_its_models() -> None:
    async with faulty(model_with(name="other")) as server:
        resolution = await ask(Access(server.url), REFERENCE)
    assert resolution.version is not None
    assert resolution.version.model == "iris"


async def test_a_page_that_is_too_large_is_asked_for_in_smaller_ones() -> None:
    huge = document({"registered_models": [MODEL | {"description": "d" * 9_000_000}]})
    async with faulty(huge, document({"registered_models": [MODEL]})) as server:
        client = MlflowClient("prod", Access(server.url))
        try:
            pages = [page async for page in client.models()]
        finally:
            await client.aclose()
        assert "max_results=1000" in server.requests[0]
        assert "max_results=250" in server.requests[1]
    assert [model.name for page in pages for model in page] == ["iris"]


async def test_a_listing_whose_pages_go_round_in_a_circle_ends() -> None:
    async with faulty(document({"registered_models": [MODEL], "next_page_token": "again"})) as server:
        client = MlflowClient("prod", Access(server.url))
        try:
            pages = [page async for page in client.models()]
        finally:
            await client.aclose()
    assert len(pages) == 2


async def test_a_listing_without_one_sound_record_is_an_unexpected_answer() -> None:
    async with faulty(document({"registered_models": [1, 2]})) as server:
        client = MlflowClient("prod", Access(server.url))
        try:
            with pytest.raises(RegistryError) as caught:
                [page async for page in client.models()]
        finally:
            await client.aclose()
    assert caught.value.reason is ResolutionReason.UNEXPECTED_ANSWER


def certificate(directory: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "registry")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = directory / "tls.crt", directory / "tls.key"
    certificate_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return certificate_file, key_file


async def test_a_certificate_is_trusted_by_the_configured_authority_only(tmp_path: Path) -> None:
    certificate_file, key_file = certificate(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate_file, key_file)
    async with faulty(GOOD, tls=tls) as server:
        trusted = await ask(Access(server.url, ca_file=str(certificate_file)), REFERENCE)
        distrusted = await ask(Access(server.url), REFERENCE)
    assert trusted.reason is ResolutionReason.RESOLVED
    assert distrusted.reason is ResolutionReason.UNREACHABLE
    assert "not trusted" in distrusted.message
    assert "caFile" in distrusted.message


async def test_a_server_that_asks_for_a_certificate_lets_in_whom_it_trusts(tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path / "ours", "ours"), Authority(tmp_path / "theirs", "theirs")
    server_pair = ours.issue("server", "registry", addresses=["127.0.0.1"])
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=ours.certificate)
    tls.load_cert_chain(server_pair.certificate, server_pair.key)
    tls.verify_mode = ssl.CERT_REQUIRED
    directory = tmp_path / "credentials"
    directory.mkdir()

    def present(pair: KeyPair) -> None:
        (directory / "tls.crt").write_bytes(pair.certificate.read_bytes())
        (directory / "tls.key").write_bytes(pair.key.read_bytes())

    async with faulty(GOOD, tls=tls) as server:
        access = Access(server.url, str(directory), str(ours.certificate))
        present(theirs.issue("client", "operator"))
        refused = await ask(access, REFERENCE)
        present(ours.issue("client", "operator"))
        let_in = await ask(access, REFERENCE)
        without = await ask(Access(server.url, ca_file=str(ours.certificate)), REFERENCE)
    assert refused.reason is ResolutionReason.UNREACHABLE
    assert let_in.reason is ResolutionReason.RESOLVED, let_in.message
    assert without.reason is ResolutionReason.UNREACHABLE
    assert [r.message for r in (refused, without) if "client certificate" not in r.message] == []


@pytest.mark.parametrize(
    ("files", "words"),
    [
        pytest.param({"tls.crt": "x"}, ["tls.key"], id="without its key"),
        pytest.param({"tls.key": "x"}, ["none of the files"], id="a key alone"),
        pytest.param({"tls.crt": "x", "tls.key": "y"}, ["not a PEM certificate"], id="no certificate at all"),
    ],
)
async def test_an_unusable_client_certificate_is_named(
    tmp_path: Path, files: dict[str, str], words: list[str]
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    async with faulty(GOOD) as server:
        resolution = await ask(Access(server.url, str(tmp_path)), REFERENCE)
    assert resolution.reason is ResolutionReason.MISCONFIGURED
    assert [word for word in [*words, str(tmp_path), "'prod'"] if word not in resolution.message] == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(None, ["can't be read"], id="a missing file"),
        pytest.param("not a certificate", ["PEM"], id="no certificate"),
    ],
)
async def test_an_unusable_ca_file_is_named(tmp_path: Path, content: str | None, words: list[str]) -> None:
    file = tmp_path / "ca.crt"
    if content is not None:
        file.write_text(content)
    async with faulty(GOOD) as server:
        resolution = await ask(Access(server.url, ca_file=str(file)), REFERENCE)
    assert resolution.reason is ResolutionReason.MISCONFIGURED
    assert [word for word in [*words, str(file), "'prod'"] if word not in resolution.message] == []


async def test_an_answer_that_is_just_small_enough_is_read() -> None:
    size = len(json.dumps({"registered_model": MODEL | {"description": ""}}))
    async with faulty(model_with(description="d" * (1024 * 1024 - size))) as server:
        resolution = await ask(Access(server.url), REFERENCE)
    assert resolution.reason is ResolutionReason.RESOLVED

"""The receiver of webhooks: what it takes, what it refuses with which words, and what it is told to do by neither."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from tests.cluster.certificates import Authority, KeyPair

from model_operator.settings import Webhooks
from model_operator.webhooks import inbox as inboxes
from model_operator.webhooks import mounted_files, receive
from model_operator.webhooks import receiver as receivers
from model_operator.webhooks.inbox import Delivery, Inbox, RefusalError

SECRET = "s3cret-of-the-webhook"
NOW = 1_800_000_000
MAX_AGE = 300
BODY = json.dumps(
    {
        "entity": "model_version_alias",
        "action": "created",
        "timestamp": "2026-11-24T12:00:00+00:00",
        "data": {"name": "iris", "alias": "champion", "version": "3"},
    }
).encode()


def signature(secret: str, delivery_id: str, timestamp: str, body: bytes) -> str:
    digest = hmac.digest(secret.encode(), f"{delivery_id}.{timestamp}.".encode() + body, hashlib.sha256)
    return f"v1,{base64.b64encode(digest).decode()}"


def delivery(
    body: bytes = BODY, *, id: str = "id-1", at: int = NOW, secret: str = SECRET, **other: str
) -> Delivery:
    """A well signed delivery, but for what ``other`` says."""
    signed = signature(secret, id, str(at), body)
    return Delivery(id, str(at), other.get("signatures", signed), body)


@dataclass
class Clock:
    now: float = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def secret_dir(tmp_path: Path) -> Path:
    directory = tmp_path / "secrets"
    directory.mkdir()
    (directory / "secret").write_text(f"{SECRET}\n")
    return directory


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def inbox(secret_dir: Path, clock: Clock) -> Inbox:
    return Inbox(secret_dir, MAX_AGE, clock)


def test_a_good_delivery_names_a_model(inbox: Inbox) -> None:
    assert inbox.model(delivery()) == "iris"


GOOD = delivery()
SIGNED_BY_ANOTHER = signature("another", GOOD.delivery_id, GOOD.timestamp, GOOD.body)


@pytest.mark.parametrize(
    ("given", "outcome"),
    [
        pytest.param(delivery(secret="another"), "signature", id="signed with another secret"),
        pytest.param(delivery(signatures=""), "signature", id="an empty signature"),
        pytest.param(delivery(signatures="v1,"), "signature", id="a signature of no bytes"),
        pytest.param(
            delivery(signatures="v1,!!not base64!!"), "signature", id="a signature that is no base64"
        ),
        pytest.param(
            delivery(signatures="v1,\u00e9\u00e9\u00e9\u00e9"), "signature", id="letters beyond ASCII"
        ),
        pytest.param(
            delivery(signatures=GOOD.signatures.replace("v1,", "v2,")), "signature", id="an unknown version"
        ),
        pytest.param(delivery(signatures=GOOD.signatures[3:]), "signature", id="no version"),
        pytest.param(
            delivery(signatures=" ".join([SIGNED_BY_ANOTHER] * 8 + [GOOD.signatures])),
            "signature",
            id="the good signature after too many others",
        ),
        pytest.param(
            Delivery("id-2", GOOD.timestamp, GOOD.signatures, GOOD.body), "signature", id="another id"
        ),
        pytest.param(
            Delivery(GOOD.delivery_id, str(NOW + 1), GOOD.signatures, GOOD.body),
            "signature",
            id="another timestamp",
        ),
        pytest.param(
            Delivery(GOOD.delivery_id, GOOD.timestamp, GOOD.signatures, GOOD.body + b" "),
            "signature",
            id="another body",
        ),
        pytest.param(delivery(at=NOW - MAX_AGE - 1), "timestamp", id="too old"),
        pytest.param(delivery(at=NOW + MAX_AGE + 1), "timestamp", id="from the future"),
        pytest.param(delivery(b"\xff\xfe"), "malformed", id="not UTF-8"),
        pytest.param(delivery(b""), "malformed", id="an empty body"),
        pytest.param(delivery(b"{"), "malformed", id="broken JSON"),
        pytest.param(delivery(b"[" * 60_000), "malformed", id="JSON as deep as the body is long"),
        pytest.param(
            delivery(b'{"data": ' * 7000 + b"1" + b"}" * 7000), "malformed", id="objects as deep as can be"
        ),
        pytest.param(delivery(b"1" * 60_000), "malformed", id="a number of 60,000 digits"),
        pytest.param(delivery(b'"iris"'), "malformed", id="JSON that is no object"),
        pytest.param(delivery(b'{"name": "iris"}'), "malformed", id="no data"),
        pytest.param(delivery(b'{"data": ["iris"]}'), "malformed", id="data that is no object"),
        pytest.param(delivery(b'{"data": {"name": 7}}'), "malformed", id="a name that is a number"),
        pytest.param(delivery(b'{"data": {"name": ""}}'), "malformed", id="an empty name"),
        pytest.param(
            delivery(json.dumps({"data": {"name": "x" * 1001}}).encode()), "malformed", id="an endless name"
        ),
    ],
)
def test_a_delivery_is_refused_that_is(inbox: Inbox, given: Delivery, outcome: str) -> None:
    with pytest.raises(RefusalError) as refused:
        inbox.model(given)
    assert refused.value.outcome == outcome
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(delivery(at=NOW - MAX_AGE), id="as old as allowed"),
        pytest.param(delivery(at=NOW + MAX_AGE), id="as early as allowed"),
        pytest.param(
            delivery(signatures=f"{SIGNED_BY_ANOTHER} {GOOD.signatures}"),
            id="signed by two, one of them known",
        ),
        pytest.param(
            delivery(b'{"entity": "what", "action": 7, "data": {"name": "iris"}}'), id="of an unknown entity"
        ),
    ],
)
def test_a_delivery_counts_that_is(inbox: Inbox, given: Delivery) -> None:
    assert inbox.model(given) == "iris"


def test_the_same_delivery_counts_once(inbox: Inbox) -> None:
    inbox.model(delivery())
    with pytest.raises(RefusalError, match="used before"):
        inbox.model(delivery())
    assert inbox.model(delivery(id="id-2")) == "iris"


def test_a_delivery_from_the_future_cant_be_replayed_when_its_time_has_come(
    inbox: Inbox, clock: Clock
) -> None:
    early = delivery(at=NOW + MAX_AGE)
    inbox.model(early)
    clock.now += 2 * MAX_AGE
    with pytest.raises(RefusalError, match="used before"):
        inbox.model(early)
    clock.now += 1
    with pytest.raises(RefusalError, match="timestamp"):
        inbox.model(early)


def test_what_is_not_signed_well_uses_up_no_id(inbox: Inbox) -> None:
    with pytest.raises(RefusalError):
        inbox.model(delivery(secret="another"))
    assert len(inbox) == 0
    assert inbox.model(delivery()) == "iris"


def test_ids_are_forgotten_when_their_time_is_over(inbox: Inbox, clock: Clock) -> None:
    for number in range(100):
        inbox.model(delivery(id=f"id-{number}"))
    clock.now += MAX_AGE + 1
    inbox.model(delivery(id="later", at=int(clock.now)))
    assert len(inbox) == 1


def test_only_so_many_ids_are_remembered(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inboxes, "MAX_REMEMBERED", 10)
    for number in range(100):
        inbox.model(delivery(id=f"id-{number}"))
        assert len(inbox) <= 10
    with pytest.raises(RefusalError, match="used before"):
        inbox.model(delivery(id="id-99"))


def test_secrets_are_rotated_without_a_restart(inbox: Inbox, secret_dir: Path, clock: Clock) -> None:
    assert inbox.model(delivery(id="a")) == "iris"
    (secret_dir / "next").write_text("the-next-one")
    clock.now += mounted_files.REREAD_SECONDS
    at = int(clock.now)
    assert inbox.model(delivery(id="b", at=at)) == "iris"
    assert inbox.model(delivery(id="c", at=at, secret="the-next-one")) == "iris"
    (secret_dir / "secret").unlink()
    clock.now += mounted_files.REREAD_SECONDS
    with pytest.raises(RefusalError, match="secret"):
        inbox.model(delivery(id="d", at=at))
    assert inbox.model(delivery(id="e", at=at, secret="the-next-one")) == "iris"


def test_an_empty_file_is_no_secret(inbox: Inbox, secret_dir: Path) -> None:
    (secret_dir / "empty").write_text("\n")
    with pytest.raises(RefusalError, match="does not match any secret"):
        inbox.model(delivery(secret=""))


def test_the_bookkeeping_of_kubernetes_is_no_secret(inbox: Inbox, secret_dir: Path) -> None:
    (secret_dir / "..data").write_text("bookkeeping")
    with pytest.raises(RefusalError, match="does not match any secret"):
        inbox.model(delivery(secret="bookkeeping"))


@pytest.mark.parametrize("there", [True, False], ids=["an empty directory", "no directory"])
def test_without_a_secret_nothing_is_believed_and_senders_may_try_again(
    secret_dir: Path, clock: Clock, there: bool
) -> None:
    (secret_dir / "secret").unlink()
    if not there:
        secret_dir.rmdir()
    with pytest.raises(RefusalError) as refused:
        Inbox(secret_dir, MAX_AGE, clock).model(delivery(secret=""))
    assert refused.value.status == 503


@given(body=st.binary(max_size=300))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_signed_body_names_a_model_or_is_refused(inbox: Inbox, body: bytes) -> None:
    unique = hashlib.sha256(body).hexdigest()
    try:
        outcome = "ok" if inbox.model(delivery(body, id=unique)) else ""
    except RefusalError as refused:
        outcome = refused.outcome
    assert outcome in ("ok", "malformed", "replay")


# --- over the network ---------------------------------------------------------------------------------


@dataclass
class Receiver:
    """A running receiver, and what it told."""

    port: int = 0
    hints: list[tuple[str, str]] = field(default_factory=list)
    counted: list[tuple[str, str]] = field(default_factory=list)
    followed: int = 1

    def hint(self, entry: str, model: str) -> int:
        self.hints.append((entry, model))
        return self.followed

    def count(self, entry: str, outcome: str) -> None:
        self.counted.append((entry, outcome))

    async def post(self, path: str = "/webhooks/default", **changes: Any) -> httpx.Response:
        """A good delivery, with other headers (None: without that header) or another body."""
        async with httpx.AsyncClient(trust_env=False, base_url=f"http://127.0.0.1:{self.port}") as client:
            return await client.request(
                changes.get("method", "POST"),
                path,
                content=changes.get("content", BODY),
                headers=headers(changes.get("headers", {})),
            )

    async def raw(self, request: bytes) -> bytes:
        """Whatever is answered to these bytes, until the connection is closed."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request)
            async with asyncio.timeout(30):
                return await reader.read()
        finally:
            writer.close()
            await writer.wait_closed()


def headers(changes: Mapping[str, str | None], body: bytes = BODY, id: str = "id-1") -> dict[str, str]:
    now = str(int(time.time()))
    all_of_them: dict[str, str | None] = {
        receivers.ID_HEADER: id,
        receivers.TIMESTAMP_HEADER: now,
        receivers.SIGNATURE_HEADER: signature(SECRET, id, now, body),
        **changes,
    }
    return {name: value for name, value in all_of_them.items() if value is not None}


@pytest.fixture
async def receiver(secret_dir: Path) -> AsyncIterator[Receiver]:
    made = Receiver()
    configured = Webhooks(secret_dir=str(secret_dir))
    async with receive(configured, ["default"], made.hint, made.count, "127.0.0.1") as made.port:
        yield made


async def test_a_delivery_is_answered_and_becomes_a_hint(receiver: Receiver) -> None:
    answer = await receiver.post()
    assert (answer.status_code, answer.text) == (204, "")
    assert receiver.hints == [("default", "iris")]
    assert receiver.counted == [("default", "ok")]


async def test_a_model_that_nobody_follows_is_no_mistake_of_the_senders(receiver: Receiver) -> None:
    receiver.followed = 0
    assert (await receiver.post()).status_code == 204
    assert receiver.counted == [("default", "not_followed")]


@pytest.mark.parametrize(
    ("changes", "status", "entry", "outcome"),
    [
        pytest.param({"method": "GET"}, 405, "unknown", "method", id="GET"),
        pytest.param({"path": "/"}, 404, "unknown", "path", id="another path"),
        pytest.param({"path": "/webhooks/other"}, 404, "unknown", "path", id="an unknown entry"),
        pytest.param({"path": "/webhooks/default/"}, 404, "unknown", "path", id="a longer path"),
        pytest.param({"path": "/webhooks/../default"}, 404, "unknown", "path", id="a path with dots"),
        pytest.param({"content": b"x" * 65_537}, 413, "default", "size", id="a large body"),
        pytest.param({"headers": {receivers.ID_HEADER: None}}, 400, "default", "header", id="no id"),
        pytest.param(
            {"headers": {receivers.TIMESTAMP_HEADER: None}}, 400, "default", "header", id="no timestamp"
        ),
        pytest.param(
            {"headers": {receivers.SIGNATURE_HEADER: None}}, 400, "default", "header", id="no signature"
        ),
        pytest.param({"headers": {receivers.ID_HEADER: "x" * 129}}, 400, "default", "header", id="a long id"),
        pytest.param(
            {"headers": {receivers.ID_HEADER: "a.b"}}, 400, "default", "header", id="an id with a dot"
        ),
        pytest.param(
            {"headers": {receivers.TIMESTAMP_HEADER: "1" * 13}},
            400,
            "default",
            "header",
            id="a long timestamp",
        ),
        pytest.param(
            {"headers": {receivers.TIMESTAMP_HEADER: "1e9"}},
            400,
            "default",
            "header",
            id="a timestamp in words",
        ),
        pytest.param(
            {"headers": {receivers.SIGNATURE_HEADER: "v1," + "A" * 1024}},
            400,
            "default",
            "header",
            id="a long signature",
        ),
        pytest.param(
            {"headers": {receivers.SIGNATURE_HEADER: SIGNED_BY_ANOTHER}},
            401,
            "default",
            "signature",
            id="another's signature",
        ),
        pytest.param(
            {"content": b"{}", "signed": True},
            400,
            "default",
            "malformed",
            id="a signed nonsense",
        ),
    ],
)
async def test_a_refusal_has_a_status_and_one_short_sentence(
    receiver: Receiver, changes: dict[str, Any], status: int, entry: str, outcome: str
) -> None:
    if changes.get("signed"):
        # now, and not when the cases were collected: a signature counts for five minutes
        changes = {"content": changes["content"], "headers": headers({}, changes["content"])}
    answer = await receiver.post(**changes)
    assert answer.status_code == status
    assert answer.text.count("\n") == 1
    assert len(answer.text) < 120
    assert receiver.counted == [(entry, outcome)]
    assert receiver.hints == []


async def test_a_header_that_comes_twice_is_refused(receiver: Receiver) -> None:
    lines = [f"{name}: {value}" for name, value in headers({}).items()]
    lines += [f"{receivers.ID_HEADER}: id-2", f"Content-Length: {len(BODY)}", "Host: here"]
    answer = await receiver.raw(
        "\r\n".join(["POST /webhooks/default HTTP/1.1", *lines, "", ""]).encode() + BODY
    )
    assert answer.startswith(b"HTTP/1.1 400")
    assert receiver.counted == [("default", "header")]


async def test_an_endless_chunked_body_ends_at_the_cap(receiver: Receiver) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 8192
            await asyncio.sleep(0)

    # the answer may come while the sender is still writing
    with suppress(httpx.TransportError):
        assert (await receiver.post(content=endless())).status_code == 413
    assert receiver.counted == [("default", "size")]


async def test_a_body_that_never_comes_is_not_waited_for(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receivers, "READ_SECONDS", 0.05)
    answer = await receiver.raw(
        b"POST /webhooks/default HTTP/1.1\r\nHost: here\r\nContent-Length: 10\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 408")
    assert receiver.counted == [("default", "slow")]


async def test_headers_that_never_end_are_not_waited_for(
    secret_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receivers, "CONNECTION_SECONDS", 0.05)
    made = Receiver()
    configured = Webhooks(secret_dir=str(secret_dir))
    async with receive(configured, ["default"], made.hint, made.count, "127.0.0.1") as made.port:
        assert await made.raw(b"POST /webhooks/default HTTP/1.1\r\nHost:") == b""


async def test_only_so_many_connections_are_held(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receivers, "MAX_CONNECTIONS", 2)
    async with AsyncExitStack() as stack:
        for _ in range(2):
            _, writer = await asyncio.open_connection("127.0.0.1", receiver.port)
            stack.push_async_callback(writer.wait_closed)
            stack.callback(writer.close)
        with pytest.raises(httpx.TransportError):
            await receiver.post()
    async with asyncio.timeout(30):
        while not receiver.hints:
            try:
                await receiver.post()
            except httpx.TransportError:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(b"nonsense\r\n\r\n", id="no HTTP"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", id="TLS on the plain port"),
        pytest.param(
            b"POST /webhooks/default HTTP/1.1\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", id="a huge header"
        ),
        pytest.param(
            b"POST /webhooks/default HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
            id="a broken chunk",
        ),
    ],
)
async def test_what_is_not_http_is_turned_away_with_one_line_of_log_at_most(
    receiver: Receiver,
    request_bytes: bytes,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(receivers, "READ_SECONDS", 0.05)
    for _ in range(3):
        answer = await receiver.raw(request_bytes)
        assert answer == b"" or answer.startswith((b"HTTP/1.1 40", b"HTTP/1.0 40")), answer
    assert len([r for r in caplog.records if r.levelno >= logging.WARNING]) <= 1
    assert (await receiver.post()).status_code == 204


async def test_a_flood_of_refusals_is_one_line_of_log(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(50):
        await receiver.post(headers={receivers.SIGNATURE_HEADER: SIGNED_BY_ANOTHER})
    lines = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert lines == [
        "webhook for registry default rejected: the signature does not match any secret of the receiver"
    ]


# --- TLS ----------------------------------------------------------------------------------------------


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki", "ca")


def install(pair: KeyPair, directory: Path) -> None:
    directory.mkdir(exist_ok=True)
    (directory / "tls.key").write_bytes(pair.key.read_bytes())
    (directory / "tls.crt").write_bytes(pair.certificate.read_bytes())


async def shown_certificate(port: int, authority: Authority) -> bytes:
    """What the server shows, if the authority vouches for it."""
    context = ssl.create_default_context(cafile=str(authority.certificate))
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    shown: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    await writer.wait_closed()
    return shown


@pytest.fixture
async def https(
    secret_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[[], Any]]:
    """Starts a receiver with the certificate directory ``tls``."""
    monkeypatch.setattr(mounted_files, "REREAD_SECONDS", 0.0)
    async with AsyncExitStack() as stack:

        async def start() -> Receiver:
            made = Receiver()
            configured = Webhooks(secret_dir=str(secret_dir), certificate_dir=str(tmp_path / "tls"))
            made.port = await stack.enter_async_context(
                receive(configured, ["default"], made.hint, made.count, "127.0.0.1")
            )
            return made

        yield start


async def test_a_delivery_arrives_by_https(
    https: Callable[[], Any], authority: Authority, tmp_path: Path
) -> None:
    install(authority.issue("first", "receiver", addresses=["127.0.0.1"]), tmp_path / "tls")
    receiver = await https()
    context = ssl.create_default_context(cafile=str(authority.certificate))
    async with httpx.AsyncClient(trust_env=False, verify=context) as client:
        url = f"https://127.0.0.1:{receiver.port}/webhooks/default"
        assert (await client.post(url, content=BODY, headers=headers({}))).status_code == 204
    assert receiver.hints == [("default", "iris")]


async def test_a_renewed_certificate_is_shown_without_a_restart_and_a_broken_one_is_not(
    https: Callable[[], Any], authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = authority.issue("first", "receiver", addresses=["127.0.0.1"])
    second = authority.issue("second", "receiver", addresses=["127.0.0.1"])
    install(first, tmp_path / "tls")
    receiver = await https()
    before = await shown_certificate(receiver.port, authority)
    (tmp_path / "tls" / "tls.key").write_bytes(second.key.read_bytes())
    assert await shown_certificate(receiver.port, authority) == before
    assert "the previous one is still used" in caplog.text
    install(second, tmp_path / "tls")
    assert await shown_certificate(receiver.port, authority) != before


async def test_without_a_certificate_yet_nothing_goes_over_in_the_clear(
    https: Callable[[], Any], authority: Authority, tmp_path: Path
) -> None:
    receiver = await https()
    with pytest.raises(OSError, match="|".join(["SSL", "^$", "reset"])):
        await shown_certificate(receiver.port, authority)
    with pytest.raises(httpx.TransportError):
        await receiver.post()
    install(authority.issue("late", "receiver", addresses=["127.0.0.1"]), tmp_path / "tls")
    assert await shown_certificate(receiver.port, authority)
    assert receiver.hints == []

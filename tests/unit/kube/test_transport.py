"""Calls to an API server that misbehaves: how often they are tried, and what their errors say.

The server is our own, on loopback, because a real one can't be made to fail in these ways on demand.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import yaml
from aiohttp import web

from model_operator.domain.objects import Kind, ObjectRef
from model_operator.kube import (
    Conflict,
    Forbidden,
    Invalid,
    KubeClient,
    NotFound,
    QuotaExceeded,
    RetryPolicy,
    Unauthorized,
    Unavailable,
    transport,
)

REF = ObjectRef(Kind.SERVICE, "crm", "churn")
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "churn", "namespace": "crm", "resourceVersion": "7"},
}
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """Gives the prepared answers one after the other, the last one for ever; remembers what was asked."""

    def __init__(self) -> None:
        self.url = ""
        self.answers: list[web.Response | Answer] = []
        self.requests: list[tuple[str, str, str]] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, request.path, request.headers.get("Authorization", "")))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return await answer(request) if callable(answer) else answer


def status(code: int, reason: str = "", message: str = "words", **headers: str) -> Answer:
    async def answer(_: web.Request) -> web.Response:
        body = {"kind": "Status", "reason": reason, "message": message, "code": code}
        return web.json_response(body, status=code, headers=headers)

    return answer


async def ok(_: web.Request) -> web.Response:
    return web.json_response(SERVICE)


async def hang(_: web.Request) -> web.Response:
    await asyncio.sleep(30)
    raise AssertionError("nobody waits that long")


async def cut_off(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.close()
    return web.Response()


async def html(_: web.Request) -> web.Response:
    return web.Response(text="<html>Welcome</html>", content_type="text/html")


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield server
    await runner.cleanup()


def write_kubeconfig(path: Path, url: str, token: str) -> None:
    config = {
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": {"server": url}}],
        "users": [{"name": "test", "user": {"token": token}}],
    }
    path.write_text(yaml.safe_dump(config))


@pytest.fixture
def kubeconfig(server: Server, tmp_path: Path) -> Path:
    path = tmp_path / "kubeconfig"
    write_kubeconfig(path, server.url, "first")
    return path


@pytest.fixture
def calls() -> list[tuple[str, str, int]]:
    return []


@pytest.fixture
async def kube(kubeconfig: Path, calls: list[tuple[str, str, int]]) -> AsyncIterator[KubeClient]:
    client = await KubeClient.connect(
        kubeconfig=kubeconfig,
        retry=RetryPolicy(attempts=3, attempt_timeout=0.5, first_pause=0.01, longest_pause=0.02),
        on_call=lambda verb, kind, code, seconds: calls.append((verb, kind, code)),
    )
    yield client
    await client.close()


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(status(429, "TooManyRequests"), id="429"),
        pytest.param(status(500, "InternalError"), id="500"),
        pytest.param(status(502), id="502"),
        pytest.param(status(503, "ServiceUnavailable"), id="503"),
        pytest.param(status(504, "Timeout"), id="504"),
        pytest.param(cut_off, id="a connection that is cut off"),
        pytest.param(hang, id="an answer that never comes"),
    ],
)
async def test_a_read_is_tried_again_after_a_passing_trouble(
    kube: KubeClient, server: Server, trouble: Answer
) -> None:
    server.answers = [trouble, ok]
    assert await kube.get(REF) == SERVICE


async def test_a_trouble_that_stays_is_an_error_after_the_last_attempt(
    kube: KubeClient, server: Server
) -> None:
    server.answers = [status(503, "ServiceUnavailable", "etcd is away")]
    with pytest.raises(Unavailable, match="etcd is away"):
        await kube.get(REF)
    assert len(server.requests) == 3


async def test_an_apply_a_delete_and_a_status_are_tried_again(kube: KubeClient, server: Server) -> None:
    of_the_model = ObjectRef(Kind.MODEL_DEPLOYMENT, "crm", "churn")
    for looks, attempt in (
        (1, lambda: kube.apply(REF, SERVICE)),  # what was posted is taken over first
        (0, lambda: kube.delete(REF)),
        (0, lambda: kube.patch_status(of_the_model, {})),
    ):
        server.requests.clear()
        server.answers = [*[ok] * looks, status(503), ok]
        await attempt()
        assert len(server.requests) == looks + 2


@pytest.mark.parametrize(
    "trouble", [pytest.param(status(503), id="503"), pytest.param(cut_off, id="cut off")]
)
async def test_a_create_whose_fate_is_unknown_is_not_tried_again(
    kube: KubeClient, server: Server, trouble: Answer
) -> None:
    server.answers = [trouble, ok]
    with pytest.raises(Unavailable):
        await kube.create(REF, SERVICE)
    assert len(server.requests) == 1


async def test_a_create_that_was_turned_away_at_the_door_is_tried_again(
    kube: KubeClient, server: Server
) -> None:
    server.answers = [status(429, "TooManyRequests"), ok]
    assert await kube.create(REF, SERVICE) == SERVICE


async def test_a_server_that_cannot_be_reached_is_named_as_the_reason(
    kube: KubeClient, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    write_kubeconfig(elsewhere, "http://127.0.0.1:1", "t")
    retry = RetryPolicy(attempts=2, first_pause=0.01, longest_pause=0.02)
    client = await KubeClient.connect(kubeconfig=elsewhere, retry=retry)
    with pytest.raises(Unavailable, match="the API server gave no answer") as error:
        await client.create(REF, SERVICE)
    assert (error.value.status, error.value.reason) == (0, "Unreachable")
    await client.close()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        pytest.param(status(400, "BadRequest"), Invalid, id="400"),
        pytest.param(status(403, "Forbidden", "no right"), Forbidden, id="403"),
        pytest.param(
            status(403, "Forbidden", "exceeded quota: q, requested: pods=1"), QuotaExceeded, id="quota"
        ),
        pytest.param(status(404, "NotFound"), NotFound, id="404"),
        pytest.param(status(409, "Conflict"), Conflict, id="409"),
        pytest.param(status(422, "Invalid"), Invalid, id="422"),
    ],
)
async def test_a_definite_answer_is_believed_at_once(
    kube: KubeClient, server: Server, answer: Answer, error: type[Exception]
) -> None:
    server.answers = [answer]
    with pytest.raises(error):
        await kube.create(REF, SERVICE)
    assert len(server.requests) == 1


async def test_fresh_credentials_are_fetched_once_after_a_401(
    kube: KubeClient, server: Server, kubeconfig: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_kubeconfig(kubeconfig, server.url, "second")
    monkeypatch.setattr(transport, "SIGN_IN_PAUSE_SECONDS", 0.0)
    server.answers = [status(401, "Unauthorized"), ok]
    assert await kube.get(REF) == SERVICE
    assert [authorization for _, _, authorization in server.requests] == ["Bearer first", "Bearer second"]


async def test_a_kubeconfig_that_is_gone_after_a_401_is_an_error_of_the_call(
    kube: KubeClient, server: Server, kubeconfig: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.to_thread(kubeconfig.unlink)
    monkeypatch.setattr(transport, "SIGN_IN_PAUSE_SECONDS", 0.0)
    server.answers = [status(401, "Unauthorized")]
    with pytest.raises(Unavailable, match="kube"):
        await kube.get(REF)
    assert len(server.requests) == 1


async def test_a_401_that_stays_is_an_error(kube: KubeClient, server: Server) -> None:
    server.answers = [status(401, "Unauthorized")]
    with pytest.raises(Unauthorized):
        await kube.get(REF)
    assert len(server.requests) == 2


async def test_an_answer_that_is_no_json_is_an_error_that_says_so(kube: KubeClient, server: Server) -> None:
    server.answers = [html]
    with pytest.raises(Unavailable, match="is this an API server"):
        await kube.get(REF)


async def test_an_answer_beyond_the_cap_is_not_read_to_its_end(
    kube: KubeClient, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "MAX_ANSWER_BYTES", 10)
    server.answers = [ok]
    with pytest.raises(Unavailable, match="larger than 10 bytes"):
        await kube.get(REF)
    assert len(server.requests) == 1


async def test_every_attempt_is_told_with_verb_kind_and_code(
    kube: KubeClient, server: Server, calls: list[tuple[str, str, int]]
) -> None:
    server.answers = [status(503), ok]
    await kube.get(REF)
    assert calls == [("get", "Service", 503), ("get", "Service", 200)]


async def test_a_list_whose_snapshot_has_expired_starts_over(kube: KubeClient, server: Server) -> None:
    async def first_page(_: web.Request) -> web.Response:
        return web.json_response({"items": [{"metadata": {"name": "old"}}], "metadata": {"continue": "next"}})

    async def whole(request: web.Request) -> web.Response:
        assert "continue" not in request.query
        return web.json_response(
            {"items": [{"metadata": {"name": "new"}}], "metadata": {"resourceVersion": "7"}}
        )

    server.answers = [first_page, status(410, "Expired"), whole]
    listing = await kube.list(Kind.SERVICE, dict)
    assert [item["metadata"]["name"] for item in listing.items] == ["new"]
    assert listing.resource_version == "7"


async def test_an_empty_name_never_becomes_a_call_on_the_collection(kube: KubeClient, server: Server) -> None:
    with pytest.raises(ValueError, match="no name"):
        await kube.delete(ObjectRef(Kind.SERVICE, "crm", ""))
    assert server.requests == []


def test_the_server_s_wish_to_wait_is_granted_within_bounds() -> None:
    policy = RetryPolicy(first_pause=0.2, longest_pause=5)
    assert policy.pause(1, retry_after=3) == 3
    assert policy.pause(1, retry_after=3600) == 5
    assert policy.pause(1, retry_after=0) <= 0.2

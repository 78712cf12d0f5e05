"""What is counted of the pods of a watched revision: real HTTP on loopback, good and hostile pods."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from model_operator.controller import traffic
from model_operator.controller.pod_figures import Figures, UnusableFiguresError, figures_of
from model_operator.controller.traffic import TrafficCounter
from model_operator.domain.objects import Key, Object, read_pod
from model_operator.domain.world import Traffic

CHURN: Key = ("crm", "churn")
REVISION = "v8-5d9f8a2b1c"


class Server:
    """A pod's server: shows its figures as serve.py does, or whatever ``answer`` is."""

    def __init__(self) -> None:
        self.port = 0
        self.codes: dict[str, int] = {"200": 0}
        self.in_flight = 0
        self.concurrency = 4
        self.turned_away: int | None = None
        self.broken_streams: int | None = None
        self.answer: bytes | None = None
        self.silent = False
        self.heads: list[str] = []
        self.asked: Callable[[], None] = lambda: None

    def show(self, **codes: int) -> None:
        """Show so many answers: ``show(c200=10, c500=1)``."""
        self.codes = {code.removeprefix("c"): count for code, count in codes.items()}

    def figures(self) -> bytes:
        registry = CollectorRegistry()
        requests = Counter("model_server_requests", "Requests", ["code"], registry=registry)
        for code, count in self.codes.items():
            requests.labels(code).inc(count)
        Histogram("model_server_request_seconds", "Seconds", registry=registry).observe(0.1)
        Gauge("model_server_requests_in_flight", "Now", registry=registry).set(self.in_flight)
        Gauge("model_server_concurrency", "At once", registry=registry).set(self.concurrency)
        if self.turned_away is not None:
            Counter("model_server_saturated", "Full", registry=registry).inc(self.turned_away)
        if self.broken_streams is not None:
            Counter("model_server_stream_failures", "Cut", registry=registry).inc(self.broken_streams)
        return generate_latest(registry)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            self.asked()
            if self.silent:
                await reader.read()
            else:
                writer.write(self.answer or response(self.figures()))
                await writer.drain()
        writer.close()


def response(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", "connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Bench:
    """Three servers, pods that lead to them, and a counter that nobody runs."""

    def __init__(self) -> None:
        self.servers = [Server(), Server(), Server()]
        self.woken: list[Key] = []
        self.outcomes: list[str] = []
        self.now = 1000.0
        self.counter = TrafficCounter(self.woken.append, self.outcomes.append, lambda: self.now)

    def pod(self, number: int, ready: bool = True, revision: str = REVISION, **metadata: Any) -> Object:
        ports = [{"name": "http", "containerPort": self.servers[number].port}]
        return pod(f"uid-{number}", "127.0.0.1", ports, ready, revision, metadata)

    def follow(self, *pods: Object, revision: str = REVISION) -> None:
        self.counter.follow(CHURN, revision, [read_pod(pod) for pod in pods])

    async def scrape(self) -> Traffic:
        await self.counter.scrape()
        self.now += 5
        return self.counter.traffic(CHURN)

    async def wakes(self) -> int:
        """Scrape once; returns how often that woke the ModelDeployment."""
        self.woken.clear()
        await self.scrape()
        return len(self.woken)


def pod(
    uid: str, address: str, ports: list[Any], ready: bool, revision: str, metadata: dict[str, Any]
) -> Object:
    return {
        "metadata": {"uid": uid, "labels": {"model-operator.io/revision": revision}, **metadata},
        "spec": {"containers": [{"name": "sidecar"}, {"name": "server", "ports": ports}]},
        "status": {
            "podIP": address,
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    async with contextlib.AsyncExitStack() as stack:
        for server in made.servers:
            listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
            await stack.enter_async_context(listening)
            server.port = listening.sockets[0].getsockname()[1]
        yield made


async def test_requests_and_errors_are_counted_from_the_first_scrape_on(bench: Bench) -> None:
    server = bench.servers[0]
    bench.follow(bench.pod(0))
    server.show(c200=100, c500=7)
    assert await bench.scrape() == Traffic(read=True)
    server.show(c200=110, c400=3, c500=8, c503=1)
    assert await bench.scrape() == Traffic(requests=15, errors=2, read=True)


async def test_requests_that_a_full_queue_turned_away_are_no_errors(bench: Bench) -> None:
    server = bench.servers[0]
    server.turned_away = 0
    bench.follow(bench.pod(0))
    server.show(c200=100, c503=2)
    await bench.scrape()
    server.turned_away = 30
    server.show(c200=110, c500=1, c503=32)
    assert await bench.scrape() == Traffic(requests=41, errors=1, turned_away=30, read=True)


async def test_a_queue_that_shows_late_takes_back_no_request(bench: Bench) -> None:
    server = bench.servers[0]
    bench.follow(bench.pod(0))
    server.show(c200=100, c503=0)
    await bench.scrape()
    server.show(c200=110, c503=3)
    assert await bench.scrape() == Traffic(requests=13, errors=3, read=True)
    server.turned_away = 4
    server.show(c200=110, c503=4)
    assert await bench.scrape() == Traffic(requests=14, turned_away=4, read=True)


async def test_streams_that_fail_in_mid_stream_are_counted(bench: Bench) -> None:
    server = bench.servers[0]
    server.broken_streams = 3
    bench.follow(bench.pod(0), bench.pod(1))
    await bench.scrape()
    server.show(c200=10)
    server.broken_streams = 5
    bench.servers[1].show(c200=10)
    assert await bench.scrape() == Traffic(requests=20, broken_streams=2, read=True)
    server.show(c200=2)
    server.broken_streams = 1
    assert await bench.scrape() == Traffic(requests=22, broken_streams=3, read=True), "a restarted container"


async def test_what_a_full_pod_turned_away_counts_on_after_it_is_gone(bench: Bench) -> None:
    server = bench.servers[0]
    server.turned_away = server.broken_streams = 0
    bench.follow(bench.pod(0))
    await bench.scrape()
    server.turned_away, server.broken_streams = 4, 1
    server.show(c200=6, c503=4)
    await bench.scrape()
    bench.follow()
    assert bench.counter.traffic(CHURN) == Traffic(requests=10, turned_away=4, broken_streams=1, read=True)


async def test_a_broken_stream_wakes_and_a_request_that_is_turned_away_does_not(bench: Bench) -> None:
    server = bench.servers[0]
    server.turned_away = server.broken_streams = 0
    bench.follow(bench.pod(0))
    await bench.scrape()
    server.show(c200=70)
    await bench.scrape()
    server.turned_away = 500
    server.show(c200=70, c503=500)
    assert await bench.wakes() == 0
    server.broken_streams = 1
    assert await bench.wakes() == 1


async def test_pods_are_summed_up(bench: Bench) -> None:
    bench.follow(bench.pod(0), bench.pod(1))
    await bench.scrape()
    bench.servers[0].show(c200=5)
    bench.servers[1].show(c200=6, c500=1)
    assert await bench.scrape() == Traffic(requests=12, errors=1, read=True)


async def test_a_counter_that_went_back_starts_from_zero(bench: Bench) -> None:
    server = bench.servers[0]
    bench.follow(bench.pod(0))
    server.show(c200=100)
    await bench.scrape()
    server.show(c200=150)
    await bench.scrape()
    server.show(c200=8, c500=2)
    assert await bench.scrape() == Traffic(requests=60, errors=2, read=True)


async def test_errors_that_went_back_tell_of_a_restart_however_many_requests_there_were(bench: Bench) -> None:
    server = bench.servers[0]
    bench.follow(bench.pod(0))
    server.show(c200=50, c500=50)
    await bench.scrape()
    server.show(c200=117, c500=3)
    assert await bench.scrape() == Traffic(requests=120, errors=3, read=True)


async def test_what_a_pod_answered_counts_on_after_it_is_gone(bench: Bench) -> None:
    bench.follow(bench.pod(0), bench.pod(1))
    await bench.scrape()
    bench.servers[0].show(c200=5, c500=1)
    await bench.scrape()
    bench.follow(bench.pod(1))
    bench.servers[1].show(c200=10)
    assert await bench.scrape() == Traffic(requests=16, errors=1, read=True)


async def test_another_revision_starts_from_nothing(bench: Bench) -> None:
    bench.follow(bench.pod(0))
    await bench.scrape()
    bench.servers[0].show(c500=5)
    await bench.scrape()
    bench.follow(bench.pod(0, revision="v9"), revision="v9")
    assert bench.counter.traffic(CHURN) == Traffic()
    assert await bench.scrape() == Traffic(read=True)


async def test_nothing_is_told_of_a_revision_that_is_not_the_followed_one(bench: Bench) -> None:
    bench.follow(bench.pod(0))
    await bench.scrape()
    bench.servers[0].show(c200=5)
    await bench.scrape()
    assert bench.counter.traffic(CHURN, "v9") == Traffic()
    assert bench.counter.traffic(CHURN, REVISION) == Traffic(requests=5, read=True)


async def test_what_is_forgotten_is_not_scraped(bench: Bench) -> None:
    bench.follow(bench.pod(0))
    bench.counter.forget(CHURN)
    assert await bench.scrape() == Traffic()
    assert bench.outcomes == []


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"ready": False}, id="that is not ready"),
        pytest.param({"revision": "v7"}, id="of another revision"),
        pytest.param({"deletionTimestamp": "2026-11-20T10:00:00Z"}, id="that is being deleted"),
    ],
)
async def test_a_pod_is_left_alone(bench: Bench, changed: dict[str, Any]) -> None:
    bench.follow(bench.pod(0, **changed))
    await bench.scrape()
    assert bench.servers[0].heads == []


async def test_a_pod_that_was_ready_before_is_scraped_on_since_it_may_be_saturated(bench: Bench) -> None:
    server = bench.servers[0]
    bench.follow(bench.pod(0))
    await bench.scrape()
    bench.follow(bench.pod(0, ready=False))
    server.in_flight = 4
    await bench.scrape()
    assert (await bench.scrape()).saturated


async def test_a_full_pod_is_saturated_from_its_second_scrape_in_a_row(bench: Bench) -> None:
    server = bench.servers[1]
    bench.follow(bench.pod(0), bench.pod(1))
    saturated = []
    for in_flight in (4, 3, 4, 5, 4, 0):
        server.in_flight = in_flight
        saturated.append((await bench.scrape()).saturated)
    assert saturated == [False, False, False, True, True, False]


async def test_a_saturated_pod_that_stops_answering_counts_as_saturated_for_a_minute(bench: Bench) -> None:
    server = bench.servers[0]
    server.in_flight = 4
    bench.follow(bench.pod(0))
    await bench.scrape()
    await bench.scrape()
    server.answer = response(b"", "503 Service Unavailable")
    assert (await bench.scrape()).saturated
    bench.now += 60
    assert not (await bench.scrape()).saturated


async def test_a_server_that_does_not_tell_how_much_it_can_work_on_is_never_saturated(bench: Bench) -> None:
    server = bench.servers[0]
    server.in_flight, server.concurrency = 10, 0
    bench.follow(bench.pod(0))
    await bench.scrape()
    assert not (await bench.scrape()).saturated


async def test_a_steady_watch_wakes_nobody(bench: Bench) -> None:
    bench.follow(bench.pod(0))
    assert [await bench.wakes() for _ in range(5)] == [1, 0, 0, 0, 0], "once, for the first metrics"


async def test_requests_wake_at_powers_of_two_only(bench: Bench) -> None:
    bench.follow(bench.pod(0))
    woken = []
    for count in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9):
        bench.servers[0].show(c200=count)
        woken.append(await bench.wakes())
    assert woken == [1, 1, 1, 0, 1, 0, 0, 0, 1, 0]


async def test_every_new_error_and_every_change_of_saturation_wakes(bench: Bench) -> None:
    server = bench.servers[0]
    bench.follow(bench.pod(0))
    server.show(c200=100)
    await bench.scrape()
    server.show(c200=164)
    await bench.scrape()
    server.show(c200=164, c500=1)
    assert await bench.wakes() == 1
    server.show(c200=164, c500=2)
    assert await bench.wakes() == 1
    server.in_flight = 4
    assert [await bench.wakes() for _ in range(3)] == [0, 1, 0]
    server.in_flight = 0
    assert [await bench.wakes() for _ in range(2)] == [1, 0]


async def test_a_server_without_figures_counts_as_nothing_and_is_asked_seldom(bench: Bench) -> None:
    bench.servers[0].answer = response(b"nothing here", "404 Not Found")
    bench.servers[1].answer = response(b"nothing here", "501 Not Implemented")
    bench.follow(bench.pod(0), bench.pod(1))
    for _ in range(traffic.ABSENT_ROUNDS + 1):
        assert await bench.scrape() == Traffic()
    assert bench.outcomes == ["absent"] * 2
    await bench.scrape()
    assert bench.outcomes == ["absent"] * 4


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(response(b"", "500 Internal Server Error"), id="an error"),
        pytest.param(response(b"", "302 Found", "location: http://127.0.0.1:1/metrics"), id="a redirect"),
        pytest.param(response(b"model_server_requests_total 1\n" * 100_000), id="endless lines of figures"),
        pytest.param(
            response(b"".join(b'model_server_requests_total{code="%d"} 1\n' % n for n in range(300))),
            id="more codes than there are",
        ),
        pytest.param(
            response(b"model_server_concurrency 1\n" + b"x 1\n" * 100_000), id="more bytes than anybody needs"
        ),
        pytest.param(
            response(gzip.compress(b"a" * 10_000_000), "200 OK", "content-encoding: gzip"), id="gzip"
        ),
        pytest.param(response(b'model_server_requests_total{code="200"} NaN\n'), id="no number"),
        pytest.param(response(b'model_server_requests_total{code="200"} -5\n'), id="a negative number"),
        pytest.param(response(b'model_server_requests_total{code="200"} +Inf\n'), id="infinity"),
        pytest.param(response(b'model_server_requests_total{code="200"} 1e300\n'), id="a huge number"),
        pytest.param(response(b'model_server_requests_total{code="200} 1\n'), id="an open quote"),
        pytest.param(response(b"model_server_requests_total{\n"), id="an open brace"),
        pytest.param(response(b"model_server_requests_total\n"), id="a name without a value"),
        pytest.param(
            response(b'model_server_requests_total{code="' + b"9" * 1000 + b'"} 1\n'), id="a long code"
        ),
        pytest.param(response(b"\xff\xfe\x00"), id="no text"),
        pytest.param(response(b""), id="nothing"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nmodel", id="a body that is cut off"),
        pytest.param(b"SSH-2.0-OpenSSH\r\n", id="something that is not HTTP"),
    ],
)
async def test_a_hostile_answer_changes_nothing_and_the_next_good_one_counts(
    bench: Bench, answer: bytes
) -> None:
    hostile, good = bench.servers[0], bench.servers[1]
    bench.follow(bench.pod(0), bench.pod(1))
    hostile.show(c200=10)
    await bench.scrape()
    hostile.answer = answer
    good.show(c200=3)
    bench.outcomes.clear()
    assert await bench.scrape() == Traffic(requests=3, read=True)
    assert sorted(bench.outcomes) == ["failed", "ok"]
    hostile.answer = None
    hostile.show(c200=14)
    assert await bench.scrape() == Traffic(requests=7, read=True)


async def test_a_redirect_is_not_followed(bench: Bench) -> None:
    place = f"location: http://127.0.0.1:{bench.servers[1].port}/metrics"
    bench.servers[0].answer = response(b"", "307 Temporary Redirect", place)
    bench.follow(bench.pod(0))
    await bench.scrape()
    assert bench.outcomes == ["failed"]
    assert bench.servers[1].heads == []


async def test_what_is_forgotten_during_a_scrape_wakes_nobody(bench: Bench) -> None:
    server = bench.servers[0]
    bench.follow(bench.pod(0))
    await bench.scrape()
    server.show(c500=5)
    server.asked = lambda: bench.counter.forget(CHURN)
    assert await bench.wakes() == 0


async def test_a_pod_that_is_silent_or_gone_holds_up_no_other(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traffic, "TIMEOUT_SECONDS", 0.2)
    bench.servers[0].silent = True
    gone = pod("uid-gone", "127.0.0.1", [{"name": "http", "containerPort": 1}], True, REVISION, {})
    bench.follow(bench.pod(0), gone, bench.pod(1))
    await bench.scrape()
    bench.servers[1].show(c200=3)
    assert await bench.scrape() == Traffic(requests=3, read=True)
    assert sorted(bench.outcomes) == ["failed"] * 4 + ["ok"] * 2


async def test_no_proxy_of_the_environment_is_used(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    bench.follow(bench.pod(0))
    await bench.scrape()
    assert bench.outcomes == ["ok"]
    assert bench.servers[0].heads[0].startswith("GET /metrics HTTP/1.1\r\n")


async def test_at_most_twenty_pods_are_asked_at_once(bench: Bench) -> None:
    now, most = 0, 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.02)
        now -= 1
        writer.write(response(b"model_server_requests_in_flight 0\n"))
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        ports = [{"name": "http", "containerPort": server.sockets[0].getsockname()[1]}]
        bench.follow(*(pod(f"many-{n}", "127.0.0.1", ports, True, REVISION, {}) for n in range(50)))
        await bench.scrape()
    assert bench.outcomes == ["ok"] * 50
    assert 1 < most <= traffic.PARALLEL


async def test_the_loop_scrapes_what_is_followed_later_and_ends_when_it_is_cancelled(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traffic, "SCRAPE_SECONDS", 0.01)
    again = asyncio.Event()

    def scraped(outcome: str) -> None:
        bench.outcomes.append(outcome)
        if len(bench.outcomes) == 3:
            again.set()

    counter = TrafficCounter(bench.woken.append, scraped)
    running = asyncio.create_task(counter.run())
    await asyncio.sleep(0)
    counter.follow(CHURN, REVISION, [read_pod(bench.pod(0))])
    async with asyncio.timeout(20):
        await again.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


@pytest.mark.parametrize(
    ("address", "ports", "url"),
    [
        pytest.param(
            "10.1.2.3", [{"name": "http", "containerPort": 8080}], "http://10.1.2.3:8080/metrics", id="IPv4"
        ),
        pytest.param(
            "fd00::1", [{"name": "http", "containerPort": 8080}], "http://[fd00::1]:8080/metrics", id="IPv6"
        ),
        pytest.param("10.1.2.3", [{"name": "grpc", "containerPort": 9000}], "", id="no port of that name"),
        pytest.param(
            "10.1.2.3", [{"name": "http", "containerPort": "80/x"}], "", id="a port that is no number"
        ),
        pytest.param(
            "example.com/x", [{"name": "http", "containerPort": 80}], "", id="a name for an address"
        ),
        pytest.param("", [{"name": "http", "containerPort": 80}], "", id="no address yet"),
        pytest.param(
            "169.254.169.254", [{"name": "http", "containerPort": 80}], "", id="a cloud's metadata service"
        ),
        pytest.param("fe80::1", [{"name": "http", "containerPort": 80}], "", id="a link's own address"),
    ],
)
def test_a_pod_is_found_at(address: str, ports: list[Any], url: str) -> None:
    assert traffic._url(read_pod(pod("uid", address, ports, True, REVISION, {}))) == url


def test_lines_that_are_not_ours_do_not_matter() -> None:
    text = (
        'python_info{version="3"} 1\nmodel_server_requests_created 1.7e9\nmodel_server_request_seconds NaN\n'
    )
    text += 'broken{\nmodel_server_requests_total{code="200"} 3\nmodel_server_requests_total{code="what"} 2\n'
    assert figures_of(text) == Figures(requests=5, errors=0, full=False)


def test_figures_of_a_queue_and_of_streams() -> None:
    text = 'model_server_requests_total{code="503"} 7\nmodel_server_saturated_total 6\n'
    text += "model_server_saturated_created 1.7e9\nmodel_server_stream_failures_total 2\n"
    assert figures_of(text) == Figures(7, 0, False, unavailable=7, broken_streams=2, has_queue=True)


def test_figures_of_somebody_else_are_no_figures() -> None:
    with pytest.raises(UnusableFiguresError, match="none of the metrics"):
        figures_of("http_requests_total 5\n")


# --- metrics that can't be read -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        pytest.param(response(b"", "404 Not Found"), "the answer is 404", id="not there"),
        pytest.param(response(b"RBAC: access denied", "403 Forbidden"), "the answer is 403", id="refused"),
        pytest.param(response(b"up 1\n"), "none of the metrics is present", id="of another kind"),
        pytest.param(b"\x15\x03\x01\x00\x02\x02\x50", "no answer (RemoteProtocolError)", id="mutual TLS"),
    ],
)
async def test_metrics_that_no_pod_shows_for_a_minute_are_unread(
    bench: Bench, answer: bytes, why: str
) -> None:
    for server in bench.servers:
        server.answer = answer
    bench.follow(bench.pod(0), bench.pod(1))
    before = [await bench.scrape() for _ in range(11)]
    assert set(before) == {Traffic()}, "a minute has not passed"
    after = [await bench.scrape() for _ in range(16)]
    assert after[-1] == Traffic(unread=why)
    assert len(bench.woken) == 1


async def test_one_pod_that_shows_its_metrics_is_enough(bench: Bench) -> None:
    bench.servers[1].answer = response(b"", "403 Forbidden")
    bench.follow(bench.pod(0), bench.pod(1))
    assert [await bench.scrape() for _ in range(30)][-1] == Traffic(read=True)


async def test_metrics_that_come_and_go_do_not_change_the_report(bench: Bench) -> None:
    refused = response(b"", "403 Forbidden")
    bench.follow(bench.pod(0))
    bench.servers[0].answer = refused
    for _ in range(14):
        await bench.scrape()
    assert await bench.scrape() == Traffic(unread="the answer is 403")
    bench.woken.clear()
    for turn in range(60):
        bench.servers[0].answer = refused if turn % 7 else None
        assert (await bench.scrape()).unread == "the answer is 403"
    assert bench.woken == []
    bench.servers[0].answer = None
    read = [(await bench.scrape()).read for _ in range(14)]
    assert read == [False] * 12 + [True] * 2
    assert len(bench.woken) == 1

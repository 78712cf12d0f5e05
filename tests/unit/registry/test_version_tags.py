"""What is written back to a registry, how often, and what happens where that is refused."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace

import httpx
import pytest
from tests.unit.registry.registry_double import QUICK, URL, Clock, answer

from model_operator.domain.objects import Key
from model_operator.domain.plan import VersionTag
from model_operator.domain.registry import ResolvedVersion
from model_operator.registry import MlflowClient, TagWriter
from model_operator.registry.version_tags import PARALLEL, Patience

CHURN: Key = ("crm", "churn")
BASKET: Key = ("shop", "basket")
TAG = "model-operator.io/prod/crm/churn"
HOUR = 3600.0


class Bench:
    """A write-back over a registry that keeps its tags in a dict, with a clock that stands still."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.tags: dict[tuple[str, str], dict[str, str]] = {}
        self.written: list[tuple[str, str, str]] = []
        """Model, version and value of each write that arrived."""
        self.asked = 0
        self.fail: Callable[[httpx.Request], httpx.Response | Exception | None] = lambda request: None
        config = SimpleNamespace(
            url=URL, credentials_dir="", ca_file="", workspace="", requests_per_second=50.0
        )
        transport = httpx.MockTransport(self._answer)
        self.tag_writer = TagWriter(
            {entry: MlflowClient(entry, config, QUICK, transport) for entry in ("default", "other")},
            "prod",
            clock=self.clock,
            patience=Patience(jitter=0.0),
        )

    def note(self, *tags: str, known: str | None = None, key: Key = CHURN, registry: str = "default") -> None:
        """Want tags, given as ``"7 Serving"``; ``known`` is what version 7 is known to say."""
        given = [VersionTag("churn", *tag.split(" ", 1)) for tag in tags]
        resolved = None if known is None else ResolvedVersion("churn", "7", "@champion", tags={TAG: known})
        self.tag_writer.note(key, registry, given, resolved)

    async def values(self) -> list[str]:
        """Write all that is due; returns what arrived since the last call, as ``"7 Serving"``."""
        await self.tag_writer.step()
        written, self.written = self.written, []
        return [f"{version} {value}" for _, version, value in written]

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        failure = self.fail(request)
        if isinstance(failure, Exception):
            raise failure
        if failure is not None:
            return failure
        if request.method == "GET":
            name, version = request.url.params["name"], request.url.params["version"]
            tags = self.tags.get((name, version), {})
            listed = [{"key": key, "value": value} for key, value in tags.items()]
            return answer({"model_version": {"name": name, "version": version, "tags": listed}})
        body = json.loads(request.content)
        self.tags.setdefault((body["name"], body["version"]), {})[body["key"]] = body["value"]
        self.written.append((body["name"], body["version"], body["value"]))
        return answer({})


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    for outbox in made.tag_writer._outboxes.values():
        await outbox._client.aclose()


def refuse_writes(status: int, code: str = "PERMISSION_DENIED") -> Callable[..., httpx.Response | None]:
    def refuse(request: httpx.Request) -> httpx.Response | None:
        return answer({"error_code": code, "message": "no"}, status) if request.method == "POST" else None

    return refuse


async def test_a_verdict_becomes_a_tag_with_cluster_namespace_and_name(bench: Bench) -> None:
    bench.note("7 Serving", "8 Rejected: CrashLoop")
    await bench.tag_writer.step()
    assert bench.tags == {("churn", "7"): {TAG: "Serving"}, ("churn", "8"): {TAG: "Rejected: CrashLoop"}}
    assert bench.tag_writer.waiting == 0


async def test_two_model_deployments_of_one_model_have_a_tag_each(bench: Bench) -> None:
    bench.note("7 Serving")
    bench.note("7 Settled", key=BASKET)
    await bench.tag_writer.step()
    assert bench.tags[("churn", "7")] == {TAG: "Serving", "model-operator.io/prod/shop/basket": "Settled"}


async def test_what_was_written_is_not_written_again_however_often_it_is_noted(bench: Bench) -> None:
    bench.note("7 Serving")
    assert await bench.values() == ["7 Serving"]
    asked = bench.asked
    for _ in range(3):
        bench.note("7 Serving")
        assert await bench.values() == []
    assert bench.asked == asked


async def test_after_a_restart_a_known_tag_is_neither_written_nor_asked_for(bench: Bench) -> None:
    bench.note("7 Serving", known="Serving")
    assert await bench.values() == []
    assert bench.asked == 0


async def test_after_a_restart_a_tag_that_the_poller_does_not_see_is_read_and_not_written(
    bench: Bench,
) -> None:
    bench.tags[("churn", "6")] = {TAG: "Rejected: LoadFailed"}
    bench.note("6 Rejected: LoadFailed", known="Serving")
    assert await bench.values() == []
    assert bench.asked == 1


async def test_a_known_tag_that_says_something_else_is_overwritten(bench: Bench) -> None:
    bench.note("7 Settled", known="Serving")
    assert await bench.values() == ["7 Settled"]


async def test_what_was_written_counts_more_than_what_the_poller_read_before_that(bench: Bench) -> None:
    bench.note("7 Settled", known="Serving")
    await bench.values()
    bench.note("7 Serving", known="Serving")
    assert await bench.values() == ["7 Serving"]


async def test_of_several_values_only_the_newest_is_written(bench: Bench) -> None:
    bench.note("7 Serving")
    bench.note("7 Settled")
    assert await bench.values() == ["7 Settled"]


async def test_a_value_that_changes_back_before_it_was_written_is_not_written(bench: Bench) -> None:
    bench.note("7 Settled", known="Serving")
    bench.note("7 Serving", known="Serving")
    assert await bench.values() == []


async def test_a_value_that_changes_while_the_old_one_is_under_way_follows_it(bench: Bench) -> None:
    def change(request: httpx.Request) -> None:
        if request.method == "POST":
            bench.fail = lambda request: None
            bench.note("7 Settled")

    bench.fail = change
    bench.note("7 Serving")
    assert await bench.values() == ["7 Serving", "7 Settled"]


async def test_a_value_that_changes_while_the_registry_is_read_is_the_only_one_written(bench: Bench) -> None:
    def change(request: httpx.Request) -> None:
        bench.fail = lambda request: None
        bench.note("7 Settled")

    bench.fail = change
    bench.note("7 Serving")
    assert await bench.values() == ["7 Settled"]


async def test_a_failed_write_may_have_arrived_so_that_the_registry_is_read_again(bench: Bench) -> None:
    bench.note("7 Serving")
    await bench.values()

    def break_off(request: httpx.Request) -> Exception | None:
        if request.method == "GET":
            return None
        bench.tags[("churn", "7")][TAG] = "Settled"
        return httpx.ReadError("cut off")

    bench.fail = break_off
    bench.note("7 Settled")
    await bench.values()
    bench.fail = lambda request: None
    bench.note("7 Serving", known="Serving")
    bench.clock.now += HOUR
    assert await bench.values() == ["7 Serving"]
    assert bench.tags[("churn", "7")] == {TAG: "Serving"}


async def test_a_write_that_arrived_although_its_answer_was_lost_is_not_repeated(bench: Bench) -> None:
    bench.note("7 Serving")
    await bench.values()

    def lose_the_answer(request: httpx.Request) -> Exception:
        bench.tags[("churn", "7")][TAG] = "Settled"
        return httpx.ReadError("cut off")

    bench.fail = lose_the_answer
    bench.note("7 Settled")
    await bench.values()
    bench.fail = lambda request: None
    bench.clock.now += HOUR
    assert await bench.values() == []
    assert bench.tag_writer.waiting == 0


async def test_what_is_known_of_the_resolved_version_says_nothing_of_another(bench: Bench) -> None:
    bench.note("6 Serving", known="Serving")
    assert await bench.values() == ["6 Serving"]


async def test_a_value_is_one_line_of_at_most_500_characters(bench: Bench) -> None:
    bench.note("8 Rejected:\nSelfTestFailed\t" + "x" * 1000)
    (value,) = await bench.values()
    assert value.startswith("8 Rejected: SelfTestFailed xxx")
    assert value.isprintable()
    assert len(value.removeprefix("8 ")) == 500


async def test_the_longest_key_fits_into_what_mlflow_takes() -> None:
    longest = f"model-operator.io/{'c' * 63}/{'n' * 63}/{'d' * 40}"
    assert len(longest) <= 250


@pytest.mark.parametrize(
    ("status", "code"),
    [
        pytest.param(503, "TEMPORARILY_UNAVAILABLE", id="the server is overloaded"),
        pytest.param(500, "INTERNAL_ERROR", id="the server fails"),
        pytest.param(405, "", id="a proxy lets no POST through"),
    ],
)
async def test_a_failure_is_tried_again_later_and_later_and_then_given_up(
    bench: Bench, caplog: pytest.LogCaptureFixture, status: int, code: str
) -> None:
    bench.fail = refuse_writes(status, code)
    bench.note("7 Serving")
    pauses = []
    while bench.tag_writer.waiting:
        await bench.values()
        pause = bench.tag_writer._outboxes["default"]._seconds_to_wait()
        bench.clock.now += pause if pause != float("inf") else 0.0
        pauses.append(pause)
    assert pauses[:4] == [2.0, 4.0, 8.0, 16.0]
    assert len(pauses) == Patience().tries
    assert caplog.text.count("not written after 12 attempts") == 1


async def test_a_value_that_keeps_changing_does_not_shorten_the_pause_after_a_failure(bench: Bench) -> None:
    bench.fail = refuse_writes(500)
    bench.note("7 Serving")
    await bench.values()
    asked = bench.asked
    for value in ("Settled", "Serving", "Settled"):
        bench.note(f"7 {value}")
        await bench.values()
    assert bench.asked == asked


async def test_an_outage_holds_all_tags_back_together_and_loses_none(bench: Bench) -> None:
    bench.fail = lambda request: httpx.ConnectError("refused")
    bench.note(*(f"{number} Serving" for number in range(20)))
    for _ in range(30):
        await bench.values()
        bench.clock.now += HOUR
    # three tries of a GET for each of two at once, however many wait
    assert bench.asked <= 30 * 3 * PARALLEL
    bench.fail = lambda request: None
    assert len(await bench.values()) == 20


@pytest.mark.parametrize(
    ("status", "words"),
    [
        pytest.param(403, ["EDIT", "revert.tagVersion: Never", "'default'"], id="no right to write"),
        pytest.param(401, ["credentials", "revert.tagVersion: Never", "'default'"], id="not let in"),
    ],
)
async def test_a_refusal_is_said_once_and_left_alone_for_an_hour(
    bench: Bench, caplog: pytest.LogCaptureFixture, status: int, words: list[str]
) -> None:
    bench.fail = refuse_writes(status)
    bench.note("7 Serving")
    await bench.values()
    asked = bench.asked
    bench.clock.now += HOUR - 1
    bench.note("7 Serving", "8 Rejected: LoadFailed")
    await bench.values()
    assert bench.asked == asked
    bench.clock.now += 2
    await bench.values()
    assert bench.asked > asked
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert [word for word in words if word not in warnings[0]] == []


async def test_a_right_that_is_granted_later_is_used_within_the_hour(bench: Bench) -> None:
    bench.fail = refuse_writes(403)
    bench.note("7 Serving")
    await bench.values()
    bench.fail = lambda request: None
    bench.clock.now += HOUR
    assert await bench.values() == ["7 Serving"]


async def test_one_model_that_may_not_be_written_to_holds_up_no_other(bench: Bench) -> None:
    def refuse(request: httpx.Request) -> httpx.Response | None:
        secret = b'"secret"' in request.content
        return answer({"error_code": "PERMISSION_DENIED"}, 403) if secret else None

    bench.fail = refuse
    churn = [VersionTag("churn", str(number), "Serving") for number in range(5)]
    bench.tag_writer.note(CHURN, "default", [VersionTag("secret", "1", "Serving"), *churn])
    assert len(await bench.values()) == 5


async def test_a_version_that_is_gone_is_dropped(bench: Bench) -> None:
    bench.fail = lambda request: answer({"error_code": "RESOURCE_DOES_NOT_EXIST"}, 404)
    bench.note("7 Serving")
    await bench.values()
    assert bench.tag_writer.waiting == 0


async def test_nothing_is_written_for_a_model_deployment_that_is_forgotten(bench: Bench) -> None:
    bench.note("7 Serving")
    bench.note("8 Serving", key=BASKET)
    bench.tag_writer.forget(CHURN)
    assert await bench.values() == ["8 Serving"]


async def test_no_tags_at_all_call_off_what_waits(bench: Bench) -> None:
    bench.note("7 Serving")
    bench.note()
    assert await bench.values() == []


async def test_another_registry_takes_over_what_waits(bench: Bench) -> None:
    bench.note("7 Serving")
    bench.note("7 Settled", registry="other")
    assert await bench.values() == ["7 Settled"]


async def test_an_unknown_registry_is_none_of_our_business(bench: Bench) -> None:
    bench.note("7 Serving", registry="missing")
    assert await bench.values() == []


async def test_a_defect_is_logged_and_tried_again(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.fail = lambda request: ZeroDivisionError("a defect")
    bench.note("7 Serving")
    await bench.values()
    assert "a defect while writing a tag" in caplog.text
    bench.fail = lambda request: None
    bench.clock.now += HOUR
    assert await bench.values() == ["7 Serving"]

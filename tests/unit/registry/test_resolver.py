"""Who is told what, and when, by the resolver and its pollers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace

import httpx
import pytest
from tests.unit.registry.registry_double import URL, Clock, RegistryDouble, answer, wanted

from model_operator.domain.objects import Key
from model_operator.domain.registry import ResolutionReason
from model_operator.registry import ClientPool, RegistryId, Resolver

CHURN: Key = ("crm", "churn")
OTHER: Key = ("shop", "basket")


class Bench:
    """A resolver over a registry double, with a clock that stands still."""

    def __init__(self) -> None:
        self.registry = RegistryDouble()
        self.clock = Clock()
        self.woken: list[Key] = []
        config = SimpleNamespace(
            url=URL, credentials_dir="", ca_file="", workspace="", requests_per_second=50.0
        )
        self.resolver = Resolver(
            ClientPool({"default": config}, lambda *_: self.registry.client()),
            poll_seconds=15,
            on_change=self.woken.append,
            clock=self.clock,
        )
        self.poller = self.resolver._pollers[RegistryId("default")]

    async def poll(self) -> list[Key]:
        """Make the round that is due now, if any; returns whom it woke."""
        await self.poller.step()
        woken, self.woken[:] = self.woken[:], []
        return woken

    async def next_poll(self) -> list[Key]:
        """Let an interval pass, and make the next regular round."""
        self.clock.now += 17
        return await self.poll()

    def version(self, key: Key = CHURN) -> str | None:
        resolution = self.resolver.answer(key)
        return resolution.version.version if resolution.version else None

    def reason(self, key: Key = CHURN) -> ResolutionReason:
        return self.resolver.answer(key).reason


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    await made.poller._client.aclose()


def refuse(error: Exception) -> Callable[[httpx.Request], Exception]:
    return lambda request: error


async def test_an_answer_is_pending_until_the_registry_was_asked(bench: Bench) -> None:
    bench.resolver.want(CHURN, wanted("models:/churn@champion"))
    assert bench.reason() is ResolutionReason.PENDING


async def test_a_wanted_alias_is_resolved_with_run_and_source(bench: Bench) -> None:
    bench.registry.add("churn", versions=3, champion="2")
    bench.resolver.want(CHURN, wanted("models:/churn@champion"))
    assert await bench.poll() == [CHURN]
    found = bench.resolver.answer(CHURN).version
    assert found is not None
    assert (found.version, found.alias, found.run_id, found.source) == (
        "2",
        "@champion",
        "run-churn-2",
        "models:/m-churn-2",
    )


async def test_an_alias_move_wakes_exactly_those_who_follow_it(bench: Bench) -> None:
    bench.registry.add("churn", versions=3, champion="1", challenger="2")
    bench.registry.add("basket", champion="1")
    bench.resolver.want(CHURN, wanted("models:/churn@champion"))
    bench.resolver.want(("crm", "second"), wanted("models:/churn@champion"))
    bench.resolver.want(("crm", "challenger"), wanted("models:/churn@challenger"))
    bench.resolver.want(OTHER, wanted("models:/basket@champion"))
    await bench.poll()
    bench.registry.aliases["churn"]["champion"] = "3"
    assert await bench.next_poll() == [CHURN, ("crm", "second")]
    assert bench.version() == "3"


async def test_nobody_is_woken_while_nothing_changes(bench: Bench) -> None:
    bench.registry.add("churn", champion="1")
    bench.resolver.want(CHURN, wanted("models:/churn@champion"))
    bench.resolver.want(OTHER, wanted("models:/missing@champion"))
    await bench.poll()
    assert [await bench.next_poll() for _ in range(25)] == [[]] * 25


async def test_a_change_of_a_tag_is_told(bench: Bench) -> None:
    bench.registry.add("churn", versions=2, champion="1")
    bench.resolver.want(CHURN, wanted("models:/churn@champion"))
    await bench.poll()
    bench.registry.versions["churn"]["1"]["tags"] = [{"key": "serving_image", "value": "server:2"}]
    woken = [await bench.next_poll() for _ in range(10)]
    assert woken.count([CHURN]) == 1
    found = bench.resolver.answer(CHURN).version
    assert found is not None
    assert found.tags == {"serving_image": "server:2"}


async def test_a_tag_is_seen_by_the_next_poll_while_somebody_watches_closely(bench: Bench) -> None:
    # with many versions, a poll reads the details of a few of them again
    for number in range(30):
        bench.registry.add(f"model-{number}", versions=2, champion="1")
        bench.resolver.want(("crm", f"other-{number}"), wanted(f"models:/model-{number}@champion"))
    bench.registry.add("churn", versions=2, champion="1")
    for key in (CHURN, OTHER):
        bench.resolver.want(key, wanted("models:/churn@champion"))
        bench.resolver.watch_closely(key, True)
    await bench.poll()
    tags = bench.registry.versions["churn"]["1"]["tags"] = [{"key": "status", "value": "pending"}]
    assert await bench.next_poll() == [CHURN, OTHER]
    bench.resolver.watch_closely(CHURN, False)
    tags[0]["value"] = "approved"
    assert await bench.next_poll() == [CHURN, OTHER], "one of the two still does"
    bench.resolver.want(OTHER, None)
    before = bench.registry.requests.count("model-versions/get churn")
    for _ in range(10):
        await bench.next_poll()
    assert bench.registry.requests.count("model-versions/get churn") - before <= 2, "now and then, as usual"


async def test_a_change_of_our_own_tags_wakes_nobody_and_is_known_all_the_same(bench: Bench) -> None:
    bench.registry.add("churn", versions=2, champion="1")
    bench.resolver.want(CHURN, wanted("models:/churn@champion"))
    await bench.poll()
    own = {"key": "model-operator.io/prod/crm/churn", "value": "Serving"}
    bench.registry.versions["churn"]["1"]["tags"] = [own]
    assert [await bench.next_poll() for _ in range(10)] == [[]] * 10
    found = bench.resolver.answer(CHURN).version
    assert found is not None
    assert found.tags == {own["key"]: "Serving"}


async def test_another_tag_beside_our_own_is_told(bench: Bench) -> None:
    bench.registry.add("churn", versions=2, champion="1")
    bench.resolver.want(CHURN, wanted("models:/churn@champion"))
    await bench.poll()
    bench.registry.versions["churn"]["1"]["tags"] = [
        {"key": "model-operator.io/prod/crm/churn", "value": "Serving"},
        {"key": "validation_status", "value": "approved"},
    ]
    assert [await bench.next_poll() for _ in range(10)].count([CHURN]) == 1


async def test_what_becomes_wanted_later_is_asked_for_before_the_next_poll(bench: Bench) -> None:
    bench.registry.add("churn", champion="1")
    bench.registry.add("basket", champion="1")
    bench.resolver.want(CHURN, wanted("models:/churn@champion"))
    await bench.poll()
    bench.registry.asked()
    bench.resolver.want(OTHER, wanted("models:/basket@champion"))
    assert await bench.poll() == [OTHER]
    assert bench.registry.asked() == ["registered-models/get basket"]


async def test_wanting_the_same_again_asks_nothing(bench: Bench) -> None:
    bench.registry.add("churn", champion="1")
    bench.resolver.want(CHURN, wanted("models:/churn@champion"))
    await bench.poll()
    bench.registry.asked()
    bench.resolver.want(CHURN, wanted("models:/churn@champion"))
    await bench.poll()
    assert bench.registry.asked() == []


async def test_a_second_follower_has_the_answer_at_once(bench: Bench) -> None:
    bench.registry.add("churn", champion="1")
    bench.resolver.want(CHURN, wanted("models:/churn@champion"))
    await bench.poll()
    bench.resolver.want(OTHER, wanted("models:/churn@champion"))
    assert bench.version(OTHER) == "1"


async def test_a_forgotten_key_is_neither_asked_for_nor_woken(bench: Bench) -> None:
    bench.registry.add("churn", versions=2, champion="1")
    bench.resolver.want(CHURN, wanted("models:/churn@champion"))
    await bench.poll()
    bench.registry.asked()
    bench.resolver.want(CHURN, None)
    bench.registry.aliases["churn"]["champion"] = "2"
    assert await bench.next_poll() == []
    assert bench.registry.asked() == []


async def test_a_key_that_changes_its_reference_gets_the_other_answer(bench: Bench) -> None:
    bench.registry.add("churn", versions=2, champion="1")
    bench.resolver.want(CHURN, wanted("models:/churn@champion"))
    await bench.poll()
    bench.resolver.want(CHURN, wanted("models:/churn/2"))
    assert bench.reason() is ResolutionReason.PENDING
    assert await bench.poll() == [CHURN]
    assert bench.version() == "2"


async def test_an_unknown_registry_is_answered_at_once_with_the_known_ones(bench: Bench) -> None:
    bench.resolver.want(CHURN, wanted("models:/churn@champion", registry="prod"))
    resolution = bench.resolver.answer(CHURN)
    assert resolution.reason is ResolutionReason.UNKNOWN_REGISTRY
    assert "'prod'" in resolution.message
    assert "default" in resolution.message


async def test_an_outage_is_told_once_and_keeps_the_last_good_version(bench: Bench) -> None:
    bench.registry.add("churn", champion="1")
    bench.resolver.want(CHURN, wanted("models:/churn@champion"))
    await bench.poll()
    bench.registry.fail = refuse(httpx.ConnectError("Connection refused"))
    assert await bench.next_poll() == [CHURN]
    bench.registry.fail = refuse(httpx.ConnectError("No route to host"))
    bench.clock.now += 200
    assert await bench.poll() == []
    assert bench.reason() is ResolutionReason.UNREACHABLE
    assert bench.version() == "1"


async def test_the_end_of_an_outage_is_told(bench: Bench) -> None:
    bench.registry.add("churn", champion="1")
    bench.resolver.want(CHURN, wanted("models:/churn@champion"))
    bench.registry.fail = refuse(httpx.ConnectError("Connection refused"))
    await bench.poll()
    assert bench.version() is None
    bench.registry.fail = lambda request: None
    bench.clock.now += 200
    assert await bench.poll() == [CHURN]
    assert bench.reason() is ResolutionReason.RESOLVED


async def test_a_removed_alias_leaves_no_last_good_version_behind(bench: Bench) -> None:
    bench.registry.add("churn", champion="1")
    bench.resolver.want(CHURN, wanted("models:/churn@champion"))
    await bench.poll()
    del bench.registry.aliases["churn"]["champion"]
    await bench.next_poll()
    bench.registry.fail = refuse(httpx.ConnectError("Connection refused"))
    await bench.next_poll()
    assert bench.reason() is ResolutionReason.UNREACHABLE
    assert bench.version() is None


async def test_the_pauses_grow_while_the_registry_fails_up_to_two_minutes(bench: Bench) -> None:
    bench.resolver.want(CHURN, wanted("models:/churn@champion"))
    bench.registry.fail = refuse(httpx.ConnectError("Connection refused"))
    pauses = []
    for _ in range(6):
        await bench.poll()
        pauses.append(bench.poller._next_at - bench.clock.now)
        bench.clock.now = bench.poller._next_at
    for pause, wanted_pause in zip(pauses, [30, 60, 120, 120, 120, 120], strict=True):
        assert 0.9 * wanted_pause <= pause <= 1.1 * wanted_pause


async def test_who_comes_during_an_outage_is_told_so_at_once(bench: Bench) -> None:
    bench.resolver.want(CHURN, wanted("models:/churn@champion"))
    bench.registry.fail = refuse(httpx.ConnectError("Connection refused"))
    for _ in range(4):
        bench.clock.now += 200
        await bench.poll()
    bench.registry.asked()
    bench.resolver.want(OTHER, wanted("models:/basket@champion"))
    assert bench.reason(OTHER) is ResolutionReason.UNREACHABLE
    await bench.poll()
    assert bench.registry.asked() == []
    assert bench.poller._next_at <= bench.clock.now + 15


async def test_one_broken_model_neither_hides_the_others_nor_slows_the_polls(bench: Bench) -> None:
    bench.registry.add("churn", champion="1")
    bench.registry.add("basket", champion="1")
    bench.registry.fail = lambda request: answer({}, 500) if "churn" in str(request.url) else None
    bench.resolver.want(CHURN, wanted("models:/churn@champion"))
    bench.resolver.want(OTHER, wanted("models:/basket@champion"))
    await bench.poll()
    await bench.next_poll()
    assert bench.reason() is ResolutionReason.REGISTRY_ERROR
    assert bench.reason(OTHER) is ResolutionReason.RESOLVED
    assert bench.poller._next_at <= bench.clock.now + 16.5


async def test_a_version_that_is_not_ready_is_looked_at_until_it_is(bench: Bench) -> None:
    bench.registry.add("churn", versions=2, champion="1")
    bench.registry.versions["churn"]["1"]["status"] = "PENDING_REGISTRATION"
    bench.resolver.want(CHURN, wanted("models:/churn@champion"))
    await bench.poll()
    assert bench.reason() is ResolutionReason.VERSION_NOT_READY
    bench.registry.versions["churn"]["1"]["status"] = "READY"
    assert await bench.next_poll() == [CHURN]
    assert bench.reason() is ResolutionReason.RESOLVED


async def test_a_refresh_asks_at_once_and_not_from_memory(bench: Bench) -> None:
    bench.registry.add("churn", versions=2, champion="1")
    bench.resolver.want(CHURN, wanted("models:/churn@champion"))
    await bench.poll()
    bench.registry.asked()
    bench.resolver.refresh(CHURN)
    await bench.poll()
    assert bench.registry.asked() == ["registered-models/get churn", "model-versions/get churn"]


async def test_a_defect_of_our_own_is_reported_and_does_not_end_the_polling(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.registry.add("churn", champion="1")
    bench.resolver.want(CHURN, wanted("models:/churn@champion"))
    bench.registry.fail = refuse(ZeroDivisionError())
    await bench.poll()
    assert bench.reason() is ResolutionReason.UNEXPECTED_ANSWER
    assert "a defect while polling" in caplog.text
    bench.registry.fail = lambda request: None
    bench.clock.now += 200
    assert await bench.poll() == [CHURN]


async def test_the_resolver_runs_until_it_is_cancelled_and_asks_as_soon_as_something_is_wanted() -> None:
    registry = RegistryDouble()
    registry.add("churn", champion="1")
    changed: asyncio.Queue[Key] = asyncio.Queue()
    config = SimpleNamespace(url=URL, credentials_dir="", ca_file="", workspace="", requests_per_second=50.0)
    resolver = Resolver(
        ClientPool({"default": config}, lambda *_: registry.client()), 3600, changed.put_nowait
    )
    task = asyncio.create_task(resolver.run())
    try:
        for key, uri in ((CHURN, "models:/churn@champion"), (OTHER, "models:/churn/1")):
            resolver.want(key, wanted(uri))
            assert await asyncio.wait_for(changed.get(), 30) == key
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_the_polls_of_a_running_resolver_see_an_alias_move() -> None:
    registry = RegistryDouble()
    registry.add("churn", versions=2, champion="1")
    changed: asyncio.Queue[Key] = asyncio.Queue()
    config = SimpleNamespace(url=URL, credentials_dir="", ca_file="", workspace="", requests_per_second=50.0)
    resolver = Resolver(
        ClientPool({"default": config}, lambda *_: registry.client()), 0.02, changed.put_nowait
    )
    task = asyncio.create_task(resolver.run())
    try:
        resolver.want(CHURN, wanted("models:/churn@champion"))
        await asyncio.wait_for(changed.get(), 30)
        registry.aliases["churn"]["champion"] = "2"
        await asyncio.wait_for(changed.get(), 30)
        version = resolver.answer(CHURN).version
        assert version is not None
        assert version.version == "2"
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_thousand_hints_in_a_second_are_two_requests(bench: Bench) -> None:
    bench.registry.add("churn", versions=2, champion="1")
    bench.resolver.want(CHURN, wanted("models:/churn@champion"))
    await bench.poll()
    bench.registry.asked()
    bench.registry.aliases["churn"]["champion"] = "2"
    for _ in range(1000):
        assert bench.resolver.hint("default", "churn") == 1
        if bench.poller._seconds_to_wait() == 0:
            await bench.poll()
        bench.clock.now += 0.000_9
    bench.clock.now += 0.2
    await bench.poll()
    assert bench.version() == "2"
    assert bench.registry.asked() == ["registered-models/get churn"] * 2


async def test_hints_for_all_models_at_once_are_answered_by_a_listing(bench: Bench) -> None:
    names = [f"m{number}" for number in range(500)]
    for name in names:
        bench.registry.add(name, champion="1")
        bench.resolver.want(("crm", name), wanted(f"models:/{name}@champion"))
    await bench.poll()
    bench.registry.asked()
    for name in names * 2:
        bench.resolver.hint("default", name)
    await bench.poll()
    assert len(bench.registry.asked()) < 30


async def test_a_hint_that_comes_while_its_model_is_asked_for_is_not_lost(bench: Bench) -> None:
    bench.registry.add("churn", versions=2, champion="1")
    bench.resolver.want(CHURN, wanted("models:/churn@champion"))
    await bench.poll()
    bench.resolver.hint("default", "churn")

    def moves_just_after_it_was_read(request: httpx.Request) -> None:
        if request.url.path.endswith("model-versions/get"):
            bench.registry.aliases["churn"]["champion"] = "2"
            bench.resolver.hint("default", "churn")

    bench.registry.fail = moves_just_after_it_was_read
    await bench.poll()
    bench.registry.fail = lambda request: None
    assert bench.version() == "1"
    assert bench.poller._seconds_to_wait() == pytest.approx(1.0)
    bench.clock.now += 1
    assert await bench.poll() == [CHURN]
    assert bench.version() == "2"


@pytest.mark.parametrize(
    ("entry", "model"),
    [
        pytest.param("default", "other", id="a model that nobody follows"),
        pytest.param("elsewhere", "churn", id="an unknown registry"),
        pytest.param("default", "gone", id="a model that nobody follows any more"),
    ],
)
async def test_a_hint_asks_for_nothing_that_speaks_of(bench: Bench, entry: str, model: str) -> None:
    bench.registry.add("churn", champion="1")
    bench.registry.add("gone", champion="1")
    bench.resolver.want(CHURN, wanted("models:/churn@champion"))
    bench.resolver.want(OTHER, wanted("models:/gone@champion"))
    bench.resolver.want(OTHER, None)
    await bench.poll()
    bench.registry.asked()
    assert bench.resolver.hint(entry, model) == 0
    await bench.poll()
    assert bench.registry.asked() == []


async def test_hints_do_not_hurry_a_registry_that_fails_beyond_its_interval(bench: Bench) -> None:
    bench.registry.add("churn", champion="1")
    bench.resolver.want(CHURN, wanted("models:/churn@champion"))
    bench.registry.fail = lambda request: httpx.ConnectError("down")
    for _ in range(5):
        bench.clock.now += 1000
        await bench.poll()
    bench.resolver.hint("default", "churn")
    assert 0 < bench.poller._seconds_to_wait() <= 15
    bench.registry.fail = lambda request: None
    bench.clock.now += 15
    await bench.poll()
    assert bench.reason() is ResolutionReason.RESOLVED

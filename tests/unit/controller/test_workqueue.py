"""The work queue: what client-go promises, one sentence each."""

import asyncio
from collections.abc import Callable

import pytest

from model_operator.controller.workqueue import Backoff, ShutDown, WorkQueue, work


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(clock: Clock) -> WorkQueue[str]:
    return WorkQueue(clock=clock)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - each pass lets the workers take one step
        await asyncio.sleep(0)


async def taken(queue: WorkQueue[str]) -> list[str]:
    keys = []
    while queue.depth:
        keys.append(await queue.get())
    return keys


async def test_keys_come_out_in_the_order_in_which_they_were_added(queue: WorkQueue[str]) -> None:
    for key in ("a", "b", "c"):
        queue.add(key)
    assert await taken(queue) == ["a", "b", "c"]


async def test_every_group_has_its_turn_however_many_keys_one_has(clock: Clock) -> None:
    queue: WorkQueue[str] = WorkQueue(clock=clock, group_of=lambda key: key[0])
    for key in ("a1", "a2", "a3", "b1", "c1", "b2"):
        queue.add(key)
    assert queue.depth == 6
    assert await taken(queue) == ["a1", "b1", "c1", "a2", "b2", "a3"]
    assert queue.depth == 0


async def test_a_group_that_comes_late_waits_for_one_key_of_each_other_group(clock: Clock) -> None:
    queue: WorkQueue[str] = WorkQueue(clock=clock, group_of=lambda key: key[0])
    for key in ("a1", "a2", "a3"):
        queue.add(key)
    assert await queue.get() == "a1"
    queue.add("b1")
    assert await taken(queue) == ["a2", "b1", "a3"]


async def test_a_key_that_waits_in_line_is_not_added_twice(queue: WorkQueue[str]) -> None:
    queue.add("a")
    queue.add("a")
    assert await taken(queue) == ["a"]


async def test_a_key_added_while_in_work_comes_again_only_after_it_is_done(queue: WorkQueue[str]) -> None:
    queue.add("a")
    await queue.get()
    queue.add("a")
    queue.add("a")
    assert queue.depth == 0
    queue.done("a")
    assert await taken(queue) == ["a"]


async def test_a_key_that_is_done_and_was_not_added_again_stays_away(queue: WorkQueue[str]) -> None:
    queue.add("a")
    queue.done(await queue.get())
    assert (queue.depth, queue.in_work) == (0, 0)


async def test_a_worker_that_waits_is_woken_by_an_added_key(queue: WorkQueue[str]) -> None:
    waiting = [asyncio.create_task(queue.get()) for _ in range(2)]
    await asyncio.sleep(0)
    queue.add("a")
    queue.add("b")
    assert await asyncio.gather(*waiting) == ["a", "b"]


async def test_a_worker_that_leaves_when_called_passes_the_call_on(queue: WorkQueue[str]) -> None:
    leaving, staying = asyncio.create_task(queue.get()), asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    leaving.cancel()
    assert await staying == "a"
    assert leaving.cancelled()


async def test_a_delayed_key_comes_when_its_time_has_come(queue: WorkQueue[str], clock: Clock) -> None:
    queue.add_after("a", 10)
    clock.now += 9.9
    queue.release_due()
    assert queue.depth == 0
    clock.now += 0.1
    queue.release_due()
    assert await taken(queue) == ["a"]


@pytest.mark.parametrize(
    "delays", [pytest.param((5, 10), id="earlier first"), pytest.param((10, 5), id="later first")]
)
async def test_of_two_delays_the_earlier_counts_once(
    queue: WorkQueue[str], clock: Clock, delays: tuple[float, float]
) -> None:
    for delay in delays:
        queue.add_after("a", delay)
    clock.now += 5
    queue.release_due()
    assert await taken(queue) == ["a"]
    queue.done("a")
    clock.now += 10
    queue.release_due()
    assert queue.depth == 0


async def test_a_delay_of_nothing_is_now(queue: WorkQueue[str]) -> None:
    queue.add_after("a", 0)
    assert queue.depth == 1


async def test_the_queues_own_timer_releases_a_delayed_key() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add_after("later", 0.02)
    queue.add_after("sooner", 0.01)
    assert [await queue.get(), await queue.get()] == ["sooner", "later"]


async def test_failures_in_a_row_wait_longer_each_time_and_success_starts_over(queue: WorkQueue[str]) -> None:
    delays = [queue.add_rate_limited("a") for _ in range(4)]
    assert all(0.25 * 2**n <= delay <= 0.5 * 2**n for n, delay in enumerate(delays))
    assert queue.failures("a") == 4
    queue.forget("a")
    assert queue.failures("a") == 0
    assert queue.add_rate_limited("a") <= 0.5


def test_the_delay_of_a_key_that_fails_for_ever_is_bounded() -> None:
    assert 150 <= Backoff().after(10_000) <= 300


async def test_a_closed_queue_wakes_its_workers_and_takes_nothing_more(queue: WorkQueue[str]) -> None:
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.shut_down()
    with pytest.raises(ShutDown):
        await waiting
    queue.add("a")
    queue.add_after("b", 1)
    assert queue.depth == 0


async def test_a_closed_queue_is_drained_once_its_running_work_is_done(queue: WorkQueue[str]) -> None:
    queue.add("a")
    queue.add("b")
    await queue.get()
    queue.shut_down()
    drained = asyncio.create_task(queue.drained())
    await asyncio.sleep(0)
    assert not drained.done()
    queue.done("a")
    await drained
    with pytest.raises(ShutDown):
        await queue.get()


async def test_how_long_keys_waited_and_are_in_work_can_be_seen(clock: Clock) -> None:
    waits: list[float] = []
    queue: WorkQueue[str] = WorkQueue(clock=clock, on_wait=waits.append)
    queue.add("a")
    clock.now += 3
    await queue.get()
    clock.now += 7
    assert (waits, queue.longest_work_seconds, queue.in_work) == ([3.0], 7.0, 1)
    queue.done("a")
    assert queue.longest_work_seconds == 0


async def test_a_worker_looks_again_when_asked_to_and_retries_what_failed(
    queue: WorkQueue[str], clock: Clock
) -> None:
    seen: list[str] = []
    failures: list[tuple[str, str]] = []

    async def reconcile(key: str) -> float | None:
        seen.append(key)
        if key == "bad":
            raise RuntimeError("no luck")
        return 60 if key == "again" else None

    for key in ("good", "again", "bad"):
        queue.add(key)
    worker = asyncio.create_task(
        work(queue, reconcile, lambda key, error, delay: failures.append((key, str(error))))
    )
    await until(lambda: len(seen) >= 3)
    clock.now += 1
    queue.release_due()
    await until(lambda: len(seen) >= 4)
    clock.now += 59
    queue.release_due()
    await until(lambda: len(seen) >= 6)
    queue.shut_down()
    await worker
    assert seen[:4] == ["good", "again", "bad", "bad"]
    assert sorted(seen[4:]) == ["again", "bad"]
    assert failures == [("bad", "no luck")] * 3
    assert queue.in_work == 0


async def test_others_have_their_turn_between_keys_that_wait_for_nothing(queue: WorkQueue[str]) -> None:
    done: list[str] = []

    async def reconcile(key: str) -> None:
        done.append(key)

    for key in "abc":
        queue.add(key)
    worker = asyncio.create_task(work(queue, reconcile, lambda *_: None))
    seen_by_others = []
    while len(done) < 3:
        await asyncio.sleep(0)
        seen_by_others.append(len(done))
    queue.shut_down()
    await worker
    assert seen_by_others == [1, 2, 3]


async def test_two_workers_never_hold_the_same_key(queue: WorkQueue[str]) -> None:
    held: set[str] = set()
    rounds = 0

    async def reconcile(key: str) -> None:
        nonlocal rounds
        assert key not in held
        held.add(key)
        queue.add(key)
        await asyncio.sleep(0)
        held.discard(key)
        rounds += 1

    errors: list[Exception] = []
    workers = [
        asyncio.create_task(work(queue, reconcile, lambda key, error, delay: errors.append(error)))
        for _ in range(3)
    ]
    queue.add("a")
    queue.add("b")
    await until(lambda: rounds >= 20)
    queue.shut_down()
    await asyncio.gather(*workers)
    assert errors == []

"""Reading for the gates: once for all, again while somebody wants it, and never noisily."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from math import nan
from typing import cast

import pytest

from model_operator.domain.objects import Key
from model_operator.domain.registry import (
    FactsWanted,
    Metric,
    ModelDescription,
    ResolutionReason,
    VersionFacts,
    VersionId,
)
from model_operator.registry import FactsReader, RegistryError, RegistryId
from model_operator.registry.clients.base import RegistryClient

CHURN, FRAUD = ("crm", "churn"), ("crm", "fraud")
PROD = RegistryId("prod")
ID = VersionId("churn", "8")
METRICS = FactsWanted(ID, "run-8", "models:/m-8", metrics=True)
FILES = FactsWanted(ID, "run-8", "models:/m-8", description=True)
OUTAGE = RegistryError(ResolutionReason.UNREACHABLE, "no answer in time")


@dataclass
class Registry:
    """A registry whose answers and outages are had at will."""

    value: float = 0.5
    failure: Exception | None = None
    asked: list[str] = field(default_factory=list)

    def client(self, registry: RegistryId) -> RegistryClient | None:
        return cast(RegistryClient, self) if registry == PROD else None

    async def metrics(self, run_id: str, source: str) -> Sequence[Metric]:
        self.asked.append(f"metrics of {run_id} {source}")
        if self.failure:
            raise self.failure
        return (Metric("auc", self.value),)

    async def description(self, name: str, version: str) -> ModelDescription:
        self.asked.append(f"files of {name} {version}")
        if self.failure:
            raise self.failure
        return ModelDescription(input_example=True)


@dataclass
class Bench:
    """A reader at work, with a clock that moves by hand."""

    registry: Registry = field(default_factory=Registry)
    now: float = 0.0
    told: list[Key] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reader = FactsReader(self.registry, 15, self.told.append, lambda: self.now)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(5):
            while not condition():  # noqa: ASYNC110 - nobody tells of it
                await asyncio.sleep(0)

    async def pass_time(self, seconds: float) -> None:
        """Let that much time pass, and all that falls due be asked."""
        self.now += seconds
        before = len(self.registry.asked)
        self.reader.follow(("any", "one"), PROD, [FactsWanted(VersionId("x", str(self.now)), "x", "x", True)])
        await self.until(lambda: len(self.registry.asked) > before)
        for _ in range(20):
            await asyncio.sleep(0)
        self.reader.forget(("any", "one"))

    def look_up(self) -> VersionFacts:
        return self.reader.look_up(CHURN)[ID]


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    running = asyncio.create_task(bench.reader.run())
    yield bench
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_what_is_wanted_is_found_out_and_told(bench: Bench) -> None:
    bench.reader.follow(CHURN, PROD, [FactsWanted(ID, "run-8", "models:/m-8", True, True)])
    assert bench.look_up() == VersionFacts()
    await bench.until(lambda: len(bench.told) == 2)
    assert bench.look_up() == VersionFacts((Metric("auc", 0.5),), ModelDescription(input_example=True))


async def test_what_two_want_is_asked_once_and_told_to_both(bench: Bench) -> None:
    bench.reader.follow(CHURN, PROD, [METRICS])
    bench.reader.follow(FRAUD, PROD, [METRICS])
    await bench.until(lambda: len(bench.told) == 2)
    assert bench.registry.asked == ["metrics of run-8 models:/m-8"]
    assert set(bench.told) == {CHURN, FRAUD}


async def test_metrics_are_read_again_and_only_news_is_told(bench: Bench) -> None:
    bench.registry.value = nan
    bench.reader.follow(CHURN, PROD, [METRICS])
    await bench.until(lambda: bench.told)
    await bench.pass_time(20)
    assert bench.registry.asked.count("metrics of run-8 models:/m-8") == 2
    assert bench.told.count(CHURN) == 1, "NaN is no news where NaN was"
    bench.registry.value = 0.9
    await bench.pass_time(20)
    assert bench.told.count(CHURN) == 2
    assert bench.look_up().metrics == (Metric("auc", 0.9),)


async def test_files_are_read_once(bench: Bench) -> None:
    bench.reader.follow(CHURN, PROD, [FILES])
    await bench.until(lambda: bench.told)
    await bench.pass_time(4000)
    bench.reader.forget(CHURN)
    bench.reader.follow(CHURN, PROD, [FILES])
    assert bench.look_up().description == ModelDescription(input_example=True)
    assert bench.registry.asked.count("files of churn 8") == 1


async def test_a_failure_is_told_once_and_tried_again(bench: Bench) -> None:
    bench.registry.failure = OUTAGE
    bench.reader.follow(CHURN, PROD, [METRICS])
    await bench.until(lambda: bench.told)
    assert bench.look_up() == VersionFacts(metrics_problem="no answer in time")
    await bench.pass_time(20)
    assert bench.told.count(CHURN) == 1
    bench.registry.failure = None
    await bench.pass_time(60)
    assert bench.told.count(CHURN) == 2
    assert bench.look_up() == VersionFacts((Metric("auc", 0.5),))


async def test_what_was_known_goes_on_counting_in_an_outage(bench: Bench) -> None:
    bench.reader.follow(CHURN, PROD, [METRICS])
    await bench.until(lambda: bench.told)
    bench.registry.failure = OUTAGE
    await bench.pass_time(20)
    assert bench.look_up() == VersionFacts((Metric("auc", 0.5),))
    assert bench.told.count(CHURN) == 1


async def test_a_defect_of_ours_ends_nothing(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.registry.failure = KeyError("defect")
    bench.reader.follow(CHURN, PROD, [METRICS])
    await bench.until(lambda: bench.told)
    assert "the operator could not handle" in bench.look_up().metrics_problem
    assert "a defect while reading metrics" in caplog.text


async def test_an_unknown_registry_is_named(bench: Bench) -> None:
    bench.reader.follow(CHURN, RegistryId("prdo"), [METRICS])
    await bench.until(lambda: bench.told)
    assert "registry 'prdo' is not configured" in bench.look_up().metrics_problem


async def test_what_nobody_wants_any_more_is_not_asked_again(bench: Bench) -> None:
    bench.reader.follow(CHURN, PROD, [METRICS])
    await bench.until(lambda: bench.told)
    bench.reader.follow(CHURN, PROD, [])
    await bench.pass_time(100)
    assert bench.registry.asked.count("metrics of run-8 models:/m-8") == 1
    assert bench.reader.look_up(CHURN) == {}

"""How many requests a round costs, and what it remembers."""

from __future__ import annotations

import httpx
import pytest
from tests.unit.registry.registry_double import RegistryDouble, answer

from model_operator.api.reference import ModelReference, parse_reference
from model_operator.domain.registry import Resolution, ResolutionReason
from model_operator.registry import RegistryError
from model_operator.registry.batch import Batch


class Asker:
    """A batch over a registry double, with the answers it got."""

    def __init__(self, registry: RegistryDouble) -> None:
        self.registry = registry
        self.client = registry.client()
        self.batch = Batch(self.client)
        self.answers: dict[ModelReference, Resolution] = {}

    async def ask(self, *uris: str) -> list[str]:
        """Ask for all of these; returns the requests that it took."""
        references = [parse_reference(uri) for uri in uris]
        await self.batch.ask_all(references, dict(self.answers), self.answers.__setitem__)
        return self.registry.asked()

    def reason(self, uri: str) -> ResolutionReason:
        return self.answers[parse_reference(uri)].reason


@pytest.fixture
def asker() -> Asker:
    return Asker(RegistryDouble())


def many(registry: RegistryDouble, count: int, champion: str = "1") -> list[str]:
    for number in range(count):
        registry.add(f"model-{number}", versions=2, champion=champion)
    return [f"models:/model-{number}@champion" for number in range(count)]


async def test_five_thousand_models_cost_five_calls_once_their_versions_are_known(asker: Asker) -> None:
    uris = many(asker.registry, 5000)
    first = await asker.ask(*uris)
    assert len(first) == 5 + 10
    assert {answer.reason for answer in asker.answers.values()} == {ResolutionReason.RESOLVED}
    second = await asker.ask(*uris)
    assert second.count("registered-models/search") == 5
    # the details of the fifty that were read longest ago
    assert len(second) == 5 + 50


async def test_aliases_of_newest_versions_need_no_call_of_their_own(asker: Asker) -> None:
    uris = many(asker.registry, 40, champion="2")
    assert await asker.ask(*uris) == ["registered-models/search"]


async def test_a_few_models_are_asked_for_singly(asker: Asker) -> None:
    many(asker.registry, 40, champion="2")
    asked = await asker.ask("models:/model-1@champion", "models:/model-2@champion")
    assert sorted(asked) == [
        "registered-models/get model-1",
        "registered-models/get model-2",
    ]


async def test_ten_models_of_a_large_registry_are_asked_for_singly_after_one_try(asker: Asker) -> None:
    uris = many(asker.registry, 3000, champion="2")[:10]
    first = await asker.ask(*uris)
    assert first.count("registered-models/search") == 1
    assert set(await asker.ask(*uris)) == {f"registered-models/get model-{number}" for number in range(10)}


async def test_several_references_to_one_version_read_its_details_once(asker: Asker) -> None:
    asker.registry.add("churn", versions=3, a="1", b="1")
    asked = await asker.ask("models:/churn@a", "models:/churn@b", "models:/churn/1")
    assert asked.count("model-versions/get churn") == 1


async def test_a_model_that_a_page_missed_is_confirmed_by_a_single_call(asker: Asker) -> None:
    uris = many(asker.registry, 10, champion="2")
    asker.registry.hidden = {"model-7"}
    assert await asker.ask(*uris) == ["registered-models/search", "registered-models/get model-7"]
    assert asker.reason("models:/model-7@champion") is ResolutionReason.RESOLVED


async def test_a_missing_model_is_confirmed_once_and_then_now_and_again(asker: Asker) -> None:
    uris = [*many(asker.registry, 10, champion="2"), "models:/missing@champion"]
    rounds = [await asker.ask(*uris) for _ in range(21)]
    confirmed = sum(asked.count("registered-models/get missing") for asked in rounds)
    assert asker.reason("models:/missing@champion") is ResolutionReason.MODEL_NOT_FOUND
    assert confirmed in (3, 4)


async def test_a_missing_model_is_seen_as_soon_as_it_appears(asker: Asker) -> None:
    uris = [*many(asker.registry, 10, champion="2"), "models:/missing@champion"]
    await asker.ask(*uris)
    asker.registry.add("missing", champion="1")
    await asker.ask(*uris)
    assert asker.reason("models:/missing@champion") is ResolutionReason.RESOLVED


async def test_details_of_versions_that_nobody_follows_any_more_are_forgotten(asker: Asker) -> None:
    asker.registry.add("churn", versions=3, champion="1")
    await asker.ask("models:/churn@champion")
    asker.registry.aliases["churn"]["champion"] = "2"
    await asker.ask("models:/churn@champion")
    assert list(asker.batch._versions) == [("churn", "2")]


async def test_a_listing_that_fails_is_replaced_by_single_calls(asker: Asker) -> None:
    uris = many(asker.registry, 10, champion="2")
    asker.registry.fail = lambda request: answer({}, 500) if request.url.path.endswith("search") else None
    asked = await asker.ask(*uris)
    assert len(asked) == 1 + 10
    assert {answer.reason for answer in asker.answers.values()} == {ResolutionReason.RESOLVED}


async def test_a_registry_that_is_gone_is_not_asked_for_every_model(asker: Asker) -> None:
    def refuse(request: httpx.Request) -> Exception:
        return httpx.ConnectError("Connection refused")

    asker.registry.fail = refuse
    with pytest.raises(RegistryError) as caught:
        await asker.ask(*(f"models:/model-{number}/1" for number in range(300)))
    assert caught.value.reason is ResolutionReason.UNREACHABLE
    # three tries of the listing, and of each of the four parallel ones at most
    assert len(asker.registry.asked()) <= 5 * 3


async def test_a_registry_that_answers_nothing_but_errors_is_given_up_after_a_few(asker: Asker) -> None:
    asker.registry.fail = lambda request: answer({}, 500)
    with pytest.raises(RegistryError) as caught:
        await asker.ask(*(f"models:/model-{number}@champion" for number in range(150)))
    assert caught.value.reason is ResolutionReason.REGISTRY_ERROR
    assert len(asker.registry.asked()) <= 15


async def test_eight_broken_models_do_not_hide_a_ninth_for_long(asker: Asker) -> None:
    uris = many(asker.registry, 30, champion="2")
    asker.registry.fail = lambda request: (
        answer({}, 500)
        if request.url.path.endswith("search") or request.url.params["name"] != "model-29"
        else None
    )
    for _ in range(10):
        try:
            await asker.ask(*uris)
        except RegistryError:
            continue
    assert asker.reason("models:/model-29@champion") is ResolutionReason.RESOLVED


async def test_known_details_survive_an_error_while_they_are_read_again(asker: Asker) -> None:
    asker.registry.add("churn", versions=2, champion="1")
    await asker.ask("models:/churn@champion")
    asker.registry.fail = lambda request: answer({}, 500) if "model-versions" in request.url.path else None
    await asker.ask("models:/churn@champion")
    assert asker.reason("models:/churn@champion") is ResolutionReason.RESOLVED


async def test_one_odd_row_does_not_spoil_a_listing(asker: Asker) -> None:
    uris = many(asker.registry, 10, champion="2")
    asker.registry.versions["model-3"]["2"]["version"] = 2
    asked = await asker.ask(*uris)
    assert asked == ["registered-models/search", "registered-models/get model-3"]
    assert asker.reason("models:/model-3@champion") is ResolutionReason.UNEXPECTED_ANSWER
    assert asker.reason("models:/model-4@champion") is ResolutionReason.RESOLVED

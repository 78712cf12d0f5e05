"""A gate and its like that this repository does not have, each made in one file, go through whole lives."""

from __future__ import annotations

from typing import Any

import pytest
from tests.stories import simulation
from tests.stories.pods import Behaviour
from tests.stories.story import Given, Story, Then, When
from tests.stories.toys import registry as shelf
from tests.stories.toys import runtime as inference_server
from tests.stories.toys.gate import OWNER, ToySpec
from tests.stories.toys.strategy import ROW, SOAK

from model_operator import settings
from model_operator.api.choices import GATES, REGISTRY_KINDS, RUNTIMES, STRATEGIES
from model_operator.api.reference import parse_reference
from model_operator.api.resource import ModelDeployment
from model_operator.domain.objects import Key
from model_operator.domain.world import PodRegistry
from model_operator.planner.gates import chain
from model_operator.planner.manifests import registry_env, runtimes
from model_operator.planner.strategy import strategies
from model_operator.registry import KINDS, ClientPool, RegistryId, Resolver, WantedModel, connect

Json = dict[str, Any]


class ToyModelDeployment(ModelDeployment):
    spec: ToySpec


# --- a gate ----------------------------------------------------------------------------------------


@pytest.fixture
def toy_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(GATES, OWNER.name, "owner")
    monkeypatch.setattr(chain, "CHAIN", (*chain.CHAIN, OWNER))
    monkeypatch.setattr(simulation, "parse", ToyModelDeployment.model_validate)


@pytest.fixture
def owned(toy_gate: None, given: Given, when: When) -> None:
    """Version 1 serves, and only versions of the team risk may follow."""
    given.version_serves("1")
    when.commit_changes("gates.owner: risk", gates={"owner": "risk"})


@pytest.mark.usefixtures("owned")
def test_a_toy_gate_turns_a_version_away_and_lets_it_in_when_it_is_tagged(
    story: Story, when: When, then: Then
) -> None:
    when.version_is_tagged("2", owner="marketing")
    when.alias_moves_to("2", wait=120)
    then.condition_is("Admitted", "False", "OwnerMismatch")
    then.version_serves("1")
    told, *_ = [gate for gate in story.status["plan"]["gates"] if gate["gate"] == "Owner"]
    assert (told["gate"], told["outcome"]) == ("Owner", "Failed")
    assert told["message"].startswith("version 2 is owned by marketing, not risk")
    when.version_is_tagged("2", owner="risk", wait=120)
    then.condition_is("Admitted", "True", "Admitted")
    then.version_serves("2")
    then.no_request_is_lost()


@pytest.mark.usefixtures("owned")
def test_a_person_overrides_a_toy_gate_by_its_name(when: When, then: Then) -> None:
    when.alias_moves_to("2")
    then.condition_is("Admitted", "False", "OwnerMismatch")
    override = {"gate": "Owner", "approved": "2"}
    when.commit_changes("gates.overrides: 2", gates={"overrides": [override]}, wait=120)
    then.version_serves("2")


def test_without_its_row_nobody_can_name_a_toy_gate(manifest: Json) -> None:
    with pytest.raises(ValueError, match=r"Input should be 'Tags', 'Metrics', .* or 'Requirements'"):
        ToySpec.model_validate({**manifest, "gates": {"overrides": [{"gate": "Owner", "approved": "2"}]}})


# --- a runtime -------------------------------------------------------------------------------------


@pytest.fixture
def toy_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RUNTIMES, "Toy", inference_server.ROW)
    monkeypatch.setitem(runtimes.RUNTIMES, "Toy", inference_server.RUNTIME)


@pytest.fixture
def inferring(toy_runtime: None, given: Given) -> None:
    """Version 1 is served by the toy runtime."""
    given.spec(server={"runtime": "Toy", "image": "triton:1", "port": 8000})
    given.version_serves("1")


@pytest.mark.usefixtures("inferring")
def test_the_container_of_a_toy_runtime_is_in_the_deployment_and_serves(
    story: Story, when: When, then: Then
) -> None:
    (container,) = story.serving_template()["spec"]["containers"]
    assert container["command"] == ["inference-server", "--repository=/model", "--http-port=8000"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/v2/health/ready"
    assert container["livenessProbe"]["httpGet"]["path"] == "/v2/health/live"
    assert {"name": "LOG_FORMAT", "value": "json"} in container["env"]
    assert "scripts" not in [mount["name"] for mount in container["volumeMounts"]]
    when.alias_moves_to("2", wait=120)
    then.version_serves("2")
    then.no_request_is_lost()


@pytest.mark.usefixtures("inferring")
def test_an_exit_code_of_a_toy_runtime_is_not_taken_for_one_of_the_operators_script(
    given: Given, when: When, then: Then
) -> None:
    given.version("2", Behaviour(ready=None, exit_code=50))
    when.alias_moves_to("2")
    when.operator_emits("Reverted")
    then.rejection_has(reason="CrashLoop")
    then.version_serves("1")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        pytest.param({"server": {"runtime": "Toy"}}, "set server.image", id="it has no default image"),
        pytest.param(
            {"server": {"runtime": "Toy", "image": "triton:1"}, "selfTest": {"mode": "Required"}},
            "the image tests itself",
            id="the operator does not test it",
        ),
    ],
)
def test_the_row_of_a_toy_runtime_sets_its_rules(
    manifest: Json, toy_runtime: None, fields: Json, told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        ToySpec.model_validate({**manifest, **fields})


# --- a strategy ------------------------------------------------------------------------------------


@pytest.fixture
def soaking(monkeypatch: pytest.MonkeyPatch, given: Given) -> None:
    """Version 1 serves, and those that follow soak first."""
    monkeypatch.setitem(STRATEGIES, SOAK.name, ROW)
    monkeypatch.setitem(strategies.STRATEGIES, SOAK.name, SOAK)
    given.rollout(strategy="Soak")
    given.version_serves("1")


def version_2_soaks(then: Then) -> None:
    """Version 2 is ready on its own track, and takes no requests."""
    then.candidate_has(phase="ReadyForTraffic", reason="Soaking")
    then.version_serves("1")
    then.preview_shows("2")
    then.condition_is("Current", "False", "Soaking")


@pytest.mark.usefixtures("soaking")
def test_a_candidate_of_a_toy_strategy_goes_live_on_its_track_when_it_has_soaked(
    story: Story, when: When, then: Then
) -> None:
    when.alias_moves_to("2")
    when.operator_emits("Soaking")
    version_2_soaks(then)
    assert story.status["plan"]["strategy"] == "Soak"
    assert story.status["plan"]["message"] == "2 pods soak for 0:05:00, then the Service moves"
    when.time_passes(240)
    when.operator_restarts(wait=50)
    version_2_soaks(then)
    when.time_passes(15)
    then.version_serves("2")
    then.no_request_is_lost()
    then.serving_has(track="churn-green")
    then.operator_emitted("Soaking", times=1)


@pytest.mark.usefixtures("soaking")
def test_a_version_that_falls_ill_while_it_soaks_meets_no_request(
    given: Given, when: When, then: Then
) -> None:
    given.version("2", Behaviour(dies_after=120))
    when.alias_moves_to("2")
    when.operator_emits("Soaking")
    version_2_soaks(then)
    when.operator_emits("Reverted")
    then.rejection_has(version="2")
    then.version_serves("1")
    then.no_request_is_lost()


@pytest.mark.usefixtures("soaking")
def test_a_commit_of_another_strategy_ends_the_soaking(when: When, then: Then) -> None:
    when.alias_moves_to("2")
    when.operator_emits("Soaking")
    version_2_soaks(then)
    when.commit_changes("strategy: BlueGreen", rollout={"strategy": "BlueGreen"}, wait=10)
    then.version_serves("2")
    then.no_request_is_lost()


@pytest.mark.usefixtures("soaking")
def test_a_person_agrees_to_a_version_of_a_toy_strategy_before_it_soaks(when: When, then: Then) -> None:
    approval = {"mode": "Manual", "at": "BeforeTraffic"}
    when.commit_changes("gates.approval", gates={"approval": approval})
    when.alias_moves_to("2", wait=600)
    then.condition_is("Admitted", "False", "WaitingForApproval")
    when.commit_changes("approved: 2", gates={"approval": {"approved": "2"}})
    version_2_soaks(then)
    when.time_passes(330)
    then.version_serves("2")


# --- a kind of registry ----------------------------------------------------------------------------

CHURN: Key = ("crm", "churn")


@pytest.fixture
def toy_registry(monkeypatch: pytest.MonkeyPatch) -> settings.Settings:
    """The configuration with an entry of the toy kind."""
    monkeypatch.setitem(REGISTRY_KINDS, "Shelf", shelf.ROW)
    monkeypatch.setitem(KINDS, "Shelf", shelf.ShelfClient)
    monkeypatch.setitem(registry_env.REGISTRY_ACCESS, "Shelf", shelf.ACCESS)
    monkeypatch.setitem(shelf.ALIASES, "churn", {"champion": "1"})
    return settings.parse("registries: {default: {type: Shelf, url: 'http://shelf'}}", "test")


async def test_a_toy_registry_resolves_an_alias_and_follows_it(toy_registry: settings.Settings) -> None:
    woken: list[Key] = []
    now = [0.0]
    clients = ClientPool(toy_registry.registries, connect)
    resolver = Resolver(clients, 15, on_change=woken.append, clock=lambda: now[0])
    resolver.want(CHURN, WantedModel(RegistryId("default"), parse_reference("models:/churn@champion")))
    poller = resolver._pollers[RegistryId("default")]
    await poller.step()
    found = resolver.answer(CHURN)
    assert (found.ok, found.version and found.version.source) == (True, "shelf:/churn/1")
    shelf.ALIASES["churn"] = {"champion": "2"}
    now[0] += 20
    await poller.step()
    moved = resolver.answer(CHURN).version
    assert moved is not None
    assert (moved.version, woken) == ("2", [CHURN, CHURN])


def test_pods_reach_a_toy_registry_with_its_own_variables(toy_registry: settings.Settings) -> None:
    pods = PodRegistry(
        "http://shelf", "shelf", frozenset({"api-key"}), ca_config_map="company-ca", type="Shelf"
    )
    variables = {v["name"]: v.get("value") or v["valueFrom"] for v in registry_env.registry_env(pods)}
    assert variables == {
        "SHELF_URL": "http://shelf",
        "SHELF_API_KEY": {"secretKeyRef": {"name": "shelf", "key": "api-key"}},
        "SHELF_CA_FILE": "/opt/model-operator-registry-ca/ca.crt",
    }
    assert registry_env.REGISTRY_ACCESS["Shelf"].missing(frozenset({"token"})) == "api-key"


def test_the_row_of_a_toy_registry_sets_its_rules(toy_registry: settings.Settings) -> None:
    with pytest.raises(settings.SettingsError, match="workspace is for MLflow"):
        settings.parse("registries: {a: {type: Shelf, url: 'http://s', workspace: north}}", "test")

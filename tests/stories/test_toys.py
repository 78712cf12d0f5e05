"""A gate and its like that this repository does not have, each made in one file, go through whole lives."""

from __future__ import annotations

from typing import Any

import pytest
from tests.stories import simulation
from tests.stories.pods import Behaviour
from tests.stories.simulation import SimulatedCluster, serving
from tests.stories.toys import registry as shelf
from tests.stories.toys import runtime as inference_server
from tests.stories.toys.gate import OWNER, ToySpec
from tests.stories.toys.strategy import ROW, SOAK

from model_operator import settings
from model_operator.api.choices import GATES, REGISTRY_KINDS, RUNTIMES, STRATEGIES
from model_operator.api.reference import parse_reference
from model_operator.api.resource import ModelDeployment
from model_operator.domain.objects import Key, Kind
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
def owned(manifest: Json, toy_gate: None) -> SimulatedCluster:
    """Version 1 serves, and only versions of the team risk may follow."""
    cluster = serving(manifest, "1")
    cluster.commit("gates.owner: risk", lambda spec: spec.update(gates={"owner": "risk"}))
    return cluster


def test_a_toy_gate_turns_a_version_away_and_lets_it_in_when_it_is_tagged(owned: SimulatedCluster) -> None:
    owned.tag("2", owner="marketing")
    owned.move_alias("champion", "2")
    owned.pass_time(120)
    assert owned.condition("Admitted") == ("False", "OwnerMismatch")
    assert owned.serving_versions() == {"1": 2}
    (told,) = owned.status["plan"]["gates"]
    assert (told["gate"], told["outcome"]) == ("Owner", "Failed")
    assert told["message"].startswith("version 2 is owned by marketing, not risk")
    owned.tag("2", owner="risk")
    owned.pass_time(120)
    assert owned.condition("Admitted") == ("True", "Admitted")
    assert (owned.serving_versions(), owned.requests_lost) == ({"2": 2}, 0)


def test_a_person_overrides_a_toy_gate_by_its_name(owned: SimulatedCluster) -> None:
    owned.move_alias("champion", "2")
    assert owned.condition("Admitted") == ("False", "OwnerMismatch")
    override = {"gate": "Owner", "approved": "2"}
    owned.commit("gates.overrides: 2", lambda spec: spec["gates"].update(overrides=[override]))
    owned.pass_time(120)
    assert owned.serving_versions() == {"2": 2}


def test_without_its_row_nobody_can_name_a_toy_gate(manifest: Json) -> None:
    with pytest.raises(ValueError, match=r"Input should be 'Tags', 'Metrics', .* or 'Requirements'"):
        ToySpec.model_validate({**manifest, "gates": {"overrides": [{"gate": "Owner", "approved": "2"}]}})


# --- a runtime -------------------------------------------------------------------------------------


@pytest.fixture
def toy_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RUNTIMES, "Toy", inference_server.ROW)
    monkeypatch.setitem(runtimes.RUNTIMES, "Toy", inference_server.RUNTIME)


@pytest.fixture
def inferring(manifest: Json, toy_runtime: None) -> SimulatedCluster:
    """Version 1 is served by the toy runtime."""
    return serving({**manifest, "server": {"runtime": "Toy", "image": "triton:1", "port": 8000}}, "1")


def test_the_container_of_a_toy_runtime_is_in_the_deployment_and_serves(inferring: SimulatedCluster) -> None:
    (container,) = inferring.live(Kind.DEPLOYMENT)["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["inference-server", "--repository=/model", "--http-port=8000"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/v2/health/ready"
    assert container["livenessProbe"]["httpGet"]["path"] == "/v2/health/live"
    assert {"name": "LOG_FORMAT", "value": "json"} in container["env"]
    assert "scripts" not in [mount["name"] for mount in container["volumeMounts"]]
    inferring.move_alias("champion", "2")
    inferring.pass_time(120)
    assert (inferring.serving_versions(), inferring.requests_lost) == ({"2": 2}, 0)


def test_an_exit_code_of_a_toy_runtime_is_not_taken_for_one_of_the_operators_script(
    inferring: SimulatedCluster,
) -> None:
    inferring.behaviours["2"] = Behaviour(ready=None, exit_code=50)
    inferring.move_alias("champion", "2")
    inferring.pass_until(lambda: "Reverted" in inferring.announced)
    assert inferring.status["rejected"][0]["reason"] == "CrashLoop"
    assert inferring.serving_versions() == {"1": 2}


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
def soaking(manifest: Json, monkeypatch: pytest.MonkeyPatch) -> SimulatedCluster:
    """Version 1 serves, and those that follow soak first."""
    monkeypatch.setitem(STRATEGIES, SOAK.name, ROW)
    monkeypatch.setitem(strategies.STRATEGIES, SOAK.name, SOAK)
    return serving({**manifest, "rollout": {"strategy": "Soak"}}, "1")


def soaks(cluster: SimulatedCluster) -> bool:
    """Version 2 is ready on its own track, and takes no requests."""
    candidate = cluster.status.get("candidate", {})
    return (
        (candidate.get("phase"), candidate.get("reason")) == ("ReadyForTraffic", "Soaking")
        and cluster.serving_versions() == {"1": 2}
        and cluster.previewed_versions() == {"2": 2}
        and cluster.condition("Current") == ("False", "Soaking")
    )


def test_a_candidate_of_a_toy_strategy_goes_live_on_its_track_when_it_has_soaked(
    soaking: SimulatedCluster,
) -> None:
    soaking.move_alias("champion", "2")
    soaking.pass_until(lambda: soaks(soaking), within=60)
    assert soaking.status["plan"]["strategy"] == "Soak"
    assert soaking.status["plan"]["message"] == "2 pods soak for 0:05:00, then the Service moves"
    soaking.pass_time(240)
    soaking.restart_operator()
    soaking.pass_time(50)
    assert soaks(soaking)
    soaking.pass_time(15)
    assert (soaking.serving_versions(), soaking.requests_lost) == ({"2": 2}, 0)
    assert soaking.status["serving"]["track"] == "churn-green"
    assert soaking.announced.count("Soaking") == 1


def test_a_version_that_falls_ill_while_it_soaks_meets_no_request(soaking: SimulatedCluster) -> None:
    soaking.behaviours["2"] = Behaviour(dies_after=120)
    soaking.move_alias("champion", "2")
    soaking.pass_until(lambda: soaks(soaking), within=60)
    soaking.pass_until(lambda: "Reverted" in soaking.announced)
    assert soaking.status["rejected"][0]["version"] == "2"
    assert (soaking.serving_versions(), soaking.requests_lost) == ({"1": 2}, 0)


def test_a_commit_of_another_strategy_ends_the_soaking(soaking: SimulatedCluster) -> None:
    soaking.move_alias("champion", "2")
    soaking.pass_until(lambda: soaks(soaking), within=60)
    soaking.commit("strategy: BlueGreen", lambda spec: spec["rollout"].update(strategy="BlueGreen"))
    soaking.pass_time(10)
    assert (soaking.serving_versions(), soaking.requests_lost) == ({"2": 2}, 0)


def test_a_person_agrees_to_a_version_of_a_toy_strategy_before_it_soaks(soaking: SimulatedCluster) -> None:
    approval = {"mode": "Manual", "at": "BeforeTraffic"}
    soaking.commit("gates.approval", lambda spec: spec.update(gates={"approval": approval}))
    soaking.move_alias("champion", "2")
    soaking.pass_time(600)
    assert soaking.condition("Admitted") == ("False", "WaitingForApproval")
    soaking.commit("approved: 2", lambda spec: spec["gates"]["approval"].update(approved="2"))
    assert soaks(soaking)
    soaking.pass_time(330)
    assert soaking.serving_versions() == {"2": 2}


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
    with pytest.raises(settings.SettingsError, match="workspace is MLflow's"):
        settings.parse("registries: {a: {type: Shelf, url: 'http://s', workspace: north}}", "test")

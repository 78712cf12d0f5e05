"""A gate and its like that this repository does not have, each made in one file, go through whole lives."""

from __future__ import annotations

from typing import Any

import pytest
from tests.stories import simulation
from tests.stories.simulation import SimulatedCluster, serving
from tests.stories.toys.gate import OWNER, ToySpec

from model_operator.api.resource import ModelDeployment
from model_operator.api.spec_gates import GATES
from model_operator.planner.gates import chain

Json = dict[str, Any]


class ToyModelDeployment(ModelDeployment):
    spec: ToySpec


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

"""Each name that a field may take is known to both sides, that of the API and that which acts, and to the chart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import TypeAdapter, ValidationError

from model_operator.api.choices import REGISTRY_KINDS, RUNTIMES, STRATEGIES, OneOf, cel_is_one_of
from model_operator.planner.manifests import registry_env, runtimes
from model_operator.planner.strategy import strategies
from model_operator.registry import KINDS

CHART = Path(__file__).parents[3] / "charts" / "model-operator"


def test_every_runtime_has_a_row_and_a_behaviour() -> None:
    assert list(RUNTIMES) == list(runtimes.RUNTIMES)


def test_every_strategy_has_a_row_and_a_behaviour_and_is_beside_where_it_can_be_tried() -> None:
    assert list(STRATEGIES) == list(strategies.STRATEGIES)
    assert all(row.before_traffic <= strategies.STRATEGIES[name].beside for name, row in STRATEGIES.items())


def test_every_kind_of_registry_has_a_row_a_client_and_access_for_pods() -> None:
    assert list(REGISTRY_KINDS) == list(KINDS) == list(registry_env.REGISTRY_ACCESS)


def test_the_chart_takes_every_kind_of_registry_and_no_other() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))
    registry = schema["properties"]["registries"]["additionalProperties"]["properties"]
    assert registry["type"]["enum"] == list(REGISTRY_KINDS)


def test_a_row_that_comes_later_is_taken_and_stands_in_the_schema() -> None:
    rows = {"Red": ""}
    colour = TypeAdapter(Annotated[str, OneOf(rows)])
    with pytest.raises(ValidationError, match="Input should be 'Red'"):
        colour.validate_python("Blue")
    rows["Blue"] = ""
    assert colour.validate_python("Blue") == "Blue"
    assert colour.json_schema() == {"enum": ["Red", "Blue"], "type": "string"}
    with pytest.raises(ValidationError, match="Input should be 'Red' or 'Blue'"):
        colour.validate_python(["Red"])


def test_cel_compares_with_one_name_or_looks_it_up_among_several() -> None:
    assert cel_is_one_of("self.a", ["X"]) == "self.a == 'X'"
    assert cel_is_one_of("self.a", ["X"], negated=True) == "self.a != 'X'"
    assert cel_is_one_of("self.a", ["X", "Y"]) == "self.a in ['X', 'Y']"
    assert cel_is_one_of("self.a", ["X", "Y"], negated=True) == "!(self.a in ['X', 'Y'])"

"""pod/serve_fast.py: a table is MLflow's to the bit and in memory, or MLflow makes it."""

from __future__ import annotations

import json

import pytest
from tests.contract.container import SCRIPTS, run_with_mlflow
from tests.mlflow_env import OLDEST, REQUIREMENTS

FAST = (
    "fractions",
    "whole numbers for fractions",
    "a number that is rounded",
    "not a number",
    "records",
    "params",
    "four types",
)


@pytest.fixture(scope="module", params=[REQUIREMENTS, OLDEST], ids=["MLflow 3", "MLflow 2"])
def tables(request: pytest.FixtureRequest) -> dict[str, str]:
    """The outcome of each case of check_tables.py."""
    return dict(json.loads(run_with_mlflow("check_tables.py", str(SCRIPTS), mlflow=request.param)))


def test_a_table_with_the_types_of_the_signature_is_that_of_mlflow(tables: dict[str, str]) -> None:
    assert {case: tables[case] for case in FAST} == dict.fromkeys(FAST, "same")


def test_every_other_request_is_left_to_mlflow(tables: dict[str, str]) -> None:
    others = {case: outcome for case, outcome in tables.items() if case not in FAST}
    assert len(others) == 19
    assert others == dict.fromkeys(others, "left to MLflow")

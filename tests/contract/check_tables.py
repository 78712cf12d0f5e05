"""Run with MLflow's interpreter: tables that serve_fast.py makes of requests, compared with those that MLflow makes.

Prints for each case "same", "left to MLflow", or the difference, as JSON. Usage: check_tables.py SCRIPTS
"""

from __future__ import annotations

import json
import sys
from typing import Any

from mlflow.models import Model, ModelSignature
from mlflow.models.utils import _enforce_schema
from mlflow.pyfunc import scoring_server
from mlflow.types import ColSpec, DataType, Schema
from pandas.testing import assert_frame_equal

NUMBERS = ("a", "b")
MIXED = {"x": DataType.double, "n": DataType.long, "t": DataType.boolean, "s": DataType.string}


def split(columns: Any, *rows: Any) -> str:
    return json.dumps({"dataframe_split": {"columns": columns, "data": rows}})


def mixed(*row: Any) -> tuple[str, str]:
    return "mixed", split(list(MIXED), list(row))


CASES: dict[str, tuple[str, str]] = {
    "fractions": ("numbers", split(NUMBERS, [0.5, 1e300], [-0.0, 2.25])),
    "whole numbers for fractions": ("numbers", split(NUMBERS, [1, 2], [3, 2**63])),
    "a number that is rounded": ("numbers", split(NUMBERS, [2**53 + 1, 0.1], [1, 2.5])),
    "not a number": ("numbers", split(NUMBERS, [float("nan"), float("inf")])),
    "records": ("numbers", json.dumps({"dataframe_records": [{"a": 1, "b": 2.5}, {"a": 3, "b": 4}]})),
    "params": ("numbers", json.dumps({"dataframe_records": [{"a": 1, "b": 2}], "params": {"p": 1}})),
    "four types": mixed(1, 2, True, "ü"),
    "columns in another order": ("numbers", split(("b", "a"), [1, 2])),
    "a column too many": ("numbers", split(("a", "b", "c"), [1, 2, 3])),
    "records in another order": ("numbers", json.dumps({"dataframe_records": [{"b": 1, "a": 2}]})),
    "a truth value for a number": ("numbers", split(NUMBERS, [True, 1.0])),
    "a text for a number": ("numbers", split(NUMBERS, ["1", 1.0])),
    "null for a number": ("numbers", split(NUMBERS, [None, 1.0])),
    "a number beyond all": ("numbers", split(NUMBERS, [10**400, 1.0])),
    "a fraction for a whole number": mixed(1.0, 2.0, True, "s"),
    "a whole number that is too large": mixed(1.0, 2**63, True, "s"),
    "a number for a text": mixed(1.0, 2, True, 3),
    "a number for a truth value": mixed(1.0, 2, 1, "s"),
    "rows of different length": ("numbers", split(NUMBERS, [1.0, 2.0], [1.0])),
    "no rows": ("numbers", split(NUMBERS)),
    "an index": (
        "numbers",
        json.dumps({"dataframe_split": {"columns": NUMBERS, "data": [[1, 2]], "index": [7]}}),
    ),
    "two forms": ("numbers", json.dumps({"dataframe_records": [], "dataframe_split": {}})),
    "an unknown key": ("numbers", json.dumps({"dataframe_records": [{"a": 1, "b": 2}], "messages": []})),
    "a list": ("numbers", "[1]"),
    "broken JSON": ("numbers", '{"dataframe_split"'),
    "a nesting without end": ("numbers", "[" * 100_000),
}


def main(scripts: str) -> None:
    sys.path.insert(0, scripts)
    from serve_fast import reader_for  # type: ignore[import-not-found,unused-ignore]

    schemas = {
        "numbers": Schema([ColSpec(DataType.double, name) for name in NUMBERS]),
        "mixed": Schema([ColSpec(kind, name) for name, kind in MIXED.items()]),
    }
    models = {}
    for name, schema in schemas.items():
        models[name] = Model()
        models[name].signature = ModelSignature(inputs=schema)
    found = {}
    for case, (name, text) in CASES.items():
        read = reader_for(models[name]).read(text.encode())
        found[case] = "left to MLflow" if read is None else compare(read, text, models[name], schemas[name])
    print(json.dumps(found))


def compare(read: tuple[Any, Any], text: str, metadata: Any, schema: Any) -> str:
    """The difference between both ways, where MLflow also enforces the schema."""
    table, params = read
    parsed = scoring_server._parse_json_data(text.encode(), metadata, schema)
    enforced = _enforce_schema(parsed.data, schema)
    try:
        assert_frame_equal(table, enforced, check_exact=True)
        assert params == parsed.params
        ours, theirs = table.to_numpy(), enforced.to_numpy()
        assert ours.tobytes("A") == theirs.tobytes("A") or ours.dtype == object
        assert ours.flags["F_CONTIGUOUS"] == theirs.flags["F_CONTIGUOUS"]
    except AssertionError as error:
        return str(error)
    return "same"


if __name__ == "__main__":
    main(sys.argv[1])

"""The verdicts of gates/signature.py beside MLflow's own: is a request of the old signature accepted by the new one?"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.contract.container import PATIENCE_SECONDS
from tests.mlflow_env import OLDEST, REQUIREMENTS, ensure_python

from model_operator.planner.gates.signature import compare

Json = dict[str, Any]


class Case(NamedTuple):
    sentence: str
    old: Json
    new: Json
    request: Json
    survives: bool = True
    """Whether MLflow goes on accepting that request; and our verdict, unless ``stricter``."""
    stricter: bool = False
    """We refuse although this request survives, since others don't, or since its values would change."""
    lenient: bool = False
    """We accept although this request is refused: its form is rare, and docs/guides/signatures.md says so."""


def column(name: str, kind: str = "long", required: bool = True, **more: Any) -> Json:
    return {"name": name, "type": kind, "required": required, **more}


def tensor(shape: list[int], **more: Any) -> Json:
    return {"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": shape}, **more}


def param(kind: str, default: object, **more: Any) -> Json:
    return {"name": "t", "type": kind, "default": default, "shape": None, **more}


def takes(*inputs: Json, **parts: Any) -> Json:
    return {"inputs": list(inputs), **parts}


def table(**values: Any) -> Json:
    return {"dataframe_split": {"columns": list(values), "data": [list(values.values())]}}


def longs(required: bool = True) -> Json:
    return column("xs", "array", required, items={"type": "long"})


def holder(**keys: bool) -> Json:
    return column(
        "o", "object", properties={key: {"type": "long", "required": needed} for key, needed in keys.items()}
    )


A, B = column("a"), column("b")
WITH_T = {"params": {"t": 2}}
CASES = [
    Case(
        "a column less, as inputs of one row without lists",
        takes(A, B),
        takes(A),
        {"inputs": {"a": 1, "b": 2}},
        False,
        lenient=True,
    ),
    Case("a column less", takes(A, B), takes(A), table(a=1, b=2)),
    Case("a column less, as inputs", takes(A, B), takes(A), {"inputs": {"a": [1, 2], "b": [1, 2]}}),
    Case("a column less, as instances", takes(A, B), takes(A), {"instances": [{"a": 1, "b": 2}]}),
    Case("an optional column more", takes(A, B), takes(A, B, column("c", "string", False)), table(a=1, b=2)),
    Case("a required column more", takes(A, B), takes(A, B, column("c")), table(a=1, b=2), False),
    Case("a column becomes required", takes(A, column("b", required=False)), takes(A, B), table(a=1), False),
    Case(
        "a single column's values have no name",
        takes(A),
        takes(A, column("b", required=False)),
        {"inputs": [1, 2]},
        False,
    ),
    Case("integer becomes long", takes(column("a", "integer")), takes(A), table(a=5)),
    Case(
        "integer becomes double",
        takes(column("a", "integer")),
        takes(column("a", "double")),
        {"inputs": {"a": [5]}},
    ),
    Case("float becomes double", takes(column("a", "float")), takes(column("a", "double")), table(a=5.5)),
    Case("long becomes double", takes(A), takes(column("a", "double")), table(a=5), stricter=True),
    Case("long becomes string", takes(A), takes(column("a", "string")), table(a=5), stricter=True),
    Case("string becomes long", takes(column("a", "string")), takes(A), table(a="x"), False),
    Case("nameless columns get names", takes({"type": "long"}), takes(A), table(b=5), False),
    Case("a name like a position", takes({"type": "long"}), takes(column("#0")), table(b=5), False),
    Case(
        "the first array, as inputs",
        takes(A, B),
        takes(A, B, longs(False)),
        {"inputs": {"a": [1, 2], "b": [1, 2]}},
        False,
    ),
    Case(
        "the first array, as a table", takes(A, B), takes(A, B, longs(False)), table(a=1, b=2), stricter=True
    ),
    Case(
        "the last object, as inputs",
        takes(A, holder(k=True)),
        takes(A),
        {"inputs": {"a": 1, "o": {"k": 1}}},
        False,
    ),
    Case(
        "an array of another type",
        takes(longs()),
        takes(column("xs", "array", items={"type": "double"})),
        {"inputs": {"xs": [5]}},
        False,
    ),
    Case(
        "an array of anything",
        takes(longs()),
        takes(column("xs", "array", items={"type": "any"})),
        {"inputs": {"xs": [5]}},
    ),
    Case(
        "an optional key more",
        takes(holder(k=True)),
        takes(holder(k=True, j=False)),
        {"inputs": {"o": {"k": 1}}},
    ),
    Case(
        "a required key more",
        takes(holder(k=True)),
        takes(holder(k=True, j=True)),
        {"inputs": {"o": {"k": 1}}},
        False,
    ),
    Case(
        "a key less",
        takes(holder(k=True, j=True)),
        takes(holder(k=True)),
        {"inputs": {"o": {"k": 1, "j": 1}}},
        False,
    ),
    Case(
        "the first dimension becomes free",
        takes(tensor([1, 2])),
        takes(tensor([-1, 2])),
        {"inputs": [[1.0, 2.0]]},
    ),
    Case(
        "a dimension becomes fixed",
        takes(tensor([-1, 2])),
        takes(tensor([1, 2])),
        {"inputs": [[1.0, 2.0], [3.0, 4.0]]},
        False,
    ),
    Case(
        "another dimension becomes free, as a table",
        takes(tensor([-1, 2])),
        takes(tensor([-1, -1])),
        table(x=1.0, y=2.0),
        False,
    ),
    Case(
        "another dimension becomes free, as inputs",
        takes(tensor([-1, 2])),
        takes(tensor([-1, -1])),
        {"inputs": [[1.0, 2.0]]},
        stricter=True,
    ),
    Case(
        "a named tensor less",
        takes(tensor([-1, 1], name="x"), tensor([-1, 1], name="y")),
        takes(tensor([-1, 1], name="x")),
        {"inputs": {"x": [[1.0]], "y": [[1.0]]}},
    ),
    Case(
        "a tensor that calls itself optional",
        takes(tensor([-1, 1], name="x"), tensor([-1, 1], name="y")),
        takes(*(tensor([-1, 1], name=name, required=False) for name in "xyz")),
        {"inputs": {"x": [[1.0]], "y": [[1.0]]}},
        False,
    ),
    Case("a parameter less", takes(A, params=[param("double", 0.5)]), takes(A), table(a=1) | WITH_T),
    Case(
        "a wider parameter",
        takes(A, params=[param("integer", 1)]),
        takes(A, params=[param("double", 0.5)]),
        table(a=1) | WITH_T,
    ),
    Case(
        "another parameter",
        takes(A, params=[param("integer", 1)]),
        takes(A, params=[param("string", "x")]),
        table(a=1) | WITH_T,
        False,
    ),
    Case(
        "a parameter's key of another type",
        takes(A, params=[param("object", {"k": 1}, properties={"k": {"type": "long", "required": True}})]),
        takes(
            A, params=[param("object", {"k": "x"}, properties={"k": {"type": "string", "required": True}})]
        ),
        table(a=1) | {"params": {"t": {"k": 1}}},
        False,
    ),
]


def complaints(mlflow: Path, directory: Path) -> dict[str, list[str]]:
    """What MLflow says of each case's request, by sentence: of the old signature, and of the new one."""
    done = subprocess.run(
        [str(ensure_python(mlflow)), str(Path(__file__).with_name("enforce_signatures.py"))],
        input=json.dumps([{"old": case.old, "new": case.new, "request": case.request} for case in CASES]),
        cwd=directory,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip((case.sentence for case in CASES), json.loads(done.stdout), strict=True))


@pytest.mark.parametrize(
    "mlflow", [pytest.param(REQUIREMENTS, id="MLflow 3"), pytest.param(OLDEST, id="MLflow 2.22")]
)
def test_mlflow_accepts_what_is_called_compatible(mlflow: Path, tmp_path: Path) -> None:
    said = complaints(mlflow, tmp_path)
    assert {sentence: old for sentence, (old, _) in said.items() if old} == {}
    survives = {sentence: not new for sentence, (_, new) in said.items()}
    assert survives == {case.sentence: case.survives for case in CASES}, said


@pytest.mark.parametrize("case", [pytest.param(case, id=case.sentence) for case in CASES])
def test_the_verdict_is_mlflows_but_where_the_case_says_why(case: Case) -> None:
    expected = (case.survives and not case.stricter) or case.lenient
    assert compare(case.old, case.new).compatible is expected

"""A model's own description, from a registry that is not trusted."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from model_operator.domain.registry import ModelDescription
from model_operator.registry.clients.mlflow.facts import MalformedMetricsError, merge_metrics, parse_metrics
from model_operator.registry.clients.mlflow.mlmodel import MalformedModelError, parse_mlmodel

INPUTS = [{"type": "long", "name": "age", "required": True}]
GOOD: dict[str, Any] = {
    "flavors": {"python_function": {"python_version": "3.11.9"}},
    "model_size_bytes": 1024,
    "saved_input_example_info": {"artifact_path": "input_example.json", "type": "dataframe"},
    "signature": {"inputs": json.dumps(INPUTS), "outputs": None, "params": None},
}


def text(**changes: Any) -> bytes:
    return yaml.safe_dump({**GOOD, **changes}).encode()


def test_what_it_says_is_read() -> None:
    assert parse_mlmodel(text()) == ModelDescription({"inputs": INPUTS}, True, 1024, "3.11.9")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"signature": None}, {"signature": None}, id="no signature"),
        pytest.param({"signature": {"inputs": None}}, {"signature": None}, id="an empty signature"),
        pytest.param({"saved_input_example_info": None}, {"input_example": False}, id="no example"),
        pytest.param({"model_size_bytes": "big"}, {"size_bytes": None}, id="a size that is no number"),
        pytest.param({"model_size_bytes": -1}, {"size_bytes": None}, id="a size below zero"),
        pytest.param({"flavors": []}, {"python_version": ""}, id="no flavors"),
        pytest.param(
            {"flavors": {"python_function": {"python_version": "3" * 99}}},
            {"python_version": ""},
            id="an endless Python version",
        ),
    ],
)
def test_what_it_does_not_say_is_absent(changes: Any, expected: dict[str, Any]) -> None:
    found = parse_mlmodel(text(**changes))
    assert {name: getattr(found, name) for name in expected} == expected


@pytest.mark.parametrize(
    "hostile",
    [
        pytest.param(b"{", id="no YAML"),
        pytest.param(b"- a", id="a list"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"[" * 5000, id="a tower of brackets"),
        pytest.param(b"[" * 500_000, id="a tower that would break the parser's stack"),
        pytest.param(b"- " * 200_000, id="a tower of dashes"),
        pytest.param(b"? " * 200_000, id="a tower of keys"),
        pytest.param(b"a: !!python/object/apply:os.system [true]", id="code"),
        pytest.param(text(signature="none"), id="a signature that is a text"),
        pytest.param(text(signature={"inputs": "{"}), id="inputs that are not JSON"),
        pytest.param(text(signature={"inputs": '{"a": 1}'}), id="inputs that are no list"),
        pytest.param(text(signature={"inputs": "[" * 5000}), id="inputs nested without end"),
        pytest.param(b"a: 1\n" * 300_000, id="more than may be read"),
        pytest.param(b"a: 2001-99-99", id="a date that is none"),
    ],
)
def test_what_is_no_model_is_refused(hostile: bytes) -> None:
    with pytest.raises(MalformedModelError):
        parse_mlmodel(hostile)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_description_or_refused(model: bytes) -> None:
    with suppress(MalformedModelError):
        assert isinstance(parse_mlmodel(model), ModelDescription)


def row(key: Any = "auc", value: Any = 0.5, **more: Any) -> dict[str, Any]:
    return {"key": key, "value": value, "timestamp": 1, "step": 0, **more}


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param([row(), row(value=0.7, timestamp="2")], [0.7], id="the last in time"),
        pytest.param([row(value=0.7, step=3), row(step="2")], [0.7], id="the last step"),
        pytest.param([row(value=1.7976931348623157e308)], [float("inf")], id="what stands for infinity"),
        pytest.param(
            [row(value="Infinity"), row("b", "-Infinity")], [float("inf"), float("-inf")], id="in words"
        ),
        pytest.param([row(value=10**400)], [float("inf")], id="a number that no float holds"),
        pytest.param([row(value="0.5"), row(value=True), row(None), row(""), 5], [], id="what is no metric"),
    ],
)
def test_metrics_of_a_registry(rows: list[Any], expected: list[float]) -> None:
    assert [reading.metric.value for reading in parse_metrics(rows)] == expected


def test_what_is_no_list_of_metrics_is_refused() -> None:
    with pytest.raises(MalformedMetricsError):
        parse_metrics({"auc": 1})


def test_a_runs_value_does_not_hide_on_which_dataset_the_model_was_measured() -> None:
    of_model = [r.metric for r in parse_metrics([row(value=0.9, dataset_name="holdout")])]
    of_run = [r.metric for r in parse_metrics([row(value=0.99), row("loss", 1)])]
    assert [(m.name, m.dataset) for m in merge_metrics(of_model, of_run)] == [
        ("auc", "holdout"),
        ("loss", ""),
    ]

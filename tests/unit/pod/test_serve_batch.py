"""The pure parts of micro-batching: groups of requests, and the parts of an answer."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

SCRIPTS = Path(__file__).parents[3] / "operator" / "model_operator" / "pod"


@pytest.fixture(scope="module")
def batch() -> Iterator[Any]:
    """The script as a module. In a pod all of them lie flat in one directory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS))
        yield importlib.import_module("serve_batch")


@given(st.lists(st.none() | st.integers(1, 20), max_size=30), st.integers(1, 12))
def test_groups_keep_the_order_and_the_limit(batch: Any, sizes: list[int | None], most: int) -> None:
    groups = batch.group(sizes, most)
    assert [position for positions in groups for position in positions] == list(range(len(sizes)))
    for positions in groups:
        if len(positions) > 1:
            rows = [sizes[position] for position in positions]
            assert None not in rows
            assert sum(row or 0 for row in rows) <= most


@pytest.mark.parametrize(
    ("sizes", "groups"),
    [
        ([], []),
        ([1, 1, 1], [[0, 1, 2]]),
        ([3, 2, 4], [[0, 1], [2]]),
        ([1, None, 1, 1], [[0], [1], [2, 3]]),
        ([9, 1, 1], [[0], [1, 2]]),
    ],
)
def test_requests_are_grouped_up_to_five_rows(
    batch: Any, sizes: list[int | None], groups: list[list[int]]
) -> None:
    assert batch.group(sizes, 5) == groups


@given(st.lists(st.integers(1, 5), max_size=6))
def test_an_answer_with_a_value_for_each_row_is_divided(batch: Any, sizes: list[int]) -> None:
    prediction = list(range(sum(sizes)))
    parts = batch.divide(prediction, sizes)
    assert [len(part) for part in parts] == sizes
    assert [value for part in parts for value in part] == prediction


@pytest.mark.parametrize("prediction", [[1], [1, 2, 3], "ab", {"a": 1, "b": 2}, 5, None, (1, 2)])
def test_any_other_answer_is_not_divided(batch: Any, prediction: Any) -> None:
    assert batch.divide(prediction, [1, 1]) is None


def test_only_small_json_predictions_are_batched(batch: Any) -> None:
    request = importlib.import_module("serve_request").Request
    headers = {"content-type": "application/json"}
    assert batch.can_be_batched(request("POST", "/invocations", b"{}", headers))
    assert not batch.can_be_batched(request("POST", "/v2/models/a/infer", b"{}", headers))
    assert not batch.can_be_batched(request("POST", "/invocations", b"a,b", {"content-type": "text/csv"}))
    assert not batch.can_be_batched(request("POST", "/invocations", b'{"stream": true}', headers))
    assert not batch.can_be_batched(
        request("POST", "/invocations", b"x" * (batch.MOST_BODY_BYTES + 1), headers)
    )

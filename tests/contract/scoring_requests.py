"""Requests to a scoring server in all forms that MLflow takes, right and wrong, as (content type, body)."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

Request = tuple[str, bytes]

JSON, CSV = "application/json", "text/csv"
CONTENT_TYPES = (
    "application/json; charset=utf-8",
    "application/json;charset=UTF-8",
    "application/json; charset=latin-1",
    "application/json; format=pandas-split",
    "application/json;",
    "APPLICATION/JSON",
    "text/csv; charset=utf-8",
    "text/csv; header=present",
    "text/plain",
    "application/octet-stream",
    "application/xml",
    "*/*",
    "nonsense",
)
ROWS: tuple[dict[str, Any], ...] = (
    {"age": 1},
    {"age": 1, "income": 2.5, "city": "Ulm", "member": True, "since": "2026-11-30T12:00:00"},
    {"age": 1, "city": "grüße", "unknown": 1},
    {"age": 1.0},
    {"age": 1.5},
    {"age": "1"},
    {"age": None},
    {"age": True},
    {"age": 2**53 + 1},
    {"age": 2**70},
    {"age": -1, "income": 1e308},
    {"age": 1, "income": None, "since": "2026-11-30"},
    {"age": 1, "since": "not a date"},
    {"age": 1, "member": "yes"},
    {"age": 1, "member": 1},
    {"income": 2.5},
    {"age": [1, 2]},
    {"age": {"a": 1}},
    {},
)
VALUES: tuple[Any, ...] = (
    [],
    [1, 2, 3],
    [1.5, 2, 3],
    [[1, 2, 3]],
    [[1.5, 2.5, 3.5], [4, 5, 6]],
    [[1, 2], [3]],
    [[[1, 2, 3]]],
    [["a", "b", "c"]],
    [[1, None, 3]],
    [True, False],
    ["list"],
    ["floats"],
    ["float32"],
    ["integers"],
    ["booleans"],
    ["texts"],
    ["frame"],
    ["dates"],
    ["series"],
    ["scalar"],
    ["text"],
    ["nested"],
    ["empty"],
    ["bytes"],
    ["big"],
    ["no such form"],
    "text",
    1,
    1.5,
    None,
    True,
    {"ids": [1, 2], "points": [[1, 2], [3, 4]]},
    {"ids": [1], "points": [1, 2]},
    {"ids": 1, "points": [[1, 2]]},
    {"age": [1, 2]},
    {"age": 1},
    {"a": [1], "b": [1, 2]},
    [{"age": 1}, {"age": 2, "city": "Ulm"}],
    [{"ids": 1, "points": [1, 2]}],
    [{"a": {"b": [1]}}],
    [[]],
    {},
)
PARAMS: tuple[Any, ...] = (
    {},
    {"threshold": 0.9},
    {"threshold": 1},
    {"threshold": "high"},
    {"threshold": None},
    {"labels": ["a", "b"]},
    {"labels": "a"},
    {"unknown": 1},
    [],
    "text",
    None,
)
MESSAGES: tuple[Any, ...] = (
    [{"role": "user", "content": "Hello"}],
    [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "grüße"}],
    [{"role": "user"}],
    [{"content": "Hello"}],
    [{"role": "user", "content": 1}],
    [],
    "Hello",
    None,
)


def _documents() -> Iterator[Any]:
    for row in ROWS:
        yield {"dataframe_records": [row]}
        yield {"dataframe_split": {"columns": list(row), "data": [list(row.values())]}}
    for rows in itertools.combinations(ROWS[:4], 2):
        yield {"dataframe_records": list(rows)}
    for split in (
        {"index": [7], "columns": ["age"], "data": [[1]]},
        {"columns": ["age"]},
        {"data": [[1]]},
        {"columns": ["age", "age"], "data": [[1, 2]]},
        {"columns": ["age"], "data": [[1, 2]]},
        {"columns": ["age"], "data": []},
        {"columns": [], "data": []},
        {"columns": ["age"], "data": [[1]], "more": 1},
        [],
        None,
        "text",
    ):
        yield {"dataframe_split": split}
    for records in ([], None, {}, "text", [1], [[1]]):
        yield {"dataframe_records": records}
    for value in VALUES:
        yield {"inputs": value}
        yield {"instances": value}
        yield value
    for params in PARAMS:
        yield {"dataframe_records": [{"age": 1}], "params": params}
        yield {"inputs": [[1, 2, 3]], "params": params}
        yield {"instances": ["a"], "params": params}
    for messages in MESSAGES:
        yield {"messages": messages}
        yield {"messages": messages, "temperature": 0.5, "max_tokens": 10, "stop": ["x"], "stream": False}
    yield {"messages": MESSAGES[0], "custom_inputs": {"a": "b"}, "n": 1}
    yield {"messages": MESSAGES[0], "temperature": "hot"}
    yield {"messages": MESSAGES[0], "unknown": 1}
    yield {"messages": MESSAGES[0], "params": {"temperature": 1}}
    yield from ({"prompt": "Hello"}, {"prompt": ["a", "b"]}, {"input": "Hello"}, {"input": ["a"]})
    yield {"input": [{"role": "user", "content": "Hello"}]}
    yield from ({"inputs": [1], "instances": [1]}, {"inputs": [1], "dataframe_records": [{"age": 1}]})
    yield from (
        {"signature_name": "x", "instances": [1]},
        {"unknown": 1},
        {"INPUTS": [1]},
        {"inputs": [1], "more": 1},
    )


def requests() -> list[Request]:
    """All of them, in a fixed order."""
    made: list[Request] = [(JSON, json.dumps(document).encode()) for document in _documents()]
    made += [
        (JSON, json.dumps(d, ensure_ascii=False, indent=1).encode())
        for d in itertools.islice(_documents(), 6)
    ]
    made += [
        (JSON, body)
        for body in (
            b"",
            b"{",
            b"[1,]",
            b"nul",
            b'{"inputs": [NaN]}',
            b'{"inputs": [Infinity, -Infinity]}',
            b'{"inputs": [1e999]}',
            b'{"inputs": ["\\ud800"]}',
            b'{"inputs": ["\xff"]}',
            b'\xef\xbb\xbf{"inputs": [1]}',
            b'{"inputs": [1]} more',
            b'{"inputs": [1], "inputs": [2]}',
            b'{"inputs": ' + b"[" * 300 + b"]" * 300 + b"}",
            b'{"dataframe_records": [{"age": 01}]}',
            b'{"inputs": [123456789012345678901234567890]}',
            b'{"inputs": [1.000000000000000055511151231257827]}',
        )
    ]
    made += [
        (CSV, body)
        for body in (
            b"age,income,city,member,since\n1,2.5,Ulm,true,2026-11-30\n",
            b"age\n1\n2\n",
            b'age,city\n1,"a, b"\n',
            b"age;city\n1;a\n",
            b"age\nx\n",
            b"age\n\n",
            b"age\n",
            b"",
            b"\n",
            b"age,age\n1,2\n",
            b"city\ngr\xc3\xbc\xc3\x9fe\n",
            b"city\n\xff\n",
            b"a,b\n1\n1,2,3\n",
            b"0,1,2\n1,2,3\n",
        )
    ]
    good = json.dumps({"inputs": [[1, 2, 3]]}).encode()
    return made + [(kind, body) for kind in CONTENT_TYPES for body in (good, b"age\n1\n", b"")]


_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10)
_TREES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
_FORMS = st.sampled_from(
    (
        "inputs",
        "instances",
        "dataframe_split",
        "dataframe_records",
        "params",
        "messages",
        "prompt",
        "input",
        "age",
    )
)
GENERATED = st.one_of(
    st.dictionaries(_FORMS, _TREES, max_size=3).map(lambda document: (JSON, json.dumps(document).encode())),
    st.lists(
        st.fixed_dictionaries({"age": st.integers() | _SCALARS}, optional={"city": _SCALARS}), max_size=3
    ).map(lambda rows: (JSON, json.dumps({"dataframe_records": rows}).encode())),
    st.lists(st.lists(st.floats() | st.integers(), min_size=3, max_size=3), max_size=3).map(
        lambda rows: (JSON, json.dumps({"inputs": rows}).encode())
    ),
    st.tuples(st.just(CSV), st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass"))),
    st.tuples(st.just(JSON), st.binary(max_size=20)),
)
"""Requests that nobody thought of."""

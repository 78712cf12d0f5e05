"""Which changes of a signature callers survive."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from model_operator.planner.gates.signature import MAX_LINE, MAX_LINES, compare

Json = dict[str, Any]


def column(name: str, kind: str = "long", required: bool = True) -> Json:
    return {"name": name, "type": kind, "required": required}


def tensor(shape: list[int], dtype: str = "float32", **more: Any) -> Json:
    return {"type": "tensor", "tensor-spec": {"dtype": dtype, "shape": shape}, **more}


def nested(**properties: Json) -> Json:
    return {"name": "who", "type": "object", "properties": properties}


def array(items: Json) -> Json:
    return {"name": "xs", "type": "array", "items": items}


LONG, TEXT = {"type": "long"}, {"type": "string"}


@pytest.mark.parametrize(
    ("old", "new", "compatible"),
    [
        pytest.param([column("a")], [column("a")], True, id="nothing changed"),
        pytest.param(
            [column("a"), column("b")], [column("b"), column("a")], True, id="another order of names"
        ),
        pytest.param(
            [column("a"), column("b")],
            [column("a"), column("b"), column("c", required=False)],
            True,
            id="an optional column more",
        ),
        pytest.param(
            [column("a")],
            [column("a"), column("b", required=False)],
            False,
            id="a single column no longer, so that values need its name",
        ),
        pytest.param(
            [column("a"), column("b")],
            [column("a"), column("b"), {**array(LONG), "required": False}],
            False,
            id="the first array changes how requests are read",
        ),
        pytest.param(
            [column("a"), array(LONG)], [column("a")], False, id="without the last array, they are read anew"
        ),
        pytest.param([column("#0")], [{"type": "long"}], False, id="a name like a position is a name"),
        pytest.param(
            [{"type": "long"}],
            [{"type": "long"}, {"type": "long", "required": False}],
            False,
            id="nothing nameless is optional",
        ),
        pytest.param([column("a")], [column("a"), column("a", "string")], False, id="a name given twice"),
        pytest.param([column("a")], [column("a"), column("b")], False, id="a required column more"),
        pytest.param([column("a"), column("b")], [column("a")], True, id="a column less"),
        pytest.param([column("a", required=False)], [column("a")], False, id="a column becomes required"),
        pytest.param([column("a")], [column("a", required=False)], True, id="a column becomes optional"),
        pytest.param([column("a", "integer")], [column("a", "long")], True, id="a wider whole number"),
        pytest.param(
            [column("a", "integer")], [column("a", "double")], True, id="a fraction for a small whole"
        ),
        pytest.param(
            [column("a", "long")], [column("a", "double")], False, id="a large whole may lose digits"
        ),
        pytest.param([column("a", "long")], [column("a", "integer")], False, id="a narrower whole number"),
        pytest.param([column("a", "float")], [column("a", "double")], True, id="a wider fraction"),
        pytest.param([column("a", "string")], [column("a", "long")], False, id="a number for a text"),
        pytest.param(
            [{"type": "long"}], [{"type": "long"}, {"type": "long"}], False, id="a nameless column more"
        ),
        pytest.param(
            [{"type": "long"}, {"type": "long"}], [{"type": "long"}], False, id="a nameless column less"
        ),
        pytest.param([tensor([-1, 4])], [tensor([-1, 4])], True, id="the same tensor"),
        pytest.param([tensor([2, 4])], [tensor([-1, 4])], True, id="a dimension becomes free"),
        pytest.param([tensor([-1, 4])], [tensor([-1, -1])], False, id="tables fit fixed dimensions only"),
        pytest.param(
            [tensor([-1], name="x"), tensor([-1], name="y")],
            [tensor([-1], name=name, required=False) for name in "xyz"],
            False,
            id="no tensor is optional",
        ),
        pytest.param([tensor([-1, 4])], [tensor([2, 4])], False, id="a dimension becomes fixed"),
        pytest.param([tensor([-1, 4])], [tensor([-1, 4, 1])], False, id="a dimension more"),
        pytest.param([tensor([-1])], [tensor([-1], "float64")], False, id="another dtype"),
        pytest.param([tensor([-1], name="x")], [column("x")], False, id="a column for a tensor"),
        pytest.param(
            [nested(a=LONG)], [nested(a=LONG, b={**TEXT, "required": False})], True, id="optional key"
        ),
        pytest.param([nested(a=LONG)], [nested(a=LONG, b=TEXT)], False, id="a required key more"),
        pytest.param(
            [nested(a=LONG, b=TEXT)], [nested(a=LONG)], False, id="an unknown key of an object is refused"
        ),
        pytest.param([array(LONG)], [array({"type": "any"})], True, id="anything goes in an array"),
        pytest.param([array(LONG)], [array(TEXT)], False, id="an array of something else"),
        pytest.param(
            [column("a", "hypercube")], [column("a", "sphere")], False, id="unknown types that differ"
        ),
        pytest.param(
            [column("a", "hypercube")], [column("a", "hypercube")], True, id="an unknown type as before"
        ),
    ],
)
def test_inputs(old: list[Json], new: list[Json], compatible: bool) -> None:
    found = compare({"inputs": old}, {"inputs": new})
    assert found.compatible is compatible
    assert bool(found.differences) is (sorted(map(str, old)) != sorted(map(str, new)))


@pytest.mark.parametrize(
    ("old", "new", "breaks"),
    [
        pytest.param([column("a")], [column("a"), column("b")], True, id="a required column more"),
        pytest.param([column("a")], [column("a", "string")], True, id="another type"),
        pytest.param(
            [column("a")],
            [column("a"), column("b", required=False)],
            False,
            id="only for values without a name",
        ),
        pytest.param([array(LONG), column("b")], [column("b")], False, id="only for one form of requests"),
        pytest.param(
            [column("a", "new")], [{**column("a", "new"), "more": 1}], False, id="a type that nobody knows"
        ),
    ],
)
def test_a_change_breaks_callers_without_doubt(old: list[Json], new: list[Json], breaks: bool) -> None:
    found = compare({"inputs": old}, {"inputs": new})
    assert (found.compatible, found.breaks_callers) == (False, breaks)


@pytest.mark.parametrize(
    ("old", "new", "compatible"),
    [
        pytest.param([column("p", "double")], [column("p", "double")], True, id="the same"),
        pytest.param(
            [column("p", "float")], [column("p", "double")], False, id="callers may not expect a wider one"
        ),
        pytest.param([column("p")], [column("p"), column("q")], False, id="one more"),
        pytest.param([column("p"), column("q")], [column("p")], False, id="one less"),
        pytest.param([column("p")], [column("p", required=False)], False, id="it may be missing"),
        pytest.param([tensor([-1, 3])], [tensor([-1, 4])], False, id="another shape"),
        pytest.param([column("p")], None, True, id="it no longer says"),
    ],
)
def test_outputs(old: list[Json], new: list[Json] | None, compatible: bool) -> None:
    inputs = [column("a")]
    assert (
        compare({"inputs": inputs, "outputs": old}, {"inputs": inputs, "outputs": new}).compatible
        is compatible
    )


def param(name: str, kind: str = "double", **more: Any) -> Json:
    return {"name": name, "type": kind, "default": 0.5, **more}


@pytest.mark.parametrize(
    ("old", "new", "compatible"),
    [
        pytest.param([param("t")], [], True, id="one less is ignored by the server"),
        pytest.param([], [param("t")], True, id="one more has a default"),
        pytest.param([param("t")], [param("t", default=0.7)], True, id="another default"),
        pytest.param([param("t")], [param("t", "string")], False, id="another type"),
        pytest.param(
            [param("t", "object", properties={"k": LONG})],
            [param("t", "object", properties={"k": TEXT})],
            False,
            id="another type inside an object",
        ),
        pytest.param([param("t")], [param("t", shape=[-1])], False, id="a list for a single value"),
    ],
)
def test_params(old: list[Json], new: list[Json], compatible: bool) -> None:
    inputs = [column("a")]
    assert (
        compare({"inputs": inputs, "params": old}, {"inputs": inputs, "params": new}).compatible is compatible
    )


def test_the_difference_reads_like_a_diff() -> None:
    found = compare(
        {"inputs": [column("age"), column("old")]},
        {"inputs": [column("age", "string"), column("income", "double")]},
    )
    assert found.differences == (
        "- input age: long (required) (breaks callers)",
        "+ input age: string (required) (breaks callers)",
        "+ input income: double (required) (breaks callers)",
        "- input old: long (required)",
    )


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        pytest.param(None, {"inputs": [column("a")]}, "the serving version has no", id="the old one"),
        pytest.param({"inputs": [column("a")]}, None, "the new version has no", id="the new one"),
        pytest.param(None, {"outputs": []}, "the serving version and the new version have no", id="both"),
    ],
)
def test_a_missing_signature_is_named_and_refuses_nothing(
    old: Json | None, new: Json | None, words: str
) -> None:
    found = compare(old, new)
    assert found.compatible
    assert words in found.missing


def test_a_huge_difference_is_cut_and_what_breaks_comes_first() -> None:
    old = [column(f"c{i}" + "x" * 500) for i in range(500)]
    found = compare({"inputs": old}, {"inputs": [column("needed")]})
    assert found.differences[0] == "+ input needed: long (required) (breaks callers)"
    assert len(found.differences) == MAX_LINES + 1
    assert max(map(len, found.differences)) < MAX_LINE + 30
    assert found.differences[-1] == f"... and {501 - MAX_LINES} more"


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "name", "properties", "items", "tensor-spec", "shape", "required"]),
            inner,
        )
    ),
    max_leaves=12,
)


@given(JSON_VALUES, JSON_VALUES)
@example([{"type": {"nested": 1}}], [{"type": {"nested": 1}, "name": None}])
def test_nonsense_raises_nothing(old: Any, new: Any) -> None:
    found = compare({"inputs": old, "params": new}, {"inputs": new, "outputs": old})
    assert all(line.isprintable() for line in found.differences)


# --- whoever was accepted is accepted --------------------------------------------------------------------

KINDS = {"integer": 2**31 - 1, "long": 2**40, "float": 0.5, "double": 1e300, "string": "x", "boolean": True}
# an oracle of its own: which values each type takes, after MLflow's rules for columns
TAKES = {
    "integer": {"integer"},
    "long": {"integer", "long"},
    "float": {"float"},
    "double": {"integer", "float", "double"},
    "string": {"string"},
    "boolean": {"boolean"},
}
SCHEMAS = st.dictionaries(
    st.sampled_from("abcd"), st.tuples(st.sampled_from(sorted(KINDS)), st.booleans()), min_size=1
)
Schema = dict[str, tuple[str, bool]]


def accepts(schema: Schema, request: dict[str, str]) -> bool:
    """Whether a model of that schema takes a request, given as column name to type of its values."""
    present = all(not required or name in request for name, (_, required) in schema.items())
    return present and all(
        request[name] in TAKES[kind] for name, (kind, _) in schema.items() if name in request
    )


@given(SCHEMAS, SCHEMAS, st.data())
def test_what_is_called_compatible_accepts_whatever_was_accepted(old: Schema, new: Schema, data: Any) -> None:
    def listed(schema: Schema) -> Json:
        return {"inputs": [column(name, kind, required) for name, (kind, required) in schema.items()]}

    if not compare(listed(old), listed(new)).compatible:
        return
    request = {
        name: data.draw(st.sampled_from(sorted(TAKES[kind])))
        for name, (kind, required) in old.items()
        if required or data.draw(st.booleans())
    }
    assert accepts(old, request)
    assert accepts(new, request)

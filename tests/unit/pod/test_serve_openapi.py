"""The OpenAPI document of signatures of all kinds, and the sentence about expected columns."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from tests.unit.pod.signatures import COLUMNS, MESSAGES, NAMED_TENSORS, PARAMS, TENSOR, metadata

SIGNATURES: dict[str, Any] = {
    "none": metadata(),
    "columns": metadata(COLUMNS, [{"type": "double", "name": "share", "required": True}], PARAMS),
    "a column without a name": metadata([{"type": "string", "required": True}], [{"type": "string"}]),
    "a tensor": metadata(TENSOR, TENSOR),
    "named tensors": metadata(NAMED_TENSORS, NAMED_TENSORS),
    "an image": metadata([{"type": "tensor", "tensor-spec": {"dtype": "uint8", "shape": [-1, 8, 8, 3]}}]),
    "a chat": metadata(MESSAGES, MESSAGES, loader="mlflow.pyfunc.loaders.chat_model"),
    "a column named input": metadata([{"type": "string", "name": "input", "required": True}]),
    "only params": metadata(params=PARAMS),
}


@pytest.fixture
def openapi() -> ModuleType:
    return importlib.import_module("serve_openapi")


def _parts(value: Any) -> Iterator[Any]:
    yield value
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _parts(part)


def validator(document: Any, name: str) -> Draft202012Validator:
    """Judges values by a schema of the document."""
    return Draft202012Validator(
        {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    )


@pytest.mark.parametrize("case", SIGNATURES)
def test_the_document_is_openapi(openapi: ModuleType, case: str) -> None:
    document = openapi.document("iris", "7", SIGNATURES[case])
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["openapi"] == "3.1.0"
    assert {"title", "version"} <= set(document["info"])
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    operations = []
    for path, item in document["paths"].items():
        assert path.startswith("/")
        for method, operation in item.items():
            assert method in {"get", "post"}
            operations.append(operation["operationId"])
            for status, response in operation["responses"].items():
                assert status.isdigit()
                assert response["description"]
            if method == "post":
                assert operation["requestBody"]["content"]
    assert len(set(operations)) == len(operations)
    for part in _parts(document):
        if isinstance(part, dict) and isinstance(part.get("$ref"), str):
            name = part["$ref"].removeprefix("#/components/schemas/")
            assert name in document["components"]["schemas"]


def test_the_statuses_and_paths(openapi: ModuleType) -> None:
    document = openapi.document("my model", "7", SIGNATURES["columns"])
    responses = document["paths"]["/invocations"]["post"]["responses"]
    assert list(responses) == ["200", "400", "413", "415", "500", "503", "504"]
    assert "Retry-After" in responses["503"]["headers"]
    assert {"/v2", "/v2/models/my%20model/infer", "/v2/models/my%20model/versions/7/infer"} <= set(
        document["paths"]
    )


ROW = {"age": 1, "city": None, "scores": [0.5]}
FITTING: list[tuple[str, Any]] = [
    ("columns", {"dataframe_split": {"columns": ["age", "scores"], "data": [[1, [0.5]]]}}),
    ("columns", {"dataframe_records": [ROW], "params": {"threshold": 0.9, "labels": ["b"]}}),
    ("columns", {"inputs": [ROW]}),
    ("columns", {"inputs": ROW}),
    ("columns", {"instances": [ROW]}),
    ("a column without a name", {"inputs": ["a"]}),
    ("a column without a name", {"dataframe_split": {"data": [["a"]]}}),
    ("a tensor", {"inputs": [[1.5, None, 3]]}),
    ("a tensor", {"dataframe_split": {"data": [[1, 2, 3]]}}),
    ("named tensors", {"inputs": {"ids": [1], "points": [[1, 2]]}}),
    ("named tensors", {"instances": [{"ids": 1, "points": [1, 2]}]}),
    ("a chat", {"messages": [{"role": "user"}], "custom_inputs": {"a": 1}}),
    ("a column named input", {"input": "a"}),
    ("a column named input", {"dataframe_records": [{"input": "a"}]}),
    ("none", {"inputs": 5}),
    ("none", {"dataframe_split": {"data": []}}),
]
MISSING: list[tuple[str, Any]] = [
    ("columns", {}),
    ("columns", {"dataframe_records": [{"city": "Ulm"}]}),
    ("columns", {"dataframe_records": [ROW | {"age": "old"}]}),
    ("columns", {"inputs": [ROW], "instances": [ROW]}),
    ("columns", {"inputs": [ROW], "params": {"labels": "b"}}),
    ("a tensor", {"inputs": [[1, 2]]}),
    ("a tensor", {"inputs": [1, 2, 3]}),
    ("an image", {"dataframe_split": {"data": []}}),
    ("named tensors", {"inputs": {"ids": [1]}}),
    ("a chat", {"dataframe_records": []}),
    ("a chat", {"messages": [{}]}),
    ("none", {"rows": []}),
]


@pytest.mark.parametrize(("case", "request_"), FITTING)
def test_the_schema_takes_a_request_that_fits(openapi: ModuleType, case: str, request_: Any) -> None:
    validator(openapi.document("iris", "7", SIGNATURES[case]), "Request").validate(request_)


@pytest.mark.parametrize(("case", "request_"), MISSING)
def test_the_schema_refuses_a_request_that_does_not_fit(
    openapi: ModuleType, case: str, request_: Any
) -> None:
    judge = validator(openapi.document("iris", "7", SIGNATURES[case]), "Request")
    with pytest.raises(ValidationError):
        judge.validate(request_)


@pytest.mark.parametrize(
    ("case", "answer"),
    [
        ("columns", {"predictions": [{"share": 0.5}]}),
        ("columns", {"predictions": [0.5]}),
        ("a tensor", {"predictions": [[1, 2, 3]]}),
        ("named tensors", {"predictions": {"ids": [1], "points": [[1, 2]]}}),
        ("a chat", {"messages": [{"role": "assistant"}]}),
        ("none", {"predictions": "anything"}),
    ],
)
def test_the_schema_of_the_answer(openapi: ModuleType, case: str, answer: Any) -> None:
    validator(openapi.document("iris", "7", SIGNATURES[case]), "Answer").validate(answer)


def test_params_have_their_defaults(openapi: ModuleType) -> None:
    properties = openapi.document("iris", "7", SIGNATURES["columns"])["components"]["schemas"]["Params"][
        "properties"
    ]
    assert properties["threshold"]["default"] == 0.5
    assert properties["labels"] == {"type": "array", "items": {"type": "string"}, "default": ["a"]}
    assert "default" not in properties["limit"]


def test_csv_is_for_tables_only(openapi: ModuleType) -> None:
    def types(case: str) -> list[str]:
        operation = openapi.document("iris", "7", SIGNATURES[case])["paths"]["/invocations"]["post"]
        return list(operation["requestBody"]["content"])

    assert types("columns") == ["application/json", "text/csv"]
    assert types("an image") == types("a chat") == ["application/json"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"inputs": [1, NaN]}', {"inputs": [1, None]}),
        ('{"inputs": "' + "x" * 70_000 + '"}', None),
        ("nonsense", None),
        ("[" * 100_000, None),
        (None, None),
    ],
)
def test_the_example_is_the_models_own(
    openapi: ModuleType, tmp_path: Path, text: str | None, expected: Any
) -> None:
    if text is not None:
        (tmp_path / "serving_input_example.json").write_text(text)
    content = openapi.document("iris", "7", metadata(), tmp_path)["paths"]["/invocations"]["post"][
        "requestBody"
    ]
    examples = content["content"]["application/json"].get("examples")
    assert (examples and examples["input-example"]["value"]) == expected


MISSES = (
    "Failed to enforce schema of data '   b' with schema '[...]'. Error: Model is missing inputs ['age']."
)


@pytest.mark.parametrize(
    ("case", "sentence"),
    [
        (
            "columns",
            "The model takes the columns 'age' (long), 'city' (string, optional), 'scores' (array of double).",
        ),
        ("a column without a name", "The model takes the column #0 (string)."),
        ("a tensor", "The model takes the tensor #0 (float32 of shape (any, 3))."),
        (
            "named tensors",
            "The model takes the tensors 'ids' (int64 of shape (any)), 'points' (float64 of shape (any, 2)).",
        ),
        ("none", ""),
    ],
)
def test_an_error_about_the_signature_has_the_expected_columns(
    openapi: ModuleType, case: str, sentence: str
) -> None:
    assert openapi.explain_columns(MISSES, SIGNATURES[case]) == sentence


@pytest.mark.parametrize(
    "message",
    [
        "",
        "The request body is no JSON",
        "Failed to enforce model input schema. Please check your input data.",
    ],
)
def test_another_error_has_no_columns(openapi: ModuleType, message: str) -> None:
    assert openapi.explain_columns(message, SIGNATURES["columns"]) == ""


@pytest.mark.parametrize("name", ["column_{}", "\u200b" * 300 + "{}", "x" * 500 + "{}"])
def test_the_sentence_is_bounded(openapi: ModuleType, name: str) -> None:
    many = metadata(
        [{"type": "long", "name": name.format(number), "required": True} for number in range(2000)]
    )
    sentence = openapi.explain_columns(MISSES, many)
    assert 300 < len(sentence) <= 500
    assert sentence.endswith(" more.")

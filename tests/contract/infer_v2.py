"""Run with MLflow's interpreter: requests of the OpenInference protocol beside /invocations, case by case, as JSON.

Usage: infer_v2.py DIRECTORY, where save_echoes.py has saved its models. Prints for each case the status and the outputs
of both, for hostile requests only the status and the error, and the number of mutations without an error 500.
"""

from __future__ import annotations

import copy
import json
import logging
import random
import struct
import sys
from pathlib import Path
from typing import Any

import mlflow
import mlflow.pyfunc
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature, infer_signature
from mlflow.pyfunc import scoring_server
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import Array, Object, Property
from serve_openapi import document, explain_columns
from serve_request import Answer, Request
from serve_scoring import load
from serve_v2 import HEADER_LENGTH, InferenceProtocol
from sklearn.linear_model import LogisticRegression

Json = dict[str, Any]
DATES = ["2026-11-30T12:00:00", "2026-12-01T00:00:00"]


class Forms(mlflow.pyfunc.PythonModel):
    """Answers in the form that its parameter names."""

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        forms = {
            "frame": lambda: pd.DataFrame({"a": [1, 2], "b": [0.5, float("nan")], "c": ["x", "grüße"]}),
            "records": lambda: [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}],
            "array": lambda: np.array([[1.5, 2.5], [3.5, float("inf")]]),
            "float32": lambda: np.array([0.1, 1 / 3], dtype=np.float32),
            "booleans": lambda: np.array([True, False]),
            "series": lambda: pd.Series([1, 2], name="score"),
            "list": lambda: [1, 2, 3],
            "texts": lambda: ["a", "grüße"],
            "mixed": lambda: [1, 2.5, "three", None, True],
            "tensors": lambda: {"ids": np.array([1, 2]), "points": np.array([[1.0, 2.0], [3.0, 4.0]])},
            "scalar": lambda: np.float64(0.25),
            "empty": lambda: [],
            "dates": lambda: pd.DataFrame({"at": pd.to_datetime(DATES)}),
            "bytes": lambda: [b"abc"],
            "nullable": lambda: pd.Series([1, None], dtype="Int64"),
            "ragged": lambda: [[1, 2], [3]],
            "object": lambda: [object()],
            "complex": lambda: np.array([1j]),
            "raise": lambda: {}["no such key"],
        }
        return forms[params["form"]]()


class Look(mlflow.pyfunc.PythonModel):
    """Answers with the values that reached it and their types."""

    def predict(self, context: Any, model_input: Any) -> Any:
        cells = [repr(value) for name in model_input for value in model_input[name].tolist()]
        return [f"{name}: {kind}" for name, kind in model_input.dtypes.items()] + cells


WIDE = ModelSignature(
    inputs=Schema(
        [
            ColSpec(DataType.integer, "integer", required=False),
            ColSpec(DataType.float, "float", required=False),
            ColSpec(DataType.boolean, "boolean", required=False),
            ColSpec(DataType.binary, "binary", required=False),
            ColSpec(Array(DataType.double), "list", required=False),
            ColSpec(Object([Property("k", DataType.long)]), "object", required=False),
        ]
    )
)


def save(directory: Path) -> None:
    """Saves the models that save_echoes.py does not have."""
    form = ModelSignature(
        inputs=Schema([ColSpec(DataType.long, "x")]), params=ParamSchema([ParamSpec("form", "string", "")])
    )
    for name, model, signature in (("forms", Forms(), form), ("wide", Look(), WIDE)):
        mlflow.pyfunc.save_model(
            directory / name, python_model=model, signature=signature, pip_requirements=[]
        )
    random_ = np.random.default_rng(7)
    table = pd.DataFrame(random_.normal(size=(200, 4)), columns=["f0", "f1", "f2", "f3"])
    iris = LogisticRegression().fit(table, table.sum(axis=1) > 0)
    signature = infer_signature(table, iris.predict(table))
    options = {"pip_requirements": [], "signature": signature, "input_example": table.head(2)}
    mlflow.sklearn.save_model(iris, directory / "sklearn", **options)


def tensor(name: str, shape: list[int], datatype: str, data: Any = None, **parameters: Any) -> Json:
    """An input in JSON."""
    return {"name": name, "shape": shape, "datatype": datatype, "data": data, "parameters": parameters}


def binary(*tensors: Json, **more: Any) -> tuple[bytes, dict[str, str]]:
    """A body with the data of its inputs behind the JSON object, and its header."""
    inputs, raws = [], []
    for part in tensors:
        array = np.asarray(part["data"])
        if part["datatype"] == "BYTES":
            texts = [value if isinstance(value, bytes) else value.encode() for value in part["data"]]
            raw = b"".join(struct.pack("<I", len(text)) + text for text in texts)
        else:
            kinds = {"FP": "f", "IN": "i", "UI": "u", "BO": "?"}
            bits = part["datatype"].lstrip("UINTFPBOL") or "8"
            kind = kinds[part["datatype"][:2]]
            raw = array.astype("?" if kind == "?" else f"<{kind}{int(bits) // 8}").tobytes()
        raws.append(raw)
        rest = {key: value for key, value in part.items() if key != "data"}
        inputs.append(rest | {"parameters": part["parameters"] | {"binary_data_size": len(raw)}})
    head = json.dumps({"inputs": inputs, **more}).encode()
    return head + b"".join(raws), {HEADER_LENGTH: str(len(head))}


MATRIX = [[0.1, 0.2, 0.3, 0.4], [-1.0, -2.0, 0.5, 0.25], [3.0, 0.0, 0.0, -0.5]]
FLAT = [value for row in MATRIX for value in row]
FEATURES = [tensor(f"f{column}", [3], "FP64", [row[column] for row in MATRIX]) for column in range(4)]
SPLIT = {"dataframe_split": {"columns": ["f0", "f1", "f2", "f3"], "data": MATRIX}}
AGES = tensor("age", [2], "INT64", [1, 2])
CITIES = tensor("city", [2, 1], "BYTES", ["Ulm", "grüße"])
SINCE = tensor("since", [2], "BYTES", DATES, content_type="datetime")
ROWS = {
    "dataframe_split": {
        "columns": ["age", "city", "since"],
        "data": [[1, "Ulm", DATES[0]], [2, "grüße", DATES[1]]],
    }
}
IDS = tensor("ids", [2], "INT64", [1, 2])
POINTS = tensor("points", [2, 2], "FP64", [[1, 2], [3, 4]])
POINTED = {"inputs": {"ids": [1, 2], "points": [[1.0, 2.0], [3.0, 4.0]]}}
FLOATS = tensor("x", [2, 3], "FP32", [1, 2.5, 3, 4, 5, 6])
FLOATED = {"inputs": [[1, 2.5, 3], [4, 5, 6]]}
TEXTS = tensor("x", [2], "BYTES", ["a", "grüße"])

FORMS = (
    "frame",
    "records",
    "array",
    "float32",
    "booleans",
    "series",
    "list",
    "texts",
    "mixed",
    "tensors",
    "scalar",
    "empty",
    "nullable",
    "ragged",
)
AGREEING: dict[str, tuple[str, Any, Json]] = {
    # case: (model, document or body with headers, request to /invocations)
    "a table as columns": ("sklearn", {"inputs": FEATURES}, SPLIT),
    "a table as one tensor": ("sklearn", {"inputs": [tensor("x", [3, 4], "FP64", FLAT)]}, SPLIT),
    "a table as one nested tensor": ("sklearn", {"inputs": [tensor("x", [3, 4], "FP64", MATRIX)]}, SPLIT),
    "a table as one binary tensor": ("sklearn", binary(tensor("x", [3, 4], "FP64", FLAT)), SPLIT),
    "a table as binary columns": ("sklearn", binary(*FEATURES), SPLIT),
    "columns in another order": ("sklearn", {"inputs": FEATURES[::-1]}, SPLIT),
    "an array for a table": (
        "sklearn",
        {"inputs": [tensor("x", [3, 4], "FP64", FLAT)], "parameters": {"content_type": "np"}},
        SPLIT,
    ),
    "columns of all kinds": ("table", {"inputs": [AGES, CITIES, SINCE]}, ROWS),
    "columns of all kinds, as pd": (
        "table",
        {"inputs": [AGES, CITIES, SINCE], "parameters": {"content_type": "pd"}},
        ROWS,
    ),
    "columns of all kinds, binary": ("table", binary(AGES, CITIES, SINCE), ROWS),
    "params": (
        "table",
        {"inputs": [AGES], "parameters": {"threshold": 0.9, "labels": ["b"], "other": 1}},
        {
            "dataframe_split": {"columns": ["age"], "data": [[1], [2]]},
            "params": {"threshold": 0.9, "labels": ["b"]},
        },
    ),
    "no params": ("table", {"inputs": [AGES]}, {"dataframe_split": {"columns": ["age"], "data": [[1], [2]]}}),
    "booleans": (
        "table",
        {"inputs": [AGES, tensor("member", [2], "BOOL", [True, False])]},
        {"dataframe_split": {"columns": ["age", "member"], "data": [[1, True], [2, False]]}},
    ),
    "null in a column": (
        "table",
        {"inputs": [AGES, tensor("income", [2], "FP64", [None, 1.5])]},
        {"dataframe_split": {"columns": ["age", "income"], "data": [[1, None], [2, 1.5]]}},
    ),
    "null in a text": (
        "table",
        {"inputs": [AGES, tensor("city", [2], "BYTES", [None, "Ulm"])]},
        {"dataframe_split": {"columns": ["age", "city"], "data": [[1, None], [2, "Ulm"]]}},
    ),
    "narrow whole numbers": (
        "wide",
        {"inputs": [tensor("integer", [2], "INT8", [1, -2]), tensor("float", [2], "FP16", [0.5, 2])]},
        {"dataframe_split": {"columns": ["integer", "float"], "data": [[1, 0.5], [-2, 2]]}},
    ),
    "base64 without a content type": (
        "wide",
        {"inputs": [tensor("binary", [1], "BYTES", ["YWJj"])]},
        {"dataframe_split": {"columns": ["binary"], "data": [["YWJj"]]}},
    ),
    "base64": (
        "wide",
        {"inputs": [tensor("binary", [1], "BYTES", ["YWJj"], content_type="base64")]},
        {"dataframe_split": {"columns": ["binary"], "data": [["YWJj"]]}},
    ),
    "bytes that are no text": (
        "wide",
        binary(tensor("binary", [1], "BYTES", [b"\xff\xfe"])),
        {"dataframe_split": {"columns": ["binary"], "data": [["//4="]]}},
    ),
    "lists as JSON": (
        "wide",
        {"inputs": [tensor("list", [2], "BYTES", ["[1.5]", "[2.5, 3.5]"])]},
        {"dataframe_split": {"columns": ["list"], "data": [[[1.5]], [[2.5, 3.5]]]}},
    ),
    "lists as pd_json": (
        "wide",
        {"inputs": [tensor("list", [2], "BYTES", ["[1.5]", "[2.5, 3.5]"], content_type="pd_json")]},
        {"dataframe_split": {"columns": ["list"], "data": [[[1.5]], [[2.5, 3.5]]]}},
    ),
    "lists as a tensor": (
        "wide",
        {"inputs": [tensor("list", [2, 2], "FP64", [1.5, 2.5, 3.5, 4.5])]},
        {"dataframe_split": {"columns": ["list"], "data": [[[1.5, 2.5]], [[3.5, 4.5]]]}},
    ),
    "objects as JSON": (
        "wide",
        {"inputs": [tensor("object", [1], "BYTES", ['{"k": 1}'])]},
        {"dataframe_split": {"columns": ["object"], "data": [[{"k": 1}]]}},
    ),
    "a tensor": ("tensor", {"inputs": [FLOATS]}, FLOATED),
    "a binary tensor": ("tensor", binary(FLOATS), FLOATED),
    "named tensors": ("tensors", {"inputs": [IDS, POINTS]}, POINTED),
    "named tensors as dict": (
        "tensors",
        {"inputs": [IDS, POINTS], "parameters": {"content_type": "dict"}},
        POINTED,
    ),
    "binary and JSON": ("tensors", binary(IDS, POINTS), POINTED),
    "a column without a name": ("column", {"inputs": [TEXTS]}, {"inputs": ["a", "grüße"]}),
    "an array without a signature": (
        "free",
        {"inputs": [tensor("x", [2], "INT64", [1, 2])]},
        {"inputs": [1, 2]},
    ),
    "texts without a signature": ("free", {"inputs": [TEXTS]}, {"inputs": ["a", "grüße"]}),
    "a table without a signature": (
        "free",
        {"inputs": [tensor("a", [2], "INT64", [1, 2]), tensor("b", [2, 1], "BYTES", ["x", "y"])]},
        {"dataframe_split": {"columns": ["a", "b"], "data": [[1, "x"], [2, "y"]]}},
    ),
    "arrays without a signature": ("free", {"inputs": [IDS, POINTS]}, POINTED),
    # neither is taken, for the same reason
    "a column is missing": (
        "sklearn",
        {"inputs": FEATURES[1:]},
        {"dataframe_split": {"columns": ["f1"], "data": [[1.5]]}},
    ),
    "another type of tensor": (
        "tensor",
        {"inputs": [tensor("x", [2, 2], "FP32", [1, 2, 3, 4])]},
        {"inputs": [[1, 2], [3, 4]]},
    ),
    "a text for a number": (
        "table",
        {"inputs": [tensor("age", [1], "BYTES", ["old"])]},
        {"dataframe_split": {"columns": ["age"], "data": [["old"]]}},
    ),
    "a param of another type": (
        "table",
        {"inputs": [AGES], "parameters": {"threshold": "high"}},
        {"dataframe_split": {"columns": ["age"], "data": [[1]]}, "params": {"threshold": "high"}},
    ),
    "the model raises": (
        "forms",
        {"inputs": [tensor("x", [1], "INT64", [1])], "parameters": {"form": "raise"}},
        {"dataframe_split": {"columns": ["x"], "data": [[1]]}, "params": {"form": "raise"}},
    ),
}
for _form in FORMS:
    AGREEING[f"an answer: {_form}"] = (
        "forms",
        {"inputs": [tensor("x", [1], "INT64", [1])], "parameters": {"form": _form}},
        {"dataframe_split": {"columns": ["x"], "data": [[1]]}, "params": {"form": _form}},
    )

REFUSED: dict[str, tuple[str, Any]] = {
    "a fraction in a whole number": ("table", {"inputs": [tensor("age", [1], "INT64", [1.5])]}),
    "a text in a whole number": ("table", {"inputs": [tensor("age", [1], "INT64", ["1"])]}),
    "null in a whole number": ("table", {"inputs": [tensor("age", [1], "INT64", [None])]}),
    "a list in a number": ("table", {"inputs": [tensor("age", [2], "INT64", [1, [2]])]}),
    "an object in a number": ("table", {"inputs": [tensor("age", [1], "FP64", [{}])]}),
    "a number that is out of range": ("table", {"inputs": [tensor("age", [1], "UINT8", [256])]}),
    "a negative number": ("table", {"inputs": [tensor("age", [1], "UINT64", [-1])]}),
    "a number of 500 digits": ("table", {"inputs": [tensor("age", [1], "INT64", [10**500])]}),
    "a float of 500 digits": ("table", {"inputs": [tensor("income", [1], "FP64", [10**500])]}),
    "a number in a text": ("table", {"inputs": [tensor("city", [1], "BYTES", [1])]}),
    "a number in a boolean": ("table", {"inputs": [tensor("member", [1], "BOOL", [1])]}),
    "columns of different lengths": ("table", {"inputs": [AGES, tensor("city", [1], "BYTES", ["Ulm"])]}),
    "a name that comes twice": ("table", {"inputs": [AGES, AGES]}),
    "too many columns": ("sklearn", {"inputs": [tensor("x", [1, 5], "FP64", [1, 2, 3, 4, 5])]}),
    "many columns without rows": ("sklearn", {"inputs": [tensor("x", [0, 65_000], "FP64", [])]}),
    "two tensors for one": ("tensor", {"inputs": [FLOATS, FLOATS | {"name": "y"}]}),
    "an output that is not there": ("sklearn", {"inputs": FEATURES, "outputs": [{"name": "share"}]}),
    "outputs that are no list": ("sklearn", {"inputs": FEATURES, "outputs": {"name": "predict"}}),
    "an id that is a number": ("sklearn", {"inputs": FEATURES, "id": 7}),
    "no base64": ("wide", {"inputs": [tensor("binary", [1], "BYTES", ["*"])]}),
    "no JSON in an object": ("wide", {"inputs": [tensor("object", [1], "BYTES", ["{"])]}),
    "JSON that is too deep": ("wide", {"inputs": [tensor("list", [1], "BYTES", ["[" * 100_000])]}),
    "bytes for a text": ("table", binary(AGES, tensor("city", [2], "BYTES", [b"\xff", b"\xfe"]))),
    "a boolean of 2": (
        "table",
        (lambda body, headers: (body[:-1] + b"\x02", headers))(
            *binary(tensor("member", [1], "BOOL", [True]))
        ),
    ),
    "half a number": ("table", (lambda body, headers: (body[:-1], headers))(*binary(AGES))),
    "bytes that are left": ("table", (lambda body, headers: (body + b"x", headers))(*binary(AGES))),
    "binary data for another shape": ("table", binary(AGES | {"shape": [3]})),
}


def chat(directory: Path) -> Json:
    """A request to the chat model, both answers, and its OpenAPI document."""
    side = Side(directory, "chat")
    request = {"messages": [{"role": "user", "content": "Hello"}], "temperature": 0.5}
    messages = tensor("messages", [1], "BYTES", [json.dumps(request["messages"])])
    warmth = tensor("temperature", [1], "FP64", [0.5])
    return {
        "request": request,
        "invoked": side.invoke(request),
        "inferred": read(side.infer({"inputs": [messages, warmth]})),
        "openapi": document("chat", "1", side.model.metadata),
    }


def responses() -> Json:
    """MLflow's own example of a request to a responses agent, and the OpenAPI document of its signature."""
    from mlflow.types import responses as types

    signature = ModelSignature(types.RESPONSES_AGENT_INPUT_SCHEMA, types.RESPONSES_AGENT_OUTPUT_SCHEMA)
    flavors = {"python_function": {"loader_module": "mlflow.pyfunc.loaders.responses_agent"}}
    return {
        "request": types.RESPONSES_AGENT_INPUT_EXAMPLE,
        "openapi": document("agent", "1", Model(signature=signature, flavors=flavors)),
    }


class Side:
    """One model behind both protocols."""

    def __init__(self, directory: Path, name: str) -> None:
        self.model = load(directory / name)
        self.schema = self.model.metadata.get_input_schema()
        self.protocol = InferenceProtocol(name, "1", self.model)
        self.name = name

    def infer(self, request: Any) -> Answer:
        body, headers = request if isinstance(request, tuple) else (json.dumps(request).encode(), {})
        answer = self.protocol.answer(Request("POST", f"/v2/models/{self.name}/infer", body, headers))
        assert answer is not None
        return answer

    def invoke(self, request: Json) -> list[Any]:
        body = json.dumps(request)
        try:
            answer = scoring_server.invocations(body, "application/json", self.model, self.schema)
        except MlflowException as error:
            return [error.get_http_status_code(), None]
        return [answer.status, json.loads(answer.response)]


def describe(side: Side) -> Json:
    """The metadata of a model."""
    answer = side.protocol.answer(Request("GET", f"/v2/models/{side.name}", b""))
    assert answer is not None
    return dict(json.loads(answer.body))


def read(answer: Answer) -> list[Any]:
    """The status and the values of the outputs by name, whose number is that of the shape. Or the error."""
    document_ = json.loads(answer.body)
    if answer.status != 200:
        return [answer.status, document_["error"]]
    outputs = {}
    for output in document_["outputs"]:
        count = int(np.prod(output["shape"]))
        assert count == len(output["data"]), output
        parsed = output["parameters"]["content_type"] == "pd_json"
        outputs[output["name"]] = (
            [json.loads(value) for value in output["data"]] if parsed else output["data"]
        )
    return [answer.status, outputs]


def read_binary(answer: Answer) -> dict[str, Any]:
    """The outputs of a binary answer, as arrays by name."""
    length = int(dict(answer.headers)[HEADER_LENGTH])
    head, rest = json.loads(answer.body[:length]), answer.body[length:]
    found = {}
    for output in head["outputs"]:
        if "data" in output:
            found[output["name"]] = output["data"]
            continue
        size = output["parameters"]["binary_data_size"]
        raw, rest = rest[:size], rest[size:]
        if output["datatype"] == "BYTES":
            texts = []
            while raw:
                (count,) = struct.unpack("<I", raw[:4])
                texts.append(raw[4 : 4 + count].decode())
                raw = raw[4 + count :]
            found[output["name"]] = texts
        else:
            dtype = {"FP64": "<f8", "FP32": "<f4", "INT64": "<i8", "BOOL": "?"}[output["datatype"]]
            found[output["name"]] = [
                None if value != value else value for value in np.frombuffer(raw, dtype).tolist()
            ]
    assert not rest
    return found


def mutate(value: Any, dice: random.Random) -> Any:
    """The value with one of its parts replaced by another one."""
    value = copy.deepcopy(value)
    holder, key = [value], 0
    while isinstance(holder[key], (dict, list)) and holder[key] and dice.random() < 0.85:
        holder = holder[key]
        key = dice.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    others = [
        None,
        0,
        -1,
        1.5,
        2**63,
        10**400,
        True,
        "",
        "x",
        [],
        {},
        [[1]],
        [None],
        {"a": 1},
        float("nan"),
        "INT8",
        "BYTES",
        "FP16",
        "BOOL",
        [2],
        [2, 2],
        [0],
        [1, 1, 1],
        "pd",
        "np",
        "base64",
        "pd_json",
        "\ud800",
        [2**62, 4],
        [0, 2**40],
    ]
    if isinstance(holder, dict) and dice.random() < 0.1:
        del holder[key]
    else:
        holder[key] = dice.choice(others)
    return value


def count_mutations(sides: dict[str, Side], dice: random.Random) -> Json:
    """Returns the statuses of many wrong requests to models that answer anything, and the bodies of errors 500."""
    documents = [
        (model, request)
        for model, request, _ in AGREEING.values()
        if model in ("table", "tensor", "tensors", "column", "free", "wide")
        and not isinstance(request, tuple)
    ]
    statuses: dict[str, int] = {}
    faults = []
    for _ in range(2500):
        model, request = dice.choice(documents)
        for _ in range(dice.choice((1, 1, 2, 3))):
            request = mutate(request, dice)
        answer = sides[model].infer(request)
        statuses[str(answer.status)] = statuses.get(str(answer.status), 0) + 1
        json.loads(answer.body)
        if answer.status not in (200, 400):
            faults.append([model, repr(request)[:500], answer.body.decode()[:500]])
    return {"statuses": statuses, "faults": faults[:5]}


def main(directory: Path) -> None:
    logging.disable(logging.CRITICAL)
    save(directory)
    sides = {
        name: Side(directory, name)
        for name in ("table", "tensor", "tensors", "column", "free", "forms", "wide", "sklearn")
    }
    results: Json = {"described": {name: describe(side) for name, side in sides.items()}}
    results |= {"agreeing": {}, "refused": {}, "broken": {}}
    for case, (model, request, invocation) in AGREEING.items():
        results["agreeing"][case] = [read(sides[model].infer(request)), sides[model].invoke(invocation)]
    for case, (model, request) in REFUSED.items():
        results["refused"][case] = read(sides[model].infer(request))
    one = tensor("x", [1], "INT64", [1])
    for form in ("object", "complex"):
        results["broken"][form] = read(sides["forms"].infer({"inputs": [one], "parameters": {"form": form}}))
    for form in ("dates", "bytes"):
        results[form] = read(sides["forms"].infer({"inputs": [one], "parameters": {"form": form}}))
    frame = {"inputs": [one], "parameters": {"form": "frame", "binary_data_output": True}}
    mixed = {"inputs": [one], "parameters": {"form": "frame"}}
    mixed["outputs"] = [{"name": "c"}, {"name": "a", "parameters": {"binary_data": True}}]
    results["binary"] = read_binary(sides["forms"].infer(frame))
    results["binary and JSON"] = read_binary(sides["forms"].infer(mixed))
    chosen = {"inputs": FEATURES, "id": "q-1", "outputs": [{"name": "predict"}]}
    results["whole"] = json.loads(sides["sklearn"].infer(chosen).body)
    metadata = sides["sklearn"].model.metadata
    results["openapi"] = document("sklearn", "1", metadata, directory / "sklearn")
    missing = {"dataframe_split": {"columns": ["f1"], "data": [[1.5]]}}
    try:
        scoring_server.invocations(
            json.dumps(missing), "application/json", sides["sklearn"].model, sides["sklearn"].schema
        )
    except MlflowException as error:
        results["explained"] = explain_columns(error.message, metadata)
    example = json.loads((directory / "sklearn" / "serving_input_example.json").read_text())
    results["invoked"] = [example, sides["sklearn"].invoke(example)[1]]
    results["agents"] = {"chat": chat(directory), "responses": responses()}
    results["mutations"] = count_mutations(sides, random.Random(18))
    print(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""The parts of the OpenInference protocol that need neither MLflow nor NumPy. See tests/contract/test_v2.py, too."""

from __future__ import annotations

import importlib
import json
import math
import struct
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.pod.signatures import COLUMNS, NAMED_TENSORS, PARAMS, TENSOR, metadata


@pytest.fixture
def v2() -> ModuleType:
    return importlib.import_module("serve_v2")


@pytest.fixture
def tensors() -> ModuleType:
    return importlib.import_module("serve_tensors")


def protocol(v2: ModuleType, **signature: Any) -> Any:
    return v2.InferenceProtocol("iris", "7", SimpleNamespace(metadata=metadata(**signature)))


def ask(
    v2: ModuleType, path: str, method: str = "GET", body: bytes = b"", **signature: Any
) -> tuple[int, Any]:
    answer = protocol(v2, **signature).answer(v2.Request(method, path, body))
    assert answer.content_type == "application/json"
    return answer.status, json.loads(answer.body)


@pytest.mark.parametrize("path", ["/", "/invocations", "/ping", "/v1/models", "/v20", "/models/iris"])
def test_other_paths_are_not_of_the_protocol(v2: ModuleType, path: str) -> None:
    assert protocol(v2).answer(v2.Request("GET", path, b"")) is None


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"ready": True}),
        ("/v2/models/iris/ready", {"name": "iris", "ready": True}),
        ("/v2/models/iris/versions/7/ready", {"name": "iris", "ready": True}),
    ],
)
def test_readiness(v2: ModuleType, path: str, document: Any) -> None:
    assert ask(v2, path) == (200, document)


@pytest.mark.parametrize(
    "path",
    [
        "/v2/models/churn",
        "/v2/models/churn/infer",
        "/v2/models/iris/versions/8/ready",
        "/v2/models/iris/explain",
        "/v2/models",
        "/v2/models/iris/versions",
        "/v2/models//infer",
        "/v2/repository/index",
        "/v2/models/iris/versions/7/infer/more",
    ],
)
def test_another_model_version_or_path_is_not_found(v2: ModuleType, path: str) -> None:
    status, document = ask(v2, path, "POST" if path.endswith("infer") else "GET")
    assert status == 404
    assert list(document) == ["error"]


@pytest.mark.parametrize(("method", "path"), [("GET", "/v2/models/iris/infer"), ("POST", "/v2/models/iris")])
def test_another_method_is_refused_with_the_right_one(v2: ModuleType, method: str, path: str) -> None:
    answer = protocol(v2).answer(v2.Request(method, path, b""))
    assert answer.status == 405
    assert answer.headers == (("allow", "GET" if method == "POST" else "POST"),)


def test_a_name_may_be_escaped(v2: ModuleType) -> None:
    route = v2.find_route("/v2/models/a%20b%2Fc/versions/1/infer")
    assert (route.name, route.version, route.action) == ("a b/c", "1", "infer")


def test_the_metadata_of_columns(v2: ModuleType) -> None:
    _, document = ask(v2, "/v2/models/iris", inputs=COLUMNS, outputs=[{"type": "double", "required": True}])
    assert document["versions"] == ["7"]
    assert [(part["name"], part["datatype"], part["shape"]) for part in document["inputs"]] == [
        ("age", "INT64", [-1, 1]),
        ("city", "BYTES", [-1, 1]),
        ("scores", "BYTES", [-1, 1]),
    ]
    assert [part["parameters"]["content_type"] for part in document["inputs"]] == ["np", "str", "pd_json"]
    assert document["outputs"][0]["name"] == "output-0"


def test_the_metadata_of_tensors(v2: ModuleType) -> None:
    _, document = ask(v2, "/v2/models/iris", inputs=NAMED_TENSORS, outputs=TENSOR)
    assert [(part["name"], part["datatype"], part["shape"]) for part in document["inputs"]] == [
        ("ids", "INT64", [-1]),
        ("points", "FP64", [-1, 2]),
    ]
    assert (document["outputs"][0]["datatype"], document["outputs"][0]["shape"]) == ("FP32", [-1, 3])


def test_no_signature_gives_empty_lists(v2: ModuleType) -> None:
    _, document = ask(v2, "/v2/models/iris")
    assert (document["inputs"], document["outputs"]) == ([], [])


X = {"name": "x", "shape": [1], "datatype": "INT64", "data": [1]}
REFUSED: dict[str, Any] = {
    "no object": [1],
    "no inputs": {},
    "no list of inputs": {"inputs": {}},
    "no tensor": {"inputs": []},
    "a tensor without a name": {"inputs": [{"shape": [1]}]},
    "a name that is no text": {"inputs": [X | {"name": 1}]},
    "a tensor that is a text": {"inputs": ["x"]},
    "parameters in a list": {"inputs": [X], "parameters": []},
    "parameters of a tensor in a list": {"inputs": [X | {"parameters": [1]}]},
    "an unknown content type": {"inputs": [X], "parameters": {"content_type": "hg_json"}},
    "an unknown content type of a tensor": {"inputs": [X | {"parameters": {"content_type": "image"}}]},
    "an unknown datatype": {"inputs": [X | {"datatype": "INT128"}]},
    "a datatype that is a list": {"inputs": [X | {"datatype": ["INT64"]}]},
    "no shape": {"inputs": [{"name": "x", "datatype": "INT64", "data": [1]}]},
    "an empty shape": {"inputs": [X | {"shape": []}]},
    "33 dimensions": {"inputs": [X | {"shape": [1] * 33}]},
    "a free dimension": {"inputs": [X | {"shape": [-1]}]},
    "a fraction of a dimension": {"inputs": [X | {"shape": [1.0]}]},
    "a dimension that is true": {"inputs": [X | {"shape": [True]}]},
    "more values than the shape": {"inputs": [X | {"data": [1, 2]}]},
    "fewer values than the shape": {"inputs": [X | {"shape": [2]}]},
    "a shape of a petabyte": {"inputs": [X | {"shape": [2**50]}]},
    "a shape that overflows": {"inputs": [X | {"shape": [2**40] * 32}]},
    "a number of 4,000 digits": {"inputs": [X | {"shape": [10**4000]}]},
    "a billion columns without rows": {"inputs": [X | {"shape": [0, 10**9], "data": []}]},
    "many columns without rows": {"inputs": [X | {"shape": [0, 60_000, 60_000], "data": []}]},
    "no data": {"inputs": [{"name": "x", "shape": [1], "datatype": "INT64"}]},
    "data in an object": {"inputs": [X | {"data": {"0": 1}}]},
    "nested otherwise than the shape": {"inputs": [X | {"shape": [4], "data": [[1, 2], [3, 4]]}]},
    "a row that is too short": {"inputs": [X | {"shape": [2, 2], "data": [[1, 2], [3]]}]},
    "rows and values": {"inputs": [X | {"shape": [2, 2], "data": [[1, 2], 3]}]},
    "binary data that is not there": {"inputs": [X | {"parameters": {"binary_data_size": 8}}]},
    "binary data of a negative size": {"inputs": [X | {"parameters": {"binary_data_size": -1}}]},
    "binary data of a size in words": {"inputs": [X | {"parameters": {"binary_data_size": "8"}}]},
}


@pytest.mark.parametrize("document", REFUSED.values(), ids=REFUSED.keys())
def test_a_request_that_misses_the_protocol_is_the_callers_fault(v2: ModuleType, document: Any) -> None:
    status, answer = ask(v2, "/v2/models/iris/infer", "POST", json.dumps(document).encode())
    assert status == 400
    assert list(answer) == ["error"]
    assert len(answer["error"]) < 1000


@pytest.mark.parametrize("body", [b"", b"nonsense", b"\xff", b"[" * 100_000, b"null", b'{"inputs": '])
def test_a_body_that_is_no_json_is_the_callers_fault(v2: ModuleType, body: bytes) -> None:
    assert ask(v2, "/v2/models/iris/infer", "POST", body)[0] == 400


@pytest.mark.parametrize("length", ["-1", "x", "", "1.5", "9" * 30, "1000", "²"])
def test_a_header_length_that_does_not_fit_is_the_callers_fault(v2: ModuleType, length: str) -> None:
    request = v2.Request("POST", "/v2/models/iris/infer", b"{}", {v2.HEADER_LENGTH: length})
    answer = protocol(v2).answer(request)
    assert answer.status == 400
    assert "Inference-Header-Content-Length" in json.loads(answer.body)["error"]


def test_binary_data_of_texts_has_to_end_with_an_element(v2: ModuleType) -> None:
    texts = {"name": "x", "shape": [0], "datatype": "BYTES", "data": []}
    inference = importlib.import_module("serve_inference")
    head = json.dumps({"inputs": [texts | {"data": [], "parameters": {"binary_data_size": 3}}]}).encode()
    with pytest.raises(ValueError, match="ends within"):
        inference.parse_inference(head + b"abcd", str(len(head)))


@given(st.lists(st.binary(max_size=20), max_size=20))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_elements_of_bytes_come_back(elements: list[bytes]) -> None:
    tensors = importlib.import_module("serve_tensors")
    raw = b"".join(struct.pack("<I", len(element)) + element for element in elements)
    assert tensors.split_bytes(raw, "x") == elements


@given(st.binary(max_size=100))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_elements_or_the_callers_fault(raw: bytes) -> None:
    tensors = importlib.import_module("serve_tensors")
    try:
        elements = tensors.split_bytes(raw, "x")
    except tensors.BadRequestError:
        return
    assert sum(4 + len(element) for element in elements) == len(raw)


@given(
    st.lists(st.one_of(st.integers(0, 5), st.integers(0, 2**70)), min_size=1, max_size=32),
    st.integers(0, 100),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_shape_that_passes_is_no_larger_than_its_values(shape: list[int], found: int) -> None:
    tensors = importlib.import_module("serve_tensors")
    try:
        tensors.check_count(shape, found, "x")
    except tensors.BadRequestError:
        return
    assert math.prod(shape) == found
    assert math.prod(size for size in shape if size) <= max(found, 65_536)


def test_nested_data_becomes_flat(tensors: ModuleType) -> None:
    assert tensors.flatten([[[1], [2]], [[3], [4]]], (2, 2, 1), "x") == [1, 2, 3, 4]
    assert tensors.flatten([1, 2, 3, 4], (2, 2), "x") == [1, 2, 3, 4]


def test_only_parameters_of_the_signature_reach_the_model(v2: ModuleType) -> None:
    given = {"threshold": 0.9, "content_type": "pd", "binary_data_output": True, "headers": {}}
    assert protocol(v2, inputs=COLUMNS, params=PARAMS)._params(given) == {"threshold": 0.9}
    assert protocol(v2, inputs=COLUMNS)._params(given) is None

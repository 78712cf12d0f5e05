"""pod/serve_example.py: the examples of all releases of MLflow, made requests of, and answered by real servers.

The files are those that MLflow 1.30.1, 2.9.2 and 2.15.1 wrote.
"""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from tests.contract.container import SCRIPTS, running, until
from tests.contract.test_serve import environment
from tests.mlflow_env import REQUIREMENTS

from model_operator.registry.clients.mlflow.mlmodel import EXAMPLE_TYPES, parse_mlmodel

FILE = "input_example.json"
PAYLOAD = "serving_input_payload.json"
REQUEST = "serving_input_example.json"
SPLIT = {"artifact_path": FILE, "type": "dataframe", "pandas_orient": "split"}
TENSORS = {"artifact_path": FILE, "type": "ndarray", "format": "tf-serving"}
CSR = {"artifact_path": FILE, "type": "sparse_matrix_csr"}
CSC = {"artifact_path": FILE, "type": "sparse_matrix_csc"}
JSON_OBJECT = {"artifact_path": FILE, "type": "json_object"}
WITH_PARAMS = {"params": "true"}
SPARSE = {"data": [1.5, 2.5], "indices": [1, 0], "indptr": [0, 1, 2], "shape": [2, 3]}
DENSE = [[0.0, 1.5, 0.0], [2.5, 0.0, 0.0]]

SKLEARN = {"python_function": {"loader_module": "mlflow.sklearn"}}


def taking(shape: list[int]) -> dict[str, str]:
    """A signature with one tensor of that shape."""
    return {"inputs": json.dumps([{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": shape}}])}


REQUESTS: dict[str, tuple[Mapping[str, Any], Mapping[str, Any], Any]] = {
    # case: (saved_input_example_info, files, the request)
    "a table": (
        SPLIT,
        {FILE: {"columns": ["a", "b"], "data": [[1.5, "x"], [2.5, None]]}},
        {"dataframe_split": {"columns": ["a", "b"], "data": [[1.5, "x"], [2.5, None]]}},
    ),
    "a table without names, of MLflow 1": (
        SPLIT,
        {FILE: {"data": [[1.5, 2.0]]}},
        {"dataframe_split": {"data": [[1.5, 2.0]]}},
    ),
    "a table without names": (
        SPLIT | {"pandas_orient": "values"},
        {FILE: {"data": [["hello"]]}},
        {"dataframe_split": {"data": [["hello"]]}},
    ),
    "a table and parameters": (
        SPLIT | WITH_PARAMS,
        {FILE: {"inputs": {"columns": ["a"], "data": [[1.5]]}, "params": {"top": 3}}},
        {"dataframe_split": {"columns": ["a"], "data": [[1.5]]}, "params": {"top": 3}},
    ),
    "an array": (TENSORS, {FILE: {"inputs": [[1.5, 2.0]]}}, {"inputs": [[1.5, 2.0]]}),
    "a flat array": (TENSORS, {FILE: {"inputs": [1.5, 2.0]}}, {"inputs": [1.5, 2.0]}),
    "a row for a model of scikit-learn": (
        TENSORS,
        {FILE: {"inputs": [1.5, 2.0]}, "MLmodel": {"flavors": SKLEARN}},
        {"inputs": [[1.5, 2.0]]},
    ),
    "a row for a signature of tables": (
        TENSORS,
        {FILE: {"inputs": [1.5, 2.0]}, "MLmodel": {"flavors": {}, "signature": taking([-1, 2])}},
        {"inputs": [[1.5, 2.0]]},
    ),
    "a flat array for a signature of flat arrays": (
        TENSORS,
        {FILE: {"inputs": [1.5, 2.0]}, "MLmodel": {"flavors": SKLEARN, "signature": taking([-1])}},
        {"inputs": [1.5, 2.0]},
    ),
    "texts for a model of scikit-learn": (
        TENSORS,
        {FILE: {"inputs": ["a", "b"]}, "MLmodel": {"flavors": SKLEARN}},
        {"inputs": ["a", "b"]},
    ),
    "named arrays": (TENSORS, {FILE: {"inputs": {"a": [[1.5]]}}}, {"inputs": {"a": [[1.5]]}}),
    "an array without its key": (TENSORS, {FILE: [[1.5, 2.0]]}, {"inputs": [[1.5, 2.0]]}),
    "a sparse matrix by rows": (CSR, {FILE: SPARSE}, {"inputs": DENSE}),
    "a sparse matrix by columns": (
        CSC,
        {FILE: {"data": [2.5, 1.5], "indices": [1, 0], "indptr": [0, 1, 2, 2], "shape": [2, 3]}},
        {"inputs": DENSE},
    ),
    "a sparse matrix of whole numbers": (
        CSR,
        {FILE: SPARSE | {"data": [1, 2]}},
        {"inputs": [[0, 1, 0], [2, 0, 0]]},
    ),
    "a sparse matrix whose request lacks it": (
        CSR | WITH_PARAMS | {"serving_input_path": PAYLOAD},
        {FILE: {"inputs": SPARSE, "params": {"top": 3}}, PAYLOAD: {"params": {"top": 3}}},
        {"inputs": DENSE, "params": {"top": 3}},
    ),
    "an object": (JSON_OBJECT, {FILE: {"question": "why"}}, {"inputs": {"question": "why"}}),
    "a chat": (JSON_OBJECT, {FILE: {"messages": []}}, {"messages": []}),
    "a chat and parameters": (
        JSON_OBJECT | WITH_PARAMS,
        {FILE: {"inputs": {"messages": []}, "params": {"top": 3}}},
        {"messages": [], "top": 3},
    ),
    "the request of MLflow 2.15": (
        SPLIT | {"serving_input_path": PAYLOAD},
        {FILE: {"data": [[1.5]]}, PAYLOAD: {"dataframe_split": {"data": [[1.5]]}}},
        {"dataframe_split": {"data": [[1.5]]}},
    ),
    "the request of MLflow 2.16": (
        SPLIT | {"serving_input_path": REQUEST},
        {FILE: {"data": [[1.5]]}, REQUEST: {"dataframe_split": {"data": [[1.5]]}}},
        {"dataframe_split": {"data": [[1.5]]}},
    ),
    "another form than any that is known": (JSON_OBJECT | {"type": "protobuf"}, {FILE: {}}, None),
    "nothing": ({}, {}, None),
}


@pytest.fixture
def serve_example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The part of the script as a module; it needs no MLflow."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("serve_example")


def save(directory: Path, info: Mapping[str, Any], files: Mapping[str, Any]) -> Path:
    """Gives the model in the directory that example, in place of any other; makes one where there is none."""
    directory.mkdir(exist_ok=True)
    for name in (FILE, PAYLOAD, REQUEST):
        (directory / name).unlink(missing_ok=True)
    mlmodel = directory / "MLmodel"
    document = yaml.safe_load(mlmodel.read_text()) if mlmodel.exists() else {"flavors": {}}
    document |= files.get("MLmodel", {})
    mlmodel.write_text(yaml.safe_dump(document | ({"saved_input_example_info": dict(info)} if info else {})))
    for name, content in files.items():
        if name == "MLmodel":
            continue
        (directory / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return directory


@pytest.mark.parametrize("case", REQUESTS)
def test_an_example_of_any_release_becomes_a_request(
    serve_example: ModuleType, tmp_path: Path, case: str
) -> None:
    info, files, request = REQUESTS[case]
    example = serve_example.find_example(save(tmp_path, info, files))
    assert (json.loads(example.request()) if example else None) == request


@pytest.mark.parametrize("case", REQUESTS)
def test_the_gate_and_the_self_test_agree_on_an_example(
    serve_example: ModuleType, tmp_path: Path, case: str
) -> None:
    info, files, _ = REQUESTS[case]
    directory = save(tmp_path, info, files)
    by_gate = parse_mlmodel((directory / "MLmodel").read_bytes()).input_example
    assert by_gate == (serve_example.find_example(directory) is not None)


def test_the_gate_knows_the_forms_that_the_self_test_knows(serve_example: ModuleType) -> None:
    assert set(EXAMPLE_TYPES) == set(serve_example.FORMS)


def test_a_sparse_matrix_that_would_be_too_large_in_full_loses_rows(
    serve_example: ModuleType, tmp_path: Path
) -> None:
    wide = {"data": [1.5, 2.5], "indices": [1, 0], "indptr": [0, 1, 1, 1, 2], "shape": [4, 2_000_000]}
    example = serve_example.find_example(save(tmp_path, CSR, {FILE: wide}))
    rows = json.loads(example.request())["inputs"]
    assert [len(row) for row in rows] == [2_000_000] * 2
    assert rows[0][:3] == [0.0, 1.5, 0.0]


def test_a_file_outside_the_model_is_no_example_of_it(serve_example: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text("{}")
    directory = save(tmp_path / "model", SPLIT | {"serving_input_path": "../secret.json"}, {})
    assert serve_example.find_example(directory) is None
    assert "has no such file" in serve_example.describe_absence(directory)


@pytest.mark.parametrize(
    ("info", "content", "asked"),
    [
        pytest.param(TENSORS, {"inputs": [[1.5, 2.0, 0.0]]}, "[[1.5, 2.0, 0.0]]", id="an array"),
        pytest.param(CSR, SPARSE, str(DENSE), id="a sparse matrix"),
        pytest.param(
            TENSORS | WITH_PARAMS,
            {"inputs": {"inputs": [[1.5, 2.0, 0.0]]}, "params": {"top": 3}},
            "[[1.5, 2.0, 0.0]] {'top': 3}",
            id="parameters",
        ),
    ],
)
def test_a_server_tests_its_model_with_the_example_of_an_older_release(
    mlflow_image: tuple[Path, Path], tmp_path: Path, info: Mapping[str, Any], content: Any, asked: str
) -> None:
    requirements, models = mlflow_image
    model = save(shutil.copytree(models / "looks", tmp_path / "model"), info, {FILE: content})
    env = environment(model, SELF_TEST_MODE="Required")
    with running("serve.py", tmp_path / "pod", env, requirements) as server, server.client() as client:
        until(server.listens)
        assert client.get("/health").json()["selfTest"] == "Passed"
        assert f"asked with ndarray {asked}" in server.log


@pytest.mark.parametrize(
    ("name", "info", "content", "code", "says"),
    [
        pytest.param(
            "predict-raises",
            SPLIT,
            {"columns": ["seconds"], "data": [[0.0]]},
            52,
            "no column named colour",
            id="the model fails on it",
        ),
        pytest.param("no-example", SPLIT, "no JSON", 52, "input_example.json, can't be made a", id="broken"),
        pytest.param("no-example", {}, None, 53, "logged without an input_example", id="there is none"),
        pytest.param("no-example", SPLIT, None, 53, "and the model has no such file", id="its file is gone"),
        pytest.param(
            "no-example", SPLIT | {"type": "protobuf"}, {}, 53, "unknown to this server", id="unknown"
        ),
    ],
)
def test_an_example_of_an_older_release_that_fails_names_the_reason(
    mlflow_image: tuple[Path, Path],
    tmp_path: Path,
    name: str,
    info: Mapping[str, Any],
    content: Any,
    code: int,
    says: str,
) -> None:
    requirements, models = mlflow_image
    files = {} if content is None else {FILE: content}
    model = save(shutil.copytree(models / name, tmp_path / "model"), info, files)
    env = environment(model, SELF_TEST_MODE="Required")
    with running(
        "serve.py", tmp_path / "pod", env, requirements, forked=requirements == REQUIREMENTS
    ) as server:
        assert server.ended() == code, server.log
        assert says in server.last_words["message"]

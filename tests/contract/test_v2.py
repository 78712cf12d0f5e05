"""The OpenInference protocol beside /invocations of the same models, in both MLflow images, and beside MLServer."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from tests.contract.container import PATIENCE_SECONDS, free_port, run_with_mlflow, until
from tests.mlflow_env import MLSERVER, OLDEST, REQUIREMENTS, ensure_python

PROGRAMS = Path(__file__).parents[2] / "benchmarks" / "serving_programs.py"


@pytest.fixture(scope="module", params=[REQUIREMENTS, OLDEST], ids=["MLflow 3", "the oldest MLflow"])
def results(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The output of infer_v2.py."""
    directory = tmp_path_factory.mktemp("v2")
    run_with_mlflow("save_echoes.py", str(directory), mlflow=request.param)
    return json.loads(run_with_mlflow("infer_v2.py", str(directory), mlflow=request.param).splitlines()[-1])


def _by_name(predictions: Any) -> dict[str, Any]:
    """The answer of /invocations as the protocol has it: values by the name of the output."""
    if isinstance(predictions, dict):
        return predictions
    if isinstance(predictions, list) and predictions and all(isinstance(row, dict) for row in predictions):
        return {name: [row[name] for row in predictions] for name in predictions[0]}
    return {"predict": predictions}


def _flat(values: Any) -> list[Any]:
    """The values in row-major order, without NaN, which is null in JSON."""
    if isinstance(values, float) and not math.isfinite(values):
        return [None]
    return [part for value in values for part in _flat(value)] if isinstance(values, list) else [values]


def _judge(document: Any, name: str) -> Draft202012Validator:
    """Judges values by a schema of an OpenAPI document."""
    return Draft202012Validator(
        {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    )


def test_predictions_are_those_of_invocations(results: Any) -> None:
    assert len(results["agreeing"]) > 50
    for case, ((status, outputs), (invoked, answer)) in results["agreeing"].items():
        assert (case, status) == (case, invoked)
        if status != 200:
            assert isinstance(outputs, str)
            continue
        expected = _by_name(answer["predictions"])
        if len(expected) > 1:
            assert (case, list(outputs)) == (case, list(expected))
        flat = [_flat(values) for values in outputs.values()]
        assert (case, flat) == (case, [_flat(values) for values in expected.values()])


def test_errors_are_the_callers_or_the_models_as_in_invocations(results: Any) -> None:
    errors = {case: pair[0] for case, pair in results["agreeing"].items() if pair[0][0] != 200}
    assert {case: status for case, (status, _) in errors.items()} == {
        "a column is missing": 400,
        "another type of tensor": 400,
        "a text for a number": 400,
        "a param of another type": 400,
        "the model raises": 500,
    }
    assert "Model is missing inputs ['f0']" in errors["a column is missing"][1]
    assert (
        errors["the model raises"][1] == "the model raised KeyError while predicting (see the server's log)"
    )


def test_a_hostile_request_is_refused(results: Any) -> None:
    assert {case: status for case, (status, _) in results["refused"].items() if status != 400} == {}
    assert max(len(message) for _, message in results["refused"].values()) < 200


def test_mutated_requests_are_never_the_servers_fault(results: Any) -> None:
    assert results["mutations"]["faults"] == []
    statuses = results["mutations"]["statuses"]
    assert sum(statuses.values()) == 2500
    assert min(statuses["200"], statuses["400"]) > 100


def test_a_prediction_without_a_form_is_the_models_fault(results: Any) -> None:
    assert {form: status for form, (status, _) in results["broken"].items()} == {
        "object": 500,
        "complex": 500,
    }


def test_dates_and_bytes_are_texts(results: Any) -> None:
    assert [value[:19] for value in results["dates"][1]["at"]] == [
        "2026-11-30T12:00:00",
        "2026-12-01T00:00:00",
    ]
    assert results["bytes"][1] == {"predict": ["YWJj"]}


def test_binary_outputs(results: Any) -> None:
    assert results["binary"] == {"a": [1, 2], "b": [0.5, None], "c": ["x", "grüße"]}
    # one of them in JSON, and in the order of the request
    assert list(results["binary and JSON"].items()) == [("c", ["x", "grüße"]), ("a", [1, 2])]


def test_the_whole_answer(results: Any) -> None:
    assert results["whole"] == {
        "model_name": "sklearn",
        "model_version": "1",
        "id": "q-1",
        "outputs": [
            {
                "name": "predict",
                "shape": [3, 1],
                "datatype": "BOOL",
                "parameters": {"content_type": "np"},
                "data": [True, False, True],
            }
        ],
    }


def test_the_metadata_is_that_of_the_signature(results: Any) -> None:
    def inputs(model: str) -> list[tuple[str, str, list[int]]]:
        return [
            (part["name"], part["datatype"], part["shape"]) for part in results["described"][model]["inputs"]
        ]

    assert inputs("sklearn") == [(f"f{column}", "FP64", [-1, 1]) for column in range(4)]
    assert inputs("tensor") == [("input-0", "FP32", [-1, 3])]
    assert inputs("tensors") == [("ids", "INT64", [-1]), ("points", "FP64", [-1, 2])]
    assert [datatype for _, datatype, _ in inputs("wide")] == [
        "INT32",
        "FP32",
        "BOOL",
        "BYTES",
        "BYTES",
        "BYTES",
    ]
    assert inputs("free") == []
    assert [part["datatype"] for part in results["described"]["sklearn"]["outputs"]] == ["BOOL"]


def test_the_openapi_document_fits_requests_and_answers(results: Any) -> None:
    document = results["openapi"]
    request, answer = results["invoked"]
    content = document["paths"]["/invocations"]["post"]["requestBody"]["content"]["application/json"]
    assert content["examples"]["input-example"]["value"] == request
    _judge(document, "Request").validate(request)
    _judge(document, "Answer").validate(answer)
    _judge(document, "InferenceResponse").validate(results["whole"])
    for model in results["described"].values():
        _judge(document, "ModelMetadata").validate(model)


def test_a_chat_model_answers_as_in_invocations(results: Any) -> None:
    chat = results["agents"]["chat"]
    (invoked, answer), (status, outputs) = chat["invoked"], chat["inferred"]
    assert (invoked, status) == (200, 200)
    assert "user: Hello (0.5" in answer["choices"][0]["message"]["content"]
    assert {name: _flat(values) for name, values in outputs.items()} == {
        k: _flat(v) for k, v in answer.items()
    }
    _judge(chat["openapi"], "Answer").validate(answer)


@pytest.mark.parametrize("agent", ["chat", "responses"])
def test_the_openapi_document_of_an_agent_has_its_own_form(results: Any, agent: str) -> None:
    document = results["agents"][agent]["openapi"]
    _judge(document, "Request").validate(results["agents"][agent]["request"])
    assert not _judge(document, "Request").is_valid({"dataframe_records": []})
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_mlflows_own_error_is_explained(results: Any) -> None:
    columns = ", ".join(f"'f{column}' (double)" for column in range(4))
    assert results["explained"] == f"The model takes the columns {columns}."


@pytest.fixture(scope="module")
def mlserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A real MLServer with the logistic regression of benchmarks/serving.py."""
    directory = tmp_path_factory.mktemp("mlserver")
    python = ensure_python(MLSERVER)
    subprocess.run(
        [str(python), str(PROGRAMS), "save-v2", str(directory)], check=True, timeout=PATIENCE_SECONDS
    )
    port = free_port()
    environment = {
        "PATH": f"{python.parent}:{os.environ['PATH']}",
        "HOME": str(directory),
        "MLSERVER_HTTP_PORT": str(port),
        "MLSERVER_GRPC_PORT": str(free_port()),
        "MLSERVER_HOST": "127.0.0.1",
        "MLSERVER_DEBUG": "false",
        "MLSERVER_METRICS_ENDPOINT": "",
        "MLSERVER_PARALLEL_WORKERS": "0",
    }
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(python.with_name("mlserver")), "start", str(directory / "logistic-v2")],
            cwd=directory,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client:

                def ready() -> bool:
                    assert process.poll() is None, (directory / "log").read_text()
                    try:
                        return client.get("/v2/models/logistic/ready").status_code == 200
                    except httpx.TransportError:
                        return False

                until(ready)
                yield client
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(PATIENCE_SECONDS)


@pytest.mark.parametrize("mlflow", [REQUIREMENTS, OLDEST], ids=["MLflow 3", "the oldest MLflow"])
def test_the_outputs_are_those_of_mlserver(mlserver: httpx.Client, mlflow: Path, tmp_path: Path) -> None:
    values = [round(0.37 * number % 3 - 1, 3) for number in range(80)]
    tensor = {"name": "input", "shape": [20, 4], "datatype": "FP64", "data": values}
    request = {"id": "q-1", "inputs": [tensor], "outputs": [{"name": "predict"}]}
    (tmp_path / "request.json").write_text(json.dumps(request))
    theirs = mlserver.post("/v2/models/logistic/infer", json=request).json()
    ours = json.loads(run_with_mlflow("infer_logistic.py", str(tmp_path), mlflow=mlflow).splitlines()[-1])
    assert set(theirs["outputs"][0]["data"]) == {0, 1}
    assert {key: ours[key] for key in ("id", "model_name", "outputs")} == {
        key: theirs[key] for key in ("id", "model_name", "outputs")
    }

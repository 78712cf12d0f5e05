"""Streams, the OpenInference (V2) protocol and the OpenAPI page of pod/serve.py, over HTTP."""

from __future__ import annotations

import json
import os
import signal
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.contract.container import Container, free_port, run_with_mlflow, running, until
from tests.contract.test_serve_workers import metric

from model_operator.controller.pod_figures import figures_of

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Saved models that stream, see save_streams.py, and others, see save_models.py."""
    directory = tmp_path_factory.mktemp("models")
    run_with_mlflow("save_streams.py", str(directory))
    run_with_mlflow("save_models.py", str(directory))
    return directory


def environment(model: Path, **more: str) -> dict[str, str]:
    return {
        "MODEL_NAME": model.name,
        "MODEL_VERSION": "3",
        "MODEL_DIR": str(model),
        "SERVER_PORT": str(free_port()),
        "SERVER_WORKERS": "1",
        **more,
    }


@pytest.fixture(scope="module")
def behaves(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """A server of the model that streams as the prompt of its request names."""
    env = environment(models / "behaves", MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT="20")
    with running("serve.py", tmp_path_factory.mktemp("behaves"), env, forked=True) as server:
        until(server.listens)
        yield server


@pytest.fixture(scope="module")
def iris(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """A server of a scikit-learn model."""
    with running(
        "serve.py", tmp_path_factory.mktemp("iris"), environment(models / "iris"), forked=True
    ) as server:
        until(server.listens)
        yield server


def asked(behaviour: str) -> dict[str, Any]:
    return {"dataframe_split": {"columns": ["prompt"], "data": [[behaviour]]}, "stream": True}


def read(server: Container, body: Any, path: str = "/invocations") -> tuple[httpx.Response, str]:
    """A streamed answer and the whole of its text."""
    with server.client() as client, client.stream("POST", path, json=body) as answer:
        text = "".join(answer.iter_text())
    return answer, text


# ---- streams -----------------------------------------------------------------------------------------


def test_a_stream_has_its_events_the_models_name_and_an_end(behaves: Container) -> None:
    answer, text = read(behaves, asked("normal"))
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["X-Model-Version"] == "3"
    assert text == 'data: "first"\n\ndata: "last"\n\ndata: [DONE]\n\n'
    assert metric(behaves, "model_server_first_chunk_seconds_count") >= 1


def test_events_arrive_while_the_model_goes_on(behaves: Container) -> None:
    with behaves.client() as client, client.stream("POST", "/invocations", json=asked("slow")) as answer:
        events = answer.iter_text()
        assert next(events) == 'data: "first"\n\n'
        with behaves.client() as other:
            assert "closed slow" not in behaves.log
            assert other.get("/ping").status_code == 200
        assert "".join(events).endswith("data: [DONE]\n\n")


def test_an_error_in_mid_stream_counts_as_the_models_although_the_status_was_200(behaves: Container) -> None:
    with behaves.client() as client:
        before = figures_of(client.get("/metrics").text)
    answer, text = read(behaves, asked("fail"))
    assert answer.status_code == 200
    assert text.startswith('data: "first"\n\nevent: error\ndata: {"error_code": "INTERNAL_ERROR"')
    assert "[DONE]" not in text
    assert "secret" not in text
    with behaves.client() as client:
        after = figures_of(client.get("/metrics").text)
    assert (after.broken_streams - before.broken_streams, after.requests - before.requests) == (1, 1)


def test_an_error_before_the_first_event_is_an_answer_with_its_status(behaves: Container) -> None:
    answer, text = read(behaves, asked("fail at once"))
    assert answer.status_code == 500
    assert set(json.loads(text)) == {"error_code", "message"}


def test_a_model_that_can_not_stream_names_the_remedy(iris: Container) -> None:
    body = {"dataframe_split": {"columns": ["a"], "data": [[1]]}, "stream": True}
    answer, text = read(iris, body)
    assert answer.status_code == 400
    assert "has no predict_stream method" in json.loads(text)["message"]


def test_when_the_caller_goes_away_the_model_stops_and_the_worker_goes_on(behaves: Container) -> None:
    before = behaves.log.count("closed long")
    with behaves.client() as client, client.stream("POST", "/invocations", json=asked("long")) as answer:
        next(answer.iter_raw(1))
    until(lambda: behaves.log.count("closed long") > before)
    until(lambda: metric(behaves, "model_server_requests_in_flight") == 0)
    assert read(behaves, asked("normal"))[1].endswith("[DONE]\n\n")


def test_a_responses_agent_answers_at_its_own_path_with_and_without_a_stream(
    models: Path, tmp_path: Path
) -> None:
    body: dict[str, Any] = {"input": [{"role": "user", "content": "Where is it?"}]}
    with running("serve.py", tmp_path, environment(models / "responses"), forked=True) as server:
        until(server.listens)
        answer, text = read(server, body | {"stream": True}, "/responses")
        assert answer.status_code == 200
        assert text.startswith("event: response.output_text.delta\ndata: {")
        assert text.endswith("data: [DONE]\n\n")
        whole, text = read(server, body, "/responses")
        assert (whole.status_code, json.loads(text)["id"]) == (200, "r1")
        assert metric(server, 'model_server_requests_total{code="200"}') == 2
        assert metric(server, "model_server_stream_tokens_total") > 0


def test_another_model_has_no_path_for_responses(iris: Container) -> None:
    with iris.client() as client:
        assert client.post("/responses", json={}).status_code == 404


def test_a_drain_waits_for_a_stream(models: Path, tmp_path: Path) -> None:
    with (
        running("serve.py", tmp_path, environment(models / "behaves"), forked=True) as server,
        ThreadPoolExecutor(1) as pool,
    ):
        until(server.listens)
        with server.client() as client, client.stream("POST", "/invocations", json=asked("slow")) as answer:
            events = answer.iter_text()
            next(events)
            server.terminate()
            rest = pool.submit("".join, events)
            assert rest.result().endswith("data: [DONE]\n\n")
        assert server.ended() == 0


def test_a_worker_that_is_killed_in_mid_stream_ends_it_with_an_error(models: Path, tmp_path: Path) -> None:
    with running("serve.py", tmp_path, environment(models / "stubborn"), forked=True) as server:
        until(server.listens)
        with server.client() as client, client.stream("POST", "/invocations", json=asked("hang")) as answer:
            events = answer.iter_text()
            assert next(events) == 'data: "first"\n\n'
            for pid in workers(server):
                os.kill(pid, signal.SIGKILL)
            assert "event: error" in "".join(events)
        until(lambda: metric(server, "model_server_stream_failures_total") == 1)


def workers(server: Container) -> list[int]:
    """The processes of the server that have no child: the workers."""
    parents = {}
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                text = (path / "stat").read_text()
            except OSError:
                continue
            parents[int(path.name)] = int(text.rpartition(")")[2].split()[1])
    family = {server.process.pid}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    return [pid for pid in family if pid not in parents.values()]


# ---- V2 and OpenAPI ----------------------------------------------------------------------------------

ROW = [5.1, 3.5, 1.4, 0.2]


def test_a_caller_of_the_v2_protocol_gets_the_same_prediction(iris: Container) -> None:
    tensor = {"name": "input", "shape": [2, 4], "datatype": "FP64", "data": ROW + ROW}
    with iris.client() as client:
        answer = client.post("/v2/models/iris/infer", json={"id": "a", "inputs": [tensor]})
        versioned = client.post("/v2/models/iris/versions/3/infer", json={"inputs": [tensor]})
    assert answer.status_code == versioned.status_code == 200
    document = answer.json()
    assert (document["id"], document["model_name"], document["model_version"]) == ("a", "iris", "3")
    assert document["outputs"][0]["data"] == versioned.json()["outputs"][0]["data"] == [0, 0]
    assert metric(iris, 'model_server_requests_total{code="200"}') >= 2


def test_a_binary_tensor_is_read_by_its_header(iris: Container) -> None:
    values = struct.pack("<4d", *ROW)
    tensor = {
        "name": "input",
        "shape": [1, 4],
        "datatype": "FP64",
        "parameters": {"binary_data_size": len(values)},
    }
    head = json.dumps({"inputs": [tensor]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}
    with iris.client() as client:
        answer = client.post("/v2/models/iris/infer", content=head + values, headers=headers)
    assert (answer.status_code, answer.json()["outputs"][0]["data"]) == (200, [0])


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2", 200),
        ("GET", "/v2/health/live", 200),
        ("GET", "/v2/health/ready", 200),
        ("GET", "/v2/models/iris", 200),
        ("GET", "/v2/models/iris/ready", 200),
        ("GET", "/v2/models/other", 404),
        ("POST", "/v2/models/iris/infer", 400),
        ("GET", "/v2/models/iris/infer", 405),
    ],
)
def test_the_paths_of_v2_answer(iris: Container, method: str, path: str, status: int) -> None:
    with iris.client() as client:
        answer = client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/json"
    assert ("error" in answer.json()) == (status != 200)


def test_v2_is_not_ready_while_the_pod_drains(models: Path, tmp_path: Path) -> None:
    with (
        running("serve.py", tmp_path, environment(models / "no-example"), forked=True) as server,
        server.client() as client,
        server.client() as other,
        ThreadPoolExecutor(1) as pool,
    ):
        until(server.listens)
        slow = {"dataframe_split": {"columns": ["seconds"], "data": [[2]]}}
        last = pool.submit(other.post, "/invocations", json=slow)
        until(lambda: "predicting for 2 s" in server.log)
        server.terminate()
        until(lambda: client.get("/v2/health/ready").status_code == 503)
        assert last.result().status_code == 200
        assert server.ended() == 0


def test_the_openapi_page_describes_the_models_columns(iris: Container) -> None:
    with iris.client() as client:
        page = client.get("/openapi.json").json()
    assert page["info"]["version"] == "3"
    assert {"/invocations", "/v2/models/iris/infer"} <= set(page["paths"])
    assert "sepal length (cm)" in json.dumps(page)

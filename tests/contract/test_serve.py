"""pod/serve.py with real models in real processes, under the MLflow of the serving image."""

from __future__ import annotations

import asyncio
import importlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.contract.container import (
    SCRIPTS,
    Container,
    free_port,
    run_with_mlflow,
    running,
    until,
    without_passwd,
)
from tests.mlflow_env import OLDEST, REQUIREMENTS

from model_operator.controller.pod_figures import figures_of

JSON = {"Content-Type": "application/json"}
MAX_REQUEST_BYTES = 20_000


def seconds(number: float) -> str:
    """A request to the obedient model: sleep for so long; raise if it is negative."""
    return json.dumps({"dataframe_split": {"columns": ["seconds"], "data": [[number]]}})


def answer(what: str) -> str:
    """A request to the obedient model: answer with nan, infinity or object."""
    return json.dumps({"dataframe_split": {"columns": ["answer"], "data": [[what]]}})


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of saved models, see save_models.py."""
    directory = tmp_path_factory.mktemp("models")
    run_with_mlflow("save_models.py", str(directory))
    return directory


def environment(model: Path, **more: str) -> dict[str, str]:
    return {
        "MODEL_NAME": "iris & Söhne",
        "MODEL_VERSION": "7",
        "MODEL_DIR": str(model),
        "SERVER_PORT": str(free_port()),
        **more,
    }


@pytest.fixture(scope="module")
def iris(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """A server of a scikit-learn model with an example, ready; its image has no prometheus_client."""
    lacking = tmp_path_factory.mktemp("lacking")
    (lacking / "prometheus_client.py").write_text("raise ImportError")
    env = environment(models / "iris", PYTHONPATH=str(lacking))
    with running("serve.py", tmp_path_factory.mktemp("iris"), env) as server:
        until(server.listens)
        yield server


@pytest.fixture(scope="module")
def obedient(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """A server of the obedient model, ready; it was saved without an example. Takes small requests only."""
    env = environment(models / "no-example", MAX_REQUEST_BYTES=str(MAX_REQUEST_BYTES))
    with running("serve.py", tmp_path_factory.mktemp("obedient"), env) as server:
        until(server.listens)
        yield server


def test_a_model_that_answers_its_example_is_served(iris: Container, models: Path) -> None:
    with iris.client() as client:
        example = (models / "iris" / "serving_input_example.json").read_bytes()
        answer = client.post("/invocations", content=example, headers=JSON)
        assert (answer.status_code, answer.json()) == (200, {"predictions": [0, 0]})
        assert client.get("/ping").status_code == 200
        assert client.get("/health").json() == {"status": "ok", "selfTest": "Passed"}
        assert client.get("/version").text.count(".") == 2


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        pytest.param("GET", "/health", "", 200, id="liveness"),
        pytest.param("GET", "/ping", "", 200, id="readiness"),
        pytest.param("GET", "/nowhere", "", 404, id="an unknown path"),
        pytest.param("POST", "/invocations", "{", 400, id="broken JSON"),
        pytest.param("POST", "/invocations", seconds(0), 400, id="columns that the model does not know"),
    ],
)
def test_every_answer_names_model_and_version(
    iris: Container, method: str, path: str, body: str, status: int
) -> None:
    with iris.client() as client:
        answer = client.request(method, path, content=body, headers=JSON)
    assert answer.status_code == status
    assert answer.headers["X-Model-Version"] == "7"
    assert answer.headers["X-Model-Name"] == "iris%20%26%20S%C3%B6hne"


def test_a_wrong_request_is_told_what_is_wrong_without_a_stack_trace(iris: Container) -> None:
    with iris.client() as client:
        answer = client.post("/invocations", content=seconds(0), headers=JSON)
    assert answer.status_code == 400
    assert set(answer.json()) == {"error_code", "message", "expected"}
    assert "Model is missing inputs" in answer.json()["message"]
    assert answer.json()["expected"].startswith("The model takes the columns 'sepal length (cm)' (double), ")


def test_a_request_without_content_type_is_told_so(iris: Container) -> None:
    with iris.client() as client:
        answer = client.post("/invocations", content=b"{}")
    assert answer.status_code == 415
    assert "Content-Type" in answer.json()["message"]


def test_an_exception_in_the_model_is_its_own_fault_and_its_text_not_for_callers(obedient: Container) -> None:
    with obedient.client() as client:
        assert client.get("/health").json()["selfTest"] == "NoExample"
        answer = client.post("/invocations", content=seconds(-1), headers=JSON)
    assert answer.status_code == 500
    assert set(answer.json()) == {"error_code", "message"}
    assert "ZeroDivisionError" in answer.json()["message"]
    assert "secret" not in answer.text
    assert "a secret of the house" in obedient.log


@pytest.mark.parametrize(
    ("what", "predictions"),
    [
        pytest.param("nan", [None, 1.5], id="NaN among numbers"),
        pytest.param("infinity", {"NaN": [None]}, id="an infinity, and a text that says NaN"),
    ],
)
def test_a_number_that_json_does_not_know_is_null(obedient: Container, what: str, predictions: Any) -> None:
    with obedient.client() as client:
        got = client.post("/invocations", content=answer(what), headers=JSON)
    assert (got.status_code, got.headers["Content-Type"]) == (200, "application/json")
    assert got.json() == {"predictions": predictions}


def test_a_prediction_that_is_no_json_is_an_error_without_a_stack_trace(obedient: Container) -> None:
    with obedient.client() as client:
        got = client.post("/invocations", content=answer("object"), headers=JSON)
    assert (got.status_code, got.text) == (500, "Internal Server Error")
    until(lambda: "not JSON serializable" in obedient.log)


# ---- limits ------------------------------------------------------------------------------------------


def chunks_of(size: int) -> Iterator[bytes]:
    for _ in range(0, size, 1000):
        yield b"x" * 1000


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(lambda: b"x" * (MAX_REQUEST_BYTES + 1), id="that says its length"),
        pytest.param(lambda: chunks_of(MAX_REQUEST_BYTES * 50), id="in chunks"),
    ],
)
def test_a_request_that_is_too_large_is_told_the_limit(
    obedient: Container, content: Callable[[], bytes | Iterator[bytes]]
) -> None:
    with obedient.client() as client:
        got = client.post("/invocations", content=content(), headers=JSON)
        assert (got.status_code, got.headers["Connection"]) == (413, "close")
        assert "20000 bytes" in got.json()["message"]
        assert "MAX_REQUEST_BYTES" in got.json()["message"]
        assert got.headers["X-Model-Version"] == "7"
        # the largest request that is taken
        content_ = seconds(0).ljust(MAX_REQUEST_BYTES)
        assert client.post("/invocations", content=content_, headers=JSON).status_code == 200


def test_a_request_that_says_it_is_too_large_is_refused_before_it_is_sent(obedient: Container) -> None:
    head = (
        "POST /invocations HTTP/1.1\r\nHost: model\r\nContent-Type: application/json\r\n"
        "Content-Length: 1000000000000\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", obedient.port), timeout=60) as connection:
        connection.sendall(head.encode())
        assert connection.recv(20).startswith(b"HTTP/1.1 413 ")


@pytest.fixture
def front(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """serve_front.py as a module; it needs no MLflow."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("serve_front")


async def test_a_request_that_never_ends_is_given_up(
    front: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front, "BODY_SECONDS", 0.01)
    counted = []

    class Metrics:
        count_answer = counted.append

    sent: list[dict[str, Any]] = []
    events = iter([{"type": "http.request", "body": b"{", "more_body": True}])

    async def receive() -> dict[str, Any]:
        if (event := next(events, None)) is None:
            await asyncio.Event().wait()
            raise AssertionError("never")
        return event

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/invocations",
        "headers": [(b"content-type", b"application/json")],
    }
    await front.Front(None, Metrics, 100)(scope, receive, send)
    assert sent[0]["status"] == 408
    assert counted == [408]


# ---- metrics -----------------------------------------------------------------------------------------


def samples(server: Container) -> dict[str, float]:
    """What Prometheus would read, by name and labels."""
    with server.client() as client:
        got = client.get("/metrics")
    assert got.status_code == 200
    assert got.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return {
        sample.name
        + "".join(f" {label}={value}" for label, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(got.text)
        for sample in family.samples
    }


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        pytest.param(seconds(0), 200, id="an answer"),
        pytest.param("{", 400, id="a caller's mistake"),
        pytest.param("x" * (MAX_REQUEST_BYTES + 1), 413, id="a request that is too large"),
        pytest.param(seconds(-1), 500, id="an exception in the model"),
        pytest.param(answer("object"), 500, id="a prediction that is no JSON"),
    ],
)
def test_requests_are_counted_by_their_exact_status(obedient: Container, request_: str, code: int) -> None:
    name = f"model_server_requests_total code={code}"
    before = samples(obedient).get(name, 0)
    with obedient.client() as client:
        assert client.post("/invocations", content=request_, headers=JSON).status_code == code
    assert samples(obedient)[name] == before + 1


def test_requests_that_are_no_predictions_are_not_counted(obedient: Container) -> None:
    def count() -> float:
        return sum(v for k, v in samples(obedient).items() if k.startswith("model_server_requests_total"))

    before = count()
    with obedient.client() as client:
        for path in ("/health", "/ping", "/metrics", "/version", "/nowhere"):
            client.get(path)
    assert count() == before


def test_what_is_worked_on_is_told_beside_how_much_can_be(obedient: Container) -> None:
    before = samples(obedient)
    assert before["model_server_concurrency"] == 32
    with ThreadPoolExecutor() as pool, obedient.client() as client:
        slow = pool.submit(client.post, "/invocations", content=seconds(1), headers=JSON)
        until(lambda: samples(obedient)["model_server_requests_in_flight"] == 1)
        assert slow.result().status_code == 200
    until(lambda: samples(obedient)["model_server_requests_in_flight"] == 0)
    after = samples(obedient)
    taken, count = (
        after[name] - before[name]
        for name in ("model_server_request_seconds_sum", "model_server_request_seconds_count")
    )
    assert count == 1
    assert taken >= 1


def test_the_operator_reads_the_requests_and_the_errors_of_a_pod(obedient: Container) -> None:
    with obedient.client() as client:
        before = figures_of(client.get("/metrics").text)
        for request in (seconds(0), "{", seconds(-1)):
            client.post("/invocations", content=request, headers=JSON)
        after = figures_of(client.get("/metrics").text)
    assert (after.requests - before.requests, after.errors - before.errors) == (3, 1)
    assert not after.full


def test_who_has_an_answer_finds_it_counted(obedient: Container) -> None:
    with obedient.client() as client:
        before = figures_of(client.get("/metrics").text)
        for number in range(1, 101):
            client.post("/invocations", content=seconds(-1), headers=JSON)
            assert figures_of(client.get("/metrics").text).errors - before.errors == number


def test_the_metrics_say_what_is_served(obedient: Container) -> None:
    (info,) = (name for name in samples(obedient) if name.startswith("model_server_info"))
    assert info.startswith("model_server_info mlflow=")
    assert info.endswith(" model=iris & Söhne version=7")


def test_an_image_that_can_not_count_serves_and_says_so(iris: Container) -> None:
    with iris.client() as client:
        got = client.get("/metrics")
    assert got.status_code == 501
    assert "prometheus_client" in got.json()["message"]


# ---- the end -----------------------------------------------------------------------------------------


def test_a_kept_connection_is_closed_after_a_while_so_that_its_caller_asks_the_service_anew(
    models: Path, tmp_path: Path
) -> None:
    with (
        running(
            "serve.py", tmp_path, environment(models / "no-example", CONNECTION_SECONDS="1"), forked=True
        ) as server,
        server.client() as client,
    ):
        until(server.listens)
        first = client.get("/version")
        assert "Connection" not in first.headers
        time.sleep(1.1)
        assert client.get("/version").headers["Connection"] == "close"
        assert "Connection" not in client.get("/version").headers


def test_a_drain_answers_what_is_in_flight_and_what_still_comes(models: Path, tmp_path: Path) -> None:
    env = environment(models / "no-example", DRAIN_SECONDS="30")
    enough = threading.Event()

    def stream(server: Container) -> list[int]:
        """Statuses of one request after the other, over connections that are kept."""
        statuses = []
        with server.client() as client:
            while not enough.is_set():
                statuses.append(client.post("/invocations", content=seconds(0), headers=JSON).status_code)
        return statuses

    with (
        running("serve.py", tmp_path, env) as server,
        server.client() as client,
        server.client() as other,
        ThreadPoolExecutor(8) as pool,
    ):
        until(server.listens)
        slow = pool.submit(client.post, "/invocations", content=seconds(3), headers=JSON)
        until(lambda: "predicting for 3 s" in server.log)
        assert other.post("/invocations", content=seconds(0), headers=JSON).status_code == 200
        streams = [pool.submit(stream, server) for _ in range(4)]
        server.terminate()
        until(lambda: other.get("/ping").status_code == 503)
        late = other.post("/invocations", content=seconds(0), headers=JSON)
        assert (late.status_code, late.headers["Connection"]) == (200, "close")
        # what the endpoints' lag still brings, after a preStop sleep
        time.sleep(1)
        enough.set()
        for statuses in (each.result() for each in streams):
            assert statuses
            assert set(statuses) == {200}
        assert slow.result().status_code == 200
        assert slow.result().headers["Connection"] == "close"
        assert server.ended() == 0
        assert server.last_words == {}


def test_a_drain_ends_in_time_although_a_request_hangs(models: Path, tmp_path: Path) -> None:
    env = environment(models / "no-example", DRAIN_SECONDS="3")
    with running("serve.py", tmp_path, env, forked=True) as server, ThreadPoolExecutor() as pool:
        until(server.listens)
        with server.client() as client:
            hanging = pool.submit(client.post, "/invocations", content=seconds(200), headers=JSON)
            until(lambda: "predicting for 200 s" in server.log)
            server.terminate()
            assert server.ended() == 0
            with pytest.raises(Exception, match=r"disconnected|reset|closed"):
                assert hanging.result().status_code == 503


def test_sigterm_while_the_model_loads_ends_at_once(models: Path, tmp_path: Path) -> None:
    with running("serve.py", tmp_path, environment(models / "load-hangs")) as server:
        until(lambda: "the model is loading" in server.log)
        server.terminate()
        assert server.ended() == 143


# ---- the pod's environment ---------------------------------------------------------------------------


def test_a_model_logs_and_asks_for_its_user_in_an_image_that_knows_no_such_user(
    mlflow_image: tuple[Path, Path], tmp_path: Path
) -> None:
    requirements, saved = mlflow_image
    env = environment(saved / "predict-logs") | without_passwd(tmp_path / "site")
    with running("serve.py", tmp_path / "pod", env, requirements) as server, server.client() as client:
        until(server.listens)
        assert client.get("/health").json()["selfTest"] == "Passed"
        assert client.post("/invocations", content=seconds(0), headers=JSON).status_code == 200
        assert f"logged by model-server in file://{tmp_path / 'pod'}/mlruns" in server.log
    # nothing is left where the process stands, or in a home that there is not
    assert list((tmp_path / "pod" / "mlruns").glob("*/*/metrics/requests"))


# ---- definite failures: all started together, judged one by one --------------------------------------


@dataclass(frozen=True)
class Ending:
    model: str
    code: int
    reason: str
    says: tuple[str, ...]
    self_test: str | None = None
    env: tuple[tuple[str, str], ...] = ()


PASSWORD = "p4ss w0rd+&"
ENDINGS = {
    "a model that can't be loaded": Ending(
        "load-raises", 50, "LoadFailed", ("ValueError: the weights are corrupt",)
    ),
    "an error that quotes a password": Ending(
        "load-quotes",
        50,
        "LoadFailed",
        ("no answer from https://***@warehouse.example.com/features?***", "with *** (***)"),
        env=(("WAREHOUSE_PASSWORD", PASSWORD),),
    ),
    "a directory without a model": Ending(".", 50, "LoadFailed", ("MLmodel",)),
    "a library that the image lacks": Ending(
        "load-imports", 51, "RequirementMissing", ("'boosted_trees_of_tomorrow'", "spec.server.image")
    ),
    "an example that makes the model raise": Ending(
        "predict-raises", 52, "SelfTestFailed", ("KeyError: 'no column named colour'", "500"), "Failed"
    ),
    "a prediction that is no number": Ending("predict-nan", 52, "SelfTestFailed", ("NaN",), "Failed"),
    "a prediction that breaks the signature": Ending(
        "predict-three",
        55,
        "SelfTestWrongShape",
        ("the model's own input example", "promises the shape (any)", "has (1, 3)"),
        "Failed",
    ),
    "no answer in time": Ending(
        "predict-hangs",
        52,
        "SelfTestFailed",
        ("within 0.5 s", "spec.selfTest.timeoutSeconds"),
        "Failed",
        (("SELF_TEST_TIMEOUT_SECONDS", "0.5"),),
    ),
    "a payload that the model does not understand": Ending(
        "iris",
        52,
        "SelfTestFailed",
        ("the given payload", "400", "missing inputs"),
        "Failed",
        (("SELF_TEST_PAYLOAD_FILE", "{models}/no-example/payload.json"),),
    ),
    "a required test without an example": Ending(
        "no-example",
        53,
        "SelfTestMissing",
        ("input_example", "spec.selfTest.payload"),
        "NoExample",
        (("SELF_TEST_MODE", "Required"),),
    ),
    "an unknown mode of the self-test": Ending(
        "iris",
        54,
        "ServeMisconfigured",
        ("SELF_TEST_MODE", "'Perhaps'"),
        None,
        (("SELF_TEST_MODE", "Perhaps"),),
    ),
    "a port that is no number": Ending(
        "iris", 54, "ServeMisconfigured", ("SERVER_PORT",), None, (("SERVER_PORT", "http"),)
    ),
    "a limit that is no number": Ending(
        "iris", 54, "ServeMisconfigured", ("MAX_REQUEST_BYTES",), None, (("MAX_REQUEST_BYTES", "64Mi"),)
    ),
    "a payload that is not mounted": Ending(
        "iris",
        54,
        "ServeMisconfigured",
        ("SELF_TEST_PAYLOAD_FILE", "spec.selfTest.payload.configMap"),
        None,
        (("SELF_TEST_PAYLOAD_FILE", "/nowhere/req.json"),),
    ),
}
FRESH = ("a model that can't be loaded", "an example that makes the model raise")
"""Of these the interpreter starts as in a pod; the others are forked with MLflow imported."""


@pytest.fixture(scope="module")
def endings(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Container]]:
    """What became of the server in each case; the cases run three at a time."""
    (models / "no-example" / "payload.json").write_text(seconds(0))

    def until_the_end(case: str, stack: ExitStack) -> Container:
        ending = ENDINGS[case]
        more = {name: value.format(models=models) for name, value in ending.env}
        env = environment(models / ending.model) | more
        # kept open only for the clean-up
        forked = case not in FRESH
        server = stack.enter_context(running("serve.py", tmp_path_factory.mktemp("case"), env, forked=forked))
        server.ended()
        return server

    with ExitStack() as stack, ThreadPoolExecutor(3) as pool:
        yield dict(zip(ENDINGS, pool.map(lambda case: until_the_end(case, stack), ENDINGS), strict=True))


@pytest.mark.parametrize("case", ENDINGS, ids=list(ENDINGS))
def test_a_definite_failure_ends_with_its_code_and_says_why(endings: dict[str, Container], case: str) -> None:
    ending, server = ENDINGS[case], endings[case]
    words: dict[str, Any] = server.last_words
    assert (server.process.returncode, words.get("reason")) == (ending.code, ending.reason), server.log
    assert words.get("selfTest") == ending.self_test
    for part in ending.says:
        assert part in words["message"]
    for secret in (PASSWORD, "p4ss%20w0rd", "51gned"):
        assert secret not in words["message"]


# ---- the shape of a prediction -----------------------------------------------------------------------

WRONG_SHAPES = {
    "a matrix for a list of numbers": "promises the shape (any), the answer has (2, 3)",
    "two classes for three": "promises the shape (any, 3), the answer has (2, 2)",
    "a nested list for a list of numbers": "the answer has (2, 2)",
    "a named tensor missing": "lacks 'kinds'",
    "a named tensor of another width": "promises the shape (any, 2), 'boxes' has (2, 4)",
    "a column missing": "lacks 'share', it has 'species', 'score'",
    "a column missing in records": "lacks 'share'",
    "three columns for two": "promises 2 columns, the answer has the shape (2, 3)",
    "two columns for three": "promises 3 columns, the answer has the shape (2, 2)",
    "a list of numbers for three columns": "promises 3 columns, the answer is a list of 2 single values",
    "an array of numbers for three columns": "promises 3 columns, the answer is a list of 2 single values",
    "a series for three columns": "promises 3 columns, the answer is a list of 2 single values",
    "a list of labels for two columns": "promises 2 columns, the answer is a list of 2 single values",
    "a list with gaps for three columns": "promises 3 columns, the answer is a list of 2 single values",
    "a number for two columns": "promises 2 columns, the answer is a single value",
    "a list for two columns without names": "promises 2 columns, the answer is a list of 2 single values",
    "a table without names for two columns": "lacks 'species', 'share', it has '0', '1'",
    "one column of a table": "lacks 'species', it has 'share'",
    "rows with a gap, and three columns for two": "promises 2 columns, the answer has the shape (1, 3)",
    "other names in one object": "lacks 'species', it has 'label', 'share'",
    "other names where a column holds lists": "lacks 'label', it has 'scores', 'kind'",
    "a list of labels where a column holds lists": "promises 2 columns, the answer is a list of 3 single values",
    "an array for two named tensors": "promises 'boxes', 'kinds', the answer is an array of the shape (2, 2)",
    "text for numbers": "promises numbers, the answer holds text",
    "numbers for text": "promises text, the answer holds numbers",
    "text for numbers in a column": "promises numbers, 'share' holds text",
    "fractions for whole numbers": "promises whole numbers (int64), the answer holds fractions",
    "rows lost by scikit-learn": "2 rows were sent and 1 came back",
    "rows lost without a promise about outputs": "2 rows were sent and 1 came back",
}
UNCLEAR_OR_RIGHT = (
    "as promised",
    "no signature",
    "a signature without outputs",
    "a column vector for a list",
    "a list for a column vector",
    "single precision for double",
    "whole numbers written as floats",
    "whole numbers for floats",
    "truth values for numbers",
    "a forecast of seven for two rows",
    "a tensor of the batch's size",
    "a column more",
    "an optional column missing",
    "a column with gaps",
    "an array as wide as the table",
    "rows with a gap",
    "an array for columns of lists",
    "two tensors in a list",
    "an array for one named tensor",
    "a flat list where rows can't be counted",
    "a text for two columns",
    "an optional column missing in an array",
    "a list for a column and an optional one",
    "objects of one's own for two columns",
    "a series for a column",
    "a flat list for one row of two columns",
    "rows of different length",
    "columns of lists",
    "one text",
    "a stream",
    "probabilities per output",
    "a score by scikit-learn",
    "nothing",
    "an answer that breaks when looked at",
)


@pytest.fixture(scope="module", params=[REQUIREMENTS, OLDEST], ids=["MLflow 3", "the oldest MLflow"])
def contradictions(request: pytest.FixtureRequest) -> dict[str, str]:
    """What is said about each case of check_shapes.py."""
    return dict(json.loads(run_with_mlflow("check_shapes.py", mlflow=request.param)))


@pytest.mark.parametrize("case", WRONG_SHAPES)
def test_a_prediction_is_not_what_the_model_promises(contradictions: dict[str, str], case: str) -> None:
    assert WRONG_SHAPES[case] in contradictions[case]


@pytest.mark.parametrize("case", UNCLEAR_OR_RIGHT)
def test_nothing_is_said_about_a_prediction_that_is_right_or_unclear(
    contradictions: dict[str, str], case: str
) -> None:
    assert contradictions[case] == ""


def test_every_case_of_a_shape_is_judged_here(contradictions: dict[str, str]) -> None:
    assert set(contradictions) == {*WRONG_SHAPES, *UNCLEAR_OR_RIGHT}


# ---- the oldest MLflow that is supported ---------------------------------------------------------------


@pytest.fixture(scope="module")
def old_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same models as the oldest MLflow saves them."""
    directory = tmp_path_factory.mktemp("old-models")
    run_with_mlflow("save_models.py", str(directory), mlflow=OLDEST)
    return directory


def test_the_oldest_mlflow_serves_with_the_same_manners(old_models: Path, tmp_path: Path) -> None:
    env = environment(old_models / "no-example", MAX_REQUEST_BYTES=str(MAX_REQUEST_BYTES))
    with (
        running("serve.py", tmp_path, env, OLDEST) as server,
        server.client() as client,
        ThreadPoolExecutor() as pool,
    ):
        until(server.listens)
        assert client.get("/version").text.startswith("2.22.")
        assert "was not tested" not in server.log
        got = {
            what: client.post("/invocations", content=content, headers=JSON)
            for what, content in {
                "answer": seconds(0),
                "mistake": "{",
                "exception": seconds(-1),
                "nan": answer("nan"),
                "large": "x" * (MAX_REQUEST_BYTES + 1),
            }.items()
        }
        codes = {what: response.status_code for what, response in got.items()}
        assert codes == {"answer": 200, "mistake": 400, "exception": 500, "nan": 200, "large": 413}
        assert got["nan"].json() == {"predictions": [None, 1.5]}
        for what in ("mistake", "exception"):
            assert set(got[what].json()) == {"error_code", "message"}
        assert "secret" not in got["exception"].text
        assert samples(server)["model_server_requests_total code=200"] == 2
        slow = pool.submit(client.post, "/invocations", content=seconds(1), headers=JSON)
        until(lambda: "predicting for 1 s" in server.log)
        server.terminate()
        assert slow.result().status_code == 200
        assert server.ended() == 0


@pytest.mark.parametrize(
    ("model", "code"),
    [
        pytest.param("predict-raises", 52, id="an example that makes the model raise"),
        pytest.param("predict-three", 55, id="a prediction that breaks the signature"),
    ],
)
def test_a_definite_failure_under_the_oldest_mlflow_ends_with_its_code(
    old_models: Path, tmp_path: Path, model: str, code: int
) -> None:
    with running("serve.py", tmp_path, environment(old_models / model), OLDEST) as server:
        assert server.ended() == code, server.log

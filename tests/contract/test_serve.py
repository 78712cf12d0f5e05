"""pod/serve.py with real models in real processes, under the MLflow of the serving image."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.contract.container import PATIENCE_SECONDS, Container, free_port, running, until
from tests.mlflow_env import ensure_python

JSON = {"Content-Type": "application/json"}


def seconds(number: float) -> str:
    """A request to the obedient model: sleep for so long; raise if it is negative."""
    return json.dumps({"dataframe_split": {"columns": ["seconds"], "data": [[number]]}})


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of saved models, see save_models.py."""
    directory = tmp_path_factory.mktemp("models")
    script = Path(__file__).with_name("save_models.py")
    done = subprocess.run(
        [str(ensure_python()), str(script), str(directory)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
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
    """A server of a scikit-learn model with an example, ready."""
    with running("serve.py", tmp_path_factory.mktemp("iris"), environment(models / "iris")) as server:
        until(server.listens)
        yield server


@pytest.fixture(scope="module")
def obedient(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """A server of the obedient model, ready; it was saved without an example."""
    with running(
        "serve.py", tmp_path_factory.mktemp("obedient"), environment(models / "no-example")
    ) as server:
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
    assert set(answer.json()) == {"error_code", "message"}
    assert "Model is missing inputs" in answer.json()["message"]


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
    with running("serve.py", tmp_path, env) as server, ThreadPoolExecutor() as pool:
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


# ---- definite failures: all started together, judged one by one --------------------------------------


@dataclass(frozen=True)
class Ending:
    model: str
    code: int
    reason: str
    says: tuple[str, ...]
    self_test: str | None = None
    env: tuple[tuple[str, str], ...] = ()


ENDINGS = {
    "a model that can't be loaded": Ending(
        "load-raises", 50, "LoadFailed", ("ValueError: the weights are corrupt",)
    ),
    "a directory without a model": Ending(".", 50, "LoadFailed", ("MLmodel",)),
    "a library that the image lacks": Ending(
        "load-imports", 51, "RequirementMissing", ("'boosted_trees_of_tomorrow'", "spec.server.image")
    ),
    "an example that makes the model raise": Ending(
        "predict-raises", 52, "SelfTestFailed", ("KeyError: 'no column named colour'", "500"), "Failed"
    ),
    "a prediction that is no number": Ending("predict-nan", 52, "SelfTestFailed", ("NaN",), "Failed"),
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
    "a payload that is not mounted": Ending(
        "iris",
        54,
        "ServeMisconfigured",
        ("SELF_TEST_PAYLOAD_FILE", "spec.selfTest.payload.configMap"),
        None,
        (("SELF_TEST_PAYLOAD_FILE", "/nowhere/req.json"),),
    ),
}


@pytest.fixture(scope="module")
def endings(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Container]]:
    """What became of the server in each case; the cases run three at a time."""
    (models / "no-example" / "payload.json").write_text(seconds(0))

    def until_the_end(case: str, stack: ExitStack) -> Container:
        ending = ENDINGS[case]
        more = {name: value.format(models=models) for name, value in ending.env}
        env = environment(models / ending.model) | more
        # kept open only for the clean-up
        server = stack.enter_context(running("serve.py", tmp_path_factory.mktemp("case"), env))
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

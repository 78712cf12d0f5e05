"""pod/serve.py answers as MLflow's own scoring application does, byte for byte, whatever it is sent.

Both run as processes of their own, with models that answer with what reached them. Five differences are meant, and
``expected`` has them: an error carries MLflow's message without its stack trace, one about columns also lists the
expected ones, an exception of the model is the server's error 500 without the caller's data, NaN becomes null, which
JSON knows, and a request that is not UTF-8 is the caller's fault also with MLflow 2. Only an exception of the model is
an error 500, since the operator counts those.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from tests.contract.container import PATIENCE_SECONDS, free_port, run_with_mlflow, running, until
from tests.contract.scoring_requests import GENERATED, Request, requests
from tests.mlflow_env import OLDEST, REQUIREMENTS, ensure_python

MOST_BYTES = 1024
"""A longer message is cut."""
NO_TEXT = b'{"error_code": "BAD_REQUEST", "message": "The request is not valid UTF-8."}'
SAME_ORDER = {"PYTHONHASHSEED": "0"}
"""Some errors print a set, in an order that is another one in each process."""
MODELS = ("answers", "chat", "column", "free", "table", "tensor", "tensors")
OUR_EXCEPTIONS = "Encountered an unexpected error while evaluating the model"
"""How MLflow begins the answer over an exception of the model."""


@dataclass(frozen=True)
class Answer:
    status: int
    content_type: str
    body: bytes


@dataclass(frozen=True)
class Servers:
    """MLflow's own server, and ours by model."""

    theirs: httpx.Client
    ours: Mapping[str, httpx.Client]

    def differences(self, model: str, asked: list[Request]) -> list[Any]:
        """The requests that get another answer than expected, each with both answers."""
        found = []
        for content_type, body in asked:
            headers = {"Content-Type": content_type}
            # after an exception, MLflow's server closes a kept connection without a word
            alone = headers | {"Connection": "close"}
            reference = _answer(self.theirs.post(f"/{model}/invocations", content=body, headers=alone))
            ours = _answer(self.ours[model].post("/invocations", content=body, headers=headers))
            if _without_columns(ours) != expected(reference, ours):
                found.append((content_type, body[:300], reference, ours))
        return found


def _answer(response: httpx.Response) -> Answer:
    return Answer(response.status_code, response.headers.get("Content-Type", ""), response.content)


def _without_columns(ours: Answer) -> Answer:
    """The answer without the key that an error about columns has in addition."""
    if _error_in(ours.body) is None:
        return ours
    document = json.loads(ours.body)
    if "expected" not in document:
        return ours
    assert ours.status == 400
    assert document.pop("expected").startswith("The model takes the ")
    return replace(ours, body=json.dumps(document).encode())


def expected(reference: Answer, ours: Answer) -> Answer:
    """What our server has to answer where MLflow's answers ``reference``."""
    error = _error_in(reference.body)
    if error is None:
        if reference.status == 500 and ours.status == 400:
            # MLflow 2 fails over a body that is not UTF-8, which is the caller's fault
            return Answer(400, "application/json", NO_TEXT)
        if reference.status != 200:
            return reference
        return Answer(200, reference.content_type, _with_null(reference.body))
    code, message = error
    if message.startswith(OUR_EXCEPTIONS) and ours.status == 500:
        _, told = _error_in(ours.body) or ("", "")
        assert told.startswith("the model raised "), ours
        return ours
    text = " ".join(message.split())
    data = text.encode(errors="replace")
    if len(data) > MOST_BYTES:
        text = data[: MOST_BYTES - 3].decode(errors="ignore") + "..."
    whole = json.dumps({"error_code": code, "message": text}).encode()
    return Answer(reference.status, "application/json", whole)


def _error_in(body: bytes) -> tuple[str, str] | None:
    """The code and the message of an error as MLflow writes it; None for any other body."""
    try:
        document = json.loads(body)
        return str(document["error_code"]), str(document["message"])
    except (ValueError, TypeError, KeyError):
        return None


def _with_null(body: bytes) -> bytes:
    if b"NaN" not in body and b"Infinity" not in body:
        return body
    found = []
    value = json.loads(body, parse_constant=found.append)
    return json.dumps(value).encode() if found else body


@pytest.fixture(scope="module", params=[REQUIREMENTS, OLDEST], ids=["MLflow 3", "MLflow 2"])
def servers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """The servers of that MLflow; ours start at once, since each takes seconds."""
    directory = tmp_path_factory.mktemp("echoes")
    run_with_mlflow("save_echoes.py", str(directory), mlflow=request.param)
    newest = request.param == REQUIREMENTS
    with ExitStack() as stack:
        theirs = stack.enter_context(_reference(directory, request.param))
        containers = {}
        for model in MODELS:
            environment = {
                "MODEL_NAME": model,
                "MODEL_VERSION": "1",
                "MODEL_DIR": str(directory / model),
                "SERVER_PORT": str(free_port()),
                "SELF_TEST_MODE": "LoadOnly",
                **SAME_ORDER,
            }
            where = tmp_path_factory.mktemp(model)
            containers[model] = stack.enter_context(
                running("serve.py", where, environment, mlflow=request.param, forked=newest)
            )
        ours = {}
        for model, container in containers.items():
            until(container.listens)
            ours[model] = stack.enter_context(container.client())
        yield Servers(theirs, ours)


class _Reference:
    """MLflow's own scoring application around every model of a directory, in a process of its own."""

    def __init__(self, directory: Path, mlflow: Path) -> None:
        self._log = (directory / "reference.log").open("wb")
        self._directory = directory
        self._port = free_port()
        self._process = subprocess.Popen(
            [
                str(ensure_python(mlflow)),
                str(Path(__file__).with_name("serve_reference.py")),
                str(directory),
                str(self._port),
            ],
            cwd=directory,
            env=os.environ | SAME_ORDER,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def __enter__(self) -> httpx.Client:
        self._client = httpx.Client(
            base_url=f"http://127.0.0.1:{self._port}", timeout=PATIENCE_SECONDS, trust_env=False
        )
        until(self._answers)
        return self._client

    def _answers(self) -> bool:
        assert self._process.poll() is None, (self._directory / "reference.log").read_text()
        try:
            return self._client.get("/free/ping").status_code == 200
        except httpx.TransportError:
            return False

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._process.kill()
        self._process.wait()
        self._log.close()


def _reference(directory: Path, mlflow: Path) -> _Reference:
    return _Reference(directory, mlflow)


@pytest.mark.parametrize("model", MODELS)
def test_every_form_of_request_gets_the_answer_of_mlflow(servers: Servers, model: str) -> None:
    asked = requests()
    assert len(asked) > 300
    assert servers.differences(model, asked) == []


@pytest.mark.parametrize("model", ["table", "tensor", "free", "chat"])
def test_a_request_that_nobody_thought_of_gets_the_answer_of_mlflow(servers: Servers, model: str) -> None:
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(GENERATED)
    def compare(request: Request) -> None:
        assert servers.differences(model, [request]) == []

    compare()


def test_no_wrong_request_counts_against_the_model(servers: Servers) -> None:
    """The models that echo raise nothing, so that every 5xx would be MLflow's answer to a caller's fault."""
    for model in ("chat", "column", "free", "table", "tensor", "tensors"):
        client = servers.ours[model]
        for content_type, body in requests():
            status = client.post(
                "/invocations", content=body, headers={"Content-Type": content_type}
            ).status_code
            assert status < 500, (model, content_type, body)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/version"),
        ("GET", "/invocations"),
        ("GET", "/nowhere"),
        ("PUT", "/invocations"),
        ("POST", "/version"),
    ],
)
def test_other_paths_and_methods_get_the_answer_of_mlflow(servers: Servers, method: str, path: str) -> None:
    theirs = _answer(servers.theirs.request(method, f"/free{path}"))
    assert _answer(servers.ours["free"].request(method, path)) == theirs

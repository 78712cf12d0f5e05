"""Micro-batching of pod/serve.py: the answers are those that each request would get by itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.contract.container import Container, free_port, run_with_mlflow, running, until

FORMS = ("array", "list", "series", "table", "matrix", "total", "mapping")
ROW_BY_ROW = FORMS[:5]
JSON = {"Content-Type": "application/json"}


def environment(model: Path, **more: str) -> dict[str, str]:
    return {
        "MODEL_NAME": model.name,
        "MODEL_VERSION": "1",
        "MODEL_DIR": str(model),
        "SERVER_PORT": str(free_port()),
        "SERVER_WORKERS": "1",
        **more,
    }


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of saved models, see save_tables.py."""
    directory = tmp_path_factory.mktemp("tables")
    run_with_mlflow("save_tables.py", str(directory))
    return directory


@pytest.fixture(scope="module")
def servers(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Container]]:
    """By form, a server that predicts up to 8 rows together; and one more by itself for each."""
    with ExitStack() as stack:
        found = {}
        for form in FORMS:
            for name, more in {
                form: {"BATCH_MAX_ROWS": "8", "BATCH_MAX_WAIT_MILLISECONDS": "800"},
                f"{form} alone": {},
            }.items():
                where = tmp_path_factory.mktemp(name)
                env = environment(models / form, **more)
                found[name] = stack.enter_context(running("serve.py", where, env, forked=True))
        for server in found.values():
            until(server.listens)
        yield found


def rows(*values: tuple[Any, ...]) -> str:
    return json.dumps({"dataframe_split": {"columns": ["x", "y"], "data": values}})


REQUESTS = (
    rows((1, 2)),
    rows((3, 4.5), (5, 6)),
    json.dumps({"dataframe_records": [{"x": 7, "y": 8}]}),
    rows((-1, 0)),
    json.dumps({"inputs": {"x": [1.0], "y": [2.0]}}),
    rows(("1", "2")),
    rows(*((float(number), 0.5) for number in range(9))),
    "{",
)


def ask(server: Container, content: str) -> httpx.Response:
    with server.client() as client:
        return client.post("/invocations", content=content, headers=JSON)


def together(server: Container, contents: tuple[str, ...]) -> list[httpx.Response]:
    with ThreadPoolExecutor(len(contents)) as pool:
        return list(pool.map(lambda content: ask(server, content), contents))


@pytest.mark.parametrize("form", FORMS)
def test_requests_at_once_get_the_answers_of_requests_by_themselves(
    servers: dict[str, Container], form: str
) -> None:
    alone = [ask(servers[f"{form} alone"], content) for content in REQUESTS]
    for answer, expected in zip(together(servers[form], REQUESTS), alone, strict=True):
        assert (answer.status_code, answer.content) == (expected.status_code, expected.content)
        assert answer.headers["Content-Type"] == expected.headers["Content-Type"]


@pytest.mark.parametrize("form", ROW_BY_ROW)
def test_their_rows_are_predicted_together_up_to_the_limit(servers: dict[str, Container], form: str) -> None:
    server = servers[form]
    before = len(server.log)
    answers = together(server, tuple(rows((number, 1), (number, 2)) for number in range(4)))
    assert {answer.status_code for answer in answers} == {200}
    sizes = [int(size) for size in re.findall(r"got (\d+) rows", server.log[before:])]
    assert sum(sizes) == 8
    assert len(sizes) < 4
    assert max(sizes) <= 8


def test_a_request_that_ends_the_worker_costs_the_others_of_its_batch_nothing(
    models: Path, tmp_path: Path
) -> None:
    # one at a time in the worker: whatever is there beside the one that ends it is lost with it
    env = environment(models / "array", MAX_CONCURRENCY="1", BATCH_MAX_ROWS="8") | {
        "BATCH_MAX_WAIT_MILLISECONDS": "800"
    }
    with running("serve.py", tmp_path, env, forked=True) as server:
        until(server.listens)
        answers = together(server, (rows((1, 2)), rows((2e6, 0)), rows((3, 4))))
        assert [answer.status_code for answer in answers] == [200, 500, 200]

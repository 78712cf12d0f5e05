"""The worker processes of pod/serve.py, with a model that crashes, blocks, forks and exits on request."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.contract.container import Container, free_port, run_with_mlflow, running, until

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of saved models, see save_unruly.py."""
    directory = tmp_path_factory.mktemp("unruly")
    run_with_mlflow("save_unruly.py", str(directory))
    return directory


def environment(model: Path, **more: str) -> dict[str, str]:
    return {
        "MODEL_NAME": "unruly",
        "MODEL_VERSION": "1",
        "MODEL_DIR": str(model),
        "SERVER_PORT": str(free_port()),
        "SERVER_WORKERS": "2",
        "OPENBLAS_NUM_THREADS": "1",
        **more,
    }


@pytest.fixture
def server(models: Path, tmp_path: Path) -> Iterator[Container]:
    """A server with two workers, ready."""
    with running("serve.py", tmp_path, environment(models / "unruly"), forked=True) as container:
        until(container.listens)
        yield container


def content(do: str, much: float = 0) -> str:
    return json.dumps({"dataframe_split": {"columns": ["do", "much"], "data": [[do, much]]}})


def ask(server: Container, do: str, much: float = 0) -> httpx.Response:
    """The answer to one request over a connection of its own."""
    with server.client() as client:
        return client.post("/invocations", content=content(do, much), headers=JSON)


def pid(server: Container) -> int:
    """The pid of a worker that answers."""
    answer = ask(server, "pid")
    assert answer.status_code == 200, answer.text
    return int(answer.json()["predictions"][0])


def pids(server: Container, count: int) -> set[int]:
    """The pids of all workers: each of so many requests at once gets to another one."""
    found: set[int] = set()

    def all_found() -> bool:
        with ThreadPoolExecutor(count) as pool:
            answers = list(pool.map(lambda _: ask(server, "sleep", 0.2), range(count)))
        found.update(int(answer.json()["predictions"][0]) for answer in answers)
        return len(found) >= count

    until(all_found)
    return found


def metric(server: Container, name: str) -> float:
    """The value of a metric with these labels, 0 if there is none."""
    with server.client() as client:
        lines = client.get("/metrics").text.splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(name + " ")), 0.0)


# ---- one model, several processes --------------------------------------------------------------------


def test_workers_share_a_model_that_was_loaded_once(server: Container) -> None:
    assert len(pids(server, 2)) == 2
    assert server.log.count("loaded by ") == 1
    assert "workers: 2" in server.log


def test_a_model_with_threads_is_loaded_by_each_worker_and_the_log_has_the_reason(
    models: Path, tmp_path: Path
) -> None:
    with running("serve.py", tmp_path, environment(models / "with-thread"), forked=True) as server:
        until(server.listens)
        assert len(pids(server, 2)) == 2
        assert server.log.count("loaded by ") == 2
        assert "each worker loads the model for itself" in server.log
        assert "has started threads (refresh)" in server.log
        before = pid(server)
        os.kill(before, signal.SIGKILL)
        until(lambda: metric(server, 'model_server_worker_deaths_total{code="137"}') == 1)
        until(lambda: server.log.count("loaded by ") == 3)
        assert before not in pids(server, 2)


def test_the_only_worker_of_a_model_that_cannot_be_copied_ends_the_server_with_it(
    models: Path, tmp_path: Path
) -> None:
    env = environment(models / "with-thread", SERVER_WORKERS="1")
    with running("serve.py", tmp_path, env, forked=True) as server:
        until(server.listens)
        assert ask(server, "exit", 7).status_code == 500
        assert server.ended() == 7


def test_workers_draw_different_random_numbers(server: Container) -> None:
    numbers: dict[str, float] = {}

    def both_drew() -> bool:
        with ThreadPoolExecutor(2) as pool:
            drawn = [
                answer.json()["predictions"][0]
                for answer in pool.map(lambda _: ask(server, "random"), range(2))
            ]
        numbers.update({str(number): number for number in drawn})
        assert len(set(drawn)) == 2
        return len(numbers) >= 10

    until(both_drew)


def test_the_models_own_metrics_are_summed_over_the_workers(server: Container) -> None:
    both = pids(server, 2)
    counted = 0
    seen: set[int] = set()
    while seen != both:
        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(lambda _: ask(server, "count", 1), range(2)))
        counted += len(answers)
        seen |= {int(answer.json()["predictions"][0]) for answer in answers}
    assert metric(server, "unruly_requests_total") == counted


# ---- workers that end --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("do", "code"),
    [pytest.param("crash", 139, id="a crash"), pytest.param("exit", 3, id="an exit")],
)
def test_a_request_that_ends_its_worker_is_the_models_error_and_the_next_is_answered(
    server: Container, do: str, code: int
) -> None:
    answer = ask(server, do, 3)
    assert answer.status_code == 500
    assert "the model ended its process" in answer.json()["message"]
    assert pid(server)
    until(lambda: metric(server, f'model_server_worker_deaths_total{{code="{code}"}}') == 1)
    assert len(pids(server, 2)) == 2
    assert metric(server, 'model_server_requests_total{code="500"}') == 1


def test_a_worker_that_is_killed_costs_only_its_own_request(server: Container) -> None:
    with ThreadPoolExecutor(2) as pool:
        lost = pool.submit(ask, server, "sleep", 100)
        until(lambda: "does sleep 100" in server.log)
        busy = pids_of_sleepers(server)
        answers = [ask(server, "pid").status_code for _ in range(20)]
        os.kill(busy, signal.SIGKILL)
        assert lost.result().status_code == 500
    answers += [ask(server, "pid").status_code for _ in range(20)]
    assert set(answers) == {200}
    assert len(pids(server, 2)) == 2
    assert server.log.count("loaded by ") == 1


def pids_of_sleepers(server: Container) -> int:
    """The pid of the worker that does not answer while the other one does."""
    free = pid(server)
    parent = _parent(free)
    workers = [found for found in _processes() if _parent(found) == parent]
    (busy,) = (found for found in workers if found != free)
    return busy


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _parent(found: int) -> int:
    try:
        return int((Path("/proc") / str(found) / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def test_a_model_that_ends_every_worker_ends_the_server_with_the_same_code(server: Container) -> None:
    statuses = []
    with contextlib.suppress(httpx.TransportError):
        while True:
            statuses.append(ask(server, "crash").status_code)
    assert server.ended() == 139
    assert set(statuses) == {500}
    assert "none has answered a request since" in server.log


def test_when_the_process_that_loaded_the_model_is_killed_the_next_worker_loads_it_again(
    server: Container,
) -> None:
    worker = pid(server)
    os.kill(_parent(worker), signal.SIGKILL)
    until(lambda: "the process that loaded the model ended with exit code 137" in server.log)
    assert ask(server, "pid").status_code == 200
    os.kill(worker, signal.SIGKILL)
    until(lambda: server.log.count("loaded by ") == 2)
    assert len(pids(server, 2) - {worker}) == 2


# ---- a model that is slow, or takes the process for its own -------------------------------------------


def test_health_and_metrics_answer_while_every_worker_is_blocked(server: Container) -> None:
    with ThreadPoolExecutor(2) as pool:
        blocked = [pool.submit(ask, server, "hold the GIL", 4) for _ in range(2)]
        until(lambda: server.log.count("does hold the GIL") == 2)
        with server.client() as client:
            for path in ("/health", "/ping", "/metrics"):
                assert client.get(path).status_code == 200
            assert not any(one.done() for one in blocked)
        assert [one.result().status_code for one in blocked] == [200, 200]


def test_a_pod_whose_workers_are_all_blocked_is_not_ready_until_they_go_on(server: Container) -> None:
    with ThreadPoolExecutor(2) as pool, server.client() as client:
        blocked = [pool.submit(ask, server, "hold the GIL", 12) for _ in range(2)]
        until(lambda: client.get("/ping").status_code == 503)
        assert client.get("/ping").json() == {"status": "no worker answers"}
        assert client.get("/v2/health/ready").status_code == 503
        assert (client.get("/health").status_code, client.get("/v2/health/live").status_code) == (200, 200)
        assert [one.result().status_code for one in blocked] == [200, 200]
        until(lambda: client.get("/ping").status_code == 200)


def test_a_model_that_waits_for_another_service_gets_more_requests_at_once(server: Container) -> None:
    with ThreadPoolExecutor(8) as pool:
        slow = [pool.submit(ask, server, "sleep", 5) for _ in range(8)]
        until(lambda: server.log.count("does sleep 5") == 8)
        assert not any(one.done() for one in slow)
        assert {one.result().status_code for one in slow} == {200}


def test_a_model_that_changes_signal_handlers_and_directory_is_served_and_drained(
    models: Path, tmp_path: Path
) -> None:
    with running("serve.py", tmp_path, environment(models / "changes-process"), forked=True) as server:
        until(server.listens)
        assert ask(server, "exit", 3).status_code == 500
        until(lambda: metric(server, 'model_server_worker_deaths_total{code="3"}') == 1)
        assert len(pids(server, 2)) == 2
        server.terminate()
        assert server.ended() == 0


@pytest.mark.parametrize("do", ["system exit", "print", "fork"])
def test_whatever_a_model_does_to_its_process_the_server_answers_and_drains(
    server: Container, do: str
) -> None:
    first = ask(server, do, 3_000_000 if do == "print" else 2)
    assert first.status_code == (500 if do == "system exit" else 200)
    assert ask(server, "pid").status_code == 200
    with ThreadPoolExecutor(1) as pool:
        last = pool.submit(ask, server, "sleep", 1)
        until(lambda: "does sleep 1" in server.log)
        server.terminate()
        assert last.result().status_code == 200
        assert server.ended() == 0


# ---- too many ----------------------------------------------------------------------------------------


@pytest.fixture
def narrow(models: Path, tmp_path: Path) -> Iterator[Container]:
    """A server that works on one request, and lets one wait."""
    env = environment(models / "unruly", SERVER_WORKERS="1", MAX_CONCURRENCY="1", MAX_QUEUE="1")
    with running("serve.py", tmp_path, env, forked=True) as container:
        until(container.listens)
        yield container


def test_a_request_beyond_the_queue_is_turned_away_and_the_others_are_answered(narrow: Container) -> None:
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(ask, narrow, "sleep", 3)
        until(lambda: "does sleep 3" in narrow.log)
        second = pool.submit(ask, narrow, "pid")
        until(lambda: metric(narrow, "model_server_requests_in_flight") == 2)
        third = ask(narrow, "pid")
        assert (third.status_code, third.headers["Retry-After"]) == (503, "1")
        assert "spec.server.maxConcurrency" in third.json()["message"]
        assert [first.result().status_code, second.result().status_code] == [200, 200]
    assert metric(narrow, "model_server_saturated_total") == 1
    assert metric(narrow, 'model_server_requests_total{code="503"}') == 1


def test_without_a_queue_a_model_that_waits_still_gets_requests_at_once(models: Path, tmp_path: Path) -> None:
    env = environment(models / "unruly", SERVER_WORKERS="1", MAX_CONCURRENCY="4", MAX_QUEUE="0")
    with (
        running("serve.py", tmp_path, env, forked=True) as server,
        ThreadPoolExecutor(4) as pool,
    ):
        until(server.listens)
        slow = [pool.submit(ask, server, "sleep", 4) for _ in range(4)]
        until(lambda: server.log.count("does sleep 4") == 4)
        assert ask(server, "pid").status_code == 503
        assert {one.result().status_code for one in slow} == {200}


def test_a_request_whose_caller_is_gone_is_not_predicted(narrow: Container) -> None:
    body = content("random").encode()
    head = "POST /invocations HTTP/1.1\r\nHost: model\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(body)}\r\n\r\n"
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask, narrow, "sleep", 3)
        until(lambda: "does sleep 3" in narrow.log)
        with socket.create_connection(("127.0.0.1", narrow.port), timeout=60) as connection:
            connection.sendall(head.encode() + body)
            until(lambda: metric(narrow, "model_server_requests_in_flight") == 2)
        until(lambda: metric(narrow, "model_server_requests_in_flight") == 1)
        assert first.result().status_code == 200
    assert ask(narrow, "pid").status_code == 200
    assert "does random" not in narrow.log
    assert metric(narrow, 'model_server_requests_total{code="499"}') == 1


def test_a_request_that_takes_too_long_is_answered_with_mlflows_words(models: Path, tmp_path: Path) -> None:
    env = environment(models / "unruly", MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT="1")
    with running("serve.py", tmp_path, env, forked=True) as server:
        until(server.listens)
        late = ask(server, "sleep", 2)
        assert (late.status_code, late.text) == (504, "Request processing time exceeded limit")
        assert ask(server, "pid").status_code == 200


def test_an_impossible_number_of_workers_is_reported_with_the_variable(models: Path, tmp_path: Path) -> None:
    env: dict[str, Any] = environment(models / "unruly", SERVER_WORKERS="many")
    with running("serve.py", tmp_path, env, forked=True) as server:
        assert server.ended() == 54
        assert "SERVER_WORKERS is 'many'" in server.last_words["message"]

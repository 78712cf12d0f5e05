"""The stream of requests of the demo and the end-to-end tests: that nothing failed must mean something."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator

import pytest
from tests.workbench.load_script import Counting, Sender


class Script(http.server.BaseHTTPRequestHandler):
    """Answers as the path says, on connections that stay open."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        status, version, body = {
            "/good": (200, "2", {"predictions": [1]}),
            "/broken": (503, "2", {"message": "no"}),
            "/erring": (500, "2", {"message": "no"}),
            "/nameless": (200, "", {"predictions": [1]}),
            "/empty": (200, "2", {"predictions": []}),
        }.get(self.path, (0, "", {}))
        if not status:
            self.close_connection = True
            return
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        if version:
            self.send_header("X-Model-Version", version)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Not a word."""


@pytest.fixture
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Script) as listening:
        listening.daemon_threads = True
        threading.Thread(target=listening.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()


def counted(target: str, keep_alive: bool, times: int = 2) -> dict[str, object]:
    counting = Counting()
    sender = Sender(counting, target, 1.0, keep_alive)
    for _ in range(times):
        sender.send()
    sender.close()
    return dict(json.loads(counting.snapshot()))


@pytest.mark.parametrize("keep_alive", [False, True], ids=["fresh connections", "a kept connection"])
def test_good_answers_are_counted_by_version(server: str, keep_alive: bool) -> None:
    figures = counted(f"{server}/good", keep_alive)
    assert (figures["sent"], figures["failed"], figures["answered"]) == (2, 0, {"2": 2})


@pytest.mark.parametrize("keep_alive", [False, True], ids=["fresh connections", "a kept connection"])
@pytest.mark.parametrize(
    "path",
    [
        pytest.param("broken", id="an error"),
        pytest.param("nameless", id="an answer that names no version"),
        pytest.param("empty", id="an answer without a prediction"),
        pytest.param("dropped", id="a connection that ends without an answer"),
    ],
)
def test_everything_else_is_a_failure(server: str, path: str, keep_alive: bool) -> None:
    figures = counted(f"{server}/{path}", keep_alive)
    assert (figures["sent"], figures["failed"], figures["answered"]) == (2, 2, {})


@pytest.mark.parametrize("keep_alive", [False, True], ids=["fresh connections", "a kept connection"])
def test_a_models_own_error_is_counted_apart(server: str, keep_alive: bool) -> None:
    figures = counted(f"{server}/erring", keep_alive)
    assert (figures["sent"], figures["failed"], figures["erred"]) == (2, 0, {"2": 2})


def test_a_change_of_version_is_told_with_its_time() -> None:
    counting = Counting()
    for version in ("1", "1", "2", "1"):
        counting.answered(version, 0.1)
    assert [change["version"] for change in json.loads(counting.snapshot())["changes"]] == ["1", "2", "1"]


def test_nobody_there_is_a_failure() -> None:
    assert counted("http://127.0.0.1:1/good", keep_alive=False)["failed"] == 2

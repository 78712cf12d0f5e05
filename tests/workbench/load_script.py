"""Runs in a pod: sends prediction requests at a constant rate and counts the answers by model version.

TARGET is the URL to post to, RATE the requests per second: half of them on a fresh connection each, half on
connections that are kept alive. GET /counters on port 9000 answers what was counted so far.
Standard library only, since it runs in the serving image.
"""

from __future__ import annotations

import http.client
import http.server
import json
import os
import select
import threading
import time
import urllib.parse
from typing import Any

THREADS = 2
"""Of each kind."""
TIMEOUT_SECONDS = 10
KEPT_FAILURES = 20
KEPT_CHANGES = 500
LONG_GAP_SECONDS = 1.0
"""An answer after such a time without any is told like a change of version."""
BODY = json.dumps(
    {
        "dataframe_split": {
            "columns": ["sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"],
            "data": [[6.1, 2.8, 4.7, 1.2]],
        }
    }
).encode()


class ModelError(Exception):
    """The model answered with a server's error; the text is its version."""


class Counting:
    """What was sent and what came back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last_good = self._last_fresh = 0.0
        self.figures: dict[str, Any] = {
            "sent": 0,
            "failed": 0,
            "answered": {},
            "erred": {},
            "changes": [],
            "first": {},
            "last": {},
            "failures": [],
            "slowest": 0.0,
            "longestGap": 0.0,
            "reconnects": 0,
        }

    def answered(self, version: str, seconds: float, fresh: bool = True) -> None:
        """A good answer; ``fresh`` says that its connection was, so that it tells where the Service points."""
        now = time.time()
        with self._lock:
            figures = self.figures
            figures["sent"] += 1
            figures["answered"][version] = figures["answered"].get(version, 0) + 1
            changes = figures["changes"]
            resumed = now - self._last_fresh > LONG_GAP_SECONDS
            if fresh and (not changes or changes[-1]["version"] != version or resumed):
                change = {"at": now, "version": version}
                figures["changes"] = [*changes, change][-KEPT_CHANGES:]
            self._last_fresh = now if fresh else self._last_fresh
            figures["first"].setdefault(version, now)
            figures["last"][version] = now
            figures["slowest"] = max(figures["slowest"], seconds)
            if self._last_good:
                figures["longestGap"] = max(figures["longestGap"], now - self._last_good)
            self._last_good = now

    def failed(self, connection: str, error: str) -> None:
        with self._lock:
            self.figures["sent"] += 1
            self.figures["failed"] += 1
            failure = {"at": time.time(), "connection": connection, "error": error[:300]}
            self.figures["failures"] = [*self.figures["failures"], failure][-KEPT_FAILURES:]

    def erred(self, version: str) -> None:
        """The model itself answered with a server's error."""
        with self._lock:
            self.figures["sent"] += 1
            self.figures["erred"][version] = self.figures["erred"].get(version, 0) + 1

    def reconnected(self) -> None:
        with self._lock:
            self.figures["reconnects"] += 1

    def snapshot(self) -> bytes:
        with self._lock:
            return json.dumps(self.figures).encode()


class Sender(threading.Thread):
    """Posts every ``interval`` seconds; keeps its connection open or makes a new one each time."""

    def __init__(self, counting: Counting, target: str, interval: float, keep_alive: bool) -> None:
        super().__init__(daemon=True)
        self._counting = counting
        self._url = urllib.parse.urlsplit(target)
        self._interval = interval
        self._keep_alive = keep_alive
        self._connection: http.client.HTTPConnection | None = None

    def run(self) -> None:
        due = time.monotonic()
        while True:
            self.send()
            due = max(due + self._interval, time.monotonic() - self._interval)
            time.sleep(max(0.0, due - time.monotonic()))

    def send(self) -> None:
        """One request, counted."""
        began = time.monotonic()
        kind = "kept alive" if self._keep_alive else "fresh"
        try:
            version = self._post()
        except ModelError as error:
            self._counting.erred(str(error))
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            self._counting.failed(kind, f"{type(error).__name__}: {error}")
        else:
            self._counting.answered(version, time.monotonic() - began, fresh=not self._keep_alive)

    def _post(self) -> str:
        connection = self._open()
        connection.request("POST", self._url.path, BODY, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        body = answer.read()
        version = answer.headers.get("X-Model-Version", "")
        if not self._keep_alive or answer.will_close:
            self.close()
        if answer.status == 500 and version:
            raise ModelError(version)
        if answer.status != 200 or not version or len(json.loads(body)["predictions"]) != 1:
            raise ValueError(f"status {answer.status}, version {version!r}: {body[:200]!r}")
        return version

    def _open(self) -> http.client.HTTPConnection:
        # as every client with a pool does: a connection that the server has closed meanwhile is not used again
        if self._connection and self._connection.sock and self._ended(self._connection):
            self._counting.reconnected()
            self.close()
        if self._connection is None:
            host, port = str(self._url.hostname), self._url.port or 80
            self._connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
        return self._connection

    @staticmethod
    def _ended(connection: http.client.HTTPConnection) -> bool:
        readable, _, _ = select.select([connection.sock], [], [], 0)
        return bool(readable)

    def close(self) -> None:
        """Forgets the connection."""
        if self._connection:
            self._connection.close()
        self._connection = None


def main() -> None:
    counting = Counting()
    interval = 2 * THREADS / float(os.environ["RATE"])
    for number in range(2 * THREADS):
        Sender(counting, os.environ["TARGET"], interval, keep_alive=number % 2 == 0).start()
        time.sleep(interval / (2 * THREADS))

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = counting.snapshot()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Not a word for each look at the counters."""

    http.server.ThreadingHTTPServer(("", 9000), Handler).serve_forever()


if __name__ == "__main__":
    main()

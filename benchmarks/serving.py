"""The requests a second of several servers with the same model: `python -m benchmarks.serving`.

Servers: pod/serve.py, `mlflow models serve` with 1 and 2 workers, MLServer (V2 protocol, arrays) with its defaults and
without its second process, and the least that Python has to do for a table: uvicorn, json, pandas, predict, in one
thread. They run one after the other on one core, and the load comes from another one, so the figures are per core.
Compare them within a run only.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster.network import free_ports
from tests.mlflow_env import REQUIREMENTS, ensure_python

MLSERVER = REQUIREMENTS.with_name("mlserver.txt")
SCRIPTS = Path(__file__).parents[1] / "operator" / "model_operator" / "pod"
PROGRAMS = Path(__file__).with_name("serving_programs.py")
LOADS = ((1, 1), (1, 16), (100, 4), (1000, 4))
"""Rows of a request, and connections."""
FEATURES = 4
START_SECONDS = 120.0
SERVER_CORE, CLIENT_CORE = 0, 1


@dataclass(frozen=True)
class Server:
    """A server to measure: its command on a port, its environment, and the request for some rows."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    path: str = "/invocations"
    ready: str = "/ping"
    is_v2: bool = False

    def body(self, rows: int) -> bytes:
        """A request of so many rows in the server's protocol."""
        values = [[round(0.1 * (row % 7) + column, 3) for column in range(FEATURES)] for row in range(rows)]
        if not self.is_v2:
            columns = [f"f{column}" for column in range(FEATURES)]
            return json.dumps({"dataframe_split": {"columns": columns, "data": values}}).encode()
        flat = [value for row in values for value in row]
        tensor = {"name": "input", "shape": [rows, FEATURES], "datatype": "FP64", "data": flat}
        return json.dumps({"inputs": [tensor]}).encode()


@dataclass(frozen=True)
class Figures:
    """The figures of a server: seconds to ready, MiB of memory, and by load the requests a second and the p99 in ms."""

    ready: float
    memory: float
    rates: Mapping[tuple[int, int], tuple[float, float]]


def servers(directory: Path, port: int, model: str) -> list[Server]:
    """All servers for the model of that name in ``directory``, on that port."""
    python = str(ensure_python())
    where = str(directory / model)
    least = [python, str(PROGRAMS), "least", where, str(port)]
    ours = {
        "MODEL_NAME": model,
        "MODEL_VERSION": "1",
        "MODEL_DIR": where,
        "SERVER_PORT": str(port),
        "SELF_TEST_MODE": "LoadOnly",
    }
    serve = [
        python,
        "-m",
        "mlflow",
        "models",
        "serve",
        "-m",
        where,
        "--env-manager",
        "local",
        "-p",
        str(port),
    ]
    v2 = {
        "MLSERVER_HTTP_PORT": str(port),
        "MLSERVER_HOST": "127.0.0.1",
        "MLSERVER_DEBUG": "false",
        "MLSERVER_METRICS_ENDPOINT": "",
    }
    start = [str(ensure_python(MLSERVER).with_name("mlserver")), "start", str(directory / f"{model}-v2")]
    infer = f"/v2/models/{model}/infer"
    return [
        Server("least", least),
        Server("serve.py", [python, str(SCRIPTS / "serve.py")], ours),
        Server("mlflow -w 1", [*serve, "-w", "1"]),
        Server("mlflow -w 2", [*serve, "-w", "2"]),
        # by default, MLServer predicts in a second process
        Server("MLServer", start, v2, infer, "/v2/health/ready", is_v2=True),
        Server(
            "MLServer inline",
            start,
            v2 | {"MLSERVER_PARALLEL_WORKERS": "0"},
            infer,
            "/v2/health/ready",
            is_v2=True,
        ),
    ]


@contextlib.contextmanager
def running(server: Server, directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The server as a group of processes on its core; all of them are ended at the end."""
    environment = {
        "PATH": f"{Path(server.command[0]).parent}:{os.environ['PATH']}",
        "HOME": str(directory),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        **server.environment,
    }
    with (directory / f"{server.name.replace(' ', '')}.log").open("wb") as log:
        os.sched_setaffinity(0, {SERVER_CORE})  # inherited
        process = subprocess.Popen(
            server.command,
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        os.sched_setaffinity(0, {CLIENT_CORE})
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
) -> tuple[int, bytes]:
    """Sends one request and reads its answer: status and body."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    found = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
    body = await reader.readexactly(int(found.group(1))) if found else b""
    return int(head.split(b" ", 2)[1]), body


def _request(method: str, path: str, body: bytes = b"") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body


async def _is_ready(server: Server, port: int) -> bool:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            status, _ = await _exchange(reader, writer, _request("GET", server.ready))
            return status == 200
        finally:
            writer.close()
    return False


async def _load(
    server: Server, port: int, rows: int, connections: int, seconds: float
) -> tuple[float, float]:
    """The requests a second and the p99 in milliseconds. Raises RuntimeError for an answer that is no prediction."""
    request = _request("POST", server.path, server.body(rows))
    took: list[float] = []
    end = time.perf_counter() + seconds

    async def caller() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**24)
        now = time.perf_counter()
        while now < end:
            status, body = await _exchange(reader, writer, request)
            if status != 200:
                raise RuntimeError(f"{server.name} answered {status}: {body[:200]!r}")
            now, before = time.perf_counter(), now
            took.append(now - before)
        writer.close()

    begun = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(connections)))
    rate = len(took) / (time.perf_counter() - begun)
    return rate, sorted(took)[int(len(took) * 0.99)] * 1000


def _memory(group: int) -> float:
    """The memory of a process group in MiB, with shared pages shared out (PSS)."""
    total = 0
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if entry.name.isdigit() and os.getpgid(int(entry.name)) == group:
                found = re.search(r"^Pss: +(\d+)", (entry / "smaps_rollup").read_text(), re.MULTILINE)
                total += int(found.group(1)) if found else 0
    return total / 1024


def measure(server: Server, port: int, directory: Path, seconds: float) -> Figures:
    """Starts the server, puts every load on it for ``seconds``, and ends it."""
    begun = time.perf_counter()
    with running(server, directory) as process:
        while not asyncio.run(_is_ready(server, port)):
            if process.poll() is not None or time.perf_counter() - begun > START_SECONDS:
                raise RuntimeError(f"{server.name} did not start, see its log in {directory}")
            time.sleep(0.05)
        ready = time.perf_counter() - begun
        rates = {}
        for rows, connections in LOADS:
            asyncio.run(_load(server, port, rows, connections, min(1.0, seconds)))
            rates[rows, connections] = asyncio.run(_load(server, port, rows, connections, seconds))
        return Figures(ready, _memory(process.pid), rates)


def print_table(model: str, figures: Mapping[str, Figures]) -> None:
    """A table in Markdown: requests a second, in brackets the cost of a request as a multiple of the least."""
    heads = [f"{rows} rows, {connections} conn." for rows, connections in LOADS]
    print(f"\n{model}\n| | {' | '.join(heads)} | memory | ready |\n|---|{'---|' * (len(heads) + 2)}")
    least = figures["least"]
    for name, found in figures.items():
        cells = [
            f"{rate:.0f} ({least.rates[load][0] / rate:.2f}), p99 {p99:.1f} ms"
            for load, (rate, p99) in found.rates.items()
        ]
        print(f"| {name} | {' | '.join(cells)} | {found.memory:.0f} MiB | {found.ready:.1f} s |")


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each load (default: 8)")
    parser.add_argument("--models", default="logistic,forest", help="logistic, forest, or both (default)")
    parser.add_argument(
        "--only", default="", help="only the servers with this word in their names, and the least"
    )
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {CLIENT_CORE})
    with tempfile.TemporaryDirectory(prefix="serving-") as name:
        directory = Path(name)
        subprocess.run(
            [str(ensure_python()), str(PROGRAMS), "save", name],
            check=True,
            cwd=name,
            stderr=subprocess.DEVNULL,
        )
        subprocess.run([str(ensure_python(MLSERVER)), str(PROGRAMS), "save-v2", name], check=True, cwd=name)
        for model in arguments.models.split(","):
            figures = {}
            (port,) = free_ports(1)
            for server in servers(directory, port, model):
                if server.name == "least" or arguments.only in server.name:
                    print(f"{model}: {server.name} ...", file=sys.stderr, flush=True)
                    figures[server.name] = measure(server, port, directory, arguments.seconds)
            print_table(model, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())

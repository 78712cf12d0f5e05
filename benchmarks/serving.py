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
import math
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
from tests.mlflow_env import MLSERVER, ensure_python

SCRIPTS = Path(__file__).parents[1] / "operator" / "model_operator" / "pod"
PROGRAMS = Path(__file__).with_name("serving_programs.py")
WORKERS = (1, 2, 4)
"""Processes that predict, for the comparison of memory."""
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
class Rate:
    """Answers a second, the 99th percentile of their times in milliseconds, and requests without an answer."""

    answers: float
    p99: float
    failed: int


@dataclass(frozen=True)
class Figures:
    """The figures of a server: seconds to ready, MiB of memory, and a rate by load."""

    ready: float
    memory: float
    rates: Mapping[tuple[int, int], Rate]


def least(directory: Path, port: int, model: str) -> Server:
    """The least that a server has to do."""
    return Server("least", [str(ensure_python()), str(PROGRAMS), "least", str(directory / model), str(port)])


def our_server(directory: Path, port: int, model: str, workers: int, batch: int = 1) -> Server:
    """pod/serve.py, with batches of so many rows if ``batch`` is above 1."""
    environment = {
        "MODEL_NAME": model,
        "MODEL_VERSION": "1",
        "MODEL_DIR": str(directory / model),
        "SERVER_PORT": str(port),
        "SERVER_WORKERS": str(workers),
        "BATCH_MAX_ROWS": str(batch),
        "SELF_TEST_MODE": "LoadOnly",
    }
    name = "serve.py" if batch == 1 else f"serve.py, batches of {batch}"
    return Server(name, [str(ensure_python()), str(SCRIPTS / "serve.py")], environment)


def mlflow_server(directory: Path, port: int, model: str, workers: int) -> Server:
    """`mlflow models serve`."""
    command = [str(ensure_python()), "-m", "mlflow", "models", "serve", "-m", str(directory / model)]
    options = ["--env-manager", "local", "-p", str(port), "-w", str(workers)]
    return Server(f"mlflow -w {workers}", [*command, *options])


def mlserver(directory: Path, port: int, model: str, workers: int) -> Server:
    """MLServer. By default it predicts in one other process, and with 0 workers in its own."""
    environment = {
        "MLSERVER_HTTP_PORT": str(port),
        "MLSERVER_HOST": "127.0.0.1",
        "MLSERVER_DEBUG": "false",
        "MLSERVER_METRICS_ENDPOINT": "",
        "MLSERVER_PARALLEL_WORKERS": str(workers),
    }
    start = [str(ensure_python(MLSERVER).with_name("mlserver")), "start", str(directory / f"{model}-v2")]
    name = "MLServer" if workers else "MLServer inline"
    path = f"/v2/models/{model}/infer"
    return Server(name, start, environment, path, f"/v2/models/{model}/ready", is_v2=True)


def servers(directory: Path, port: int, model: str) -> list[Server]:
    """All servers for the model of that name in ``directory``, on that port."""
    where = (directory, port, model)
    return [
        least(*where),
        our_server(*where, 1),
        our_server(*where, 1, batch=64),
        mlflow_server(*where, 1),
        mlflow_server(*where, 2),
        mlserver(*where, 1),
        mlserver(*where, 0),
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
    """Sends one request and reads its answer: status and body. The writer is closed if the server closes."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    found = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
    body = await reader.readexactly(int(found.group(1))) if found else b""
    if b"connection: close" in head.lower():
        writer.close()
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


async def _load(server: Server, port: int, rows: int, connections: int, seconds: float) -> Rate:
    """Puts a load on the server. Raises RuntimeError for an answer that is no prediction."""
    request = _request("POST", server.path, server.body(rows))
    took: list[float] = []
    failed = 0
    end = time.perf_counter() + seconds

    async def one_connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**24)
        now = time.perf_counter()
        while now < end and not writer.is_closing():
            status, body = await _exchange(reader, writer, request)
            if status != 200:
                raise RuntimeError(f"{server.name} answered {status}: {body[:200]!r}")
            now, before = time.perf_counter(), now
            took.append(now - before)
        writer.close()

    async def caller() -> None:
        nonlocal failed
        while time.perf_counter() < end:
            try:
                await one_connection()
            except (OSError, asyncio.IncompleteReadError):
                # uvicorn with several workers kills one that is too busy to answer its parent
                failed += 1
                await asyncio.sleep(0.05)

    begun = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(connections)))
    rate = len(took) / (time.perf_counter() - begun)
    return Rate(rate, sorted(took)[int(len(took) * 0.99)] * 1000 if took else math.inf, failed)


def _memory(group: int) -> float:
    """The memory of a process group in MiB, with shared pages shared out (PSS)."""
    total = 0
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if entry.name.isdigit() and os.getpgid(int(entry.name)) == group:
                found = re.search(r"^Pss: +(\d+)", (entry / "smaps_rollup").read_text(), re.MULTILINE)
                total += int(found.group(1)) if found else 0
    return total / 1024


def _wait_until_ready(server: Server, port: int, process: subprocess.Popen[bytes]) -> float:
    """Returns the seconds that it took. Raises RuntimeError if the server does not start."""
    begun = time.perf_counter()
    while not asyncio.run(_is_ready(server, port)):
        if process.poll() is not None or time.perf_counter() - begun > START_SECONDS:
            raise RuntimeError(f"{server.name} did not start")
        time.sleep(0.05)
    return time.perf_counter() - begun


def measure_memory(server: Server, port: int, directory: Path, seconds: float) -> float:
    """The MiB of memory of a server after requests over 16 connections."""
    with running(server, directory) as process:
        _wait_until_ready(server, port, process)
        asyncio.run(_load(server, port, 1, 16, seconds))
        return _memory(process.pid)


def measure(server: Server, port: int, directory: Path, seconds: float) -> Figures:
    """Starts the server, puts every load on it for ``seconds``, and ends it."""
    with running(server, directory) as process:
        ready = _wait_until_ready(server, port, process)
        rates = {}
        for rows, connections in LOADS:
            asyncio.run(_load(server, port, rows, connections, min(1.0, seconds)))
            rates[rows, connections] = asyncio.run(_load(server, port, rows, connections, seconds))
        return Figures(ready, _memory(process.pid), rates)


def _cell(rate: Rate, least: float) -> str:
    failed = f", {rate.failed} failed" if rate.failed else ""
    cost = least / rate.answers if rate.answers else math.inf
    return f"{rate.answers:.0f} ({cost:.2f}), p99 {rate.p99:.1f} ms{failed}"


def compare_memory(directory: Path, model: str) -> dict[tuple[str, int], float]:
    """The MiB of memory of each server with several workers."""
    memory = {}
    for name, make in {"serve.py": our_server, "mlflow": mlflow_server, "MLServer": mlserver}.items():
        for workers in WORKERS:
            print(f"{model}: memory of {name} with {workers} workers ...", file=sys.stderr, flush=True)
            (port,) = free_ports(1)
            server = make(directory, port, model, workers)
            memory[name, workers] = measure_memory(server, port, directory, 3.0)
    return memory


def print_memory(model: str, memory: Mapping[tuple[str, int], float]) -> None:
    """A table in Markdown: MiB by server and number of processes that predict."""
    print(
        f"\n{model}, memory\n| | {' | '.join(f'{count} workers' for count in WORKERS)} |\n|---|{'---|' * len(WORKERS)}"
    )
    for name in dict.fromkeys(name for name, _ in memory):
        print(f"| {name} | {' | '.join(f'{memory[name, count]:.0f} MiB' for count in WORKERS)} |")


def print_table(model: str, figures: Mapping[str, Figures]) -> None:
    """A table in Markdown: requests a second, in brackets the cost of a request as a multiple of the least."""
    heads = [f"{rows} rows, {connections} conn." for rows, connections in LOADS]
    print(f"\n{model}\n| | {' | '.join(heads)} | memory | ready |\n|---|{'---|' * (len(heads) + 2)}")
    least = figures["least"]
    for name, found in figures.items():
        cells = [_cell(rate, least.rates[load].answers) for load, rate in found.rates.items()]
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
            for number in range(len(servers(directory, 0, model))):
                # a port of its own: what an ended server leaves may still answer for a moment
                (port,) = free_ports(1)
                server = servers(directory, port, model)[number]
                if server.name == "least" or arguments.only in server.name:
                    print(f"{model}: {server.name} ...", file=sys.stderr, flush=True)
                    figures[server.name] = measure(server, port, directory, arguments.seconds)
            print_table(model, figures)
        if not arguments.only:
            print_memory(model, compare_memory(directory, model))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What following a registry costs, and how soon a moved alias is acted on: ``python -m benchmarks.registry``.

Against a real MLflow server (SQLite, loopback) with thousands of registered models, and a real kube-apiserver. Prints
two tables in Markdown. Everything it starts ends with it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import secrets
import shutil
import sqlite3
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
from tests.cluster.api import ApiClient
from tests.cluster.control_plane import ControlPlane
from tests.cluster.network import free_ports
from tests.integration.conftest import install_crd
from tests.integration.lives.bench import MODELDEPLOYMENTS, PLURALS, OperatorProcess
from tests.mlflow_server import MlflowServer
from tests.mlflow_server.server import WEBHOOKS

from model_operator.api.reference import parse_reference
from model_operator.registry import MlflowClient
from model_operator.registry.poller import Pace, Poller
from model_operator.settings import RegistryConfig

NAMESPACE = "default"
TABLES = ("registered_models", "model_versions", "registered_model_aliases")
ROUNDS = 10
"""Within so many polls everything that is looked at only now and then has had its turn."""
PATIENCE_SECONDS = 300.0


def name(number: int) -> str:
    """The name of a registered model."""
    return f"model-{number}"


@contextmanager
def registry(directory: Path, models: int) -> Iterator[MlflowServer]:
    """An MLflow server with so many models, each with two versions and ``champion`` on the first."""
    server = MlflowServer.start(directory, environment=WEBHOOKS)
    with server.api() as api:
        api.post("registered-models/create", json={"name": name(0)})
        for _ in range(2):
            api.post("model-versions/create", json={"name": name(0), "source": "s3://bucket/model"})
        api.post("registered-models/alias", json={"name": name(0), "alias": "champion", "version": "1"})
    server.stop()
    # MLflow would take minutes for what are copies of its own rows
    with closing(sqlite3.connect(directory / "mlflow.db")) as database, database:
        for table in TABLES:
            columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
            values = ", ".join("?" if column == "name" else column for column in columns)
            # names of tables and columns, not values
            copy = f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values} FROM {table} WHERE name = ?"  # noqa: S608
            database.executemany(copy, [(name(number), name(0)) for number in range(1, models)])
    server = MlflowServer.start(directory, environment=WEBHOOKS)
    try:
        yield server
    finally:
        server.stop()


# --- a poll -------------------------------------------------------------------------------------------


class _Recorder(httpx.AsyncHTTPTransport):
    """Keeps the URLs that were asked for and counts the bytes of the answers' bodies."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[httpx.URL] = []
        self.bytes = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        self.urls.append(request.url)
        self.bytes += int(response.headers["Content-Length"])
        return response


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def cost_of_a_poll(server: MlflowServer, credentials: Path, references: int) -> str:
    """One line of the table: requests, bytes, seconds and CPU of a poll, and CPU of a bare loop."""
    recorder, clock = _Recorder(), _Clock()
    config = RegistryConfig(url=server.url, credentials_dir=str(credentials))
    client = MlflowClient("default", config, transport=recorder)
    poller = Poller(client, lambda reference: None, Pace(15), clock)
    for number in range(references):
        poller.add(parse_reference(f"models:/{name(number)}@champion"))
    await poller.step()
    unanswered = sum(
        not (found := poller.answer(parse_reference(f"models:/{name(n)}@champion"))) or not found.ok
        for n in range(references)
    )
    if unanswered:
        raise RuntimeError(f"{unanswered} of {references} references have no version")
    recorder.urls, recorder.bytes = [], 0
    began, cpu = time.monotonic(), time.process_time()
    for _ in range(ROUNDS):
        clock.now += 1000
        await poller.step()
    took, cpu = time.monotonic() - began, time.process_time() - cpu
    urls, received = recorder.urls, recorder.bytes
    await client.aclose()
    bare = await cpu_of_a_bare_loop(server, urls)
    return (
        f"| {references:,} | {len(urls) / ROUNDS:.1f} | {received / ROUNDS / 1024:,.1f} KiB | {took / ROUNDS:.3f} s "
        f"| {1000 * cpu / ROUNDS:.1f} ms | {1000 * bare / ROUNDS:.1f} ms | {cpu / bare:.1f} |"
    )


async def cpu_of_a_bare_loop(server: MlflowServer, urls: list[httpx.URL]) -> float:
    """CPU seconds of this process for the same requests, their JSON parsed and nothing else."""
    cpu = time.process_time()
    auth = (server.username, server.password)
    async with httpx.AsyncClient(auth=auth, trust_env=False, timeout=60) as client:
        for url in urls:
            json.loads((await client.get(url)).raise_for_status().content)
    return time.process_time() - cpu


# --- from the alias to the first write ----------------------------------------------------------------


class FirstWrites:
    """Watches ModelDeployments and Deployments, and notes when each name was written to."""

    def __init__(self, kubeconfig: Path) -> None:
        self._kubeconfig = kubeconfig
        self._seen: dict[str, list[float]] = defaultdict(list)
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._watch, args=(PLURALS[kind],), daemon=True)
            for kind in ("ModelDeployment", "Deployment")
        ]
        for thread in self._threads:
            thread.start()

    def _watch(self, plural: str) -> None:
        path, version = plural.format(NAMESPACE), ""
        with ApiClient(self._kubeconfig, timeout_seconds=600) as api:
            version = api.http.get(path, params={"limit": 1}).json()["metadata"]["resourceVersion"]
            query = {"watch": "true", "resourceVersion": version}
            try:
                with api.http.stream("GET", path, params=query) as answer:
                    for line in answer.iter_lines():
                        self._note(json.loads(line)["object"]["metadata"].get("name", ""))
            except httpx.HTTPError:
                # the end of the control plane
                return

    def _note(self, written: str) -> None:
        with self._changed:
            self._seen[written].append(time.monotonic())
            self._changed.notify_all()

    def after(self, written: str, moment: float) -> float:
        """Seconds from that moment to the first write; waits for it. Raises TimeoutError."""

        def first() -> float | None:
            return next((at for at in self._seen[written] if at > moment), None)

        with self._changed:
            if not self._changed.wait_for(lambda: first() is not None, PATIENCE_SECONDS):
                raise TimeoutError(f"nobody wrote to {written}")
            return (first() or 0.0) - moment

    def quiet_for(self, seconds: float) -> None:
        """Wait until nobody has written for so long."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            with self._changed:
                last = max((at[-1] for at in self._seen.values() if at), default=time.monotonic())
            if (rest := last + seconds - time.monotonic()) <= 0:
                return
            time.sleep(rest)
        raise TimeoutError("the operator did not come to rest")


def times_to_the_first_write(
    server: MlflowServer, directory: Path, deployments: int, moves: int, by_webhook: bool
) -> list[float]:
    """Seconds from the call that moves an alias to the first write of the operator, for so many moves."""
    with ExitStack() as stack:
        plane = ControlPlane.start(directory / "plane", controllers=True)
        stack.callback(plane.stop)
        api = stack.enter_context(ApiClient(plane.kubeconfig, timeout_seconds=60))
        install_crd(api)
        settings: dict[str, Any] = {
            "registries": {"default": {"url": server.url}},
            "pollSeconds": 3600 if by_webhook else 15,
            "maxConcurrentRollouts": deployments,
            "metricsPort": 0,
        }
        if by_webhook:
            secret, signing = secrets.token_urlsafe(16), directory / "signing"
            signing.mkdir()
            (signing / "secret").write_text(secret)
            (port,) = free_ports(1)
            settings["webhooks"] = {"port": port, "secretDir": str(signing)}
            stack.enter_context(server.webhook(f"http://127.0.0.1:{port}/webhooks/default", secret))
        operator = OperatorProcess(directory, plane.kubeconfig, settings)
        operator.log_in(server.username, server.password)
        path = MODELDEPLOYMENTS.format(NAMESPACE)
        for number in range(deployments):
            body = {
                "apiVersion": "model-operator.io/v1alpha1",
                "kind": "ModelDeployment",
                "metadata": {"name": name(number)},
                "spec": {"model": {"name": name(number), "alias": "champion"}, "replicas": 0},
            }
            api.http.post(path, json=body).raise_for_status()
        writes = FirstWrites(plane.kubeconfig)
        operator.start()
        stack.callback(operator.stop)
        for number in range(deployments):
            writes.after(name(number), 0.0)
        writes.quiet_for(3.0)
        dice = random.Random(7)  # noqa: S311 - spreads the moves
        moved: list[tuple[str, float]] = []
        taken: list[float] = []
        version: dict[int, int] = defaultdict(lambda: 1)
        with server.api() as mlflow:
            for move in range(moves):
                number = move % deployments
                version[number] = 3 - version[number]
                body = {"name": name(number), "alias": "champion", "version": str(version[number])}
                moment = time.monotonic()
                mlflow.post("registered-models/alias", json=body)
                moved.append((name(number), moment))
                if deployments == 1:
                    taken.append(writes.after(name(number), moment))
                    writes.quiet_for(2.0)
                time.sleep(dice.uniform(0.5, 3.0))
            # the next run begins where this one did
            taken = taken or [writes.after(*each) for each in moved]
            for number, at in version.items():
                if at != 1:
                    body = {"name": name(number), "alias": "champion", "version": "1"}
                    mlflow.post("registered-models/alias", json=body)
        return taken


def percentile(values: list[float], share: float) -> float:
    """The least of the values that is not below so large a share of them."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def main() -> None:
    """Run it and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=5000, help="registered models")
    parser.add_argument("--count", type=int, nargs="*", default=[1, 100], help="ModelDeployments")
    parser.add_argument("--moves", type=int, default=30, help="alias moves for each figure")
    options = parser.parse_args()
    print(f"{platform.platform()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {time.ctime()}\n")
    home = Path(tempfile.mkdtemp(prefix="benchmark-registry-"))
    try:
        with registry(home / "mlflow", options.models) as server:
            credentials = home / "credentials"
            credentials.mkdir()
            (credentials / "username").write_text(server.username)
            (credentials / "password").write_text(server.password)
            print("| References | Requests | Bytes | Time | CPU | CPU of a bare loop | Ratio |")
            print("|---|---|---|---|---|---|---|")
            for references in sorted({1, min(100, options.models), options.models}):
                print(asyncio.run(cost_of_a_poll(server, credentials, references)), flush=True)
            print("\n| ModelDeployments | By | Moves | p50 | p99 | p50 as a share of 15 s |")
            print("|---|---|---|---|---|---|")
            for count in options.count:
                for by_webhook in (True, False):
                    directory = home / f"{count}-{by_webhook}"
                    directory.mkdir()
                    taken = times_to_the_first_write(server, directory, count, options.moves, by_webhook)
                    p50, p99 = percentile(taken, 0.5), percentile(taken, 0.99)
                    how = "webhook" if by_webhook else "poll"
                    print(
                        f"| {count:,} | {how} | {len(taken)} | {p50:.2f} s | {p99:.2f} s | {p50 / 15:.0%} |",
                        flush=True,
                    )
    finally:
        shutil.rmtree(home)


if __name__ == "__main__":
    main()

"""What following a registry costs, and how soon a moved alias is acted on: ``python -m benchmarks.registry``.

Against a real MLflow server (SQLite, loopback) with thousands of registered models, and a real kube-apiserver. Prints
two tables in Markdown. Everything it starts ends with it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import secrets
import shutil
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
from tests.cluster.api import ApiClient
from tests.cluster.control_plane import ControlPlane
from tests.cluster.network import free_ports
from tests.integration.conftest import install_crd
from tests.integration.lives.bench import MODELDEPLOYMENTS
from tests.integration.lives.operator_process import OperatorProcess
from tests.mlflow_server import MlflowServer

from benchmarks.figures import heading, machine, percentile
from benchmarks.first_writes import FirstWrites
from benchmarks.many_models import name, registry
from model_operator.api.reference import parse_reference
from model_operator.registry import MlflowClient
from model_operator.registry.poller import Pace, Poller
from model_operator.settings import RegistryConfig

NAMESPACE = "default"
ROUNDS = 10
"""Within so many polls everything that is looked at only now and then has had its turn."""


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


def main() -> None:
    """Run it and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=5000, help="registered models")
    parser.add_argument("--count", type=int, nargs="*", default=[1, 100], help="ModelDeployments")
    parser.add_argument("--moves", type=int, default=30, help="alias moves for each figure")
    options = parser.parse_args()
    print(f"{machine()}\n")
    home = Path(tempfile.mkdtemp(prefix="benchmark-registry-"))
    try:
        with registry(home / "mlflow", options.models) as server:
            credentials = home / "credentials"
            credentials.mkdir()
            (credentials / "username").write_text(server.username)
            (credentials / "password").write_text(server.password)
            print(heading("References", "Requests", "Bytes", "Time", "CPU", "CPU of a bare loop", "Ratio"))
            for references in sorted({1, min(100, options.models), options.models}):
                print(asyncio.run(cost_of_a_poll(server, credentials, references)), flush=True)
            columns = ("ModelDeployments", "By", "Moves", "p50", "p99", "p50 as a share of 15 s")
            print(f"\n{heading(*columns)}")
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

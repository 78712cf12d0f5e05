"""Whether one nuisance delays all others: ``python -m benchmarks.fairness``.

Some ModelDeployments that nothing is wrong with are edited one after the other, and the time from the edit to the
operator's first write is taken: while all is quiet, and beside each nuisance. Real control plane, real registry, the
operator as a process of its own. Prints a table in Markdown. Everything it starts ends with it.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path

from tests.cluster.api import ApiClient
from tests.integration.lives.kubelet import MERGE
from tests.mlflow_server import MlflowServer

from benchmarks.figures import heading, machine, percentile, row
from benchmarks.first_writes import FirstWrites
from benchmarks.many_models import name, registry
from benchmarks.observed_operator import ObservedOperator
from benchmarks.populated_cluster import PopulatedCluster
from model_operator.domain.objects import Key

INNOCENT = "innocent"
CROWD = "crowd"
CRASHES_PER_SECOND = 20
PAUSE_SECONDS = 0.3


def in_background(work: Callable[[threading.Event], None]) -> AbstractContextManager[None]:
    """Runs that in a thread while the block runs; its argument is set at the end."""

    @contextmanager
    def running() -> Iterator[None]:
        over = threading.Event()
        thread = threading.Thread(target=work, args=(over,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    return running()


def crash_loop(cluster: PopulatedCluster, key: Key) -> AbstractContextManager[None]:
    """The server of one pod restarts again and again, far faster than Kubernetes would let it."""

    def crash(over: threading.Event) -> None:
        with ApiClient(cluster.kubeconfig) as api:
            query = {"labelSelector": f"model-operator.io/deployment={key[1]}"}
            path = f"/api/v1/namespaces/{key[0]}/pods"
            restarts = 0
            while not over.wait(1 / CRASHES_PER_SECOND):
                for pod in api.http.get(path, params=query).raise_for_status().json()["items"]:
                    restarts += 1
                    (server,) = pod["status"].get("containerStatuses") or [{}]
                    server |= {"restartCount": restarts, "ready": False}
                    body = {"status": {"containerStatuses": [server]}}
                    # it may have gone meanwhile
                    api.http.patch(f"{path}/{pod['metadata']['name']}/status", json=body, headers=MERGE)

    return in_background(crash)


def crowded(cluster: PopulatedCluster, keys: Sequence[Key]) -> AbstractContextManager[None]:
    """Everybody in one namespace is edited all the time."""

    def edit(over: threading.Event) -> None:
        round_ = 0
        while not over.is_set():
            round_ += 1
            cluster.edit_all(keys, 10 + round_ % 5)

    return in_background(edit)


@contextmanager
def silent_registry() -> Iterator[str]:
    """The URL of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def times(cluster: PopulatedCluster, seen: FirstWrites, innocents: Sequence[Key], edits: int) -> list[float]:
    """Seconds from each edit to the first write."""
    taken = []
    for number in range(edits):
        key = innocents[number % len(innocents)]
        moment = time.monotonic()
        # another value each time, whatever it was before
        cluster.edit(key, 5 + int(moment * 1000) % 9000)
        taken.append(seen.after(key[1], moment))
        time.sleep(PAUSE_SECONDS)
    return taken


def measure(home: Path, mlflow: MlflowServer, options: argparse.Namespace) -> None:
    """Print the table."""
    innocents = [(INNOCENT, name(number)) for number in range(options.innocents)]
    crowd = [(CROWD, name(number)) for number in range(options.crowd)]
    followers = [("unheard", name(number)) for number in range(options.followers)]
    crashing = ("crashing", name(0))
    with ExitStack() as stack:
        silent = stack.enter_context(silent_registry())
        cluster = stack.enter_context(PopulatedCluster.started(home / "plane"))
        registries = {"silent": {"url": silent}}
        operator = ObservedOperator(
            home / "operator", cluster.kubeconfig, mlflow, registries, maxConcurrentRollouts=10_000
        )
        stack.callback(operator.kill)
        cluster.create([*innocents, crashing, *crowd])
        operator.start()
        operator.wait_until_ready()
        cluster.wait_until_serving({*innocents, crashing, *crowd})
        cluster.wait_until_quiet()
        seen = FirstWrites(cluster.kubeconfig, INNOCENT, ["HorizontalPodAutoscaler"])
        quiet: list[float] = []
        print(heading("Beside", "Edits", "p50", "p99", "p50 to quiet"))
        nuisances: list[tuple[str, Callable[[], AbstractContextManager[object]]]] = [
            ("nothing", nullcontext),
            ("one ModelDeployment in a crash loop", lambda: crash_loop(cluster, crashing)),
            (
                f"a namespace with {len(crowd):,}, all of them edited again and again",
                lambda: crowded(cluster, crowd),
            ),
            (
                f"{len(followers)} that follow a registry which never answers",
                lambda: nullcontext(cluster.create(followers, registry={"name": "silent"})),
            ),
        ]
        for what, nuisance in nuisances:
            with nuisance():
                time.sleep(2.0)
                taken = times(cluster, seen, innocents, options.edits)
            quiet = quiet or taken
            p50, p99 = percentile(taken, 0.5), percentile(taken, 0.99)
            ratio = f"{p50 / percentile(quiet, 0.5):.1f}"
            print(row(what, len(taken), f"{p50:.3f} s", f"{p99:.3f} s", ratio), flush=True)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--innocents", type=int, default=10, help="ModelDeployments whose edits are timed")
    parser.add_argument("--edits", type=int, default=30, help="edits beside each nuisance")
    parser.add_argument("--crowd", type=int, default=1000, help="ModelDeployments in the crowded namespace")
    parser.add_argument("--followers", type=int, default=50, help="ModelDeployments of the silent registry")
    options = parser.parse_args()
    print(f"{machine()}\n", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    home = Path(tempfile.mkdtemp(prefix="benchmark-fairness-"))
    try:
        with registry(home / "mlflow", max(options.crowd, options.innocents)) as mlflow:
            measure(home, mlflow, options)
    finally:
        shutil.rmtree(home)


if __name__ == "__main__":
    main()

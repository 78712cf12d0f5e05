"""Thousands of ModelDeployments on a real control plane: ``python -m benchmarks.scale --sizes 100,500,1000,5000``.

For each number: etcd, kube-apiserver and controller manager start afresh, the operator starts as a process of its own,
finds the ModelDeployments and rolls all of them out: Deployment, Service, autoscaler, disruption budget, kept
revision. A bare loop that makes the same writes on another fresh control plane is the limit that it is compared with.
Prints tables in Markdown, and its progress on stderr. Everything it starts ends with it.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from tests.mlflow_server import MlflowServer

from benchmarks.audited import Write, counted
from benchmarks.bare_loop import NEEDED, Recording, replay
from benchmarks.cpu_time import PROGRAMS, cpu_seconds, since
from benchmarks.figures import buckets, heading, machine, percentile, quantile, row
from benchmarks.first_writes import FirstWrites
from benchmarks.many_models import name, registry
from benchmarks.observed_operator import ObservedOperator
from benchmarks.populated_cluster import REHEARSAL, PopulatedCluster, namespace_of

SIZES = "100,500,1000,5000"
WORKERS = 8
"""As many as the operator has by default; the bare loop has the same."""
EDITS = 20


def tell(text: str) -> None:
    """Progress, for the person who waits."""
    print(f"  {time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True)
class Bare:
    """What the bare loop took."""

    seconds: float
    cpu: Mapping[str, float]
    """Seconds, by process; the loop itself is in the benchmark's."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """What it took until all ModelDeployments served."""

    seconds: float
    writes: Counter[tuple[str, str]]
    refused: int
    cpu: Mapping[str, float]
    """Seconds, by process, from the operator's being ready."""
    cpu_seconds: float
    """Of the operator, with its start."""
    peak_mib: float
    lags: Sequence[float]
    waits: tuple[float, float]
    """p50 and p99 of the seconds that a key stood in line."""
    looks: float
    """How often keys were looked at, in all."""


@dataclass(frozen=True, slots=True)
class Afterwards:
    """How soon it acts once all serve."""

    edits: Sequence[float]
    writes_at_rest: int
    cpu_at_rest: float
    """Share of a core."""
    ready: float
    acting: float
    """Seconds from the start of a process to its being ready, and to its first write."""
    failover: float
    """Seconds from the death of the one that leads to the first write of the one that stood by."""
    peak_mib: float


def rehearse(home: Path, mlflow: MlflowServer) -> Recording:
    """What the operator writes for one ModelDeployment."""
    with ExitStack() as stack:
        cluster = stack.enter_context(PopulatedCluster.started(home / "plane", bodies=True))
        uid = cluster.create([REHEARSAL])[REHEARSAL]
        operator = ObservedOperator(home / "operator", cluster.kubeconfig, mlflow)
        operator.start()
        stack.callback(operator.kill)
        cluster.wait_until_serving({REHEARSAL})
        cluster.wait_until_quiet()
        found = [write for write in cluster.writes() if write.by_operator and write.code < 300]
        return Recording.of(*REHEARSAL, uid, found)


def limit(home: Path, recording: Recording, size: int) -> Bare:
    """The bare loop for so many."""
    with PopulatedCluster.started(home / "plane") as cluster:
        cluster.create([(namespace_of(number), name(number)) for number in range(size)])
        before = cpu_seconds()
        took = asyncio.run(replay(cluster.kubeconfig, recording, WORKERS))
        return Bare(took, since(before))


def roll_out(cluster: PopulatedCluster, operator: ObservedOperator, size: int) -> Rollout:
    """Create them, start the operator and wait until they serve."""
    keys = [(namespace_of(number), name(number)) for number in range(size)]
    cluster.create(keys)
    tell(f"{size:,} are created; the operator starts")
    with operator.probed() as lags:
        operator.start()
        operator.wait_until_ready()
        before = cpu_seconds()
        cluster.wait_until_serving(set(keys))
        cpu = since(before)
        cluster.wait_until_quiet()
        metrics = operator.metrics()
    found = [write for write in cluster.writes() if write.by_operator]
    done = [write for write in found if write.code < 300]
    waits = buckets(metrics, "model_operator_queue_wait_seconds")
    return Rollout(
        seconds=max(write.ended for write in done) - min(write.began for write in done),
        writes=counted(done),
        refused=len(found) - len(done),
        cpu=cpu,
        cpu_seconds=operator.cpu_seconds(),
        peak_mib=operator.peak_mib(),
        lags=lags,
        waits=(quantile({}, waits, 0.5), quantile({}, waits, 0.99)),
        looks=waits[float("inf")],
    )


def live_on(
    cluster: PopulatedCluster, operator: ObservedOperator, standby: ObservedOperator, size: int, rest: float
) -> Afterwards:
    """Edit some, leave all alone for a while, let the operator die and come back, then die beside another."""
    seen = FirstWrites(cluster.kubeconfig, namespace_of(0), ["HorizontalPodAutoscaler"])
    near = [name(number) for number in range(size) if namespace_of(number) == namespace_of(0)]
    edits = []
    for number in range(EDITS):
        edited = near[number % len(near)]
        moment = time.monotonic()
        cluster.edit((namespace_of(0), edited), 10 + number)
        edits.append(seen.after(edited, moment))
    cluster.wait_until_quiet()
    tell(f"edits are done; at rest for {rest:.0f} s")
    before, cpu = len(_by_operator(cluster)), operator.cpu_seconds()
    time.sleep(rest)
    at_rest, cpu = len(_by_operator(cluster)) - before, operator.cpu_seconds() - cpu
    peak = operator.peak_mib()
    operator.kill()
    cluster.edit((namespace_of(0), near[0]), 5)
    tell("killed; a new process starts")
    moment = time.monotonic()
    operator.start()
    ready = operator.wait_until_ready()
    acting = seen.after(near[0], moment)
    peak = max(peak, operator.peak_mib())
    cluster.wait_until_quiet()
    operator.kill()
    tell("killed; one that leads and one that stands by start")
    for replica in (operator, standby):
        replica.compete()
        replica.start()
        replica.wait_until_ready()
    moment = time.monotonic()
    cluster.edit((namespace_of(0), near[0]), 6)
    seen.after(near[0], moment)
    cluster.wait_until_quiet()
    moment = time.monotonic()
    operator.kill()
    cluster.edit((namespace_of(0), near[0]), 7)
    failover = seen.after(near[0], moment)
    return Afterwards(edits, at_rest, cpu / rest, ready, acting, failover, peak)


def _by_operator(cluster: PopulatedCluster) -> list[Write]:
    return [write for write in cluster.writes() if write.by_operator]


@dataclass(frozen=True, slots=True)
class Result:
    """All figures of one size."""

    size: int
    limits: Sequence[Bare]
    """Before and after the operator's turn: a virtual machine has fast and slow minutes."""
    rollout: Rollout
    afterwards: Afterwards


def measure(
    home: Path, mlflow: MlflowServer, recording: Recording, size: int, options: argparse.Namespace
) -> Result:
    """One size."""
    tell(f"{size:,}: the bare loop")
    limits = [limit(home / "limit", recording, size)]
    tell(f"{size:,}: the bare loop took {limits[0].seconds:.1f} s; now the operator")
    with ExitStack() as stack:
        cluster = stack.enter_context(PopulatedCluster.started(home / "plane"))
        operator = ObservedOperator(
            home / "operator", cluster.kubeconfig, mlflow, maxConcurrentRollouts=size, workers=WORKERS
        )
        stack.callback(operator.kill)
        standby = ObservedOperator(home / "standby", cluster.kubeconfig, mlflow, workers=WORKERS)
        stack.callback(standby.kill)
        rollout = roll_out(cluster, operator, size)
        tell(f"{size:,}: all serve after {rollout.seconds:.1f} s")
        afterwards = live_on(cluster, operator, standby, size, options.rest)
    if not options.brief:
        tell(f"{size:,}: the bare loop once more")
        limits.append(limit(home / "limit-again", recording, size))
    return Result(size, limits, rollout, afterwards)


def show(results: Sequence[Result]) -> None:
    """Print the tables."""
    print("\n### From nothing to all serving\n")
    columns = (
        "ModelDeployments",
        "Time",
        "Limit",
        "Ratio",
        "Writes made",
        "Needed",
        "Looks",
        "CPU",
        "Peak RSS",
    )
    print(heading(*columns, "Loop late p99", "at most", "In line p50", "p99"))
    for result in results:
        rollout = result.rollout
        print(
            row(
                f"{result.size:,}",
                f"{rollout.seconds:.1f} s",
                " and ".join(f"{bare.seconds:.1f}" for bare in result.limits) + " s",
                f"{rollout.seconds / fmean(bare.seconds for bare in result.limits):.2f}",
                f"{rollout.writes.total():,}",
                f"{NEEDED.total() * result.size:,}",
                f"{rollout.looks:,.0f}",
                f"{rollout.cpu_seconds:.1f} s",
                f"{rollout.peak_mib:.0f} MiB",
                f"{1000 * percentile(rollout.lags, 0.99):.0f} ms",
                f"{1000 * max(rollout.lags):.0f} ms",
                f"{rollout.waits[0]:.2f} s",
                f"{rollout.waits[1]:.2f} s",
            )
        )
    print("\n### CPU for each ModelDeployment\n")
    print(heading("ModelDeployments", "By", *PROGRAMS))
    for result in results:
        taken = [("the bare loop", result.limits[0].cpu), ("the operator", result.rollout.cpu)]
        for by, cpu in taken:
            times = (f"{1000 * cpu.get(program, 0.0) / result.size:.0f} ms" for program in PROGRAMS)
            print(row(f"{result.size:,}", by, *times))
    print("\n### Once all serve\n")
    later = ("ModelDeployments", "Edit to write p50", "p99", "Writes at rest", "CPU at rest")
    print(heading(*later, "Start to ready", "Start to first write", "Failover", "Peak RSS"))
    for result in results:
        after = result.afterwards
        print(
            row(
                f"{result.size:,}",
                f"{1000 * percentile(after.edits, 0.5):.0f} ms",
                f"{1000 * percentile(after.edits, 0.99):.0f} ms",
                after.writes_at_rest,
                f"{after.cpu_at_rest:.1%} of a core",
                f"{after.ready:.1f} s",
                f"{after.acting:.1f} s",
                f"{after.failover:.1f} s",
                f"{after.peak_mib:.0f} MiB",
            )
        )
    print("\n### Writes for each ModelDeployment\n")
    kinds = sorted({kind for result in results for kind in result.rollout.writes} | set(NEEDED))
    print(heading("Write", "Needed", *(f"{result.size:,}" for result in results)))
    for kind in kinds:
        each = (f"{result.rollout.writes[kind] / result.size:.2f}" for result in results)
        print(row(" ".join(kind), NEEDED[kind], *each))
    print(row("refused", 0, *(f"{result.rollout.refused / result.size:.2f}" for result in results)))


def main() -> None:
    """Run it and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", default=SIZES, help=f"numbers of ModelDeployments (default {SIZES})")
    parser.add_argument(
        "--rest", type=float, default=20.0, help="seconds at rest, in which nothing is written"
    )
    parser.add_argument("--brief", action="store_true", help="run the bare loop only before the operator")
    options = parser.parse_args()
    sizes = [int(size) for size in options.sizes.split(",")]
    print(machine(), flush=True)
    # as an interrupt does, SIGTERM ends what was started
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    home = Path(tempfile.mkdtemp(prefix="benchmark-scale-"))
    results: list[Result] = []
    try:
        tell("a registry is filled")
        with registry(home / "mlflow", max(sizes)) as mlflow:
            recording = rehearse(home / "rehearsal", mlflow)
            for size in sizes:
                results.append(measure(home / str(size), mlflow, recording, size, options))
                show(results[-1:])
            show(results)
    finally:
        shutil.rmtree(home)


if __name__ == "__main__":
    main()

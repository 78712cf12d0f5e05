"""``python -m tests.demo``: the main job on a real cluster, with a real registry and real models."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys

import httpx
from rich.table import Table

from tests.cluster.binaries import BinaryUnavailableError
from tests.cluster.packages import PackagesMissingError
from tests.cluster.provider import ClusterError, ClusterProvider
from tests.cluster.safety import ForeignClusterError
from tests.demo.story import MANIFEST, Outcome, StepError, Story
from tests.demo.timeline import Timeline
from tests.mlflow_env import cache_root
from tests.mlflow_server import IRIS_STORY, MlflowServer, TrainedVersion, train
from tests.provision import provision
from tests.workbench import SYSTEM_NAMESPACE, Workbench, WorkbenchError
from tests.workbench.cluster import load_images, start_cluster
from tests.workbench.diagnosis import diagnosis

NAMESPACE = "demo"
EPILOG = """\
It makes a cluster (or takes the one of this checkout), builds the images, trains three versions of a model into
a real MLflow server, installs the operator by Helm, and lets the alias move while requests are sent. It may be
run again and again. The cluster stays; `make cluster-down` removes it.
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.demo",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--keep", action="store_true", help="leave the MLflow server running, to play on")
    arguments = parser.parse_args()
    # a SIGTERM, as from a CI runner, ends what was started just as Ctrl-C does
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    timeline = Timeline()
    try:
        _play(timeline, keep=arguments.keep)
    except (
        BinaryUnavailableError,
        ClusterError,
        ForeignClusterError,
        PackagesMissingError,
        StepError,
        WorkbenchError,
        httpx.HTTPError,
        RuntimeError,
        AssertionError,
    ) as error:
        timeline.note(f"The demo failed ({type(error).__name__}).", "bold red")
        timeline.console.print(str(error), markup=False)
        return 1
    except KeyboardInterrupt:
        timeline.note("Interrupted; the cluster stays. `make cluster-down` removes it.", "yellow")
        return 130
    return 0


def _play(timeline: Timeline, *, keep: bool) -> None:
    timeline.title("programs, images and a Kubernetes cluster")
    provision("cluster", timeline.console)
    provider = start_cluster()
    with timeline.step("the images are loaded"):
        bench = Workbench.open(provider, load_images(provider))
    directory = cache_root() / "demo" / "mlflow"
    if former := MlflowServer.find(directory):
        former.stop()
    shutil.rmtree(directory, ignore_errors=True)
    registry: MlflowServer | None = None
    done = False
    try:
        with timeline.step("what an earlier run left is removed"):
            bench.remove_namespaces()
        with timeline.step("an MLflow server (SQLite, basic auth)"):
            registry = MlflowServer.start(directory, host=provider.host_address)
            timeline.note(f"{registry.url}, user {registry.username}")
        with timeline.step("three versions of a classifier are trained and registered"):
            train(registry, IRIS_STORY, lambda version: _tell_version(timeline, version))
        with timeline.step("helm upgrade --install model-operator"):
            bench.install_operator(registry)
        namespace = bench.make_namespace(NAMESPACE, registry)
        timeline.console.print(MANIFEST.read_text(), markup=False)
        try:
            outcome = Story(timeline, bench, namespace, registry).tell()
        except (StepError, AssertionError):
            timeline.console.print(diagnosis(bench.api, NAMESPACE, SYSTEM_NAMESPACE), markup=False)
            raise
        done = True
        timeline.console.print(_table(outcome))
        _farewell(timeline, provider, registry, keep)
    finally:
        if registry and not (keep and done):
            registry.stop()
        bench.close()


def _tell_version(timeline: Timeline, version: TrainedVersion) -> None:
    timeline.note(f"iris version {version.version} ({version.kind}): accuracy {version.accuracy:.3f}")


def _table(outcome: Outcome) -> Table:
    table = Table(title="What was measured", show_header=False)
    rows = [
        ("manifest applied → version 1 serves", f"{outcome.first_serving:.1f} s"),
        ("alias moved to 2 → first answer of version 2", f"{outcome.follow_first:.1f} s"),
        ("alias moved to 2 → all pods on version 2", f"{outcome.follow_whole:.1f} s"),
        ("alias moved to 3 → rejected and reverted", f"{outcome.revert:.1f} s"),
        ("requests sent", f"{outcome.sent} ({outcome.answers})"),
        ("requests failed", str(outcome.failed)),
        ("longest time without an answer", f"{outcome.longest_gap:.2f} s"),
        ("slowest answer", f"{outcome.slowest:.2f} s"),
        ("operator's memory (RSS)", f"{outcome.operator_mib:.0f} MiB"),
    ]
    for row in rows:
        table.add_row(*row)
    return table


def _farewell(timeline: Timeline, provider: ClusterProvider, registry: MlflowServer, keep: bool) -> None:
    lines = [
        f"The demo took {timeline.seconds:.0f} s. The cluster runs on; look around:",
        '  eval "$(.venv/bin/python -m tests.cluster shell-env)"   # KUBECONFIG=' + str(provider.kubeconfig),
        f"  kubectl -n {NAMESPACE} get mdep iris -o wide",
        f"  kubectl -n {NAMESPACE} describe mdep iris",
    ]
    if keep:
        lines += [
            f"MLflow runs on at {registry.url} (user {registry.username}, password in "
            f"{registry.directory / 'admin-password'}); the next demo or `kill {registry.pid}` ends it.",
        ]
    else:
        lines += [
            "The MLflow server was stopped (--keep keeps it), so `Resolved` turns Unknown: nothing else changes."
        ]
    lines += ["Remove everything: make cluster-down"]
    timeline.console.print("\n".join(lines), markup=False)


if __name__ == "__main__":
    sys.exit(main())

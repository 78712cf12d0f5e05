"""One cluster, operator and registry for all stories; a namespace of its own for each of them.

The cluster is the one of this checkout: it is made when it is not there, and stays. The operator is installed by
Helm and removed at the end, the MLflow server runs on this machine for as long as the tests do.
"""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.figures import Figures
from tests.e2e.stage import MODEL, ONLY_FULL, SLOW_SECONDS, VERSIONS, Stage
from tests.mlflow_server import MlflowServer, Training, train
from tests.workbench import Namespace, Workbench
from tests.workbench.cluster import load_images, start_cluster

HERE = "tests/e2e/"
CASE_SECONDS = 480
"""A last resort beside the deadlines of each wait; the time of the session's fixtures does not count."""
measured = pytest.StashKey[Figures]()
not_run = pytest.StashKey[list[str]]()
lacks_history = pytest.StashKey[list[str]]()


def has_commit(commit: str) -> bool:
    """Whether this checkout has that commit: a shallow clone has only the newest, an archive none."""
    command = ["git", "-C", str(Path(__file__).parent), "cat-file", "-e", f"{commit}^{{commit}}"]
    try:
        return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0
    except FileNotFoundError:
        return False


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    ours = [item for item in items if item.nodeid.startswith(HERE)]
    for item in ours:
        item.add_marker(pytest.mark.timeout(CASE_SECONDS, func_only=True))
    lacking = [
        item for item in ours if (mark := item.get_closest_marker("commit")) and not has_commit(*mark.args)
    ]
    config.stash[lacks_history] = [item.nodeid for item in lacking]
    if lacking:
        config.hook.pytest_deselected(items=lacking)
        items[:] = [item for item in items if item not in lacking]
        ours = [item for item in ours if item not in lacking]
    if config.option.markexpr:
        return
    left_out = [item for item in ours if item.get_closest_marker("full")]
    # who names a case wants it to run
    left_out = [item for item in left_out if not any("::" in given for given in config.args)]
    config.stash[not_run] = [item.nodeid for item in left_out]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if lines := config.stash.get(measured, Figures()).lines():
        terminalreporter.section("measured")
        for line in lines:
            terminalreporter.line(line)
    if lacking := config.stash.get(lacks_history, []):
        terminalreporter.section("left out for want of history")
        terminalreporter.line(
            "These run an older commit, which this clone does not have; `git fetch --unshallow` brings it:"
        )
        for name in lacking:
            terminalreporter.line(f"  {name}")
    left_out = config.stash.get(not_run, [])
    if left_out:
        terminalreporter.section("left for make e2e-full")
        terminalreporter.line("CI runs one case per class of fault; these belong to the whole table:")
        for name in left_out:
            terminalreporter.line(f"  {name}")


@contextmanager
def aloud(request: pytest.FixtureRequest) -> Iterator[None]:
    """What takes long is shown while it happens."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        yield


@pytest.fixture(scope="session")
def bench(request: pytest.FixtureRequest) -> Iterator[Workbench]:
    """The running cluster with our images, and nothing in it of an earlier run."""
    with aloud(request):
        print("\ncluster and images:", flush=True)
        provider = start_cluster()
        bench = Workbench.open(provider, load_images(provider))
        bench.remove_namespaces()
    yield bench
    bench.close()


@pytest.fixture(scope="session")
def registry(
    request: pytest.FixtureRequest, bench: Workbench, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MlflowServer]:
    """A real MLflow server with one trained version of each kind."""
    with aloud(request):
        print("MLflow server and training:", flush=True)
        directory = tmp_path_factory.mktemp("mlflow")
        server = MlflowServer.start(directory, host=bench.provider.host_address)
    try:
        with aloud(request):
            full = any(item.get_closest_marker("full") for item in request.session.items)
            kinds = [kind for kind in VERSIONS if full or kind not in ONLY_FULL]
            trainings = [Training(MODEL, kind, seconds=SLOW_SECONDS) for kind in kinds]
            train(server, trainings, lambda version: print(f"  {version.kind}", flush=True))
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def operator(request: pytest.FixtureRequest, bench: Workbench, registry: MlflowServer) -> Iterator[Workbench]:
    """The workbench with a running operator."""
    with aloud(request):
        print("operator, by Helm", flush=True)
        bench.install_operator(registry)
    yield bench
    bench.remove_namespaces()
    bench.uninstall_operator()


@pytest.fixture(scope="session")
def figures(pytestconfig: pytest.Config) -> Figures:
    """Where a story leaves what it measured; shown at the end of the run."""
    return pytestconfig.stash.setdefault(measured, Figures())


@pytest.fixture
def stage(operator: Workbench, registry: MlflowServer) -> Iterator[Stage]:
    """A namespace for one test, with the Secret that its pods need."""
    with operator.namespace(_name(), registry) as namespace:
        yield Stage(operator, registry, namespace)


@pytest.fixture(scope="module")
def shared_stage(operator: Workbench, registry: MlflowServer) -> Iterator[Stage]:
    """A namespace for all tests of a module, whose ModelDeployments then live at the same time."""
    with operator.namespace(_name(), registry) as namespace:
        yield Stage(operator, registry, namespace)


@pytest.fixture
def bare_namespace(operator: Workbench) -> Iterator[Namespace]:
    """A namespace without the Secret that pods need."""
    with operator.namespace(_name(), None) as namespace:
        yield namespace


def _name() -> str:
    return f"e2e-{secrets.token_hex(3)}"

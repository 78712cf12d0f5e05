"""The trees and tables of ``kubectl model`` at 80 columns, as texts that read well."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.cli.cli_objects import (
    NOW,
    SERVING,
    V7,
    V8,
    ago,
    candidate,
    condition,
    plain_terminal,
    pod,
    serving,
    shown,
    snapshot,
    wanted,
)

from model_operator.cli.commands.doctor import report
from model_operator.cli.doctor import Finding, Level
from model_operator.cli.render.tables import history, overview
from model_operator.cli.render.terminal import ASCII, Terminal
from model_operator.cli.render.tree import plan_tree, status_tree
from model_operator.cli.snapshot import Snapshot
from model_operator.cli.summary import summarise

GOLDEN = Path(__file__).parent / "cli"
FLAGS = " -n crm"


def _rejected(**fields: object) -> dict[str, object]:
    message = "the model can't be loaded: ValueError: the pickle is broken; fix the model and log it again"
    return {
        "version": "8",
        "revision": V8,
        "side": "Model",
        "reason": "LoadFailed",
        "message": message,
        "attempts": 1,
        "at": ago(75),
        **fields,
    }


LOADING = "version 8: 1 of 2 new pods is ready; the next one is starting"
APPROVE = 'version 8: all pods are ready and get no requests yet. Set spec.gates.approval.approved to "8"'
KEPT_OUT = (
    "version 8 is kept out by gate Metrics: auc on holdout of version 8 is 0.79, below the minimum of 0.81. Move the "
    "alias to a better version, or let this one pass with an entry in spec.gates.overrides"
)
NO_SECRET = (
    "there is no Secret mlflow-reader in namespace crm: create it, with username and password, or token"
)
SILENT = "http://mlflow.mlflow.svc:5000 can't be reached: All connection attempts failed"
READY, _, RESOLVED = SERVING


def _green(name: str, phase: str = "Ready", version: str = "8", seconds: float = 40) -> dict[str, object]:
    return pod(name, version, phase, seconds, track="churn-green")


STATES: dict[str, Snapshot] = {
    "all_is_well": snapshot(*SERVING, resolved=wanted("7", 3 * 86400), serving=serving()),
    "not_seen_yet": snapshot(pods=[], observedGeneration=None, replicas=0),
    "first_rollout": snapshot(
        condition("Ready", "False", "RollingOut", "version 8: the model is fetched"),
        condition("Current", "False", "RollingOut", "version 8: the model is fetched"),
        condition("Reconciling", "True", "RollingOut", "version 8: the model is fetched"),
        condition("Resolved", "True", "Resolved"),
        pods=[
            pod("churn-64fbfc9444-78t6z", "8", "Fetching", 42),
            pod("churn-64fbfc9444-wq2lk", "8", "Scheduling", 42),
        ],
        resolved=wanted("8"),
        candidate=candidate("Fetching", deadline=ago(-1758), message="the model is fetched"),
        plan={
            "to": "8",
            "revision": V8,
            "strategy": "RollingUpdate",
            "message": "2 pods are started. No version is serving yet",
        },
    ),
    "mid_rollout": snapshot(
        READY,
        condition("Current", "False", "RollingOut", LOADING),
        condition("Reconciling", "True", "RollingOut", LOADING),
        RESOLVED,
        pods=[
            pod("churn-7495b7cd88-r9cvl"),
            pod("churn-64fbfc9444-78t6z", "8", seconds=42),
            pod("churn-64fbfc9444-wq2lk", "8", "Starting", 12),
        ],
        resolved=wanted("8"),
        serving=serving(),
        candidate=candidate(
            "Rolling", deadline=ago(-570), message="1 of 2 new pods is ready; the next one is starting"
        ),
        plan={
            "from": "7",
            "to": "8",
            "revision": V8,
            "strategy": "RollingUpdate",
            "message": "pods are replaced in place, up to 1 above the 2 and 0 below",
            "extraPods": 1,
            "extraResources": {"cpu": "250m", "memory": "512Mi"},
            "gates": [
                {"gate": "Metrics", "outcome": "Passed", "message": "auc on holdout is 0.84, at least 0.81"}
            ],
        },
        replicas=3,
    ),
    "rejected_and_reverted": snapshot(
        READY,
        condition(
            "Current",
            "False",
            "VersionRejected",
            f"version 8 was rejected (LoadFailed): {_rejected()['message']}",
        ),
        RESOLVED,
        resolved=wanted("8"),
        serving=serving(),
        rejected=[_rejected()],
    ),
    "reverted_out_of_its_watch": snapshot(
        READY,
        condition(
            "Current", "False", "VersionRejected", "version 8 was rejected (CrashLoop): it ended twice"
        ),
        RESOLVED,
        resolved=wanted("8", 700),
        serving=serving(since=ago(30), settled=False, watchEnds=ago(-570)),
        rejected=[_rejected(reason="CrashLoop", message="it ended twice", attempts=2, retryAt=ago(-240))],
        history=[
            {"version": "8", "revision": V8, "from": ago(600), "to": ago(30), "reason": "CrashLoop"},
            {"version": "7", "revision": V7, "from": ago(86400), "to": ago(600), "reason": "Replaced"},
            {"version": "6", "from": ago(2 * 86400), "to": ago(86400), "reason": "Replaced"},
            {"version": "5", "from": ago(3 * 86400), "to": ago(2 * 86400), "reason": "Replaced"},
        ],
    ),
    "errors_not_judged": snapshot(
        *SERVING,
        resolved=wanted("7", 400),
        serving=serving(
            since=ago(300),
            settled=False,
            watchEnds=ago(-300),
            errorsNotJudged="the metrics of its pods can't be read (no answer (ConnectTimeout)), so 5xx answers do not "
            "count",
            errorsNotJudgedSince=ago(240),
        ),
    ),
    "waiting_for_approval": snapshot(
        READY,
        condition("Current", "False", "WaitingForApproval", APPROVE),
        condition("Reconciling", "True", "WaitingForApproval", APPROVE),
        condition("Admitted", "False", "WaitingForApproval", APPROVE),
        RESOLVED,
        pods=[pod("churn-7495b7cd88-r9cvl"), _green("churn-green-56d599b8b5-zqn84")],
        resolved=wanted("8"),
        serving=serving(),
        candidate=candidate(
            "ReadyForTraffic", track="churn-green", reason="WaitingForApproval", message=APPROVE[11:]
        ),
    ),
    "a_gate_refuses": snapshot(
        READY,
        condition("Current", "False", "MetricOutOfBounds", KEPT_OUT),
        condition("Admitted", "False", "MetricOutOfBounds", KEPT_OUT),
        RESOLVED,
        resolved=wanted("8"),
        serving=serving(),
        plan={
            "from": "7",
            "to": "8",
            "revision": V8,
            "strategy": "BlueGreen",
            "gates": [
                {"gate": "Tags", "outcome": "Passed", "message": "validation_status is approved"},
                {
                    "gate": "Metrics",
                    "outcome": "Failed",
                    "message": "auc on holdout of version 8 is 0.79, below the minimum of 0.81",
                },
                {
                    "gate": "Signature",
                    "outcome": "Pending",
                    "message": "waiting for the model's description from the registry",
                },
            ],
            "signature": ["- tenure: long", "+ tenure: double"],
        },
    ),
    "blue_green_warm": snapshot(
        condition("Ready", "True", "Serving", "version 8 serves"),
        condition("Current", "True", "Serving", "version 8 is the desired version and serves"),
        RESOLVED,
        pods=[
            _green("churn-green-56d599b8b5-zqn84"),
            _green("churn-green-56d599b8b5-kqnfw"),
            pod("churn-7495b7cd88-r9cvl"),
        ],
        resolved=wanted("8"),
        serving=serving(
            version="8", revision=V8, track="churn-green", since=ago(20), settled=False, watchEnds=ago(-580)
        ),
        history=[{"version": "7", "revision": V7, "from": ago(86400), "to": ago(20), "reason": "Replaced"}],
    ),
    "registry_down": snapshot(
        READY,
        condition("Current", "Unknown", "RegistryUnreachable", SILENT),
        condition("Resolved", "Unknown", "RegistryUnreachable", SILENT),
        resolved=wanted("7", 86400),
        serving=serving(),
    ),
    "credentials_missing": snapshot(
        condition("Ready", "False", "CredentialsMissing", NO_SECRET),
        condition("Current", "False", "CredentialsMissing", NO_SECRET),
        condition("Stalled", "True", "CredentialsMissing", NO_SECRET),
        RESOLVED,
        pods=[],
        resolved=wanted("8"),
        replicas=0,
        readyReplicas=0,
    ),
    "held_and_suspended": snapshot(
        READY,
        condition(
            "Current", "False", "RevisionHeld", "version 7 is held by the annotation model-operator.io/revert"
        ),
        RESOLVED,
        resolved=wanted("8"),
        serving=serving(),
        spec={"suspend": True},
    ),
    "no_room": snapshot(
        READY,
        condition(
            "Current", "False", "InsufficientCapacity", "version 8: no node has room for the pod; make room"
        ),
        condition(
            "Reconciling",
            "True",
            "InsufficientCapacity",
            "version 8: no node has room for the pod; make room",
        ),
        RESOLVED,
        pods=[pod("churn-7495b7cd88-r9cvl"), pod("churn-64fbfc9444-78t6z", "8", "Scheduling", 42)],
        resolved=wanted("8"),
        serving=serving(),
        candidate=candidate(
            "Withdrawn",
            reason="InsufficientCapacity",
            message="no node has room for the pod",
            retryAt=ago(-120),
            attempts=3,
        ),
    ),
    "many_pods_and_none_may_be_read": Snapshot(
        snapshot(*SERVING, resolved=wanted("7"), serving=serving()).raw, NOW, None
    ),
    "many_pods": snapshot(
        *SERVING,
        pods=[pod(f"churn-7495b7cd88-{number:05d}") for number in range(11)],
        resolved=wanted("7"),
        serving=serving(),
        replicas=11,
        readyReplicas=11,
    ),
    "hostile_words": snapshot(
        READY,
        condition(
            "Current", "False", "LoadFailed", "\x1b[2J\x1b]0;owned\x07 [bold]x[/bold]\r\n‮gnp.exe line two"
        ),
        RESOLVED,
        resolved=wanted("8"),
        serving=serving(),
    ),
}


def _tree(name: str, terminal: Terminal) -> str:
    state = STATES[name]
    return shown(status_tree(state, summarise(state, flags=FLAGS), terminal), terminal)


def _is_golden(name: str, found: str, request: pytest.FixtureRequest) -> None:
    golden = GOLDEN / f"{name}.txt"
    if request.config.getoption("--update-golden"):
        golden.write_text(found, encoding="utf-8")
    assert found == golden.read_text(encoding="utf-8"), f"{name}: --update-golden writes it anew"


@pytest.mark.parametrize("name", STATES)
def test_a_status_is_the_golden_tree(name: str, request: pytest.FixtureRequest) -> None:
    found = _tree(name, plain_terminal())
    _is_golden(f"status_{name}", found, request)
    assert all(len(line) <= 80 for line in found.splitlines())


@pytest.mark.parametrize("name", ["mid_rollout", "waiting_for_approval", "hostile_words"])
def test_a_terminal_without_unicode_gets_ascii(name: str, request: pytest.FixtureRequest) -> None:
    found = _tree(name, plain_terminal(ASCII))
    _is_golden(f"status_{name}_ascii", found, request)
    assert found.isascii()


def _overview(terminal: Terminal, wide: bool = False) -> str:
    rows = [(state, summarise(state)) for state in STATES.values()]
    return shown(overview(rows, terminal, namespaces=True, wide=wide), terminal)


PICTURES: dict[str, Callable[[], str]] = {
    "get_all": lambda: _overview(plain_terminal()),
    "get_wide": lambda: _overview(plain_terminal(width=140), wide=True),
    "history": lambda: shown(
        history(STATES["reverted_out_of_its_watch"], plain_terminal()), plain_terminal()
    ),
    "plan": lambda: shown(plan_tree(STATES["a_gate_refuses"], plain_terminal()), plain_terminal()),
    "doctor": lambda: shown(
        report(
            [
                Finding(Level.GOOD, "cluster", "Kubernetes v1.36.3 answers"),
                Finding(Level.NOTE, "webhooks", "off: a moved alias is seen within 15 s, by polling"),
                Finding(
                    Level.UNKNOWN, "operator", "its rights could not be checked: you may not review access"
                ),
                Finding(
                    Level.WARNING, "CRD", "it is older than this program and lacks spec.new", "helm upgrade"
                ),
                Finding(
                    Level.PROBLEM,
                    "registry default",
                    "MLflow rejects the host name mlflow.mlflow.svc:5000 (its check of the Host header)",
                    "start MLflow with --allowed-hosts and mlflow.mlflow.svc:5000 in it",
                ),
            ],
            plain_terminal(),
        ),
        plain_terminal(),
    ),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_table_is_the_golden_one(name: str, request: pytest.FixtureRequest) -> None:
    _is_golden(name, PICTURES[name](), request)


def test_every_golden_picture_belongs_to_a_test() -> None:
    ascii_too = {
        "status_mid_rollout_ascii",
        "status_waiting_for_approval_ascii",
        "status_hostile_words_ascii",
    }
    assert {file.stem for file in GOLDEN.iterdir()} == {
        f"status_{name}" for name in STATES
    } | ascii_too | set(PICTURES)

"""What kstatus, the library that Flux and others wait with, makes of a ModelDeployment in every state of a life."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.cluster.binaries import ensure
from tests.gitops.states import STATES, seen_as

EXPECTED = {
    # kstatus waits for nothing where there is no status; the operator writes the first one at once
    "the operator has not seen the ModelDeployment yet": "Current",
    "the first version is being rolled out": "InProgress",
    "the first version fails": "Failed",
    "the alias does not exist": "Failed",
    "the registry is down, and no version serves yet": "InProgress",
    "a version is serving": "Current",
    "there are no replicas": "Current",
    # whatever is under way is in progress for kstatus, also what the registry began
    "the alias moved, and the version is being rolled out": "InProgress",
    "the alias moved to a version that was rejected": "Current",
    "the alias moved, and there is no room": "InProgress",
    "the alias moved, and the version waits for an approval": "InProgress",
    "the alias was deleted while a version is serving": "Current",
    "the registry is down while a version is serving": "Current",
    "the operator has not seen a commit yet": "InProgress",
    "a commit is being rolled out": "InProgress",
    "a commit was rejected": "Failed",
    "a commit waits for an approval": "InProgress",
    "the ModelDeployment is suspended": "Current",
    "all pods are lost": "InProgress",
}


@pytest.fixture(scope="module")
def computed() -> dict[str, str]:
    """The status in each state, as the real library computes it."""
    done = subprocess.run(
        [str(ensure("kstatus")["kstatus"])],
        input="\n".join(json.dumps(seen_as(state)) for state in STATES),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    return {state: line.split("\t")[0] for state, line in zip(STATES, lines, strict=True)}


@pytest.mark.parametrize("state", STATES)
def test_the_status_of_a_model_deployment_when(state: str, computed: dict[str, str]) -> None:
    assert computed[state] == EXPECTED[state]


def test_a_rejected_alias_move_never_fails_a_wait_and_a_rejected_commit_does(
    computed: dict[str, str],
) -> None:
    assert computed["the alias moved to a version that was rejected"] == "Current"
    assert computed["a commit was rejected"] == "Failed"

"""What kstatus, the library that Flux and others wait with, makes of a ModelDeployment in every state of a life."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.cluster.binaries import ensure
from tests.gitops.states import STATES, seen_as

EXPECTED = {
    # kstatus waits for nothing where there is no status; the operator writes the first one at once
    "the operator has not seen it yet": "Current",
    "the first version is rolled out": "InProgress",
    "the first version fails": "Failed",
    "the alias does not exist": "Failed",
    "the registry is down before anything serves": "InProgress",
    "a version serves": "Current",
    "there are no replicas": "Current",
    # whatever is under way is in progress for kstatus, also what the registry began
    "the alias has moved and the version is rolled out": "InProgress",
    "the alias has moved to a version that was rejected": "Current",
    "the alias has moved and there is no room": "InProgress",
    "the alias has moved and a person has to agree": "InProgress",
    "the alias was deleted while a version serves": "Current",
    "the registry is down while a version serves": "Current",
    "a commit was not seen yet": "InProgress",
    "a commit is rolled out": "InProgress",
    "a commit was rejected": "Failed",
    "a commit waits for a person": "InProgress",
    "it is suspended": "Current",
    "every pod was lost": "InProgress",
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
    assert computed["the alias has moved to a version that was rejected"] == "Current"
    assert computed["a commit was rejected"] == "Failed"

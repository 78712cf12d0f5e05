"""The health check for Argo CD, run by the Lua that Argo CD speaks, in every state of a life."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from lupa import lua51

from tests.gitops.states import STATES, seen_as
from tests.gitops.test_kstatus import EXPECTED as KSTATUS

ROOT = Path(__file__).parents[2]
ARGOCD = ROOT / "examples" / "gitops" / "argocd"
HEALTH = (ARGOCD / "health.lua").read_text("utf-8")

Json = dict[str, Any]

EXPECTED = {
    "the operator has not seen the ModelDeployment yet": "Progressing",
    "the first version is being rolled out": "Progressing",
    "the first version fails": "Degraded",
    "the alias does not exist": "Degraded",
    "the registry is down, and no version serves yet": "Progressing",
    "a version is serving": "Healthy",
    "there are no replicas": "Healthy",
    "the alias moved, and the version is being rolled out": "Healthy",
    "the alias moved to a version that was rejected": "Healthy",
    "the alias moved, and there is no room": "Healthy",
    "the alias moved, and the version waits for an approval": "Healthy",
    "the alias was deleted while a version is serving": "Healthy",
    "the registry is down while a version is serving": "Healthy",
    "the operator has not seen a commit yet": "Progressing",
    "a commit is being rolled out": "Progressing",
    "a commit was rejected": "Degraded",
    "a commit waits for an approval": "Suspended",
    "the ModelDeployment is suspended": "Suspended",
    "all pods are lost": "Degraded",
}


def health(found: Json) -> tuple[str, str]:
    """Status and message, as Argo CD would show them."""
    lua = lua51.LuaRuntime(register_eval=False, unpack_returned_tuples=True)
    lua.globals().obj = lua.table_from(found, recursive=True)
    answer = lua.execute(HEALTH)
    return str(answer["status"]), str(answer["message"])


@pytest.mark.parametrize("state", STATES)
def test_the_health_of_a_model_deployment_when(state: str) -> None:
    status, message = health(seen_as(state))
    assert status == EXPECTED[state]
    assert message


@pytest.mark.parametrize(
    "state",
    [state for state in STATES if state.startswith(("the alias moved", "the registry is down while"))],
)
def test_nothing_that_happens_in_the_registry_holds_a_sync_wave_up(state: str) -> None:
    status, message = health(seen_as(state))
    assert status == "Healthy", "the next wave begins when everything of this one is Healthy"
    assert "not current" in message, "and still it says so"


def test_a_bad_commit_says_why() -> None:
    _, message = health(seen_as("a commit was rejected"))
    assert message.startswith("VersionRejected: the spec is not rolled out")
    assert "ImageMissing" in message


@pytest.mark.parametrize(
    "status",
    [
        pytest.param({}, id="an empty status"),
        pytest.param({"conditions": []}, id="no conditions"),
        pytest.param(
            {"conditions": [{"type": "Other", "status": "True", "reason": "x"}]}, id="foreign conditions"
        ),
        pytest.param({"conditions": [{"type": "Ready", "status": "False", "reason": "x"}]}, id="no message"),
    ],
)
def test_an_odd_status_is_progress_and_no_error(status: Json) -> None:
    found = seen_as("a version is serving") | {"status": status}
    assert health(found)[0] == "Progressing"


def test_the_config_map_has_the_tested_script() -> None:
    (config,) = yaml.safe_load_all((ARGOCD / "argocd-cm.yaml").read_text("utf-8"))
    assert config["data"]["resource.customizations.health.model-operator.io_ModelDeployment"] == HEALTH


def test_the_page_has_a_row_for_every_state_with_what_argo_cd_and_kstatus_say() -> None:
    page = (ROOT / "docs" / "guides" / "gitops.md").read_text("utf-8")
    rows = [f"| {state[0].upper()}{state[1:]} | {EXPECTED[state]} | {KSTATUS[state]} |" for state in STATES]
    assert "\n".join(rows) in page

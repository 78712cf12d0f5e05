"""The pipeline's script of the examples, run against a real MLflow server."""

from __future__ import annotations

import os
import secrets
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.mlflow_env import ensure_python
from tests.mlflow_server import MlflowServer, shared_servers

EXAMPLES = Path(__file__).parents[2] / "examples" / "ci"


@pytest.fixture(scope="module")
def registry() -> MlflowServer:
    return shared_servers.with_users()


def release(registry: MlflowServer, directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the script as a pipeline does."""
    return subprocess.run(
        [str(ensure_python()), str(EXAMPLES / "release.py"), *arguments],
        cwd=directory,
        env=os.environ
        | {
            "MLFLOW_TRACKING_URI": registry.url,
            "MLFLOW_TRACKING_USERNAME": registry.username,
            "MLFLOW_TRACKING_PASSWORD": registry.password,
            "PYTHONDONTWRITEBYTECODE": "1",
            "NO_PROXY": "*",
        },
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def version_of(registry: MlflowServer, model: str, alias: str) -> str:
    with registry.api() as api:
        found = api.get("registered-models/alias", params={"name": model, "alias": alias}).json()
    return str(found["model_version"]["version"])


def record(registry: MlflowServer, model: str, version: str) -> dict[str, Any]:
    with registry.api() as api:
        found = api.get("model-versions/get", params={"name": model, "version": version}).json()
    return dict(found["model_version"])


@pytest.fixture(scope="module")
def released(registry: MlflowServer, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model of which the script has released version 1."""
    model = f"churn-{secrets.token_hex(3)}"
    good = release(registry, tmp_path_factory.mktemp("good"), "--model", model, "--minimum", "0.9")
    assert good.returncode == 0, good.stderr
    assert good.stdout.splitlines()[-1] == "version=1"
    return model


def test_a_good_version_is_tagged_and_gets_the_alias(registry: MlflowServer, released: str) -> None:
    assert version_of(registry, released, "champion") == "1"
    assert {"key": "validation_status", "value": "approved"} in record(registry, released, "1")["tags"]


def test_one_that_is_not_good_enough_is_tagged_and_the_alias_stays(
    registry: MlflowServer, released: str, tmp_path: Path
) -> None:
    bad = release(registry, tmp_path, "--model", released, "--minimum", "1.1")
    assert bad.returncode == 1, bad.stderr
    assert "version 2 has auc 0.9" in bad.stderr
    assert "the alias stays" in bad.stderr
    assert version_of(registry, released, "champion") == "1"
    assert {"key": "validation_status", "value": "rejected"} in record(registry, released, "2")["tags"]


def test_the_workflow_runs_the_tested_script_and_waits_for_what_it_released() -> None:
    workflow = yaml.safe_load((EXAMPLES / "workflow.yml").read_text("utf-8"))
    steps = {step.get("id", step.get("name")): step for step in workflow["jobs"]["release"]["steps"]}
    assert "python examples/ci/release.py" in steps["release"]["run"]
    waits = steps["Wait until the version is serving, or print the reason"]["run"]
    assert '--wait --version "${{ steps.release.outputs.version }}"' in waits

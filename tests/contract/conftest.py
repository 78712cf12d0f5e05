"""What several of the contract tests share."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.contract.container import run_with_mlflow
from tests.mlflow_env import OLDEST, REQUIREMENTS


@pytest.fixture(scope="session", params=[REQUIREMENTS, OLDEST], ids=["MLflow 3", "the oldest MLflow"])
def mlflow_image(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """The lock file of an image, and the models of save_models.py saved in it."""
    directory = tmp_path_factory.mktemp("models")
    run_with_mlflow("save_models.py", str(directory), mlflow=request.param)
    return request.param, directory


@pytest.fixture(scope="session", autouse=True)
def _base_directory(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Makes pytest's base directory: cases that make theirs in threads would do it twice, and the second one fails."""
    tmp_path_factory.getbasetemp()

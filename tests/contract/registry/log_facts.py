"""Registers versions whose metrics and files gates are to judge; runs in an environment that has MLflow.

Prints a JSON object: by name, the version's run_id and source.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import mlflow
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

MAJOR = int(mlflow.__version__.split(".")[0])
EXAMPLE = pd.DataFrame({"age": [1, 2], "income": [1.5, 2.5]})


class Constant(mlflow.pyfunc.PythonModel):
    """Answers the same to everybody."""

    def predict(self, context, model_input, params=None):
        return [1.0] * len(model_input)


def signature() -> ModelSignature:
    """Two columns, one of them optional, one answer, one parameter."""
    return ModelSignature(
        inputs=Schema([ColSpec("long", "age"), ColSpec("double", "income", required=False)]),
        outputs=Schema([ColSpec("double")]),
        params=ParamSchema([ParamSpec("threshold", "double", 0.5)]),
    )


def logged(name: str, example: bool) -> tuple[str, str]:
    """The run and the logged model's id (empty before MLflow 3) of a new version of ``name``."""
    where = {"name": "model"} if MAJOR >= 3 else {"artifact_path": "model"}
    with mlflow.start_run() as run:
        info = mlflow.pyfunc.log_model(
            **where,
            python_model=Constant(),
            registered_model_name=name,
            signature=signature() if example else None,
            input_example=EXAMPLE if example else None,
            pip_requirements=["mlflow", "pandas>=2 # a comment"],
        )
        model_id = getattr(info, "model_id", None) or ""
        mlflow.log_metric("auc", 0.5, step=1)
        mlflow.log_metric("auc", 0.7, step=2)
        mlflow.log_metric("undefined", float("nan"))
        mlflow.log_metric("endless", float("-inf"))
        if model_id:
            for dataset, value in (("train", 0.99), ("holdout", 0.7)):
                data = mlflow.data.from_pandas(EXAMPLE, name=dataset)
                mlflow.log_metric("f1", value, dataset=data, model_id=model_id)
    return run.info.run_id, model_id


def copies(client: MlflowClient, run_id: str, model_id: str) -> list[str]:
    """Registers versions that lead to the same model by their sources. Returns their names."""
    client.copy_model_version("models:/described/1", "promoted")
    client.copy_model_version("models:/promoted/1", "promoted twice")
    client.create_registered_model("named by run")
    client.create_model_version("named by run", f"runs:/{run_id}/model", run_id=run_id)
    client.create_registered_model("named by path")
    if model_id:
        where = client.get_logged_model(model_id).artifact_location
        client.create_model_version("named by path", where, model_id=model_id)
    else:
        where = client.get_run(run_id).info.artifact_uri
        client.create_model_version("named by path", f"{where}/model", run_id=run_id)
    return ["promoted", "promoted twice", "named by run", "named by path"]


def deleted_original(client: MlflowClient) -> None:
    """Registers a copy whose original is gone."""
    logged("withdrawn", True)
    client.copy_model_version("models:/withdrawn/1", "copy of withdrawn")
    client.delete_model_version("withdrawn", "1")


def constrained() -> None:
    """Registers a version with a constraints file and hashes, as MLflow writes them."""
    Path("own-constraints.txt").write_text("pandas<3\nnumpy>=1\n")
    Path("own.txt").write_text(
        f"mlflow \\\n  --hash=sha256:{'0' * 64}\npandas  # a comment\n-c own-constraints.txt\n"
    )
    where = {"name": "model"} if MAJOR >= 3 else {"artifact_path": "model"}
    with mlflow.start_run():
        mlflow.pyfunc.log_model(
            **where, python_model=Constant(), registered_model_name="constrained", pip_requirements="own.txt"
        )


def prompt(client: MlflowClient) -> None:
    """Registers a prompt with an alias, which MLflow keeps beside the models."""
    mlflow.register_prompt("greeting", "Hello {{name}}")
    client.set_prompt_alias("greeting", "champion", 1)


def main() -> None:
    """Registers them all."""
    client = MlflowClient()
    prompt(client)
    for name, example in (("described", True), ("bare", False), ("orphan", False)):
        run_id, model_id = logged(name, example)
        if name == "described":
            others = copies(client, run_id, model_id)
        if name == "orphan":
            client.delete_run(run_id)
    deleted_original(client)
    constrained()
    client.create_registered_model("elsewhere")
    client.create_model_version("elsewhere", "s3://nowhere/model", run_id=None)
    found = {}
    for name in ("described", "bare", "orphan", "elsewhere", "copy of withdrawn", *others):
        version = client.get_model_version(name, "1")
        found[name] = {"run_id": version.run_id or "", "source": version.source}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()

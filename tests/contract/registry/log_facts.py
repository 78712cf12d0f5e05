"""Registers versions whose metrics and files gates are to judge; runs in an environment that has MLflow.

Prints a JSON object: by name, the version's run_id and source.
"""

from __future__ import annotations

import json
import sys

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


def main() -> None:
    """Registers them all."""
    client = MlflowClient()
    for name, example in (("described", True), ("bare", False), ("orphan", False)):
        run_id, _ = logged(name, example)
        if name == "orphan":
            client.delete_run(run_id)
    client.create_registered_model("elsewhere")
    client.create_model_version("elsewhere", "s3://nowhere/model", run_id=None)
    found = {}
    for name in ("described", "bare", "orphan", "elsewhere"):
        version = client.get_model_version(name, "1")
        found[name] = {"run_id": version.run_id or "", "source": version.source}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()

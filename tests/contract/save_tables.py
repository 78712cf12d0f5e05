"""Run with MLflow's interpreter: saves models of a table that answer row by row, or do not, into a directory."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema

SIGNATURE = ModelSignature(inputs=Schema([ColSpec(DataType.double, "x"), ColSpec(DataType.double, "y")]))


class Table(mlflow.pyfunc.PythonModel):
    """Answers in a form of its own, and prints how many rows it got."""

    def __init__(self, form: str) -> None:
        self.form = form

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        print(f"got {len(model_input)} rows", flush=True)
        x, y = model_input["x"], model_input["y"]
        if (x < 0).any():
            raise ValueError("x is negative")
        if (x > 1e6).any():
            os._exit(3)
        return {
            "array": np.asarray(x * 2 + y),
            "list": list(x + y),
            "series": x - y,
            "table": pd.DataFrame({"sum": x + y, "nan": np.where(x > 5, np.nan, x)}),
            "matrix": np.stack([x, y], axis=1),
            "total": [float(x.sum())],
            "mapping": {"sum": list(x + y)},
        }[self.form]


def main(directory: Path) -> None:
    for form in ("array", "list", "series", "table", "matrix", "total", "mapping"):
        mlflow.pyfunc.save_model(
            directory / form, python_model=Table(form), signature=SIGNATURE, pip_requirements=[]
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Run with MLflow's interpreter: saves the models that the tests of the pods' scripts serve, into a directory."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import mlflow.sklearn
import pandas as pd
from mlflow.models import infer_signature
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression


class Obedient(mlflow.pyfunc.PythonModel):
    """Does while loading and predicting what it is told to: nothing, raise, hang; or what the input says."""

    def __init__(self, on_load: str = "", on_predict: str = "") -> None:
        self.on_load = on_load
        self.on_predict = on_predict

    def load_context(self, context: Any) -> None:
        if self.on_load == "raise":
            raise ValueError("the weights are corrupt")
        if self.on_load == "import":
            import boosted_trees_of_tomorrow  # noqa: F401
        if self.on_load == "hang":
            print("the model is loading", flush=True)
            time.sleep(300)

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        if self.on_predict == "raise":
            raise KeyError("no column named colour")
        if self.on_predict == "nan":
            return [float("nan")]
        seconds = 300 if self.on_predict == "hang" else float(model_input["seconds"].iloc[0])
        if seconds < 0:
            raise ZeroDivisionError("a secret of the house")
        print(f"predicting for {seconds:g} s", flush=True)
        time.sleep(seconds)
        return [1]


def main(directory: Path) -> None:
    features, species = load_iris(return_X_y=True, as_frame=True)
    iris = LogisticRegression(max_iter=500).fit(features, species)
    mlflow.sklearn.save_model(iris, directory / "iris", input_example=features.head(2), pip_requirements=[])
    example = pd.DataFrame({"seconds": [0.0]})
    for name, model in {
        "load-raises": Obedient(on_load="raise"),
        "load-imports": Obedient(on_load="import"),
        "load-hangs": Obedient(on_load="hang"),
        "predict-raises": Obedient(on_predict="raise"),
        "predict-nan": Obedient(on_predict="nan"),
        "predict-hangs": Obedient(on_predict="hang"),
    }.items():
        mlflow.pyfunc.save_model(directory / name, python_model=model, pip_requirements=[])
        # as input_example writes it, without that saving predicts
        (directory / name / "serving_input_example.json").write_text(
            f'{{"dataframe_split": {example.to_json(orient="split", index=False)}}}'
        )
    mlflow.pyfunc.save_model(
        directory / "no-example",
        python_model=Obedient(),
        pip_requirements=[],
        signature=infer_signature(example),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Run with MLflow's interpreter: saves the models that the tests of the pods' scripts serve, into a directory.

The model of scikit-learn is left out where that is not installed.
"""

from __future__ import annotations

import collections
import ctypes
import getpass
import importlib.util
import os
import subprocess
import sys
import time
import types
import urllib.parse
from pathlib import Path
from typing import Any, ClassVar

import cloudpickle
import mlflow
import mlflow.pyfunc
import numpy as np
import pandas as pd
from mlflow.models import infer_signature

SAVING = "SAVING_MODELS"


class Obedient(mlflow.pyfunc.PythonModel):
    """Does while loading and predicting what it is told to: nothing, raise, hang; or what the input says."""

    def __init__(self, on_load: str = "", on_predict: str = "") -> None:
        self.on_load = on_load
        self.on_predict = on_predict

    def load_context(self, context: Any) -> None:
        if SAVING in os.environ:
            return  # some releases of MLflow load a model while they save it
        if self.on_load == "raise":
            raise ValueError("the weights are corrupt")
        if self.on_load == "quote":
            password = os.environ["WAREHOUSE_PASSWORD"]
            quoted = urllib.parse.quote(password, safe="")
            address = f"https://reader:{password}@warehouse.example.com/features?X-Amz-Signature=51gned"
            raise ValueError(f"no answer from {address} with {password} ({quoted})")
        if self.on_load == "import":
            import boosted_trees_of_tomorrow  # noqa: F401
        if self.on_load == "library":
            ctypes.CDLL("libboosted_trees_of_tomorrow.so.1")
        if self.on_load == "own-library":
            ctypes.CDLL(os.environ["MODEL_DIR"] + "/artifacts/libtrees.so")
        if self.on_load == "program":
            subprocess.run(["java-of-tomorrow", "-version"], check=True)
        if self.on_load == "former-standard":
            collections.Mapping  # noqa: B018 - Python had it before 3.10
        if self.on_load == "own-standard":
            print(types.SimpleNamespace().weights)
        if self.on_load == "former-name":
            np.zeros(2, np.float)  # NumPy had it before 1.24
        if self.on_load == "own-name":
            print(self.weights)
        if self.on_load == "crash":
            ctypes.string_at(0)
        if self.on_load == "hang":
            print("the model is loading", flush=True)
            time.sleep(300)

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        if self.on_predict == "raise":
            raise KeyError("no column named colour")
        if self.on_predict == "import":
            import boosted_trees_of_tomorrow  # noqa: F401
        if self.on_predict == "nan":
            return [float("nan")]
        if self.on_predict == "three":
            return np.ones((len(model_input), 3))
        if self.on_predict == "look":
            rows = np.asarray(model_input).tolist()
            print(f"asked with {type(model_input).__name__} {rows} {params}", flush=True)
            return [1.0] * len(rows)
        if self.on_predict == "log":
            mlflow.log_metric("requests", 1)
            with mlflow.start_run(nested=True):
                mlflow.log_params({"rows": len(model_input)})
            print(f"logged by {getpass.getuser()} in {mlflow.get_tracking_uri()}", flush=True)
            return [1]
        if "answer" in model_input:
            # what JSON does not know; "object" is not even converted
            answers = {"nan": [float("nan"), 1.5], "infinity": {"NaN": [-np.inf]}, "object": [object()]}
            return answers[model_input["answer"].iloc[0]]
        seconds = 300 if self.on_predict == "hang" else float(model_input["seconds"].iloc[0])
        if seconds < 0:
            raise ZeroDivisionError("a secret of the house")
        print(f"predicting for {seconds:g} s", flush=True)
        time.sleep(seconds)
        return [1]


def save_iris(directory: Path) -> None:
    import mlflow.sklearn
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    features, species = load_iris(return_X_y=True, as_frame=True)
    iris = LogisticRegression(max_iter=500).fit(features, species)
    mlflow.sklearn.save_model(iris, directory / "iris", input_example=features.head(2), pip_requirements=[])
    if importlib.util.find_spec("skops"):
        mlflow.sklearn.save_model(
            iris, directory / "skops", pip_requirements=[], serialization_format="skops"
        )


def pickle_as_python_3_10(model: Any, path: Path) -> None:
    """Writes the model as cloudpickle does under Python 3.10, whose code objects have other parts."""

    def reduce(code: types.CodeType) -> tuple[Any, ...]:
        numbers = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_nlocals)
        content = (
            code.co_code,
            code.co_consts,
            code.co_names,
            code.co_varnames,
            code.co_filename,
            code.co_name,
        )
        lines = (code.co_firstlineno, b"", code.co_freevars, code.co_cellvars)
        return types.CodeType, (*numbers, code.co_stacksize, code.co_flags, *content, *lines)

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc,unused-ignore]
        dispatch_table: ClassVar = {**cloudpickle.Pickler.dispatch_table, types.CodeType: reduce}

    with path.open("wb") as file:
        Pickler(file).dump(model)


def main(directory: Path) -> None:
    os.environ[SAVING] = "yes"
    if importlib.util.find_spec("sklearn"):
        save_iris(directory)
    example = pd.DataFrame({"seconds": [0.0]})
    for name, model in {
        "load-raises": Obedient(on_load="raise"),
        "load-quotes": Obedient(on_load="quote"),
        "load-imports": Obedient(on_load="import"),
        "load-hangs": Obedient(on_load="hang"),
        "load-library": Obedient(on_load="library"),
        "load-own-library": Obedient(on_load="own-library"),
        "load-program": Obedient(on_load="program"),
        "load-former-name": Obedient(on_load="former-name"),
        "load-former-standard": Obedient(on_load="former-standard"),
        "load-own-standard": Obedient(on_load="own-standard"),
        "load-own-name": Obedient(on_load="own-name"),
        "load-crash": Obedient(on_load="crash"),
        "predict-imports": Obedient(on_predict="import"),
        "predict-raises": Obedient(on_predict="raise"),
        "predict-nan": Obedient(on_predict="nan"),
        "predict-hangs": Obedient(on_predict="hang"),
        "predict-three": Obedient(on_predict="three"),
        "predict-logs": Obedient(on_predict="log"),
    }.items():
        mlflow.pyfunc.save_model(
            directory / name,
            python_model=model,
            pip_requirements=[],
            signature=infer_signature(example, np.array([1])),
        )
        # as input_example writes it, without that saving predicts
        (directory / name / "serving_input_example.json").write_text(
            f'{{"dataframe_split": {example.to_json(orient="split", index=False)}}}'
        )
    pickled = directory / "python-3.10"
    mlflow.pyfunc.save_model(pickled, python_model=Obedient(), pip_requirements=[])
    pickle_as_python_3_10(Obedient(), pickled / "python_model.pkl")
    mlflow.pyfunc.save_model(
        directory / "looks",
        python_model=Obedient(on_predict="look"),
        pip_requirements=[],
        signature=infer_signature(np.array([[1.5, 2.0, 0.0]]), np.array([1.0]), {"top": 1}),
    )
    mlflow.pyfunc.save_model(
        directory / "no-example",
        python_model=Obedient(),
        pip_requirements=[],
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))

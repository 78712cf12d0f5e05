"""Run with MLflow's interpreter: what serve_shape.py says about predictions, case by case, as JSON.

The cases are the keys of the two tables; test_serve.py names them again, so that each is a test of its own.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import Model, ModelSignature, infer_signature
from mlflow.types import ColSpec, DataType, Schema, TensorSpec
from mlflow.types.schema import Array
from serve_scoring import Prediction
from serve_shape import contradiction

SENT = pd.DataFrame({"x": [1.0, 2.0]})
TABLE = pd.DataFrame({"species": ["a", "b"], "share": [0.5, 0.7]})


def promising(outputs: Any, loader: str = "mlflow.pyfunc.model", **function: str) -> Model:
    """A model whose signature says that its predictions are like ``outputs``, an example or a schema."""
    if isinstance(outputs, Schema):
        signature = ModelSignature(inputs=infer_signature(SENT).inputs, outputs=outputs)
    else:
        signature = infer_signature(SENT, outputs)
    # as after saving and loading
    signature = ModelSignature.from_dict(signature.to_dict())
    return Model(signature=signature, flavors={"python_function": {"loader_module": loader, **function}})


COLUMNS = Schema([ColSpec(DataType.string, "species"), ColSpec(DataType.double, "share")])
NAMED = Schema(
    [TensorSpec(np.dtype("float64"), (-1, 2), "boxes"), TensorSpec(np.dtype("int64"), (-1,), "kinds")]
)
OPTIONAL = Schema([ColSpec(DataType.string, "text"), ColSpec(DataType.string, "note", required=False)])

THREE = Schema([ColSpec(DataType.double, name) for name in "abc"])
UNNAMED = Schema([ColSpec(DataType.double), ColSpec(DataType.double)])
LISTS = Schema([ColSpec(Array(DataType.double), "scores"), ColSpec(DataType.string, "label")])

ROWS = {"a flat list for one row of two columns": 1, "a flat list where rows can't be counted": None}
"""How many rows are sent, where it is not two."""

CASES: dict[str, tuple[Model, Any]] = {
    # clear
    "a matrix for a list of numbers": (promising(np.array([1, 2])), np.ones((2, 3))),
    "two classes for three": (promising(np.ones((2, 3))), np.ones((2, 2))),
    "a nested list for a list of numbers": (promising(np.array([1, 2])), [[1, 2], [3, 4]]),
    "a named tensor missing": (promising(NAMED), {"boxes": np.ones((2, 2))}),
    "a named tensor of another width": (
        promising(NAMED),
        {"boxes": np.ones((2, 4)), "kinds": np.array([1, 2])},
    ),
    "a column missing": (promising(COLUMNS), TABLE.rename(columns={"share": "score"})),
    "a column missing in records": (promising(COLUMNS), [{"species": "a"}, {"species": "b"}]),
    "three columns for two": (promising(COLUMNS), np.ones((2, 3))),
    "two columns for three": (promising(THREE), np.ones((2, 2))),
    "a list of numbers for three columns": (promising(THREE), [1.5, 2.5]),
    "an array of numbers for three columns": (promising(THREE), np.array([1.5, 2.5])),
    "a series for three columns": (promising(THREE), pd.Series([1.5, 2.5])),
    "a list of labels for two columns": (promising(COLUMNS), ["a", "b"]),
    "a list with gaps for three columns": (promising(THREE), [1.5, None]),
    "a number for two columns": (promising(COLUMNS), 0.5),
    "a list for two columns without names": (promising(UNNAMED), [0.5, 0.7]),
    "a table without names for two columns": (promising(COLUMNS), pd.DataFrame([["a", 0.5]])),
    "one column of a table": (promising(COLUMNS), TABLE[["share"]]),
    "rows with a gap, and three columns for two": (promising(COLUMNS), [["a", 0.5, None]]),
    "other names in one object": (promising(COLUMNS), {"label": ["a"], "share": [0.5]}),
    "other names where a column holds lists": (promising(LISTS), [{"scores": [0.5], "kind": "a"}]),
    "a list of labels where a column holds lists": (promising(LISTS), ["a", "b", "c"]),
    "an array for two named tensors": (promising(NAMED), np.ones((2, 2))),
    "text for numbers": (promising(np.array([1, 2])), np.array(["a", "b"])),
    "numbers for text": (promising(["a", "b"]), [1, 2]),
    "text for numbers in a column": (promising(COLUMNS), TABLE.assign(share=["much", "more"])),
    "fractions for whole numbers": (promising(np.array([1, 2])), np.array([0.2, 0.8])),
    "rows lost by scikit-learn": (promising(np.array([1, 2]), "mlflow.sklearn"), np.array([1])),
    "rows lost without a promise about outputs": (
        Model(flavors={"python_function": {"loader_module": "mlflow.xgboost"}}),
        np.array([1.0]),
    ),
    # nothing to say
    "as promised": (promising(TABLE), TABLE),
    "no signature": (Model(), np.ones((2, 3))),
    "a signature without outputs": (promising(None), np.ones((2, 3))),
    "a column vector for a list": (promising(np.array([1, 2])), np.array([[1], [2]])),
    "a list for a column vector": (promising(np.array([[1], [2]])), [1, 2]),
    "single precision for double": (promising(np.array([0.5, 1])), np.array([0.5, 1], np.float32)),
    "whole numbers written as floats": (promising(np.array([1, 2])), np.array([1.0, 2.0])),
    "whole numbers for floats": (promising(np.array([0.5, 1])), np.array([1, 2])),
    "truth values for numbers": (promising(np.array([0, 1])), np.array([True, False])),
    "a forecast of seven for two rows": (promising(np.array([0.5, 1])), np.arange(7) / 2),
    "a tensor of the batch's size": (promising(np.ones((2, 3, 4))), np.ones((5, 3, 4))),
    "a column more": (promising(COLUMNS), TABLE.assign(more=1)),
    "an optional column missing": (promising(OPTIONAL), pd.DataFrame({"text": ["a"]})),
    "a column with gaps": (promising(COLUMNS), TABLE.assign(species=["a", None])),
    "an array as wide as the table": (promising(COLUMNS), np.array([["a", 0.5]], dtype=object)),
    "rows with a gap": (promising(COLUMNS), [["a", None]]),
    "an array for columns of lists": (promising(LISTS), [[[0.5, 0.7], "a"]]),
    "two tensors in a list": (promising(NAMED), [np.ones((2, 2)), np.array([1, 2])]),
    "an array for one named tensor": (
        promising(Schema([TensorSpec(np.dtype("float64"), (-1, 2), "boxes")])),
        np.ones((2, 2)),
    ),
    "a flat list where rows can't be counted": (promising(COLUMNS), ["a", 0.5]),
    "a text for two columns": (promising(COLUMNS), '{"species": "a"}'),
    "an optional column missing in an array": (promising(OPTIONAL), np.array([["a"], ["b"]])),
    "a list for a column and an optional one": (promising(OPTIONAL), ["a", "b"]),
    "objects of one's own for two columns": (promising(COLUMNS), [object(), object()]),
    "a series for a column": (promising(pd.DataFrame({"y": [1.0]})), pd.Series([1.0, 2.0])),
    "a flat list for one row of two columns": (promising(COLUMNS), ["a", "b"]),
    "rows of different length": (promising(np.ones((2, 3))), [[1], [2, 3]]),
    "columns of lists": (promising(Schema([ColSpec(Array(DataType.double))])), [[0.5, 1.0], [1.0]]),
    "one text": (promising(np.array([1, 2])), "a text"),
    "a stream": (promising(np.array([1, 2])), iter([1, 2])),
    "probabilities per output": (
        promising(None, "mlflow.sklearn", predict_fn="predict_proba"),
        [np.ones((2, 2))] * 3,
    ),
    "a score by scikit-learn": (promising(None, "mlflow.sklearn", predict_fn="score"), np.array([0.9])),
    "nothing": (promising(np.array([1, 2])), None),
    "an answer that breaks when looked at": (
        promising(COLUMNS),
        type("Odd", (list,), {"__iter__": None})([1]),
    ),
}

if __name__ == "__main__":
    json.dump(
        {
            case: contradiction(Prediction(ROWS.get(case, 2), answer), model)
            for case, (model, answer) in CASES.items()
        },
        sys.stdout,
    )

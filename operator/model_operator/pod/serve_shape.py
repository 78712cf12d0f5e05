"""Compares a prediction with the model's signature. A part of serve.py.

Where signature or prediction are not clear, there is no finding: a false alarm would reject a good version.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model_operator.pod.serve_scoring import Prediction
else:
    from serve_scoring import Prediction

# these answer one row with one row. Another model may answer one row with a forecast of seven
ROW_BY_ROW = ("mlflow.sklearn", "mlflow.xgboost", "mlflow.lightgbm", "mlflow.catboost")

log = logging.getLogger("serve")


def contradiction(prediction: Prediction, metadata: Any) -> str:
    """Returns how the prediction contradicts the signature or the input, as a clause. Empty without a clear finding.

    ``metadata`` is MLflow's description of the model (mlflow.models.Model).
    """
    try:
        return _rows_lost(prediction, metadata) or _against_schema(metadata.get_output_schema(), prediction)
    except Exception:
        log.info("the form of the prediction is not understood, so it is not judged", exc_info=True)
        return ""


def _rows_lost(prediction: Prediction, metadata: Any) -> str:
    function = (metadata.flavors or {}).get("python_function") or {}
    method = str(function.get("predict_fn") or "predict")
    shape = getattr(prediction.answer, "shape", ())
    if function.get("loader_module") not in ROW_BY_ROW or not method.startswith("predict"):
        return ""
    if prediction.rows is None or not shape or shape[0] == prediction.rows:
        return ""
    return f"{prediction.rows} rows were sent and {shape[0]} came back"


def _against_schema(schema: Any, prediction: Prediction) -> str:
    answer = prediction.answer
    if schema is None or not schema.inputs:
        return ""
    if not schema.is_tensor_spec():
        return _against_columns(schema.inputs, prediction)
    if not schema.has_input_names():
        return _against_tensor(schema.inputs[0], answer, "the answer")
    if not isinstance(answer, Mapping):
        return _against_one_of_several(schema.inputs, answer)
    missing = [spec.name for spec in schema.inputs if spec.name not in answer]
    if missing:
        return f"the answer lacks {_list_names(missing)}, it has {_list_names(answer)}"
    problems = (_against_tensor(spec, answer[spec.name], repr(spec.name)) for spec in schema.inputs)
    return next(filter(None, problems), "")


def _against_one_of_several(tensors: Sequence[Any], answer: Any) -> str:
    """For named tensors, and an answer without names. A list may hold them in order."""
    import numpy as np  # type: ignore[import-not-found,unused-ignore]

    if len(tensors) == 1 or not (isinstance(answer, np.ndarray) or _is_flat(answer)):
        return ""
    return f"the signature promises {_list_names(t.name for t in tensors)}, the answer is {_kind(answer)} without names"


def _against_tensor(spec: Any, answer: Any, what: str) -> str:
    array = _array(answer)
    if array is None or not array.size:
        return ""
    # a column of numbers counts as a list of numbers
    rank = max(len(spec.shape), array.ndim)
    promised, found = (tuple(shape) + (1,) * (rank - len(shape)) for shape in (spec.shape, array.shape))
    if any(p not in (-1, f) for p, f in zip(promised, found)):  # noqa: B905 (of one length)
        return f"the signature promises the shape {_shape(spec.shape)}, {what} has {_shape(array.shape)}"
    return _against_type(spec.type, array, what)


def _against_columns(columns: Sequence[Any], prediction: Prediction) -> str:
    import pandas as pd  # type: ignore[import-untyped,unused-ignore]
    from mlflow.types import DataType  # type: ignore[import-not-found,unused-ignore]

    answer = prediction.answer
    named = all(column.name is not None for column in columns)
    required = [str(column.name) for column in columns if getattr(column, "required", True)]
    if isinstance(answer, pd.DataFrame) and named:
        if answer.columns.nlevels > 1:
            return ""
        found = {str(name): position for position, name in enumerate(answer.columns)}
        if missing := [name for name in required if name not in found]:
            return f"the answer lacks {_list_names(missing)}, it has {_list_names(found)}"
        problems = (
            _against_type(
                column.type.to_numpy(), answer.iloc[:, found[str(column.name)]].to_numpy(), repr(column.name)
            )
            for column in columns
            if isinstance(column.type, DataType) and str(column.name) in found
        )
        return next(filter(None, problems), "")
    records = [answer] if isinstance(answer, Mapping) else answer
    if isinstance(records, list) and records and all(isinstance(record, Mapping) for record in records):
        return _against_names(required, records) if named else ""
    if problem := _against_width(columns, prediction, len(required) if named else len(columns)):
        return problem
    if not all(isinstance(column.type, DataType) for column in columns):
        return ""
    array = _array(answer)
    if array is None or not array.size or array.ndim == 0:
        return ""
    return _against_type(columns[0].type.to_numpy(), array, "the answer") if len(columns) == 1 else ""


def _against_names(required: Sequence[str], records: Sequence[Mapping[Any, Any]]) -> str:
    for record in records:
        found = [str(name) for name in record]
        if missing := [name for name in required if name not in found]:
            return f"the answer lacks {_list_names(missing)}, it has {_list_names(found)}"
    return ""


def _against_width(columns: Sequence[Any], prediction: Prediction, required: int) -> str:
    """Compares the number of columns, for an answer without names of columns."""
    from mlflow.types import DataType

    answer = prediction.answer
    count = f"{len(columns)} column" + "s" * (len(columns) > 1)
    shape = _shape_of(answer)
    if len(shape) > 1 and all(isinstance(column.type, DataType) for column in columns):
        # optional columns may be left out
        if len(shape) == 2 and required <= shape[1] <= len(columns):
            return ""
        return f"the signature promises {count}, the answer has the shape {_shape(shape)}"
    if required < 2 or not _is_flat(answer):
        return ""
    # one row may come as a flat list of its columns, unless there is a value for each row that was sent
    if shape and required <= shape[0] <= len(columns) and shape[0] != prediction.rows:
        return ""
    return f"the signature promises {count}, the answer is {_kind(answer)}"


def _against_type(promised: Any, array: Any, what: str) -> str:
    """Numbers for text or the other way round, and fractions for whole numbers."""
    import numpy as np  # type: ignore[import-not-found,unused-ignore]

    wanted, found = _category(np.empty(0, promised)), _category(array)
    if wanted and found and wanted != found:
        return f"the signature promises {wanted}, {what} holds {found}"
    if promised.kind in "iu" and array.dtype.kind == "f":
        finite = array[np.isfinite(array)]
        if (finite != np.floor(finite)).any():
            return f"the signature promises whole numbers ({promised}), {what} holds fractions"
    return ""


def _category(array: Any) -> str:
    """Returns the kind of the values, where that is clear."""
    if array.dtype.kind in "biuf":
        return "numbers"
    if array.dtype.kind == "U" or (
        array.dtype.kind == "O" and array.size and all(isinstance(value, str) for value in array.flat)
    ):
        return "text"
    return ""


def _is_flat(answer: Any) -> bool:
    """Whether the answer is a number, or a list or an array of single values. A single text may be anything."""
    import numpy as np
    import pandas as pd

    if isinstance(answer, (bool, int, float, np.number, np.bool_)):
        return True
    if isinstance(answer, (np.ndarray, pd.Series, list, tuple)):
        values = answer.tolist() if isinstance(answer, (np.ndarray, pd.Series)) else answer
        plain = (str, bool, int, float, np.number, np.bool_, type(None))
        return (
            len(_shape_of(answer)) <= 1
            and bool(np.size(answer))
            and all(isinstance(v, plain) for v in values)
        )
    return False


def _shape_of(answer: Any) -> tuple[int, ...]:
    """Returns the shape of an array, a table or nested lists. Returns () for anything else, and for ragged lists."""
    import numpy as np
    import pandas as pd

    if isinstance(answer, (list, tuple)):
        try:
            answer = np.asarray(answer, dtype=object)
        except ValueError:
            return ()
    return tuple(answer.shape) if isinstance(answer, (np.ndarray, pd.Series, pd.DataFrame)) else ()


def _kind(answer: Any) -> str:
    shape = _shape_of(answer)
    if not shape:
        return "a single value"
    return (
        f"a list of {shape[0]} single values" if len(shape) == 1 else f"an array of the shape {_shape(shape)}"
    )


def _array(answer: Any) -> Any:
    """Returns the answer as an array, or None if it is none."""
    import numpy as np  # type: ignore[import-not-found,unused-ignore]
    import pandas as pd  # type: ignore[import-untyped,unused-ignore]

    if isinstance(answer, (pd.DataFrame, pd.Series)):
        return answer.to_numpy()
    if isinstance(answer, np.ndarray):
        return answer
    if isinstance(answer, list):
        array = np.asarray(answer)  # raises on rows of different length, which nobody judges
        return array if array.dtype.kind != "O" else None
    return None


def _shape(shape: Sequence[int]) -> str:
    return "(" + ", ".join("any" if size == -1 else str(size) for size in shape) + ")"


def _list_names(names: Any) -> str:
    shown = [repr(str(name)) for name in names]
    return ", ".join(shown[:5]) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "") or "nothing"

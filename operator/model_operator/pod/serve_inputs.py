"""From the tensors of a request to the input of the model, by its signature. A part of serve.py.

The choice between a table, an array and a mapping is that of MLServer's MLflow runtime
(runtimes/mlflow/mlserver_mlflow/metadata.py, to_model_content_type) and of MLflow's _enforce_schema
(mlflow/models/utils.py), which judges the types afterwards.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model_operator.pod.serve_signature import Field, Signature
    from model_operator.pod.serve_tensors import BadRequestError, Tensor
else:
    from serve_signature import Field, Signature
    from serve_tensors import BadRequestError, Tensor

COLUMN_DTYPES = {
    "boolean": "bool",
    "integer": "int32",
    "long": "int64",
    "float": "float32",
    "double": "float64",
}
SINGLE_TYPES = (*COLUMN_DTYPES, "string", "binary", "datetime")


def to_model_input(tensors: Sequence[Tensor], content_type: str, signature: Signature) -> Any:
    """Returns the input for ``model.predict``. Raises BadRequestError if the tensors do not form one.

    ``content_type`` is that of the request: pd, np, dict or "".
    """
    if signature.has_columns:
        return _to_table(tensors, signature.inputs)
    content_type = content_type or _usual(tensors, signature)
    if content_type == "pd":
        return _by_name(tensors, {})
    if content_type == "dict":
        return {tensor.name: _bare(tensor) for tensor in tensors}
    if len(tensors) > 1:
        raise BadRequestError(f"the model takes one tensor, and the request has {len(tensors)}")
    return _bare(tensors[0])


def _usual(tensors: Sequence[Tensor], signature: Signature) -> str:
    """Returns the content type that fits a model without columns in its signature."""
    if signature.has_tensors:
        return "dict" if signature.inputs[0].name else "np"
    if len(tensors) == 1:
        return "pd" if tensors[0].content_type == "pd_json" else "np"
    return "pd" if all(_is_column(tensor) for tensor in tensors) else "dict"


def _is_column(tensor: Tensor) -> bool:
    """Whether there is a single value a row."""
    return all(size == 1 for size in tensor.array.shape[1:])


def _bare(tensor: Tensor) -> Any:
    """Returns the array as MLflow's scoring server would make it of JSON: texts as NumPy's own."""
    array = tensor.array
    if array.dtype.kind != "O":
        return array
    import numpy as np  # type: ignore[import-not-found,unused-ignore]

    values = _fit_objects(array.ravel(), tensor, None)
    if values and all(isinstance(value, str) for value in values):
        return np.asarray(values).reshape(array.shape)
    objects = np.empty(len(values), dtype=object)
    for position, value in enumerate(values):
        objects[position] = value
    return objects.reshape(array.shape)


def _to_table(tensors: Sequence[Tensor], columns: Sequence[Field]) -> Any:
    names = [column.name for column in columns]
    named = all(names)
    only = tensors[0]
    if len(tensors) == 1 and only.array.ndim == 2 and not (named and only.name in names):
        is_list = len(columns) == 1 and columns[0].spec.get("type") == "array"
        if not is_list:
            return _from_matrix(only, columns)
    if not named:
        # by position, as MLflow does
        return _by_name(tensors, dict(zip([t.name for t in tensors], columns)), list(range(len(tensors))))  # noqa: B905
    return _by_name(tensors, {column.name: column for column in columns})


def _from_matrix(tensor: Tensor, columns: Sequence[Field]) -> Any:
    """Returns a table of the signature's columns, by their order."""
    import pandas as pd  # type: ignore[import-untyped,unused-ignore]

    width = tensor.array.shape[1]
    if width != len(columns):
        raise BadRequestError(
            f"the model takes {len(columns)} columns, and input {tensor.name[:100]!r} has {width} of them"
        )
    values = {
        column.name or position: _fit(tensor, position, column) for position, column in enumerate(columns)
    }
    return pd.DataFrame(values)


def _fit(tensor: Tensor, position: int, column: Field) -> Any:
    """Returns the values in the column's type where nothing is lost: a tensor has one type for all of its columns."""
    import numpy as np

    values = tensor.array[:, position]
    dtype = COLUMN_DTYPES.get(str(column.spec.get("type")))
    if values.dtype.kind == "O":
        return _fit_objects(values, tensor, column)
    if dtype is None or values.dtype.kind not in "iuf" or dtype == "bool":
        return values
    with np.errstate(all="ignore"):
        cast = values.astype(dtype)
        same = cast.astype(values.dtype)
    # the way back must end where it began: neither 2.0**63 nor NaN survives a whole number
    nans = values.dtype.kind == "f" and cast.dtype.kind == "f"
    return cast if np.array_equal(same, values, equal_nan=nans) else values


def _fit_objects(values: Any, tensor: Tensor, column: Field | None) -> list[Any]:
    """Returns texts as the column needs them: encoded for bytes, parsed for lists and objects, or as they are."""
    kind = str(column.spec.get("type")) if column else "string"
    is_parsed = tensor.content_type in ("base64", "pd_json")
    try:
        if is_parsed:
            return list(values.tolist())
        if kind == "binary":
            return [
                base64.b64decode(value, validate=True) if isinstance(value, str) else value
                for value in values
            ]
        # bytes came without a content type
        texts = [value.decode() if isinstance(value, bytes) else value for value in values]
        if kind in SINGLE_TYPES:
            return texts
        return [json.loads(value) if isinstance(value, str) else value for value in texts]
    except (ValueError, RecursionError) as error:
        raise BadRequestError(
            f"input {tensor.name[:100]!r}: an element is not valid for the type {kind}"
        ) from error


def _by_name(tensors: Sequence[Tensor], columns: dict[str, Field], names: Sequence[Any] = ()) -> Any:
    """Returns a table with a column for each tensor. ``names`` replace the names of the tensors."""
    import pandas as pd

    heights = {tensor.array.shape[0] for tensor in tensors}
    if len(heights) > 1:
        raise BadRequestError(f"the columns have different numbers of rows: {sorted(heights)[:5]}")
    values: dict[Any, Any] = {}
    for position, tensor in enumerate(tensors):
        column = columns.get(tensor.name)
        array = tensor.array
        name = names[position] if names else tensor.name
        if not _is_column(tensor):
            # a list a row, for a column of arrays
            values[name] = array.tolist()
            continue
        is_list = column is not None and column.spec.get("type") == "array" and array.ndim > 1
        if is_list and array.dtype.kind != "O":
            values[name] = array.tolist()
            continue
        array = array.reshape(array.shape[0])
        values[name] = _fit_objects(array, tensor, column) if array.dtype.kind == "O" else array
    return pd.DataFrame(values)

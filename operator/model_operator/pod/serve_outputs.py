"""Predictions as output tensors of the OpenInference protocol, in JSON and in bytes. A part of serve.py.

Sources: as in serve_tensors.py. The shape of a list and the names of content types are MLServer's (mlserver/codecs).
"""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model_operator.pod.serve_tensors import DTYPES
else:
    from serve_tensors import DTYPES

DATATYPES = {dtype: datatype for datatype, dtype in DTYPES.items()}
DEFAULT_NAME = "predict"


def name_outputs(prediction: Any, promised: Sequence[str]) -> tuple[dict[str, Any], bool]:
    """Returns the values of each output by name, and whether the prediction is a table.

    ``promised`` are the names in the signature. A prediction without names gets the only one of them, or "predict".
    """
    import pandas as pd  # type: ignore[import-untyped,unused-ignore]

    records = (
        isinstance(prediction, list) and prediction and all(isinstance(row, Mapping) for row in prediction)
    )
    if records and all(list(row) == list(prediction[0]) for row in prediction):
        prediction = pd.DataFrame(prediction)
    if isinstance(prediction, pd.DataFrame):
        names = [str(name) for name in prediction.columns]
        if prediction.shape[1] == 1 and names == ["0"] and len(promised) == 1:
            names = [promised[0] or DEFAULT_NAME]
        if len(set(names)) < len(names):
            raise TypeError("the prediction has several columns of the same name")
        return {name: prediction.iloc[:, position] for position, name in enumerate(names)}, True
    if isinstance(prediction, Mapping) and prediction:
        return {str(name): values for name, values in prediction.items()}, False
    name = promised[0] if len(promised) == 1 and promised[0] else DEFAULT_NAME
    return {name: prediction}, False


def write_tensor(name: str, values: Any, binary: bool) -> tuple[dict[str, Any], bytes]:
    """Returns an output and its binary data. Raises TypeError if the values have no form in the protocol.

    A list of n values has the shape [n, 1], as MLServer writes it (inject_batch_dimension in codecs/utils.py). NaN
    and the infinities are null in JSON, which has no word for them.
    """
    array, content_type = _plain(values)
    shape = list(array.shape) if array.ndim > 1 else [array.size, 1]
    datatype = DATATYPES.get(array.dtype.name, "BYTES")
    parameters: dict[str, Any] = {"content_type": content_type}
    output = {"name": name, "shape": shape, "datatype": datatype, "parameters": parameters}
    flat = array.ravel()
    if binary:
        if datatype == "BYTES":
            # a caller may send half of a surrogate pair, and a model may send it back
            elements = [text.encode(errors="replace") for text in flat.tolist()]
            raw = b"".join(struct.pack("<I", len(element)) + element for element in elements)
        else:
            raw = flat.astype(flat.dtype.newbyteorder("<")).tobytes()
        parameters["binary_data_size"] = len(raw)
        return output, raw
    data = flat.tolist()
    if array.dtype.kind == "f":
        data = [value if math.isfinite(value) else None for value in data]
    output["data"] = data
    return output, b""


def _plain(values: Any) -> tuple[Any, str]:
    """Returns an array of one of the protocol's types, or of str, and MLServer's content type for it."""
    import numpy as np  # type: ignore[import-not-found,unused-ignore]

    array = as_array(values)
    if array.dtype.kind == "O":
        inferred = _infer(array)
        array = array if inferred is None else inferred
    kind = array.dtype.kind
    if kind == "f" and array.dtype.name not in DATATYPES:
        array = array.astype("float64")
    if kind in "biuf":
        return array, "np"
    if kind == "M":
        texts = np.datetime_as_string(array).astype(object)
        return texts, "datetime"
    if kind == "S":
        return _each(array, _encoded), "base64"
    if kind == "U":
        return array.astype(object), "str"
    if kind == "O" and all(isinstance(value, (str, bytes)) for value in array.flat):
        is_text = all(isinstance(value, str) for value in array.flat)
        return (array, "str") if is_text else (_each(array, _encoded), "base64")
    if kind == "O":
        return _each(array, lambda value: json.dumps(_without_nan(value), default=_jsonable)), "pd_json"
    raise TypeError(f"values of the type {array.dtype} have no form in the protocol")


def as_array(values: Any) -> Any:
    """Returns any values as an array. Lists of different lengths become objects."""
    import numpy as np
    import pandas as pd

    if isinstance(values, (pd.Series, pd.Index)):
        if pd.api.types.is_numeric_dtype(values.dtype) and not isinstance(values.dtype, np.dtype):
            # whole numbers with pandas' own missing values
            return values.to_numpy("float64", na_value=np.nan) if values.hasnans else values.to_numpy()
        values = values.to_numpy()
    if isinstance(values, np.ndarray):
        return values
    if isinstance(values, (list, tuple)):
        try:
            array = np.asarray(values)
        except ValueError:
            array = None
        # texts among numbers would turn all of them into texts
        mixed = array is not None and array.dtype.kind in "US" and not _are_texts(values)
        if array is not None and not mixed and array.ndim > 0:
            return array
        objects = np.empty(len(values), dtype=object)
        for position, value in enumerate(values):
            objects[position] = value
        return objects
    if isinstance(values, (Mapping, set)):
        objects = np.empty(1, dtype=object)
        objects[0] = values
        return objects
    return np.asarray(values).reshape(1) if np.ndim(values) == 0 else np.asarray(values)


def _are_texts(values: Any) -> bool:
    if isinstance(values, (list, tuple)):
        return all(_are_texts(value) for value in values)
    return isinstance(values, (str, bytes))


def _infer(array: Any) -> Any:
    """Returns an array of objects as numbers, if all are numbers or missing. Returns None otherwise."""
    import numpy as np
    import pandas as pd

    values = [None if value is pd.NA else value for value in array.ravel().tolist()]
    if not values:
        return None
    if all(isinstance(value, bool) for value in values):
        return np.asarray(values, bool).reshape(array.shape)
    if not all(
        value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)) for value in values
    ):
        return None
    if all(value is None for value in values):
        return None
    try:
        inferred = np.asarray(values) if None not in values else np.asarray(values, "float64")
    except OverflowError:
        return None
    return inferred.reshape(array.shape) if inferred.dtype.kind in "iuf" else None


def _each(array: Any, convert: Callable[[Any], Any]) -> Any:
    import numpy as np

    converted = np.empty(array.size, dtype=object)
    for position, value in enumerate(array.ravel().tolist()):
        converted[position] = convert(value)
    return converted.reshape(array.shape)


def _encoded(value: Any) -> str:
    return base64.b64encode(value.encode(errors="replace") if isinstance(value, str) else value).decode()


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _without_nan(part) for key, part in value.items()}
    return [_without_nan(part) for part in value] if isinstance(value, (list, tuple)) else value


def _jsonable(value: Any) -> Any:
    if isinstance(value, bytes):
        return _encoded(value)
    for method in ("tolist", "isoformat", "to_dict", "model_dump"):
        if hasattr(value, method):
            return _without_nan(getattr(value, method)())
    if type(value).__name__ == "NAType":
        return None
    raise TypeError(f"a value of the type {type(value).__name__} has no form in JSON")

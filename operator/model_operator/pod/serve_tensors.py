"""Input tensors of the OpenInference protocol as arrays, from JSON and from bytes. A part of serve.py.

Sources: kserve/open-inference-protocol, specification/protocol/inference_rest.md (tensor data, types), and Triton's
docs/protocol/extension_binary_data.md (binary_data_size, little-endian values in row-major order, BYTES as a length of
4 bytes and the bytes). MLServer's mlserver/codecs (numpy.py, pandas.py, string.py) gives the names of content types.
"""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

DTYPES: Mapping[str, str] = {
    "BOOL": "bool",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
}
"""By the datatype of the protocol: the NumPy type. BYTES is not here, its values are objects."""
CONTENT_TYPES = ("", "np", "str", "base64", "datetime", "pd_json")

# NumPy 1 has no more
MOST_DIMENSIONS = 32
# an array without values costs nothing, a table of so many columns without rows does
LARGEST_DIMENSION_OF_NOTHING = 65_536


class BadRequestError(ValueError):
    """The caller's fault, with a message for the caller."""


@dataclass(frozen=True)
class Tensor:
    """An input. The values of a BYTES tensor are those of JSON, or bytes: of base64, or binary without content type."""

    name: str
    datatype: str
    array: Any
    content_type: str


def check_shape(shape: Any, what: str) -> tuple[int, ...]:
    """Returns the shape, whose sizes can only be trusted after `check_count`. Raises BadRequestError."""
    if not isinstance(shape, list) or not 0 < len(shape) <= MOST_DIMENSIONS:
        raise BadRequestError(f"{what}: 'shape' has to be a list of 1 to {MOST_DIMENSIONS} whole numbers")
    if any(type(size) is not int or size < 0 for size in shape):
        raise BadRequestError(f"{what}: 'shape' has to hold whole numbers from 0")
    return tuple(shape)


def check_count(shape: Sequence[int], found: int, what: str) -> None:
    """Compares the values that a shape promises with those that were sent, before any array is made."""
    if any(size > max(found, LARGEST_DIMENSION_OF_NOTHING) for size in shape):
        raise BadRequestError(f"{what}: 'shape' promises more values than the {found} that were sent")
    promised = math.prod(shape)
    if promised != found:
        raise BadRequestError(f"{what}: 'shape' promises {promised} values, and {found} were sent")
    # with a 0 in it, other sizes are unchecked so far
    if math.prod(size for size in shape if size) > max(found, LARGEST_DIMENSION_OF_NOTHING):
        raise BadRequestError(f"{what}: 'shape' is too large for a tensor without values")


def flatten(data: list[Any], shape: Sequence[int], what: str) -> list[Any]:
    """Returns the values in row-major order. ``data`` is flat, or nested in the form of ``shape``."""
    if not data or not isinstance(data[0], list):
        return data
    level: list[Any] = [data]
    for size in shape:
        if any(not isinstance(part, list) or len(part) != size for part in level):
            raise BadRequestError(f"{what}: 'data' is neither flat nor nested in the form of 'shape'")
        level = [value for part in level for value in part]
    return level


def read_tensor(item: Mapping[str, Any], raw: bytes | None, what: str) -> Tensor:
    """Returns the array of an input, from its ``data`` or else from the bytes ``raw``. Raises BadRequestError."""
    shape = check_shape(item.get("shape"), what)
    datatype = item.get("datatype")
    if datatype != "BYTES" and (not isinstance(datatype, str) or datatype not in DTYPES):
        raise BadRequestError(f"{what}: 'datatype' has to be one of BYTES, {', '.join(DTYPES)}")
    parameters = item.get("parameters") or {}
    content_type = str(parameters.get("content_type") or "")
    if content_type not in CONTENT_TYPES:
        raise BadRequestError(f"{what}: 'content_type' has to be one of {', '.join(CONTENT_TYPES[1:])}")
    if raw is None:
        data = item.get("data")
        if not isinstance(data, list):
            raise BadRequestError(f"{what}: 'data' has to be a list")
        values = flatten(data, shape, what)
        check_count(shape, len(values), what)
        array = (
            _texts(values, content_type, what) if datatype == "BYTES" else _numbers(values, datatype, what)
        )
    elif datatype == "BYTES":
        elements = split_bytes(raw, what)
        check_count(shape, len(elements), what)
        array = _texts(elements, content_type, what)
    else:
        array = _from_bytes(raw, datatype, shape, what)
    return Tensor(str(item["name"]), datatype, array.reshape(shape), content_type)


def split_bytes(raw: bytes, what: str) -> list[bytes]:
    """Returns the elements of a BYTES tensor. Raises BadRequestError if a length does not fit."""
    elements, position = [], 0
    while position < len(raw):
        start = position + 4
        if start > len(raw):
            raise BadRequestError(f"{what}: the binary data ends within the length of an element")
        position = start + struct.unpack_from("<I", raw, position)[0]
        if position > len(raw):
            raise BadRequestError(f"{what}: the binary data ends within an element")
        elements.append(raw[start:position])
    return elements


def _from_bytes(raw: bytes, datatype: str, shape: Sequence[int], what: str) -> Any:
    import numpy as np  # type: ignore[import-not-found,unused-ignore]

    dtype = np.dtype(DTYPES[datatype]).newbyteorder("<")
    if len(raw) % dtype.itemsize:
        raise BadRequestError(
            f"{what}: {len(raw)} bytes of binary data are no whole number of {datatype} values"
        )
    check_count(shape, len(raw) // dtype.itemsize, what)
    if datatype == "BOOL":
        array = np.frombuffer(raw, np.uint8)
        if array.size and array.max() > 1:
            raise BadRequestError(f"{what}: a BOOL value is a byte 0 or 1")
        return array.astype(bool)
    # a copy, because a model may write into its input
    return np.frombuffer(raw, dtype).astype(DTYPES[datatype])


def _numbers(values: list[Any], datatype: str, what: str) -> Any:
    """Returns an array without any loss: no fractions or texts as whole numbers, nothing out of range."""
    import numpy as np

    dtype = np.dtype(DTYPES[datatype])
    wrong = BadRequestError(f"{what}: 'data' holds a value that is no {datatype}")
    if not values:
        return np.empty(0, dtype)
    try:
        array = np.asarray(values)
        if array.ndim == 1 and array.dtype.kind == "O" and dtype.kind == "f":
            # null is NaN, as in an answer
            if not all(value is None or type(value) in (int, float) for value in values):
                raise wrong
            array = np.asarray(values, "float64")
    except (ValueError, TypeError, OverflowError) as error:
        raise wrong from error
    if array.ndim != 1 or array.dtype.kind not in {"b": "b", "f": "iuf"}.get(dtype.kind, "iu"):
        raise wrong
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if int(array.min()) < limits.min or int(array.max()) > limits.max:
            raise wrong
    with np.errstate(over="ignore"):
        return array.astype(dtype)


def _texts(values: Sequence[Any], content_type: str, what: str) -> Any:
    """Returns an array of objects: str, bytes (base64), or anything that JSON can hold (pd_json)."""
    import numpy as np

    array = np.empty(len(values), dtype=object)
    for position, value in enumerate(values):
        array[position] = _text(value, content_type, what)
    return array


def _text(value: Any, content_type: str, what: str) -> Any:
    if value is None:
        return None
    if not isinstance(value, (str, bytes)):
        raise BadRequestError(f"{what}: 'data' holds a value that is no text, and BYTES takes texts")
    try:
        if content_type == "base64":
            return base64.b64decode(value, validate=True)
        if content_type == "pd_json":
            return json.loads(value)
        return value.decode() if isinstance(value, bytes) and content_type else value
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"{what}: an element is not valid as {content_type or 'UTF-8'}") from error

"""The body of an inference request of the OpenInference protocol. A part of serve.py.

Sources: as in serve_v2.py. A body is a JSON object, and with Inference-Header-Content-Length, binary data behind it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model_operator.pod.serve_tensors import BadRequestError, Tensor, read_tensor
else:
    from serve_tensors import BadRequestError, Tensor, read_tensor

CONTENT_TYPES = ("", "pd", "np", "dict")
"""MLServer's names for a table, an array and arrays by name, in the parameters of a request."""


@dataclass(frozen=True)
class Inference:
    """A parsed request. ``outputs`` maps the requested names to whether they are binary, and is empty for all."""

    tensors: tuple[Tensor, ...]
    content_type: str
    parameters: Mapping[str, Any]
    id: str | None = None
    outputs: Mapping[str, bool] = field(default_factory=dict)
    binary: bool = False


def parse_inference(body: bytes, header_length: str | None) -> Inference:
    """Returns the request in a body. Raises BadRequestError with a message for the caller."""
    document, rest = _split_body(body, header_length)
    inputs = document.get("inputs")
    if not isinstance(inputs, list) or not inputs:
        raise BadRequestError("'inputs' has to be a list of tensors")
    parameters = _parameters(document, "the request")
    content_type = str(parameters.get("content_type") or "")
    if content_type not in CONTENT_TYPES:
        raise BadRequestError(f"'content_type' has to be one of {', '.join(CONTENT_TYPES[1:])}")
    tensors: dict[str, Tensor] = {}
    for position, item in enumerate(inputs):
        if not isinstance(item, Mapping) or not isinstance(item.get("name"), str):
            raise BadRequestError(f"inputs[{position}] has to be an object with a 'name'")
        what = f"input {item['name'][:100]!r}"
        if item["name"] in tensors:
            raise BadRequestError(f"{what} comes twice")
        size = _parameters(item, what).get("binary_data_size")
        if size is not None and (type(size) is not int or not 0 <= size <= len(rest)):
            raise BadRequestError(
                f"{what}: 'binary_data_size' does not fit the {len(rest)} bytes of data that are left"
            )
        raw, rest = (None, rest) if size is None else (rest[:size], rest[size:])
        tensors[item["name"]] = read_tensor(item, None if raw is None else bytes(raw), what)
    if len(rest):
        raise BadRequestError(f"{len(rest)} bytes of the body belong to no input")
    id_ = document.get("id")
    if id_ is not None and not isinstance(id_, str):
        raise BadRequestError("'id' has to be a string")
    binary = parameters.get("binary_data_output") is True
    return Inference(
        tuple(tensors.values()),
        content_type,
        parameters,
        id_,
        _requested(document.get("outputs"), binary),
        binary,
    )


def _split_body(body: bytes, header_length: str | None) -> tuple[Mapping[str, Any], memoryview]:
    """Returns the JSON object of a body, and the binary data behind it."""
    length = len(body)
    if header_length is not None:
        # not isdigit(), which takes other scripts' digits
        if not (header_length.isascii() and header_length.isdigit() and len(header_length) < 20):
            raise BadRequestError("Inference-Header-Content-Length has to be a number of bytes")
        length = int(header_length)
        if length > len(body):
            raise BadRequestError(
                f"Inference-Header-Content-Length is {length}, and the body has {len(body)} bytes"
            )
    try:
        document = json.loads(body[:length])
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"the body is not valid JSON: {error}") from error
    if not isinstance(document, Mapping):
        raise BadRequestError("the body has to be a JSON object")
    return document, memoryview(body)[length:]


def _parameters(holder: Mapping[str, Any], what: str) -> Mapping[str, Any]:
    parameters = holder.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, Mapping):
        raise BadRequestError(f"{what}: 'parameters' has to be an object")
    return parameters


def _requested(outputs: Any, binary: bool) -> dict[str, bool]:
    if outputs is None:
        return {}
    if not isinstance(outputs, list):
        raise BadRequestError("'outputs' has to be a list")
    requested: dict[str, bool] = {}
    for output in outputs:
        if not isinstance(output, Mapping) or not isinstance(output.get("name"), str):
            raise BadRequestError("each of 'outputs' has to be an object with a 'name'")
        chosen = _parameters(output, f"output {output['name'][:100]!r}").get("binary_data", binary)
        requested[output["name"]] = chosen is True
    return requested

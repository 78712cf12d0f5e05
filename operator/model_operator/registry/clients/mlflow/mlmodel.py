"""Reads a model's own description, the file ``MLmodel``: YAML from a registry that is not trusted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml

from model_operator.domain.registry import ModelDescription

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 64
MAX_COLUMNS = 10_000
EXAMPLE_TYPES = ("dataframe", "ndarray", "json_object", "sparse_matrix_csr", "sparse_matrix_csc")
"""The forms of saved examples that the self-test supports. A test compares them with pod/serve_example.py."""
_MOST_BYTES_OF_A_MODEL = 2**60

# the C parser takes a tenth of the time, and every wheel of PyYAML has it
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class MalformedModelError(ValueError):
    """The file is not a valid MLmodel. The text has the reason."""


def parse_mlmodel(text: bytes) -> ModelDescription:
    """Returns the description in the file ``MLmodel``. It has no requirements, which are in other files.

    Raises only MalformedModelError for any input. Unknown fields are ignored.
    """
    if len(text) > MAX_BYTES:
        raise MalformedModelError(f"is larger than {MAX_BYTES} bytes")
    try:
        _refuse_towers(text)
        document = yaml.load(text, _Loader)  # noqa: S506 - a safe loader
    except MalformedModelError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError):
        raise MalformedModelError("is not YAML") from None
    if not isinstance(document, dict):
        raise MalformedModelError("is not a mapping")
    size = document.get("model_size_bytes")
    known = isinstance(size, int) and not isinstance(size, bool) and 0 <= size <= _MOST_BYTES_OF_A_MODEL
    return ModelDescription(
        signature=_signature(document.get("signature")),
        input_example=_is_usable_example(document.get("saved_input_example_info")),
        size_bytes=size if known else None,
        python_version=_python_version(document.get("flavors")),
    )


def _refuse_towers(text: bytes) -> None:
    """Raises MalformedModelError for YAML that is nested too deeply.

    The C parser's composer recurses for each level without a limit, and 100 KB of brackets would crash the process.
    Its event stream does not recurse.
    """
    depth = 0
    for event in yaml.parse(text, _Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise MalformedModelError(f"is nested more than {MAX_DEPTH} deep")


def _signature(value: object) -> Mapping[str, Any] | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise MalformedModelError("has a signature that is not a mapping")
    parts = {part: _columns(part, value[part]) for part in ("inputs", "outputs", "params") if value.get(part)}
    return parts or None


def _is_usable_example(info: object) -> bool:
    """Whether the self-test can send the example, by the rule of pod/serve_example.py."""
    if not isinstance(info, dict):
        return False
    return isinstance(info.get("serving_input_path"), str) or info.get("type") in EXAMPLE_TYPES


def _columns(part: str, value: object) -> list[Any]:
    """The columns of one part, which the YAML contains as JSON text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise MalformedModelError(f"has signature {part} that are not JSON") from None
    if not isinstance(value, list) or len(value) > MAX_COLUMNS:
        raise MalformedModelError(f"has signature {part} that are not a list of at most {MAX_COLUMNS}")
    return value


def _python_version(flavors: object) -> str:
    flavor = flavors.get("python_function") if isinstance(flavors, dict) else None
    version = flavor.get("python_version") if isinstance(flavor, dict) else None
    return version if isinstance(version, str) and len(version) <= 32 and version.isprintable() else ""

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
"""The forms of a saved example that the self-test can use; a test compares them with those of pod/serve_example.py."""
_MOST_BYTES_OF_A_MODEL = 2**60

# the C parser takes a tenth of the time; it is in every wheel of PyYAML
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class MalformedModelError(ValueError):
    """The file is no MLmodel; the text says in what."""


def parse_mlmodel(text: bytes) -> ModelDescription:
    """What the file ``MLmodel`` says, without the requirements, which other files have.

    Raises MalformedModelError, and nothing else whatever the bytes are. Unknown fields are passed over.
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
        raise MalformedModelError("is no mapping")
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

    The C parser's composer calls itself for each level and has no limit: a hundred kilobytes of brackets end the
    whole process. Its events come without that.
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
        raise MalformedModelError("has a signature that is no mapping")
    parts = {part: _columns(part, value[part]) for part in ("inputs", "outputs", "params") if value.get(part)}
    return parts or None


def _is_usable_example(info: object) -> bool:
    """Whether the server's self-test can make a request of it: its rule is that of pod/serve_example.py."""
    if not isinstance(info, dict):
        return False
    return isinstance(info.get("serving_input_path"), str) or info.get("type") in EXAMPLE_TYPES


def _columns(part: str, value: object) -> list[Any]:
    """Lists stand in the YAML as texts of JSON."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise MalformedModelError(f"has signature {part} that are not JSON") from None
    if not isinstance(value, list) or len(value) > MAX_COLUMNS:
        raise MalformedModelError(f"has signature {part} that are no list of at most {MAX_COLUMNS}")
    return value


def _python_version(flavors: object) -> str:
    flavor = flavors.get("python_function") if isinstance(flavors, dict) else None
    version = flavor.get("python_version") if isinstance(flavor, dict) else None
    return version if isinstance(version, str) and len(version) <= 32 and version.isprintable() else ""

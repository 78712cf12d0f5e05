"""Reads YAML as kubectl does, with the line of each field.

Unlike PyYAML's own loader, it keeps dates as text, rejects duplicate keys and limits the expansion of aliases.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

MAX_NODES = 100_000
MAX_DEPTH = 100

Path = tuple[str | int, ...]


class DocumentError(ValueError):
    """The text is not YAML that kubectl accepts. ``line`` and ``document`` count from 1."""

    def __init__(self, message: str, line: int, document: int) -> None:
        super().__init__(message)
        self.line = line
        self.document = document


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a file: its number in the file (from 1), its value, and the line of each field."""

    number: int
    value: Any
    lines: dict[Path, int] = field(default_factory=dict)

    def line(self, path: Path) -> int:
        """Returns the line of a field or, if the file lacks the field, of the nearest one above it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


_TAGS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")


class _Loader(yaml.SafeLoader):
    """Knows JSON's types only: a date stays a text, as for kubectl."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def documents(text: str) -> Iterator[Document]:
    """Yields the documents of a file, without empty ones. Raises DocumentError at the first invalid one."""
    number, loader = 0, None
    try:
        loader = _Loader(text)
        while loader.check_node():
            number += 1
            node = loader.get_node()
            assert node is not None  # noqa: S101 - check_node found it
            reading = _Reading(loader, number)
            value = reading.value(node, ())
            if value is not None:
                yield Document(number, value, reading.lines)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        words = " ".join(part for part in (error.context, error.problem) if part)
        raise DocumentError(f"is not YAML: {words}", mark.line + 1 if mark else 1, max(number, 1)) from None
    except (yaml.YAMLError, ValueError) as error:
        if isinstance(error, DocumentError):
            raise
        raise DocumentError(f"is not YAML: {' '.join(str(error).split())}", 1, max(number, 1)) from None
    except RecursionError:
        raise DocumentError("is nested too deeply", 1, max(number, 1)) from None
    finally:
        if loader is not None:
            loader.dispose()


class _Reading:
    """Converts the nodes of one document to values."""

    def __init__(self, loader: _Loader, number: int) -> None:
        self._loader = loader
        self._number = number
        self._nodes = 0
        self.lines: dict[Path, int] = {}

    def value(self, node: yaml.Node, path: Path) -> Any:
        self._nodes += 1
        if self._nodes > MAX_NODES or len(path) > MAX_DEPTH:
            raise self._error(node, f"has more than {MAX_NODES} values, or is nested deeper than {MAX_DEPTH}")
        self.lines.setdefault(path, node.start_mark.line + 1)
        if not isinstance(node, yaml.ScalarNode) and node.tag not in _TAGS:
            raise self._error(node, f"has the tag {node.tag}, for which JSON has no type")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        value = self._loader.construct_object(node)
        if isinstance(value, float) and not math.isfinite(value):
            raise self._error(node, "has a number that JSON can't express")
        return value

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        written: set[str] = set()
        for key, _ in node.value:
            name = self._key(key)
            if name in written and name != "<<":
                raise self._error(key, f"the key {name!r} is duplicated")
            written.add(name)
        # the keys of a merge come first, and keys beside it override them
        self._loader.flatten_mapping(node)
        found: dict[str, Any] = {}
        for key, item in node.value:
            name = self._key(key)
            self.lines[(*path, name)] = key.start_mark.line + 1
            found[name] = self.value(item, (*path, name))
        return found

    def _key(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise self._error(node, "a key must be a text")
        return str(node.value)

    def _error(self, node: yaml.Node, message: str) -> DocumentError:
        return DocumentError(message, node.start_mark.line + 1, self._number)

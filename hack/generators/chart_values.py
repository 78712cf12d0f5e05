"""Renders the chart's README: every value with its default and the comment above it in values.yaml."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "model-operator"
VALUES = CHART / "values.yaml"

_INTRODUCTION = """\
<!-- Generated from values.yaml by `make generate`: change it there. -->
# model-operator

This chart installs model-operator. When you move an alias in MLflow, the operator rolls out the new model version. If
that version fails to load, fails on its own input example, or fails soon after it goes live, the operator rolls back.

```sh
helm upgrade --install model-operator charts/model-operator --namespace model-operator-system --create-namespace \\
  --set registries.default.url=http://mlflow.mlflow.svc:5000
```

You need Kubernetes 1.31 or newer. The release installs and upgrades the CRD. If you uninstall the release, the CRD,
your ModelDeployments and your serving pods stay. `NAME` below is the name of a registry. Helm merges maps, so the
chart's own entry `default` stays beside yours unless you write `default: null`. If you misspell a key,
`values.schema.json` rejects it.

## Values
"""
_HEADING = re.compile(r"# -- (.+?) -+$")
_KEY = re.compile(r"( *)([A-Za-z][A-Za-z0-9]*):")
_EXAMPLE_INDENT = "  "


class UndescribedValueError(ValueError):
    """A value has no comment. The message names the value."""


@dataclass
class _Comment:
    lines: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The comment as one line of Markdown. Indented lines are examples and become code."""
        words: list[str] = []
        for line in self.lines:
            example = line.startswith(_EXAMPLE_INDENT)
            words.append(f"`{line.strip()}`" if example else line.strip())
        return " ".join(words).replace("|", "\\|")


def render() -> str:
    """Returns the text of the README. Raises UndescribedValueError."""
    text = VALUES.read_text("utf-8")
    comments, sections = _comments(text)
    lines = [_INTRODUCTION]
    for path, value in _rows(yaml.safe_load(text), comments, ()):
        if path[0] in sections:
            lines += [
                "",
                f"### {sections.pop(path[0])}",
                "",
                "| Value | Default | Meaning |",
                "|---|---|---|",
            ]
        lines.append(f"| `{_name(path)}` | {_default(value)} | {comments[path].text} |")
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)) + "\n"


def _comments(text: str) -> tuple[dict[tuple[str, ...], _Comment], dict[str, str]]:
    """Returns the comment above each key by path, and the headings by the first key below each."""
    comments: dict[tuple[str, ...], _Comment] = {}
    sections: dict[str, str] = {}
    path: list[str] = []
    pending, heading = _Comment(), ""
    for line in text.splitlines():
        bare = line.strip()
        if found := _HEADING.fullmatch(bare):
            heading, pending = found[1], _Comment()
        elif bare.startswith("#"):
            pending.lines.append(bare.removeprefix("#").removeprefix(" "))
        elif key := _KEY.match(line):
            path = [*path[: len(key[1]) // 2], key[2]]
            if pending.lines:
                comments[tuple(path)] = pending
            if heading:
                sections[path[0]], heading = heading, ""
            pending = _Comment()
        else:
            pending = _Comment()
    return comments, sections


def _rows(
    values: Mapping[str, Any], comments: Mapping[tuple[str, ...], _Comment], above: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yields path and value of each row: leaves, and maps with one comment for the whole map."""
    for key, value in values.items():
        path = (*above, key)
        described_inside = any(known[: len(path)] == path and known != path for known in comments)
        if isinstance(value, Mapping) and value and described_inside:
            yield from _rows(value, comments, path)
        elif path in comments:
            yield path, value
        else:
            raise UndescribedValueError(f"{VALUES.name}: {'.'.join(path)} has no comment above it")


def _name(path: tuple[str, ...]) -> str:
    return re.sub(r"^registries\.default\b", "registries.NAME", ".".join(path))


def _default(value: Any) -> str:
    return "none" if value == "" else f"`{json.dumps(value)}`"

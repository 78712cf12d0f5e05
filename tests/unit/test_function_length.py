"""No function of the product is longer than a page. Branches, returns and arguments are ruff's (pyproject.toml)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MOST_LINES = 60


def list_functions(path: Path) -> Iterator[tuple[str, int]]:
    """The functions and methods of a file with the number of their lines, signature and docstring included."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield f"{path.relative_to(ROOT)}: {node.name}", node.end_lineno - node.lineno + 1


@pytest.mark.parametrize("folder", ["operator/model_operator", "hack"])
def test_no_function_is_longer_than_a_page(folder: str) -> None:
    found = [function for path in sorted((ROOT / folder).rglob("*.py")) for function in list_functions(path)]
    assert found
    too_long = [f"{name} has {lines} lines" for name, lines in found if lines > MOST_LINES]
    assert not too_long, (
        f"split at the steps, or make a table of the cases (at most {MOST_LINES} lines): {too_long}"
    )

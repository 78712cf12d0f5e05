"""The program ``kubectl_complete-model``, which kubectl runs to complete ``kubectl model``."""

from __future__ import annotations

import shlex
import sys

from model_operator.cli.app import app
from model_operator.cli.commands.completion import PROGRAM, VARIABLE, complete

# Cobra's directives for kubectl: don't offer file names, or offer them
_NO_FILES, _FILES = 4, 0
_TAKE_FILES = frozenset({"lint", "digest"})


def main() -> None:
    """Prints the candidates for the last word of the command line, which is unfinished, and Cobra's directive."""
    words = sys.argv[1:] or [""]
    for candidate in _list_candidates(words):
        print(candidate)
    takes_files = words[0] in _TAKE_FILES or words[-2:-1] == ["--kubeconfig"]
    print(f":{_FILES if takes_files else _NO_FILES}")


def _list_candidates(words: list[str]) -> list[str]:
    line = {"COMP_WORDS": shlex.join([PROGRAM, *words]), "COMP_CWORD": str(len(words))}
    printed = complete(app, {VARIABLE: "complete_bash", **line})
    return [word for word in printed.splitlines() if word]

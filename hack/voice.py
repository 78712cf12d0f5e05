"""Counts how the texts sound: `python -m hack.voice` prints the figures, `--check` fails above the aims.

With paths it prints every hit in those files, with the words around it.

Counted per 1,000 words of prose (code is left out, and `code in a line` is one word):
- what: the words what, whatever and whoever outside of questions, which replace a noun that has a name
- say: forms of tell, say and ask unless their subject is you, because machines report, reject and request
- semicolons
- you: you and your, the reader
Exit codes: 0 no fault, 1 a text misses its aims or a word came back.
"""

from __future__ import annotations

import argparse
import ast
import io
import math
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = ("operator/model_operator", "hack")
PAGES = ("README.md", "SECURITY.md", "CHANGELOG.md", "docs", "examples", "charts/model-operator/README.md")

MOST = {"what": 1, "say": 1, "semicolons": 2}
"""Per 1,000 words, rounded up for each file: a short file may have one."""
LEAST_YOU = 8
"""In pages only."""
COUNTED = {
    "what": r"\b(?:what|whatever|whoever|whomever)\b",
    "say": r"(?<!\byou )\b(?:tell|tells|told|telling|say|says|said|saying|ask|asks|asked|asking)\b",
    "semicolons": r";",
    "you": r"\b(?:you|your|yours|yourself)\b",
}
QUESTION = r"[^.!?;:|\n]*(?:\n(?!\n)[^.!?;:|\n]*)*\?"
WORD = r"[A-Za-z][\w'’-]*"

OURS = {
    "mend": r"\bmend(?:s|ed|ing)?\b",
    "beget": r"\bbe(?:get|gets|got|gotten)\b",
    "the how manyth": r"\bhow manyth\b",
    "what serves": r"\bwhat serve[sd]\b",
    "whoever": r"\bwhoever\b",
    "in force": r"\b(?:in|into) force\b",
    "wish": r"\bwish(?:es|ed)?\b",
    "speaks to": r"\bsp(?:eaks?|oke) to\b",
    "believe": r"\bbelieve[sd]?\b",
    "take back": r"\b(?:taken?|takes|took) back\b",
    "shall": r"\bshall\b",
    "anew": r"\banew\b",
    "errs": r"\berr(?:s|ed|ing)?\b",
}
"""Words that no reader of ours would use, and that must not come back."""


@dataclass(frozen=True)
class Text:
    """The prose of one file and of one kind."""

    path: str
    kind: str
    prose: str


@dataclass(frozen=True)
class Counts:
    """The number of words in some texts, and the number of hits of each pattern of COUNTED."""

    words: int
    found: Mapping[str, int]

    def rate(self, name: str) -> float:
        """Returns the number of hits per 1,000 words."""
        return 1000 * self.found[name] / self.words if self.words else 0.0


def read_prose(markdown: str) -> str:
    """Returns the prose of a page, without comments, code blocks and the targets of links."""
    text = re.sub(r"<!--.*?-->", "", markdown, flags=re.DOTALL)
    text = re.sub(r"^[ \t]*```.*?^[ \t]*```[ \t]*$", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"`[^`]*`", "code", text)
    return re.sub(r"\]\([^)]*\)", "]", text)


def read_source(source: str) -> dict[str, str]:
    """Returns the docstrings, comments and messages (strings of three words or more) of a Python file, by kind."""
    kinds: dict[str, list[str]] = {"docstrings": [], "comments": [], "messages": []}
    _collect_strings(ast.parse(source), kinds)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            kinds["comments"].append(token.string.lstrip("# "))
    return {kind: re.sub(r"`+[^`]*`+", "code", "\n\n".join(texts)) for kind, texts in kinds.items()}


def _collect_strings(node: ast.AST, kinds: Mapping[str, list[str]]) -> None:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        kinds["docstrings"].append(str(node.value.value))
        return
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    if isinstance(node, ast.JoinedStr | ast.Constant):
        values = [part.value if isinstance(part, ast.Constant) else "code" for part in parts]
        text = "".join(value for value in values if isinstance(value, str))
        if len(text.split()) > 2:
            kinds["messages"].append(text)
        return
    for child in ast.iter_child_nodes(node):
        _collect_strings(child, kinds)


def count(prose: str) -> Counts:
    """Counts the words of COUNTED. It counts what, whatever and whoever only outside of questions."""
    stated = re.sub(QUESTION, "", prose)
    found = {
        name: len(re.findall(pattern, stated if name == "what" else prose, re.IGNORECASE))
        for name, pattern in COUNTED.items()
    }
    return Counts(len(re.findall(WORD, prose)), found)


def add_up(counts: Iterable[Counts]) -> Counts:
    """Returns the sum of the counts."""
    every = list(counts)
    found = {name: sum(one.found[name] for one in every) for name in COUNTED}
    return Counts(sum(one.words for one in every), found)


def find_faults(text: Text) -> list[str]:
    """Returns one line for each aim that the text misses and each word that came back."""
    faults = []
    for word, pattern in OURS.items():
        if hits := re.findall(pattern, text.prose, re.IGNORECASE):
            faults.append(f"{text.path}: {text.kind}: {', '.join(sorted(set(hits)))!r} came back ({word})")
    counts = count(text.prose)
    for name, most in MOST.items():
        allowed = math.ceil(most * counts.words / 1000)
        if counts.found[name] > allowed:
            faults.append(f"{text.path}: {text.kind}: {name}: {counts.found[name]}, at most {allowed}")
    if text.kind == "pages" and counts.rate("you") < LEAST_YOU:
        faults.append(f"{text.path}: you: {counts.rate('you'):.1f} in 1,000 words, at least {LEAST_YOU}")
    return faults


def read_texts(root: Path) -> Iterator[Text]:
    """Yields every page of PAGES, and the texts of every module of SOURCES."""
    for name in PAGES:
        place = root / name
        for path in sorted(place.rglob("*.md")) if place.is_dir() else [place]:
            yield Text(str(path.relative_to(root)), "pages", read_prose(path.read_text("utf-8")))
    for name in SOURCES:
        for path in sorted((root / name).rglob("*.py")):
            if path == Path(__file__):
                continue
            for kind, prose in read_source(path.read_text("utf-8")).items():
                yield Text(str(path.relative_to(root)), kind, prose)


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")


def find_hits(text: Text) -> Iterator[str]:
    """Yields one line for each hit of MOST and of OURS in the text, with the words around it."""
    patterns = {name: COUNTED[name] for name in MOST} | OURS
    questions = [match.span() for match in re.finditer(QUESTION, text.prose)]
    for name, pattern in patterns.items():
        for match in re.finditer(pattern, text.prose, re.IGNORECASE):
            if name == "what" and any(start <= match.start() < end for start, end in questions):
                continue
            around = text.prose[max(0, match.start() - 50) : match.end() + 50]
            yield f"{text.path}: {text.kind}: {name}: ...{' '.join(around.split())}..."


def _row(name: str, counts: Counts) -> str:
    return f"{name:<44}{counts.words:>7}" + "".join(f"{counts.rate(n):>12.1f}" for n in COUNTED)


def print_figures(texts: Iterable[Text]) -> None:
    """Prints the figures of each kind of text and of each page, and the number of each of our words."""
    every = list(texts)
    kinds = list(dict.fromkeys(text.kind for text in every))
    print(f"{'per 1,000 words':<44}{'words':>7}" + "".join(f"{name:>12}" for name in COUNTED))
    for kind in kinds:
        print(_row(kind, add_up(count(text.prose) for text in every if text.kind == kind)))
    print()
    for text in every:
        if text.kind == "pages":
            print(_row(text.path, count(text.prose)))
    print(f"\n{'words of ours, how often':<44}" + "".join(f"{kind:>12}" for kind in kinds))
    for word, pattern in OURS.items():
        hits = [
            sum(len(re.findall(pattern, t.prose, re.IGNORECASE)) for t in every if t.kind == kind)
            for kind in kinds
        ]
        print(f"{word:<44}" + "".join(f"{number:>12}" for number in hits))


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m hack.voice", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="print only the faults, without the figures")
    parser.add_argument(
        "paths", nargs="*", help="print every hit in these files and folders, and their figures"
    )
    texts = list(read_texts(ROOT))
    arguments = parser.parse_args()
    if arguments.paths:
        texts = [text for text in texts if any(_is_within(text.path, path) for path in arguments.paths)]
        print("".join(f"{hit}\n" for text in texts for hit in find_hits(text)), end="")
    if not arguments.check:
        print_figures(texts)
    faults = [fault for text in texts for fault in find_faults(text)]
    print("".join(f"{fault}\n" for fault in faults), end="")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

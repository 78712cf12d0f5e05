"""What can be shown where the output goes: colours, the width, and signs beyond ASCII."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TextIO

from rich.console import Console
from rich.text import Text

PIPE_WIDTH = 100
"""Columns for text that flows where nobody said how wide it may be; rows of tables are never broken in a pipe."""
_TABLE_PIPE_WIDTH = 4096


@dataclass(frozen=True, slots=True)
class Signs:
    """The icons, and how the rest of a text is written."""

    good: str
    bad: str
    moving: str
    waiting: str
    warning: str
    note: str
    arrow: str
    dot: str
    ascii_only: bool = False

    def words(self, text: object) -> str:
        """A text from the cluster as it may be shown: on one line, without anything that could drive the terminal.

        Messages hold the last words of containers, and names come from registries: neither is trusted.
        """
        shown = "".join(_harmless(sign) for sign in str(text))
        shown = " ".join(shown.split())
        if not self.ascii_only:
            return shown
        return shown.translate(_PLAIN).encode("ascii", "replace").decode()


UNICODE = Signs("✔", "✖", "◐", "‖", "▲", "•", "→", "·")
ASCII = Signs("+", "x", "~", "=", "!", "-", "->", "-", ascii_only=True)

_PLAIN = str.maketrans({"…": "...", "→": "->", "–": "-", "—": "-", "’": "'", "‘": "'", "“": '"', "”": '"'})

_STYLES = {
    "good": "green",
    "bad": "bold red",
    "moving": "cyan",
    "waiting": "yellow",
    "warning": "yellow",
    "note": "dim",
}


def _harmless(sign: str) -> str:
    if sign in "\n\r\t":
        return " "
    category = unicodedata.category(sign)
    # Cc: escape sequences; Cf: what turns the direction of writing, among others
    return "�" if category in ("Cc", "Cf", "Cs", "Co") else sign


@dataclass(frozen=True, slots=True)
class Terminal:
    """Where a command writes: results to ``out``, all else to ``err``."""

    out: Console
    err: Console
    signs: Signs

    @property
    def live(self) -> bool:
        """Whether what was drawn can be drawn over."""
        return self.out.is_terminal and not self.out.is_dumb_terminal

    def wide(self) -> Console:
        """A console for tables: in a pipe no row is broken, so that grep and awk see all of it."""
        if self.out.is_terminal or "COLUMNS" in self.out._environ:
            return self.out
        return Console(file=self.out.file, width=_TABLE_PIPE_WIDTH, color_system=None)

    def icon(self, name: str) -> Text:
        """One of the signs, in its colour."""
        return Text(getattr(self.signs, name), style=_STYLES[name])


def terminal(color: bool, environ: Mapping[str, str], out: TextIO, err: TextIO) -> Terminal:
    """The terminal that the two streams lead to. NO_COLOR, TERM and COLUMNS are respected."""
    ascii_only = not _takes_unicode(environ, out)
    if ascii_only:
        for stream in (out, err):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(encoding="ascii", errors="replace")
    return Terminal(
        _console(color, environ, out), _console(color, environ, err), ASCII if ascii_only else UNICODE
    )


def _console(color: bool, environ: Mapping[str, str], stream: TextIO) -> Console:
    columns = environ.get("COLUMNS", "")
    width = int(columns) if columns.isdigit() and int(columns) > 0 else None
    if width is None and not stream.isatty():
        width = PIPE_WIDTH
    if not color or environ.get("NO_COLOR"):
        return Console(file=stream, width=width, color_system=None, highlight=False, _environ=environ)
    return Console(file=stream, width=width, highlight=False, _environ=environ)


def _takes_unicode(environ: Mapping[str, str], stream: TextIO) -> bool:
    if not (getattr(stream, "encoding", None) or "utf-8").lower().startswith("utf"):
        return False
    # Python changes a C locale to UTF-8 for itself, and the variable too; the terminal stays what it is
    named = [environ.get(name, "") for name in ("LC_ALL", "LC_CTYPE", "LANG")]
    if named[0] == "" and named[1] == "C.UTF-8" and named[2] in ("C", "POSIX"):
        return False
    chosen = next((name for name in named if name), "UTF-8")
    return "utf" in chosen.lower()


def standard_terminal(color: bool, environ: Mapping[str, str]) -> Terminal:
    """The process' own."""
    return terminal(color, environ, sys.stdout, sys.stderr)

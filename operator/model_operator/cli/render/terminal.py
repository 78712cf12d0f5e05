"""The abilities of the terminal: colours, width, and signs beyond ASCII."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TextIO

from rich.console import Console
from rich.text import Text

PIPE_WIDTH = 100
"""Columns for text in a pipe, unless COLUMNS is set. Rows of tables are never broken in a pipe."""
_TABLE_PIPE_WIDTH = 4096


@dataclass(frozen=True, slots=True)
class Signs:
    """The icons, and the conversion of any other text."""

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
        """Returns a text from the cluster on one line, without characters that could control the terminal.

        Messages contain the output of containers, and names come from registries. Neither is trusted.
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
    # Cc has escape sequences. Cf has, among others, characters that change the direction of writing
    return "�" if category in ("Cc", "Cf", "Cs", "Co") else sign


@dataclass(frozen=True, slots=True)
class Terminal:
    """The output of a command: results go to ``out``, everything else to ``err``."""

    out: Console
    err: Console
    signs: Signs

    @property
    def live(self) -> bool:
        """Whether the output can be redrawn in place."""
        return self.out.is_terminal and not self.out.is_dumb_terminal

    def wide(self) -> Console:
        """Returns a console for tables. In a pipe, it breaks no row, because grep and awk need whole rows."""
        if self.out.is_terminal or "COLUMNS" in self.out._environ:
            return self.out
        return Console(file=self.out.file, width=_TABLE_PIPE_WIDTH, color_system=None)

    def icon(self, name: str) -> Text:
        """Returns one of the signs, in its colour."""
        return Text(getattr(self.signs, name), style=_STYLES[name])


def terminal(color: bool, environ: Mapping[str, str], out: TextIO, err: TextIO) -> Terminal:
    """Returns the terminal of the two streams. It respects NO_COLOR, TERM and COLUMNS."""
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
    # Python changes a C locale to UTF-8 for itself and sets LC_CTYPE, but the terminal does not change
    named = [environ.get(name, "") for name in ("LC_ALL", "LC_CTYPE", "LANG")]
    if named[0] == "" and named[1] == "C.UTF-8" and named[2] in ("C", "POSIX"):
        return False
    chosen = next((name for name in named if name), "UTF-8")
    return "utf" in chosen.lower()


def standard_terminal(color: bool, environ: Mapping[str, str]) -> Terminal:
    """Returns the terminal of this process' stdout and stderr."""
    return terminal(color, environ, sys.stdout, sys.stderr)

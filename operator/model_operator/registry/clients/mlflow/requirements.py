"""Reads a model's requirement files by pip's rules: continued lines, comments, options and included files.

The rules are those of ``pip/_internal/req/req_file.py`` (pip 25). The text comes from an untrusted registry.
"""

from __future__ import annotations

import codecs
import posixpath
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

FIRST = "requirements.txt"
MAX_BYTES = 1024 * 1024
MAX_REQUIREMENTS = 1000
"""Limit of requirements and includes that are read from one file."""
MAX_LENGTH = 500
"""A longer requirement is cut, and the gate can't judge it. Options such as hashes do not count."""
_COMMENT = re.compile(r"(^|\s+)#.*$")
_CODING = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-_.a-zA-Z0-9]{1,32})")
_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:")
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))

Kind = Literal["-r", "-c"]
_OPTIONS: dict[str, Kind | Literal["-e"]] = {
    "-r": "-r",
    "--requirement": "-r",
    "-c": "-c",
    "--constraint": "-c",
    "-e": "-e",
    "--editable": "-e",
}


@dataclass(frozen=True, slots=True)
class Include:
    """Another file that a requirement file includes, by ``-r`` or ``-c``."""

    kind: Kind
    path: str
    """Relative to the model's directory. Empty if it leads out of the directory."""
    text: str
    """The line, for messages if the file can't be read."""


@dataclass(frozen=True, slots=True)
class RequirementFile:
    """The content of one file: each requirement without options and comments, and the included files."""

    requirements: tuple[str, ...] = ()
    includes: tuple[Include, ...] = ()


def parse_requirements(content: bytes, path: str = FIRST) -> RequirementFile:
    """Parses the content of the file ``path`` (relative to the model's directory). Raises nothing."""
    requirements: list[str] = []
    includes: list[Include] = []
    for line in _find_lines(_decode(content[:MAX_BYTES])):
        if len(requirements) + len(includes) >= MAX_REQUIREMENTS:
            break
        tokens = line.split()
        at = next((index for index, token in enumerate(tokens) if token.startswith("-")), len(tokens))
        if at:
            requirements.append(" ".join(tokens[:at])[:MAX_LENGTH])
            continue
        for kind, value in _find_options(line):
            if kind == "-e":
                requirements.append(value[:MAX_LENGTH])
            else:
                includes.append(Include(kind, _resolve(value, path), line[:MAX_LENGTH]))
    return RequirementFile(tuple(requirements), tuple(includes))


def _decode(content: bytes) -> str:
    """Like pip's ``auto_decode``, but without the locale: a byte order mark, a declared encoding, else UTF-8."""
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return content[len(mark) :].decode(encoding, "replace")
    for line in content.split(b"\n", 2)[:2]:
        if found := _CODING.match(line):
            try:
                return content.decode(found.group(1).decode("ascii"), "replace")
            except (LookupError, UnicodeError):
                break
    return content.decode("utf-8", "replace")


def _find_lines(text: str) -> Iterator[str]:
    """The logical lines, without comments and empty lines. A backslash at the end continues a line."""
    joined: list[str] = []
    for line in text.splitlines():
        is_comment = _COMMENT.match(line) is not None
        if line.endswith("\\") and not is_comment:
            joined.append(line.strip("\\"))
            continue
        # the blank makes a comment at the end of a continued line match
        joined.append(f" {line}" if is_comment else line)
        yield from _strip("".join(joined))
        joined = []
    yield from _strip("".join(joined))


def _strip(line: str) -> Iterator[str]:
    if stripped := _COMMENT.sub("", line).strip():
        yield stripped


def _find_options(line: str) -> Iterator[tuple[Kind | Literal["-e"], str]]:
    """The options of a line that name requirements or files. Others, such as ``--index-url``, are ignored."""
    try:
        words = shlex.split(line)
    except ValueError:
        words = line.split()
    for index, word in enumerate(words):
        name, equals, value = word.partition("=")
        if not word.startswith("--") and word[:2] in _OPTIONS and len(word) > 2:
            name, equals, value = word[:2], "=", word[2:]
        if (kind := _OPTIONS.get(name)) is not None:
            yield kind, value if equals else " ".join(words[index + 1 : index + 2])


def _resolve(value: str, path: str) -> str:
    """The path of a file that the file ``path`` includes. Empty if it is not within the model's directory."""
    if _SCHEME.match(value) or value.startswith(("/", "~")) or "\\" in value or "\0" in value:
        return ""
    joined = posixpath.normpath(posixpath.join(posixpath.dirname(path), value)) if value else ""
    return "" if joined.startswith("..") or len(joined) > MAX_LENGTH else joined

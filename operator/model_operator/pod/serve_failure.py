"""Failures of the serving process, and their redacted messages. A part of serve.py.

The parts of serve.py carry its name in theirs: a module of the model may be called anything else.
"""

from __future__ import annotations

import os
import re
import urllib.parse

MESSAGE_BYTES = 1024
# by the name's last words: TOKENIZERS_PARALLELISM=false is no secret, and "false" no word to hide
SECRET_VARIABLE = re.compile(r"(PASSWORD|PASSWD|TOKEN|SECRET|CREDENTIALS?|(^|_)KEY)(_|$)", re.IGNORECASE)


class DefiniteError(Exception):
    """Trying again would end in the same way: the reason and the text for the termination message."""

    def __init__(self, reason: str, message: str, self_test: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.self_test = self_test


def describe(error: BaseException) -> str:
    """The type and text of an exception, shortened."""
    text = str(error).strip()
    return shorten(f"{type(error).__name__}: {text}" if text else type(error).__name__)


def shorten(text: str) -> str:
    """At most MESSAGE_BYTES of the text, on one line, without the values of variables that look secret."""
    for variable, value in os.environ.items():
        if len(value) >= 4 and SECRET_VARIABLE.search(variable):
            text = text.replace(value, "***").replace(urllib.parse.quote(value, safe=""), "***")
    text = re.sub(r"(://)[^/@\s]+@", r"\1***@", text)
    # the signature of a pre-signed address
    text = re.sub(r"(https?://[^\s?'\"]+)\?[^\s'\")]+", r"\1?***", text)
    text = " ".join(text.split())
    # half of a surrogate pair, which JSON can carry, has no bytes of its own
    data = text.encode(errors="replace")
    return text if len(data) <= MESSAGE_BYTES else data[: MESSAGE_BYTES - 3].decode(errors="ignore") + "..."

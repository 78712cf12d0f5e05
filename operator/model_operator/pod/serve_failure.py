"""Failures of the serving processes: exit codes, redacted messages, and the end. A part of serve.py.

The parts of serve.py carry its name in theirs: a module of the model may be called anything else.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import urllib.parse
from pathlib import Path
from typing import NoReturn

LOAD_FAILED = 50
REQUIREMENT_MISSING = 51
SELF_TEST_FAILED = 52
SELF_TEST_MISSING = 53
SERVE_MISCONFIGURED = 54
SELF_TEST_WRONG_SHAPE = 55
IMAGE_MISMATCH = 56

REASONS = {
    LOAD_FAILED: "LoadFailed",
    REQUIREMENT_MISSING: "RequirementMissing",
    SELF_TEST_FAILED: "SelfTestFailed",
    SELF_TEST_MISSING: "SelfTestMissing",
    SERVE_MISCONFIGURED: "ServeMisconfigured",
    SELF_TEST_WRONG_SHAPE: "SelfTestWrongShape",
    IMAGE_MISMATCH: "ImageMismatch",
}

MESSAGE_BYTES = 1024
# by the name's last words: TOKENIZERS_PARALLELISM=false is no secret, and "false" no word to hide
SECRET_VARIABLE = re.compile(r"(PASSWORD|PASSWD|TOKEN|SECRET|CREDENTIALS?|(^|_)KEY)(_|$)", re.IGNORECASE)

log = logging.getLogger("serve")


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


def exit_now(code: int) -> NoReturn:
    """Ends the process now: threads of the model or its libraries must not hold it."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def end_with(failure: DefiniteError) -> NoReturn:
    """Leaves the termination message where the kubelet reads it, and ends the process with the reason's exit code."""
    record = {"reason": failure.reason, "message": shorten(failure.message)}
    if failure.self_test:
        record["selfTest"] = failure.self_test
    line = json.dumps(record, ensure_ascii=False)
    leave_message(line + "\n")
    print(line, file=sys.stderr)
    exit_now(next(code for code, reason in REASONS.items() if reason == failure.reason))


def leave_message(message: str) -> None:
    """Leaves the termination message, in place of an earlier one."""
    try:
        Path(os.environ.get("TERMINATION_MESSAGE_PATH") or "/dev/termination-log").write_text(message)
    except OSError as error:
        log.warning("no termination message: %s", error)

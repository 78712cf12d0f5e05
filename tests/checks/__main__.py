"""Runs the checks: linter, formatter, types, import contracts, and the suites that need nothing built."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from tests.checks.side_by_side import Job, run
from tests.timing import HEADING

BIN = Path(sys.executable).parent


def jobs() -> list[Job]:
    """The longest first, since it starts first."""
    workers = (str(BIN / "pytest"), "-q", "-n", "auto", "--dist", "loadgroup")
    return [
        Job("unit and stories", (*workers, "tests/stories", "tests/unit"), HEADING),
        Job("mypy", (str(BIN / "mypy"),)),
        Job("import contracts", (str(BIN / "lint-imports"), "--no-logo")),
        Job("ruff check", (str(BIN / "ruff"), "check", ".")),
        Job("ruff format", (str(BIN / "ruff"), "format", "--check", ".")),
        Job("voice", (sys.executable, "-m", "hack.voice", "--check")),
    ]


def main() -> int:
    """The exit code: 0 when all passed, 1 when one failed, 130 when it was interrupted."""
    # a SIGTERM, as from a CI runner, ends the children just as Ctrl-C does
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return 0 if run(jobs(), sys.stdout) else 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())

"""Checks the operator's locked dependencies for known vulnerabilities: `python -m hack.supply_chain.audit`.

It runs pip-audit. If pip-audit can't reach the advisories, for example behind a mirror that has only the packages, it
reports "not found" and exits 0. Its input therefore has one more release, with a known vulnerability. If pip-audit does
not find that one, or skips a dependency, the result is "not checked".
Exit codes: 0 no known vulnerability, 1 a known vulnerability, 3 not checked, with the reason on stderr.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements" / "operator.txt"
PROGRAM = ROOT / ".venv" / "audit" / "bin" / "pip-audit"
KNOWN_NAME, KNOWN_VERSION = "jinja2", "2.10"
"""A template can escape its sandbox, as published in 2019."""
FOUND, NOT_CHECKED = 1, 3
AUDIT_SECONDS = 180


def main() -> int:
    """Returns the exit code."""
    lines = re.findall(r"^([A-Za-z0-9._-]+==[^ ;\\]+)", LOCK.read_text("utf-8"), re.MULTILINE)
    with tempfile.TemporaryDirectory() as directory:
        checked = Path(directory) / "requirements.txt"
        checked.write_text("\n".join([*lines, f"{KNOWN_NAME}=={KNOWN_VERSION}", ""]))
        command = [str(PROGRAM), "--no-deps", "--disable-pip", "--requirement", str(checked)]
        try:
            done = subprocess.run(  # noqa: S603 - our own pip-audit
                [*command, "--progress-spinner", "off", "--format", "json"],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                timeout=AUDIT_SECONDS,
                check=False,
            )
            return verdict(json.loads(done.stdout)["dependencies"])
        except (subprocess.TimeoutExpired, OSError, ValueError, KeyError) as error:
            return _not_checked(f"pip-audit gave no usable answer: {error}")


def verdict(dependencies: Sequence[Mapping[str, Any]]) -> int:
    """Prints the findings for the operator's dependencies and returns the exit code.

    ``dependencies`` are pip-audit's entries, with the one for the vulnerable release.
    """
    ours = [it for it in dependencies if it["name"] != KNOWN_NAME]
    vulnerable = [it for it in ours if it.get("vulns")]
    for it in vulnerable:
        for one in it["vulns"]:
            fixed = ", ".join(one["fix_versions"]) or "no release yet"
            print(f"{it['name']} {it['version']}: {one['id']}, fixed by {fixed}")
    if vulnerable:
        return FOUND
    skipped = sorted(it["name"] for it in ours if "skip_reason" in it)
    if skipped:
        return _not_checked(f"pip-audit could not look up {', '.join(skipped)}")
    if not any(it.get("vulns") for it in dependencies):
        return _not_checked(f"pip-audit missed the known vulnerability of {KNOWN_NAME} {KNOWN_VERSION}")
    print(f"{len(ours)} dependencies, no known vulnerability")
    return 0


def _not_checked(why: str) -> int:
    print(f"NOT CHECKED for known vulnerabilities: {why}", file=sys.stderr)
    return NOT_CHECKED


if __name__ == "__main__":
    sys.exit(main())

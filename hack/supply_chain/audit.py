"""Look known vulnerabilities of the operator's locked dependencies up: `python -m hack.supply_chain.audit`.

pip-audit does the work. Where the advisories can't be reached, as behind a mirror that has only the packages, it says
"not found" and ends well. So it is also given a release against which something is known: when it does not find that,
or passes a dependency over, nothing was checked.
Exit codes: 0 nothing is known; 1 a vulnerability is known; 3 not checked, for the reason that is printed.
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
"""It lets a template out of its sandbox, as has been known since 2019."""
FOUND, NOT_CHECKED = 1, 3
AUDIT_SECONDS = 180


def main() -> int:
    """Returns the exit code."""
    lines = re.findall(r"^([A-Za-z0-9._-]+==[^ ;\\]+)", LOCK.read_text("utf-8"), re.MULTILINE)
    with tempfile.TemporaryDirectory() as directory:
        asked = Path(directory) / "requirements.txt"
        asked.write_text("\n".join([*lines, f"{KNOWN_NAME}=={KNOWN_VERSION}", ""]))
        command = [str(PROGRAM), "--no-deps", "--disable-pip", "--requirement", str(asked)]
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
    """Tells what pip-audit found, of the operator's dependencies and the one release beside them; the exit code."""
    ours = [it for it in dependencies if it["name"] != KNOWN_NAME]
    vulnerable = [it for it in ours if it.get("vulns")]
    for it in vulnerable:
        for one in it["vulns"]:
            fixed = ", ".join(one["fix_versions"]) or "nothing yet"
            print(f"{it['name']} {it['version']}: {one['id']}, fixed by {fixed}")
    if vulnerable:
        return FOUND
    skipped = sorted(it["name"] for it in ours if "skip_reason" in it)
    if skipped:
        return _not_checked(f"pip-audit could not look up {', '.join(skipped)}")
    if not any(it.get("vulns") for it in dependencies):
        return _not_checked(f"not even what is known against {KNOWN_NAME} {KNOWN_VERSION} was found")
    print(f"{len(ours)} dependencies, no known vulnerability")
    return 0


def _not_checked(why: str) -> int:
    print(f"NOT CHECKED for known vulnerabilities: {why}", file=sys.stderr)
    return NOT_CHECKED


if __name__ == "__main__":
    sys.exit(main())

"""Writes the generated files, or compares them with --check: `python -m hack.generators [--check]`."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Sequence
from pathlib import Path

from hack.generators import (
    chart_values,
    dashboard,
    diagrams,
    field_reference,
    pictures,
    plain_install,
    pod_states,
)

ROOT = Path(__file__).parents[2]


def generated() -> dict[Path, str]:
    """Returns the text of each generated file."""
    plain = plain_install.render()
    drawn = pictures.render() | diagrams.render(plain["operator.yaml"])
    return {
        ROOT / "charts" / "model-operator" / "README.md": chart_values.render(),
        ROOT / "docs" / "reference" / "modeldeployment.md": field_reference.render(),
        ROOT / "docs" / "reference" / "pod-states.md": pod_states.render(),
        **{ROOT / "docs" / "pictures" / name: text for name, text in drawn.items()},
        dashboard.FILE: dashboard.render(),
        **{ROOT / "deploy" / name: text for name, text in plain.items()},
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 1 if --check finds a file that is not up to date."""
    parser = argparse.ArgumentParser(prog="python -m hack.generators", description=__doc__)
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing and exit 1 with a diff if a file is not up to date",
    )
    check: bool = parser.parse_args(arguments).check
    drifted = False
    for path, wanted in generated().items():
        found = path.read_text("utf-8") if path.exists() else ""
        if found == wanted:
            continue
        drifted = True
        if check:
            lines = (found.splitlines(keepends=True), wanted.splitlines(keepends=True))
            sys.stdout.writelines(difflib.unified_diff(*lines, str(path.relative_to(ROOT)), "generated"))
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_text(wanted, "utf-8")
            print(f"wrote {path.relative_to(ROOT)}")
    if check and drifted:
        print("generated files are not up to date, run: make generate", file=sys.stderr)
    return 1 if check and drifted else 0


if __name__ == "__main__":
    sys.exit(main())

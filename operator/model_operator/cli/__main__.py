"""The program ``kubectl-model``, which kubectl runs for ``kubectl model``."""

from __future__ import annotations

import sys

_NEEDED = ("typer", "rich", "celpy", "jsonschema", "re2")


def main() -> None:
    """Runs the plugin. Names the missing library and exits with 2 if the extra ``cli`` is not installed."""
    try:
        from model_operator.cli.app import main as run
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] not in _NEEDED:
            raise
        print(f"error: the Python package {missing.name} is missing", file=sys.stderr)
        print("next: pip install 'model-operator[cli]'", file=sys.stderr)
        sys.exit(2)
    run()


if __name__ == "__main__":
    main()

"""The command completion: the script that a shell needs to complete ``kubectl-model``."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Mapping
from typing import Annotated

import typer
from typer.completion import get_completion_inspect_parameters

PROGRAM = "kubectl-model"
VARIABLE = "_KUBECTL_MODEL_COMPLETE"


def completion(
    ctx: typer.Context,
    shell: Annotated[str, typer.Argument(metavar="SHELL", help="bash, zsh, fish or powershell.")],
) -> None:
    """Print the completion script of a shell, for the program `kubectl-model`.

    source <(kubectl model completion bash)

    For `kubectl model` itself, you only need kubectl's own completion. It runs the program
    `kubectl_complete-model`, which is installed with this one.
    """
    if shell not in ("bash", "zsh", "fish", "powershell", "pwsh"):
        raise typer.BadParameter(f"{shell!r}: one of bash, zsh, fish, powershell", param_hint="SHELL")
    typer.echo(complete(ctx.find_root().command, {VARIABLE: f"source_{shell}"}), nl=False)


def complete(program: Callable[..., object], environment: Mapping[str, str]) -> str:
    """Runs the program as a shell does for a completion, and returns its output.

    ``environment`` has the variables that typer's completion scripts set.
    """
    # registers the shells, which typer itself does only for its options --install- and --show-completion
    get_completion_inspect_parameters()
    before = dict(os.environ)
    os.environ |= environment
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
            program(prog_name=PROGRAM)
    finally:
        os.environ.clear()
        os.environ |= before
    return printed.getvalue()

"""The commands of ``kubectl model``, in the order in which ``--help`` shows them."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Annotated, Any

import typer
from rich.text import Text

from model_operator.cli.commands import completion, digest, doctor, get, history, lint, plan, status, steer
from model_operator.cli.context import (
    Context,
    Kubeconfig,
    KubeContext,
    Namespace,
    NoColor,
    remember,
    with_context,
)
from model_operator.cli.errors import CommandError

PROGRAM = "kubectl model"

app = typer.Typer(
    name=PROGRAM,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"kubectl-model {version('model-operator')}")
        raise typer.Exit


@app.callback()
def options(
    ctx: typer.Context,
    kubeconfig: Kubeconfig = None,
    kube_context: KubeContext = "",
    namespace: Namespace = "",
    no_color: NoColor = False,
    _asked: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """See which version of a model serves, and why another one does not. Roll back, approve, wait, check.

    kubectl model get -A
    kubectl model status churn --watch
    kubectl model revert churn --to 7

    Each command has examples: kubectl model COMMAND --help
    """
    remember(ctx, kubeconfig, kube_context, namespace, no_color)


def _add(functions: Sequence[Callable[..., Any]], panel: str) -> None:
    for function in functions:
        app.command(help=_reflow(function), rich_help_panel=panel)(with_context(function))


def _reflow(function: Callable[..., Any]) -> str:
    """Returns the docstring as help: paragraphs wrap at the width of the terminal, examples keep their lines."""
    paragraphs = inspect.cleandoc(function.__doc__ or "").split("\n\n")
    shown = [text if _is_example(text) else " ".join(text.split()) for text in paragraphs]
    return "\n\n".join(shown)


def _is_example(paragraph: str) -> bool:
    return any(line.startswith((PROGRAM, "kubectl-")) for line in paragraph.splitlines())


LOOK, STEER, CHECK = "Look", "Steer", "Check"

_add([get.get, status.status, history.history, plan.plan], LOOK)
_add([steer.revert, steer.release, steer.retry, steer.restart], STEER)
_add([steer.approve, steer.suspend, steer.resume], STEER)
_add([lint.lint, digest.digest, doctor.doctor], CHECK)
app.command(help=_reflow(completion.completion), rich_help_panel=CHECK)(completion.completion)


def main() -> None:
    """Runs a command and ends the process with one of the documented exit codes."""
    try:
        app(prog_name=PROGRAM)
    except CommandError as error:
        terminal = Context(color="--no-color" not in sys.argv).terminal()
        words = terminal.signs.words
        terminal.err.print(Text.assemble(("error: ", "bold red"), words(error.message)))
        if error.remedy:
            terminal.err.print(Text.assemble(("next: ", "bold"), words(error.remedy)))
        sys.exit(int(error.code))

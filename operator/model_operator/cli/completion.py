"""Shell completion: for ``kubectl-model`` by itself, and for ``kubectl model`` by kubectl's own way."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import shlex
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from typer.completion import get_completion_inspect_parameters

from model_operator.cli.context import Place

PROGRAM = "kubectl-model"
VARIABLE = "_KUBECTL_MODEL_COMPLETE"
NAMES_SECONDS = 3.0
# Cobra's directives, which kubectl goes by: file names are not offered, or they are
_NO_FILES, _FILES = 4, 0
_TAKE_FILES = frozenset({"lint", "digest"})


def names_of_deployments(ctx: typer.Context, incomplete: str) -> list[str]:
    """The ModelDeployments that a name on the command line may mean. Silent where the cluster is."""
    try:
        found = asyncio.run(_names(_place(ctx)))
    except Exception:  # a completion has no place for words
        return []
    return [name for name in found if name.startswith(incomplete)]


async def _names(place: Place) -> list[str]:
    from model_operator.cli.cluster import connected

    async with asyncio.timeout(NAMES_SECONDS), connected(place) as cluster:
        found = await cluster.deployments(cluster.namespace, fresh=False)
    return sorted(str(item["metadata"]["name"]) for item in found)


def _place(ctx: typer.Context) -> Place:
    given: dict[str, Any] = {}
    for level in (ctx.parent, ctx):
        params = level.params if level else {}
        given |= {key: params[key] for key in ("kubeconfig", "context", "namespace") if params.get(key)}
    return Place(**given)


def completion(
    shell: Annotated[str, typer.Argument(metavar="SHELL", help="bash, zsh, fish or powershell.")],
) -> None:
    """Print the completion script of a shell, for the program `kubectl-model`.

    source <(kubectl model completion bash)

    `kubectl model` itself needs nothing but kubectl's own completion: that asks the program
    `kubectl_complete-model`, which is installed beside this one.
    """
    if shell not in ("bash", "zsh", "fish", "powershell", "pwsh"):
        raise typer.BadParameter(f"{shell!r}: one of bash, zsh, fish, powershell", param_hint="SHELL")
    typer.echo(_answer_completion({VARIABLE: f"source_{shell}"}), nl=False)


def main() -> None:
    """``kubectl_complete-model``: kubectl gives the words, the last one unfinished; prints what may stand there."""
    words = sys.argv[1:] or [""]
    found = _candidates(words)
    for candidate in found:
        print(candidate)
    takes_files = words[0] in _TAKE_FILES or words[-2:-1] == ["--kubeconfig"]
    print(f":{_FILES if takes_files else _NO_FILES}")


def _candidates(words: list[str]) -> list[str]:
    line = {"COMP_WORDS": shlex.join([PROGRAM, *words]), "COMP_CWORD": str(len(words))}
    printed = _answer_completion({VARIABLE: "complete_bash", **line})
    return [word for word in printed.splitlines() if word]


def _answer_completion(environment: Mapping[str, str]) -> str:
    """What typer answers a shell that asks by these variables: the protocol of the scripts that it makes."""
    from model_operator.cli.app import app

    # makes the shells known; typer does so by itself only for its options --install- and --show-completion
    get_completion_inspect_parameters()
    before = dict(os.environ)
    os.environ |= environment
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
            app(prog_name=PROGRAM)
    finally:
        os.environ.clear()
        os.environ |= before
    return printed.getvalue()

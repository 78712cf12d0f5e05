"""The options for cluster, namespace and colours that every command has, named as in kubectl."""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from model_operator.cli.errors import CommandError, ExitCode
from model_operator.cli.render.terminal import Terminal, standard_terminal

PANEL = "Cluster and output"


@dataclass(frozen=True, slots=True)
class Context:
    """The cluster, the namespace and the colours of a command. Empty fields have the kubeconfig's values."""

    kubeconfig: Path | None = None
    kube_context: str = ""
    namespace: str = ""
    color: bool = True

    def terminal(self) -> Terminal:
        """Returns the terminal for the output."""
        return standard_terminal(self.color, os.environ)

    def flags(self, namespace: str = "") -> str:
        """Returns the options for the same cluster and namespace, with a leading space, for a suggested command."""
        chosen = namespace or self.namespace
        namespaced = f" -n {chosen}" if chosen else ""
        return namespaced + (f" --context {self.kube_context}" if self.kube_context else "")


Kubeconfig = Annotated[
    Path | None,
    typer.Option("--kubeconfig", metavar="FILE", help="Kubeconfig file.", rich_help_panel=PANEL),
]
KubeContext = Annotated[
    str, typer.Option("--context", metavar="NAME", help="Context of the kubeconfig.", rich_help_panel=PANEL)
]
Namespace = Annotated[
    str,
    typer.Option(
        "--namespace",
        "-n",
        metavar="NAME",
        help="Namespace, by default the context's.",
        rich_help_panel=PANEL,
    ),
]
NoColor = Annotated[
    bool,
    typer.Option("--no-color", help="No colours, as with the variable NO_COLOR.", rich_help_panel=PANEL),
]

_OPTIONS = {
    "kubeconfig": (Kubeconfig, None),
    "kube_context": (KubeContext, ""),
    "namespace": (Namespace, ""),
    "no_color": (NoColor, False),
}


def remember(
    ctx: typer.Context, kubeconfig: Path | None, kube_context: str, namespace: str, no_color: bool
) -> None:
    """Stores the options before the command's name."""
    ctx.obj = Context(kubeconfig, kube_context, namespace, not no_color)


def with_context(function: Callable[..., Any]) -> Callable[..., Any]:
    """Replaces the first parameter of a command, a Context, with the options that make one.

    A coroutine function is run to its end. Options after the command's name override those before it.
    """
    signature = inspect.signature(function, eval_str=True)
    own = [parameter for name, parameter in signature.parameters.items() if name != "context"]

    @functools.wraps(function)
    def command(ctx: typer.Context, **given: Any) -> Any:
        context = _choose(ctx.obj or Context(), **{name: given.pop(name) for name in _OPTIONS})
        done = function(context, **given)
        return asyncio.run(done) if inspect.iscoroutine(done) else done

    kind = inspect.Parameter.KEYWORD_ONLY
    shared = [
        inspect.Parameter(name, kind, default=default, annotation=annotation)
        for name, (annotation, default) in _OPTIONS.items()
    ]
    first = inspect.Parameter("ctx", kind, annotation=typer.Context)
    parameters = [first, *(parameter.replace(kind=kind) for parameter in own), *shared]
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def _choose(
    context: Context, kubeconfig: Path | None, kube_context: str, namespace: str, no_color: bool
) -> Context:
    if kubeconfig is not None:
        context = replace(context, kubeconfig=kubeconfig)
    if kube_context:
        context = replace(context, kube_context=kube_context)
    if namespace:
        context = replace(context, namespace=namespace)
    if context.kubeconfig is not None and not context.kubeconfig.is_file():
        raise CommandError(ExitCode.USAGE, f"there is no kubeconfig {context.kubeconfig}", "see --kubeconfig")
    return replace(context, color=False) if no_color else context

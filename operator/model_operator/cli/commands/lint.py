"""The command lint."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from model_operator.api import names
from model_operator.cli.arguments import Report, ReportFormat
from model_operator.cli.context import Context
from model_operator.cli.errors import CommandError, ExitCode

if TYPE_CHECKING:
    from model_operator.cli.lint import Problem

MAX_BYTES = 5 * 1024 * 1024
STDIN = "-"
_OURS = re.compile(rf"{re.escape(names.GROUP)}/|\b{names.KIND}\b")


@dataclass
class _Report:
    problems: list[tuple[str, Problem]] = field(default_factory=list)
    judged: int = 0
    passed_over: int = 0

    @property
    def errors(self) -> int:
        return sum(problem.severity == "error" for _, problem in self.problems)


def lint(
    context: Context,
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE...", help="YAML files, directories, or - for standard input."),
    ],
    output: Report = ReportFormat.TEXT,
) -> None:
    """Validate manifests without a cluster, as the API server does: types, bounds, unknown fields, rules.

    kubectl model lint deploy/*.yaml
    kustomize build apps/churn | kubectl model lint -

    Objects of other kinds are skipped. The rules are those of the CRD in this release, and for pods those of Kubernetes
    1.36. A warning is about a value that is valid and nearly always a mistake. The exit code is 0 if there are only
    warnings, 1 if the API server would reject a manifest or its pods, and 2 if a file can't be read.
    """
    report = _Report()
    for name, text in _texts(files):
        _judge(name, text, report)
    terminal = context.terminal()
    if output is ReportFormat.JSON:
        told = [{"file": name, **asdict(problem)} for name, problem in report.problems]
        typer.echo(
            json.dumps(
                {"judged": report.judged, "passedOver": report.passed_over, "problems": told}, indent=2
            )
        )
    else:
        for name, problem in report.problems:
            terminal.out.print(Text(terminal.signs.words(_sentence(name, problem))), soft_wrap=True)
        terminal.err.print(Text(_summary(report)))
    if report.errors:
        raise typer.Exit(ExitCode.FAILED)


def _sentence(name: str, problem: Problem) -> str:
    whose = f" ({problem.name})" if problem.name else ""
    where = f"{problem.field}: " if problem.field else ""
    grade = "warning: " if problem.severity == "warning" else ""
    return f"{name}:{problem.line}: document {problem.document}{whose}: {grade}{where}{problem.message}"


def _summary(report: _Report) -> str:
    found, judged, others = report.errors, report.judged, report.passed_over
    warnings = len(report.problems) - found
    words = f"{judged} ModelDeployment{'' if judged == 1 else 's'} checked"
    if others:
        words += f", {others} other object{'' if others == 1 else 's'} skipped"
    words = f"{words}: {found or 'no'} problem{'' if found == 1 else 's'}"
    return words + (f", {warnings} warning{'' if warnings == 1 else 's'}" if warnings else "")


def _judge(name: str, text: str, report: _Report) -> None:
    # not at the top: loading CEL is slow, and the other commands don't need it
    from model_operator.cli.lint import DocumentError, Problem, documents, judge

    try:
        for document in documents(text):
            problems = judge(document)
            if problems is None:
                report.passed_over += 1
            else:
                report.judged += 1
                report.problems += [(name, problem) for problem in problems]
    except DocumentError as error:
        if not _OURS.search(text):
            # for example a template of a chart among the files of a commit
            report.passed_over += 1
            return
        report.problems.append((name, Problem(error.document, error.line, "", "", str(error))))


def _texts(files: list[str]) -> Iterator[tuple[str, str]]:
    for name in files:
        if name == STDIN:
            yield "<stdin>", _decode("<stdin>", sys.stdin.buffer.read(MAX_BYTES + 1))
        elif Path(name).is_dir():
            found = sorted(
                path for path in Path(name).rglob("*") if path.suffix in (".yaml", ".yml", ".json")
            )
            if not found:
                raise CommandError(
                    ExitCode.USAGE, f"{name} has no YAML file", "name files, or another directory"
                )
            yield from ((str(path), _read(path)) for path in found)
        else:
            yield name, _read(Path(name))


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return _decode(str(path), file.read(MAX_BYTES + 1))
    except OSError as error:
        raise CommandError(
            ExitCode.USAGE, f"{path} can't be read: {error.strerror}", "check its path and permissions"
        ) from None


def _decode(name: str, raw: bytes) -> str:
    if len(raw) > MAX_BYTES:
        raise CommandError(ExitCode.USAGE, f"{name} is larger than {MAX_BYTES} bytes", "name only manifests")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise CommandError(ExitCode.USAGE, f"{name} is not UTF-8", "save it as UTF-8") from None

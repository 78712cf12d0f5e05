"""The tables of ``get`` and ``history``. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.table import Table
from rich.text import Text

from model_operator.cli.render.terminal import Terminal
from model_operator.cli.snapshot import Snapshot, age
from model_operator.cli.summary import Summary
from model_operator.domain.objects import read_time


def overview(
    found: Sequence[tuple[Snapshot, Summary]], terminal: Terminal, *, namespaces: bool, wide: bool
) -> Table:
    """Returns one row for each ModelDeployment, as `kubectl get mdep`, with its state."""
    words = terminal.signs.words
    table = _table("", *(["NAMESPACE"] if namespaces else []), "NAME", "FOLLOWS", "VERSION", "PODS", "STATE")
    for title in ("AGE", *(["PHASE", "STRATEGY", "REVISION"] if wide else [])):
        table.add_column(title)
    for snapshot, summary in found:
        status, spec = snapshot.status, snapshot.spec
        serving, wanted, candidate = status.serving, status.resolved, status.candidate
        state = summary.reason + (
            " (suspended)" if snapshot.suspended and summary.reason != "Suspended" else ""
        )
        row = [
            words(snapshot.name),
            words(snapshot.reference),
            words(_versions(serving.version if serving else "", wanted.version if wanted else "")),
            f"{status.ready_replicas or 0}/{status.replicas or 0}",
            words(state),
            snapshot.age,
        ]
        if wide:
            row += [
                words((candidate.phase if candidate else "") or ""),
                spec.rollout.strategy if spec else "?",
                words((serving.revision if serving else "") or ""),
            ]
        space = [words(snapshot.namespace)] if namespaces else []
        table.add_row(terminal.icon(summary.icon), *space, *row)
    return table


def _versions(serving: str, wanted: str) -> str:
    """Returns the serving version, and the wanted one if it differs: ``1``, ``1 → 2``, ``- → 1``."""
    return serving if not wanted or serving == wanted else f"{serving or '-'} → {wanted}"


def history(snapshot: Snapshot, terminal: Terminal) -> Table:
    """Returns the versions that served, why each of them stopped, and the rejected versions. Newest first."""
    table = _table("", "VERSION", "REVISION", "SERVED", "ENDED", "WHY")
    rows = sorted(_history_rows(snapshot), key=lambda row: row[0], reverse=True)
    for _, icon, cells in rows:
        table.add_row(terminal.icon(icon), *(terminal.signs.words(cell) for cell in cells))
    return table


def _history_rows(snapshot: Snapshot) -> Iterable[tuple[str, str, tuple[str, ...]]]:
    status = snapshot.status
    if serving := status.serving:
        state = "serving, settled" if serving.settled else "serving, in its watch window"
        yield (
            "~",
            "good",
            (serving.version, serving.revision or "", _for(snapshot, serving.since, None), "", state),
        )
    for past in status.history:
        why = f"{past.reason or '?'}: {past.message}" if past.message else past.reason or "?"
        lasted = _for(snapshot, past.from_, past.to)
        yield past.to or "", "note", (past.version, past.revision or "", lasted, _ago(snapshot, past.to), why)
    for rejection in status.rejected:
        why = f"rejected, {rejection.reason}: {rejection.message}"
        cells = (rejection.version, rejection.revision or "", "", _ago(snapshot, rejection.at), why)
        yield rejection.at or "", "bad", cells


def _for(snapshot: Snapshot, since: str | None, until: str | None) -> str:
    begun = read_time(since)
    return age(begun, read_time(until) or snapshot.now) if begun else "?"


def _ago(snapshot: Snapshot, moment: str | None) -> str:
    found = read_time(moment)
    return f"{age(found, snapshot.now)} ago" if found else "?"


def _table(*titles: str) -> Table:
    table = Table(box=None, pad_edge=False, show_edge=False, header_style="bold")
    for title in titles:
        table.add_column(Text(title), overflow="fold", no_wrap=title in ("", "SERVED", "ENDED", "PODS"))
    return table

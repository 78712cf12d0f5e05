"""Whose CPU time it is: that of the servers, of the operator and of the benchmark, as the kernel counts it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

REST = "the benchmark"
_PROGRAMS = {
    "model_operator": "operator",
    "kube-apiserver": "API server",
    "kube-controller-manager": "controllers",
    "etcd": "etcd",
    "mlflow": "MLflow",
}
"""By what their command lines have; the first that fits counts, since the API server's names etcd, too."""
PROGRAMS = (*_PROGRAMS.values(), REST)
_TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds() -> dict[str, float]:
    """CPU seconds so far of this process and of all its descendants that still run, by what they are."""
    found = {pid: (parent, command, seconds) for pid, parent, command, seconds in _processes()}
    ours = {os.getpid()}
    while more := {pid for pid, (parent, _, _) in found.items() if parent in ours} - ours:
        ours |= more
    spent: dict[str, float] = {}
    for pid in ours & found.keys():
        _, command, seconds = found[pid]
        name = next((name for word, name in _PROGRAMS.items() if word in command), REST)
        spent[name] = spent.get(name, 0.0) + seconds
    return spent


def since(before: Mapping[str, float]) -> dict[str, float]:
    """What has come since that reading; of a process that is new all that it has spent."""
    return {name: seconds - before.get(name, 0.0) for name, seconds in cpu_seconds().items()}


def _processes() -> Iterator[tuple[int, int, str, float]]:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = entry.joinpath("cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            stat = entry.joinpath("stat").read_text()
        except OSError:
            continue  # it has ended meanwhile
        fields = stat[stat.rindex(")") + 2 :].split()
        yield int(entry.name), int(fields[1]), command, (int(fields[11]) + int(fields[12])) / _TICK

"""What a cluster left on this machine, found by the marks that it put there, and cleared."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.namespaces import MARK
from tests.cluster.process import ProcessIdentity, wait_until

_CGROUP_PATTERN = re.compile(r"^model-operator-[0-9a-f]{8}$")
_INTERFACE_PATTERN = re.compile(r"^mo[0-9a-f]{8}$")


@dataclass(frozen=True)
class Remains:
    """Everything on this machine that carries the mark of one cluster (or of any, without an id)."""

    processes: list[ProcessIdentity]
    cgroups: list[Path]
    interfaces: list[str]
    mounts: list[str]

    @classmethod
    def find(cls, cluster_id: str | None, directory: Path | None = None) -> Remains:
        """Looks for one cluster's marks, or with None for those of all clusters of this kind."""
        return cls(
            processes=list(_processes(cluster_id)),
            cgroups=list(_cgroups(cluster_id)),
            interfaces=list(_interfaces(cluster_id)),
            mounts=[] if directory is None else list(_mounts(directory)),
        )

    def describe(self) -> list[str]:
        """One line per thing."""
        lines = [f"process {p.pid}: {_command_line(p.pid)}" for p in self.processes]
        lines += [f"cgroup {path}" for path in self.cgroups]
        lines += [f"network interface {name}" for name in self.interfaces]
        lines += [f"mount {point}" for point in self.mounts]
        return lines


def clear(cluster_id: str, directory: Path) -> list[str]:
    """Ends and removes everything that carries this cluster's mark; returns what resists."""
    found = Remains.find(cluster_id, directory)
    for process in found.processes:
        _kill(process.pid)
    for cgroup in found.cgroups:
        # containers that outlived their node carry no mark, but they stand in its cgroups
        for tasks in cgroup.rglob("cgroup.procs"):
            for pid in tasks.read_text().split():
                _kill(int(pid))
    wait_until(lambda: not any(p.alive() for p in found.processes), 15, every=0.05)
    for point in reversed(found.mounts):
        subprocess.run(["umount", "--lazy", point], capture_output=True, timeout=30, check=False)
    for name in found.interfaces:
        subprocess.run(["ip", "link", "delete", name], capture_output=True, timeout=10, check=False)
    # the kernel takes down namespaces, and with them cgroups and interfaces, a moment after the last process
    wait_until(lambda: not _remove_cgroups(cluster_id), 15, every=0.1)
    wait_until(lambda: not list(_interfaces(cluster_id)), 5, every=0.1)
    return Remains.find(cluster_id, directory).describe()


def _kill(pid: int) -> None:
    if pid <= 1:
        return  # 0 would mean our own process group
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _processes(cluster_id: str | None) -> Iterator[ProcessIdentity]:
    mark = f"{MARK}={cluster_id or ''}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
            if any(v == mark or (cluster_id is None and v.startswith(mark)) for v in variables):
                yield ProcessIdentity.of(int(entry.name))
        except (OSError, ProcessLookupError):
            continue


def _command_line(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        return words.split("\n")[0][:120]
    except OSError:
        return "(ended)"


def cgroup_roots() -> list[Path]:
    """The mount points of all cgroup hierarchies, of version 1 and 2."""
    roots = []
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, point, kind, *_ = line.split()
        if kind in ("cgroup", "cgroup2"):
            roots.append(Path(point))
    return roots


def _cgroups(cluster_id: str | None) -> Iterator[Path]:
    for root in cgroup_roots():
        for child in root.iterdir():
            ours = (
                child.name == f"model-operator-{cluster_id}"
                if cluster_id
                else _CGROUP_PATTERN.match(child.name)
            )
            if ours and child.is_dir():
                yield child


def _remove_cgroups(cluster_id: str) -> list[Path]:
    for top in _cgroups(cluster_id):
        deepest_first = sorted((p for p in top.rglob("*") if p.is_dir()), key=lambda p: -len(p.parts))
        for cgroup in [*deepest_first, top]:
            try:
                cgroup.rmdir()
            except OSError:
                continue
    return list(_cgroups(cluster_id))


def _interfaces(cluster_id: str | None) -> Iterator[str]:
    for entry in Path("/sys/class/net").iterdir():
        if entry.name == f"mo{cluster_id}" if cluster_id else _INTERFACE_PATTERN.match(entry.name):
            yield entry.name


def _mounts(directory: Path) -> Iterator[str]:
    for line in Path("/proc/self/mounts").read_text().splitlines():
        point = line.split()[1].encode().decode("unicode_escape")
        if Path(point).is_relative_to(directory):
            yield point

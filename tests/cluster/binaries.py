"""Finds or builds the programs of the test cluster.

`ensure("kube-apiserver", "etcd")` gives their paths. A ready-made program in KUBEBUILDER_ASSETS or on PATH
is taken where its version fits; otherwise it is built from the Go module beside this file, once per version,
into the cache of the user.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.cluster import go_build, packages
from tests.cluster.go_build import BinaryUnavailableError
from tests.cluster.locks import locked
from tests.cluster.programs import PROGRAMS, Program
from tests.cluster.reporting import say

__all__ = ["BinaryUnavailableError", "cache_directory", "ensure", "find_ready_made"]


def cache_directory() -> Path:
    """Where this project keeps what is expensive to make; shared by all checkouts of one user."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "model-operator"


def built_path(program: Program) -> Path:
    """Where the program stands once it has been built."""
    return cache_directory() / "bin" / program.key() / program.name


def ensure(*names: str) -> dict[str, Path]:
    """The paths of these programs, found or built. Says what it does when that takes time.

    All that are missing are built together, so that two cores are busy to the end. Safe when several processes
    call it at once: one builds, the others wait for it.
    Raises BinaryUnavailableError (also for an unknown name) and packages.PackagesMissingError.
    """
    known = (*PROGRAMS, *packages.UNPACKED)
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise BinaryUnavailableError(f"no such program: {', '.join(unknown)}; known: {', '.join(known)}")
    if "etcd" in names:
        _install_etcd()
    found = {name: _find(name) for name in names}
    missing = [PROGRAMS[name] for name, path in found.items() if path is None]
    if missing:
        _build(missing)
        found |= {program.name: built_path(program) for program in missing}
    return {name: path for name, path in found.items() if path is not None}


def _find(name: str) -> Path | None:
    if name not in PROGRAMS:
        return packages.ensure_unpacked(name, cache_directory())
    program = PROGRAMS[name]
    if ready_made := find_ready_made(program):
        return ready_made
    path = built_path(program)
    return path if path.exists() else None


def _install_etcd() -> None:
    """Debian's etcd, where there is none and it may be installed: quicker than a build."""
    program = PROGRAMS["etcd"]
    if find_ready_made(program) or built_path(program).exists() or not packages.can_install():
        return
    packages.ensure_packages(packages.ETCD_PACKAGES, cache_directory() / "apt.log")
    find_ready_made.cache_clear()


@functools.cache
def find_ready_made(program: Program) -> Path | None:
    """A program of a fitting version that is already on this machine, or None."""
    if not program.version_arguments:
        return None
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    # Debian's etcd stands where the PATH of a plain user does not look
    places = [assets or "", os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]
    for place in os.pathsep.join(places).split(os.pathsep):
        candidate = Path(place) / program.name
        if place and os.access(candidate, os.X_OK) and _version_fits(program, candidate):
            return candidate
    return None


def _version_fits(program: Program, candidate: Path) -> bool:
    try:
        answer = subprocess.run(
            [candidate, *program.version_arguments], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    version = re.search(r"v?(\d+\.\d+\.\d+)", answer.stdout)
    return version is not None and program.fits("v" + version.group(1), program.version)


def _build(wanted: Sequence[Program]) -> None:
    """Builds the programs that nobody else has built by the time it is our turn."""
    with _building(wanted) as home:
        missing = [program for program in wanted if not built_path(program).exists()]
        if not missing:
            return
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=home) as directory:
            for program, built in go_build.build(missing, Path(directory), cache_directory()).items():
                path = built_path(program)
                path.parent.mkdir(parents=True, exist_ok=True)
                built.replace(path)
        names = ", ".join(program.name for program in missing)
        say(f"Built {names} in {time.monotonic() - began:.0f} s")


@contextmanager
def _building(wanted: Sequence[Program]) -> Iterator[Path]:
    """Only one process builds at a time; the kernel frees the lock when it dies. Gives the programs' directory."""
    home = cache_directory() / "bin"
    names = ", ".join(program.name for program in wanted)
    with locked(
        home / ".lock", f"{names}: another process builds programs of the test cluster, waiting for it ..."
    ):
        for left_over in home.glob(".unfinished-*"):
            shutil.rmtree(left_over)
        yield home

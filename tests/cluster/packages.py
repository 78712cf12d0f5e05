"""Debian packages that the test cluster needs, installed on demand."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tests.cluster.locks import locked
from tests.cluster.process import log_tail
from tests.cluster.remedies import remedy
from tests.cluster.reporting import say

NODE_PACKAGES = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "iptables": "iptables",
    "ip": "iproute2",
    "/usr/lib/cni/ptp": "containernetworking-plugins",
    "nsenter": "util-linux",
    "unshare": "util-linux",
}
IMAGE_PACKAGES = {"buildah": "buildah", "debootstrap": "debootstrap", "unshare": "util-linux"}
ETCD_PACKAGES = {"etcd": "etcd-server"}

# their Debian packages start a service when they are installed; we run our own, with their own directories
_SERVICES = ("etcd.service", "containerd.service")
_PLACES = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class PackagesMissingError(RuntimeError):
    """A needed package is not installed and can't be; the message has the command that installs it."""


def find_program(name: str) -> Path | None:
    """Where a program of the system stands, also where the PATH of the caller does not look."""
    if name.startswith("/"):
        return Path(name) if os.access(name, os.X_OK) else None
    found = shutil.which(name) or shutil.which(name, path=_PLACES)
    return Path(found) if found else None


def can_install() -> bool:
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def ensure_packages(needed: dict[str, str], log: Path) -> None:
    """Installs the packages of all programs (program or file -> package) that are not there.

    Raises PackagesMissingError when it may not (no root), can't (no apt-get), or when apt-get fails.
    """
    packages = missing_packages(needed)
    if not packages:
        return
    command = ["apt-get", "-o", "DPkg::Lock::Timeout=300", "install", "-y", "-q", "--no-install-recommends"]
    command += packages
    if shutil.which("apt-get") is None:
        raise PackagesMissingError(
            f"Missing here: {', '.join(packages)} (Debian's names). Install them first."
        )
    if os.geteuid() != 0:
        raise PackagesMissingError(f"Missing: {', '.join(packages)}. As root: {' '.join(command)}")
    say(f"Installing Debian packages: {', '.join(packages)} ...")
    log.parent.mkdir(parents=True, exist_ok=True)
    held = _hold_back_services()
    try:
        # a fresh machine may have no package lists, or old ones
        for step in (["apt-get", "update", "-q"], command):
            with log.open("ab") as output:
                environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
                done = subprocess.run(
                    step,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=environment,
                    timeout=900,
                    check=False,
                )
            if done.returncode != 0 and step is command:
                said = log_tail(log)
                raise PackagesMissingError(
                    f"`{' '.join(step)}` failed, see {log}:\n{said}\n{remedy(said)}".rstrip()
                )
    finally:
        _release_services(held)
    still = missing_packages(needed)
    if still:
        raise PackagesMissingError(
            f"apt-get has installed them, but programs are missing: {', '.join(still)}"
        )


def missing_packages(needed: dict[str, str]) -> list[str]:
    return sorted({package for program, package in needed.items() if find_program(program) is None})


def _hold_back_services() -> list[str]:
    """Keeps systemd from starting the services of packages that are about to be installed."""
    if not Path("/run/systemd/system").is_dir():
        return []
    return [unit for unit in _SERVICES if not _unit_known(unit) and _systemctl("mask", "--runtime", unit)]


def _release_services(units: Iterable[str]) -> None:
    for unit in units:
        _systemctl("unmask", "--runtime", unit)


def _unit_known(unit: str) -> bool:
    return _systemctl("cat", unit)


def _systemctl(*arguments: str) -> bool:
    return (
        subprocess.run(["systemctl", *arguments], capture_output=True, timeout=30, check=False).returncode
        == 0
    )


UNPACKED = {
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "amtool": "prometheus-alertmanager",
    "prometheus-alertmanager": "prometheus-alertmanager",
}


def ensure_unpacked(program: str, cache: Path) -> Path:
    """The path of a program of UNPACKED: the machine's own, or that of Debian's package, unpacked into ``cache``.

    Nothing is installed and no service begins. Safe when several processes call it at once. Raises
    PackagesMissingError when the package can't be fetched.
    """
    if found := find_program(program):
        return found
    package = UNPACKED[program]
    home = cache / "debian" / package
    with locked(home.parent / f".{package}.lock"):
        if not home.exists():
            _unpack(package, home)
    return home / "usr" / "bin" / program


def _unpack(package: str, home: Path) -> None:
    if shutil.which("apt-get") is None:
        raise PackagesMissingError(f"Missing here: {package} (Debian's name). Install it first.")
    say(f"Fetching Debian's package {package} into {home} ...")
    with tempfile.TemporaryDirectory(dir=home.parent) as directory:
        fetched = _fetch(package, Path(directory))
        if fetched.returncode != 0 and can_install():
            # a fresh machine has no package lists
            subprocess.run(["apt-get", "update", "-q"], capture_output=True, timeout=300, check=False)
            fetched = _fetch(package, Path(directory))
        archives = list(Path(directory).glob("*.deb"))
        if fetched.returncode != 0 or not archives:
            said = fetched.stderr.strip()
            raise PackagesMissingError(
                f"`apt-get download {package}` failed: {said}\n{remedy(said)}".rstrip()
            )
        tree = Path(directory) / "tree"
        subprocess.run(
            ["dpkg-deb", "--extract", str(archives[0]), str(tree)],
            capture_output=True,
            timeout=120,
            check=True,
        )
        tree.rename(home)


def _fetch(package: str, directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["apt-get", "download", "-q", package],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

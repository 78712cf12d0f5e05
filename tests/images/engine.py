"""The two ways to build a Dockerfile: a Docker engine, or buildah with a base image made by debootstrap."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.cluster.packages import IMAGE_PACKAGES, PackagesMissingError, ensure_packages
from tests.cluster.process import tied_to_this_process
from tests.cluster.remedies import remedy
from tests.mlflow_env import cache_root

BUILD_SECONDS = 3600
SUITE = "bookworm"
BASE_PACKAGES = ("python3", "python3-venv", "ca-certificates")
BASE_NAME = "localhost/model-operator-base"
BUILD_BASE_NAME = "localhost/model-operator-build-base"
CA_PATH = "/etc/ssl/certs/ca-certificates.crt"
# where a machine says which certificate authorities its network needs
CA_VARIABLES = ("PIP_CERT", "SSL_CERT_FILE")
# of the base: nothing that runs in a pod reads it
BASE_RUBBISH = (
    "var/cache/apt",
    "var/lib/apt/lists",
    "var/log",
    "usr/share/doc",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/man",
)
# of the machine that made it, not of the image
BASE_TRACES = ("etc/apt/sources.list", "etc/hostname", "etc/resolv.conf")


@dataclass(frozen=True)
class BuildOrder:
    """What to build: the image's name, the directory with the files, the Dockerfile in it."""

    name: str
    context: Path
    dockerfile: str


class Engine(Protocol):
    """Something that builds Dockerfiles."""

    title: str
    base_identity: str
    """What the base image depends on, for the hash of the inputs."""

    def build(self, order: BuildOrder) -> None: ...

    def save(self, name: str, archive: Path) -> None: ...

    def close(self) -> None:
        """Leaves no container and no mount behind; images and layers stay, to be built upon."""


def chosen_engine() -> Engine:
    """Docker where an engine answers, else buildah, installed if need be. Raises RuntimeError without either."""
    if shutil.which("docker") and _answers(["docker", "info"]):
        return Docker()
    return Buildah()


class Docker:
    """The Docker engine that DOCKER_HOST or the present context names; the base is the Dockerfile's own."""

    title = "docker"
    base_identity = "docker"

    def build(self, order: BuildOrder) -> None:
        command = ["docker", "build", "--quiet", "--tag", order.name, "--file", order.dockerfile]
        run([*command, "."], order.context, {"DOCKER_BUILDKIT": "1"})

    def save(self, name: str, archive: Path) -> None:
        run(["docker", "save", "--output", str(archive), name])

    def close(self) -> None:
        pass


class Buildah:
    """buildah as root, with storage of its own in the cache directory."""

    title = "buildah"

    def __init__(self) -> None:
        if os.geteuid() != 0:
            raise RuntimeError("no Docker engine answers, and building without one needs root (debootstrap)")
        try:
            ensure_packages(IMAGE_PACKAGES, cache_root() / "apt.log")
        except PackagesMissingError as error:
            raise RuntimeError(f"no Docker engine answers, so buildah builds the images. {error}") from error
        self._home = cache_root() / "buildah"
        self._tmp = self._home / "tmp"
        # whoever was killed here left it; the caller holds the lock
        shutil.rmtree(self._tmp, ignore_errors=True)
        self._tmp.mkdir(parents=True)
        self._mirror = debian_mirror()
        self.base_identity = repr((SUITE, BASE_PACKAGES, BASE_RUBBISH, BASE_TRACES))
        self._base = f"{BASE_NAME}:{_short(self.base_identity.encode())}"
        self._driver = "overlay" if self._overlay_works() else "vfs"
        self.close()

    def build(self, order: BuildOrder) -> None:
        self._ensure_base()
        self._buildah(
            "build",
            "--isolation=chroot",
            "--network=host",
            "--layers",
            "--force-rm",
            f"--build-arg=BASE={self._base}",
            f"--build-arg=BUILD_BASE={self._ensure_build_base()}",
            f"--tag={order.name}",
            f"--file={order.dockerfile}",
            ".",
            cwd=order.context,
        )

    def save(self, name: str, archive: Path) -> None:
        self._buildah("push", "--quiet", name, f"docker-archive:{archive}:{name}")

    def close(self) -> None:
        self._buildah("rm", "--all")
        # the storage mounts its own directory onto itself
        _answers(["umount", str(self._home / "root" / self._driver)])

    def _ensure_base(self) -> None:
        if _answers([*self._command(), "inspect", "--type=image", self._base]):
            return
        started = time.monotonic()
        print(f"base image: debootstrap {SUITE} (one to three minutes, once)", flush=True)
        with tempfile.TemporaryDirectory(prefix="base-", dir=self._tmp) as directory:
            root = Path(directory) / "root"
            run(
                [
                    # what it mounts is gone with it
                    "unshare",
                    "--mount",
                    "debootstrap",
                    "--variant=minbase",
                    f"--include={','.join(BASE_PACKAGES)}",
                    SUITE,
                    str(root),
                    self._mirror,
                ]
            )
            for rubbish in BASE_RUBBISH:
                shutil.rmtree(root / rubbish, ignore_errors=True)
                (root / rubbish).mkdir()
            for trace in BASE_TRACES:
                (root / trace).unlink(missing_ok=True)
            container = self._buildah("from", "scratch").strip()
            self._buildah("copy", "--quiet", container, str(root), "/")
            self._buildah("config", "--cmd=python3", container)
            self._buildah("commit", "--quiet", "--rm", container, self._base)
        print(f"base image: made in {time.monotonic() - started:.0f} s", flush=True)

    def _ensure_build_base(self) -> str:
        """The base with what reaches the package index from here; only installing stages stand on it.

        An image, and no volumes or mounts of the build: buildah 1.28 may empty the place where they were.
        """
        bundle = next((Path(os.environ[name]) for name in CA_VARIABLES if os.environ.get(name)), None)
        settings = [f"--env={name}={CA_PATH}" for name in CA_VARIABLES] if bundle else []
        if index := os.environ.get("PIP_INDEX_URL"):
            settings += [f"--env={name}={index}" for name in ("PIP_INDEX_URL", "UV_DEFAULT_INDEX")]
        content = bundle.read_bytes() if bundle else b""
        name = f"{BUILD_BASE_NAME}:{_short(content + repr((self._base, settings)).encode())}"
        if not _answers([*self._command(), "inspect", "--type=image", name]):
            container = self._buildah("from", self._base).strip()
            if bundle:
                self._buildah("copy", "--quiet", container, str(bundle), CA_PATH)
            self._buildah("config", *settings, "--label=purpose=build", container)
            self._buildah("commit", "--quiet", "--rm", container, name)
        return name

    def _overlay_works(self) -> bool:
        """Whether the kernel mounts an overlay here (not on every container's own file system)."""
        with tempfile.TemporaryDirectory(prefix="overlay-", dir=self._tmp) as directory:
            top = Path(directory)
            for name in ("lower", "upper", "work", "merged"):
                (top / name).mkdir()
            options = f"lowerdir={top}/lower,upperdir={top}/upper,workdir={top}/work"
            # in a mount namespace of its own, so that nothing stays mounted
            mount = ["mount", "-t", "overlay", "overlay", "-o", options, f"{top}/merged"]
            return _answers(["unshare", "--mount", *mount])

    def _command(self) -> list[str]:
        return [
            "buildah",
            f"--root={self._home / 'root'}",
            f"--runroot={self._home / 'run'}",
            f"--storage-driver={self._driver}",
        ]

    def _buildah(self, *arguments: str, cwd: Path | None = None) -> str:
        return run([*self._command(), *arguments], cwd, {"TMPDIR": str(self._tmp)})


def debian_mirror() -> str:
    """The mirror of SUITE that this machine's own apt uses. Raises RuntimeError without one."""
    listing = run(["apt-get", "indextargets", "--format", "$(CODENAME) $(COMPONENT) $(REPO_URI)"])
    for line in listing.splitlines():
        codename, component, uri = line.split(" ", 2)
        if (codename, component) == (SUITE, "main"):
            return uri
    raise RuntimeError(f"no Docker engine answers, and this machine's apt has no mirror of Debian {SUITE}")


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


def run(command: Sequence[str], cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """The standard output of a command. Raises RuntimeError with its last words if it fails."""
    try:
        done = subprocess.run(
            [*tied_to_this_process(), *command],
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RuntimeError(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        said = done.stdout + done.stderr
        print(said[-6000:], file=sys.stderr, flush=True)
        words = f"{' '.join(command[:6])} ... ended with {done.returncode}"
        raise RuntimeError("\n".join(filter(None, [words, remedy(said)])))
    return done.stdout


def _answers(command: Sequence[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=20, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False

"""The programs of the test cluster: where each comes from, and which ready-made one fits."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import versions

GO_MODULE = Path(__file__).parent / "go"
"""One module for all of them, so that each package is compiled once, whichever programs use it."""


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
    version: str
    version_arguments: tuple[str, ...] = ()
    """How a ready-made one tells its version; empty: ready-made ones are not looked for."""
    fits: Callable[[str, str], bool] = _same_minor
    runs_in_image: bool = False
    """Built for Linux wherever this runs."""
    stamps: tuple[str, ...] = ()
    """Go variables that get the version, so that the program reports it."""

    @property
    def package(self) -> str:
        """The Go package to build, from the module's directory."""
        return f"./cmd/{self.name}"

    def key(self) -> str:
        """Changes with everything that changes the program."""
        digest = hashlib.sha256(repr((self.version, self.stamps)).encode())
        own = sorted((GO_MODULE / "cmd" / self.name).glob("*.go"))
        for file in (GO_MODULE / "go.mod", GO_MODULE / "go.sum", *own):
            digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
        return f"{self.name}-{self.version}-{digest.hexdigest()[:12]}"

    def linker_values(self) -> list[str]:
        """The linker's ``-X`` options; a program without such a variable ignores them."""
        major, minor, _ = self.version.lstrip("v").split(".")
        values = {"gitVersion": self.version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
        options: list[str] = []
        for stamp in self.stamps:
            if stamp.endswith("/version"):
                options += [f"-X {stamp}.{name}={value}" for name, value in values.items()]
            else:
                options.append(f"-X {stamp}={self.version}")
        return options


def _kubernetes(name: str, version_arguments: tuple[str, ...] = ("--version",)) -> Program:
    return Program(
        name,
        versions.KUBERNETES,
        version_arguments,
        stamps=("k8s.io/component-base/version", "k8s.io/client-go/pkg/version"),
    )


PROGRAMS = {
    program.name: program
    for program in (
        _kubernetes("kube-apiserver"),
        _kubernetes("kube-controller-manager"),
        _kubernetes("kube-scheduler"),
        _kubernetes("kubelet"),
        _kubernetes("kube-proxy"),
        _kubernetes("kubectl", ("version", "--client")),
        Program("etcd", versions.ETCD, ("--version",), _any),
        Program("coredns", versions.COREDNS),
        Program("metrics-server", versions.METRICS_SERVER, runs_in_image=True),
        Program(
            "helm",
            versions.HELM,
            ("version", "--short"),
            _same_major,
            stamps=("helm.sh/helm/v4/internal/version.version",),
        ),
        Program("kind", versions.KIND, ("version",), _any),
        Program("kstatus", versions.KSTATUS),
        Program("pause", "v1.0.0", runs_in_image=True),
    )
}

"""Which program of the test cluster is taken or built."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from tests.cluster import go_build, programs, versions
from tests.cluster.binaries import BinaryUnavailableError, ensure, find_ready_made
from tests.cluster.programs import GO_MODULE, PROGRAMS
from tests.cluster.provider import REPOSITORY


@pytest.fixture
def copied_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy = tmp_path / "go"
    shutil.copytree(GO_MODULE, copy)
    monkeypatch.setattr(programs, "GO_MODULE", copy)
    return copy


@pytest.fixture
def only_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")
    find_ready_made.cache_clear()
    yield directory
    find_ready_made.cache_clear()


def put_program(directory: Path, name: str, answer: str) -> Path:
    program = directory / name
    program.write_text(f"#!/bin/sh\necho '{answer}'\n")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize("file", ["go.mod", "go.sum", "cmd/kubelet/main.go"])
def test_a_changed_source_makes_a_new_program(copied_module: Path, file: str) -> None:
    before = PROGRAMS["kubelet"].key()
    with (copied_module / file).open("a") as source:
        source.write("// changed\n")
    assert PROGRAMS["kubelet"].key() != before


def test_the_source_of_another_program_does_not_matter(copied_module: Path) -> None:
    before = PROGRAMS["kubelet"].key()
    with (copied_module / "cmd" / "kube-proxy" / "main.go").open("a") as source:
        source.write("// changed\n")
    assert PROGRAMS["kubelet"].key() == before


def test_a_new_version_makes_a_new_program() -> None:
    kubelet = PROGRAMS["kubelet"]
    assert replace(kubelet, version="v1.99.0").key() != kubelet.key()


@pytest.mark.parametrize(
    ("required", "version"),
    [
        ("k8s.io/kubernetes", versions.KUBERNETES),
        ("go.etcd.io/etcd/server/v3", versions.ETCD),
        ("github.com/coredns/coredns", versions.COREDNS),
        ("sigs.k8s.io/metrics-server", versions.METRICS_SERVER),
        ("helm.sh/helm/v4", versions.HELM),
        ("sigs.k8s.io/kind", versions.KIND),
        ("sigs.k8s.io/cli-utils", versions.KSTATUS),
    ],
)
def test_the_go_module_requires_the_stated_version(required: str, version: str) -> None:
    lines = (GO_MODULE / "go.mod").read_text()
    assert re.findall(rf"{re.escape(required)} (v\S+)", lines) == [version]


def test_every_program_has_its_source() -> None:
    assert {path.name for path in (GO_MODULE / "cmd").iterdir()} == set(PROGRAMS)


def test_every_part_of_kubernetes_has_the_version_of_kubernetes() -> None:
    lines = (GO_MODULE / "go.mod").read_text()
    parts = set(re.findall(r"^\tk8s\.io/\S+ => k8s\.io/\S+ (v\S+)$", lines, re.MULTILINE))
    assert parts == {versions.KUBERNETES.replace("v1.", "v0.", 1)}


def test_a_ready_made_program_of_the_same_minor_version_is_taken(only_path: Path) -> None:
    minor = versions.KUBERNETES.rsplit(".", 1)[0]
    program = put_program(only_path, "kube-apiserver", f"Kubernetes {minor}.99")
    assert find_ready_made(PROGRAMS["kube-apiserver"]) == program


@pytest.mark.parametrize("answer", ["Kubernetes v1.31.0", "no version at all"])
def test_a_ready_made_program_that_does_not_fit_is_left_alone(only_path: Path, answer: str) -> None:
    put_program(only_path, "kube-apiserver", answer)
    assert find_ready_made(PROGRAMS["kube-apiserver"]) is None


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(BinaryUnavailableError, match=r"no such program: kubelte; known: .*kubelet"):
        ensure("kubelte")


def test_kind_starts_a_node_of_the_stated_version() -> None:
    config = yaml.safe_load((REPOSITORY / "kind-config.yaml").read_text())
    assert [node["image"] for node in config["nodes"]] == [versions.KIND_NODE_IMAGE]


PACKAGES = {"a/big": 900, "a/small": 50, "b/small": 50}


def test_a_build_says_how_far_it_is_by_the_size_of_the_packages_that_were_begun() -> None:
    assert go_build.progress([], PACKAGES, 5) == "compiling Go packages: 0 %"
    assert go_build.progress(["a/big"], PACKAGES, 90) == "compiling Go packages: 86 %, about 15 s left"


def test_linking_is_still_to_come_when_every_package_was_begun() -> None:
    assert go_build.progress(PACKAGES, PACKAGES, 95) == "compiling Go packages: 95 %, about 5 s left"


def test_what_a_build_says_besides_packages_does_not_count() -> None:
    begun = ["a/small", "# a/big", "a/big.go:3: undefined: x", "a/small"]
    assert go_build.progress(begun, PACKAGES, 10) == "compiling Go packages: 5 %"


@pytest.mark.parametrize(
    ("version", "toolchain", "taken"),
    [
        ("go1.99.0", "local", True),
        ("go1.21.0", "auto", True),
        ("go1.21.0", "local", False),
        ("go1.19.8", "", False),
        ("devel", "auto", False),
    ],
)
def test_the_machines_go_is_taken_when_it_can_have_what_the_module_needs(
    only_path: Path, version: str, toolchain: str, taken: bool
) -> None:
    go = put_program(only_path, "go", f"{version}\n{toolchain}")
    assert go_build._may_build(go) is taken

"""Which program of the test cluster is taken or built."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from tests.cluster import binaries, versions
from tests.cluster.binaries import PROGRAMS, BinaryUnavailableError, ensure, find_ready_made
from tests.cluster.provider import REPOSITORY


@pytest.fixture
def copied_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy = tmp_path / "go"
    shutil.copytree(binaries.GO_MODULES, copy)
    monkeypatch.setattr(binaries, "GO_MODULES", copy)
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
def test_a_changed_source_makes_a_new_program(copied_modules: Path, file: str) -> None:
    before = PROGRAMS["kubelet"].key()
    with (copied_modules / "kubernetes" / file).open("a") as source:
        source.write("// changed\n")
    assert PROGRAMS["kubelet"].key() != before


def test_the_source_of_another_program_does_not_matter(copied_modules: Path) -> None:
    before = PROGRAMS["kubelet"].key()
    with (copied_modules / "kubernetes" / "cmd" / "kube-proxy" / "main.go").open("a") as source:
        source.write("// changed\n")
    assert PROGRAMS["kubelet"].key() == before


def test_a_new_version_makes_a_new_program() -> None:
    kubelet = PROGRAMS["kubelet"]
    assert replace(kubelet, version="v1.99.0").key() != kubelet.key()


@pytest.mark.parametrize(
    ("module", "required", "version"),
    [
        ("kubernetes", "k8s.io/kubernetes", versions.KUBERNETES),
        ("kubernetes", "go.etcd.io/etcd/server/v3", versions.ETCD),
        ("addons", "github.com/coredns/coredns", versions.COREDNS),
        ("addons", "sigs.k8s.io/metrics-server", versions.METRICS_SERVER),
        ("addons", "helm.sh/helm/v4", versions.HELM),
        ("kind", "sigs.k8s.io/kind", versions.KIND),
    ],
)
def test_the_go_module_requires_the_stated_version(module: str, required: str, version: str) -> None:
    lines = (binaries.GO_MODULES / module / "go.mod").read_text()
    assert re.findall(rf"{re.escape(required)} (v\S+)", lines) == [version]


def test_every_part_of_kubernetes_has_the_version_of_kubernetes() -> None:
    lines = (binaries.GO_MODULES / "kubernetes" / "go.mod").read_text()
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

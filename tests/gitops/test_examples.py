"""The examples for GitOps: what is in them is valid, and the commit does what it says."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import yaml

from model_operator.api import parse

EXAMPLES = Path(__file__).parents[2] / "examples" / "gitops"
MANIFEST = Path("apps") / "churn" / "modeldeployment.yaml"


def alias_in(directory: Path) -> str:
    return parse(yaml.safe_load((directory / MANIFEST).read_text("utf-8"))).spec.model.reference().display


def test_the_commit_changes_the_alias_and_nothing_else(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES / "apps", tmp_path / "apps")
    before = (tmp_path / MANIFEST).read_text("utf-8").splitlines()
    assert alias_in(tmp_path) == "@champion"
    subprocess.run(
        ["git", "apply", str(EXAMPLES / "alias-change.patch")], cwd=tmp_path, timeout=30, check=True
    )
    assert alias_in(tmp_path) == "@champion-eu"
    after = (tmp_path / MANIFEST).read_text("utf-8").splitlines()
    assert sum(old != new for old, new in zip(before, after, strict=True)) == 1


def test_both_tools_apply_the_directory_that_the_manifest_stands_in() -> None:
    (application,) = yaml.safe_load_all((EXAMPLES / "argocd-application.yaml").read_text("utf-8"))
    _, kustomization = yaml.safe_load_all((EXAMPLES / "flux-kustomization.yaml").read_text("utf-8"))
    assert Path(application["spec"]["source"]["path"]) == MANIFEST.parent
    assert Path(kustomization["spec"]["path"]) == MANIFEST.parent
    (checks,) = kustomization["spec"]["healthCheckExprs"]
    manifest = yaml.safe_load((EXAMPLES / MANIFEST).read_text("utf-8"))
    assert (checks["apiVersion"], checks["kind"]) == (manifest["apiVersion"], manifest["kind"])

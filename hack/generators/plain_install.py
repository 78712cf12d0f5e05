"""Renders deploy/, the install without Helm: the chart with its default values, rendered by helm."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from tests.cluster import versions
from tests.cluster.binaries import ensure

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "model-operator"
NAMESPACE = "model-operator-system"

_HEADER = "# Generated from charts/model-operator by `make generate`: change it there.\n"
_OF_HELM = ("helm.sh/chart", "helm.sh/resource-policy", "checksum/config")
_MANAGED_BY = "app.kubernetes.io/managed-by"
# the operator meets the strictest Pod Security Standard
_RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")}

Object = dict[str, Any]


def render() -> dict[str, str]:
    """Returns the files of deploy/ by name. Raises subprocess.CalledProcessError, after helm's message on stderr."""
    program = ensure("helm")["helm"]
    command = [str(program), "template", "model-operator", str(CHART), "--namespace", NAMESPACE]
    done = subprocess.run(  # noqa: S603 - our own helm and chart
        [*command, "--kube-version", versions.KUBERNETES],
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
        check=True,
    )
    objects = [_without_helm(found) for found in yaml.safe_load_all(done.stdout) if found]
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": NAMESPACE, "labels": _RESTRICTED},
    }
    crds = [found for found in objects if found["kind"] == "CustomResourceDefinition"]
    return {
        "namespace.yaml": _text([namespace]),
        "crd.yaml": _text(crds),
        "operator.yaml": _text([found for found in objects if found not in crds]),
        "kustomization.yaml": _text(
            [
                {
                    "apiVersion": "kustomize.config.k8s.io/v1beta1",
                    "kind": "Kustomization",
                    "resources": ["namespace.yaml", "crd.yaml", "operator.yaml"],
                }
            ]
        ),
    }


def _without_helm(found: Object) -> Object:
    """Removes the labels and annotations of a Helm release from the object and returns it."""
    _clean(found["metadata"])
    template = (found.get("spec") or {}).get("template")
    if isinstance(template, Mapping):
        _clean(template["metadata"])
    return found


def _clean(metadata: Object) -> None:
    for part in ("labels", "annotations"):
        kept = {key: value for key, value in (metadata.get(part) or {}).items() if key not in _OF_HELM}
        if kept.get(_MANAGED_BY) == "Helm":
            del kept[_MANAGED_BY]
        if kept:
            metadata[part] = kept
        else:
            metadata.pop(part, None)


class _Readable(yaml.SafeDumper):
    """Writes text of several lines as a block."""


def _block(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Readable.add_representer(str, _block)


def _text(objects: list[Object]) -> str:
    return _HEADER + yaml.dump_all(objects, Dumper=_Readable, sort_keys=False, width=110, allow_unicode=True)

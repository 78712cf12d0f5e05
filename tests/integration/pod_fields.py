"""Writes Kubernetes' own fields of a pod for ``kubectl model lint``, from the OpenAPI of a real API server.

``python -m tests.integration.pod_fields`` starts the kube-apiserver of the tests and writes the file. ``make
pod-fields`` does the same. It also reads the OpenAPI of each older minor version that the operator supports, from the
source of that release, and notes the version in which a field came. ``test_lint_agreement.py`` compares the file with
the API server of the tests.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.cluster.api import ApiClient
from tests.cluster.control_plane import ControlPlane

from model_operator.cli.lint.pod_fields import FILE

OLDEST_MINOR = 31
"""The oldest minor version of Kubernetes that the operator supports (docs/start/install.md)."""
GROUPS = ("apps/v1", "autoscaling/v2")
ROOTS = (
    *("EnvVar", "EnvFromSource", "VolumeMount", "ResourceRequirements", "SecurityContext", "Probe"),
    *("Toleration", "Affinity", "TopologySpreadConstraint", "Volume", "LocalObjectReference"),
    *("PodSecurityContext", "MetricSpec", "HorizontalPodAutoscalerBehavior"),
)
"""The types of the fields of our spec that are Kubernetes' own."""
_SCALARS = {"Quantity": "quantity", "IntOrString": "int-or-string", "FieldsV1": "any"}

Schemas = Mapping[str, Mapping[str, Any]]


def read_openapi(api: ApiClient) -> Schemas:
    """The schemas of the API server, by the last part of their names."""
    found: dict[str, Any] = {}
    for group in GROUPS:
        found |= api.http.get(f"/openapi/v3/apis/{group}").json()["components"]["schemas"]
    return _by_short_name(found)


def read_release(minor: int) -> Schemas:
    """The schemas of the first release of an older minor version, from its source by way of Go's module proxy."""
    with tempfile.TemporaryDirectory() as directory:
        answer = subprocess.run(
            ["go", "mod", "download", "-json", f"k8s.io/kubernetes@v1.{minor}.0"],
            cwd=directory,
            check=True,
            capture_output=True,
        )
    folder = Path(json.loads(answer.stdout)["Dir"]) / "api" / "openapi-spec" / "v3"
    found: dict[str, Any] = {}
    for group in GROUPS:
        path = folder / f"apis__{group.replace('/', '__')}_openapi.json"
        found |= json.loads(path.read_text("utf-8"))["components"]["schemas"]
    return _by_short_name(found)


def trim(schemas: Schemas) -> dict[str, dict[str, str]]:
    """The types reachable from ``ROOTS``: for each field its type, with ``!`` if OpenAPI requires it.

    A type is ``string``, ``boolean``, ``int32``, ``int64``, ``double``, ``bytes``, ``date-time``, ``quantity``,
    ``int-or-string``, ``any``, ``=A|B`` (one of these texts) or ``#Name``. ``[]`` before it is a list, ``{}`` a map.
    """
    found: dict[str, dict[str, str]] = {}
    waiting = list(ROOTS)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        schema = schemas[name]
        required = schema.get("required", ())
        fields = {field: _type(part, schemas) for field, part in schema["properties"].items()}
        found[name] = {field: kind + ("!" if field in required else "") for field, kind in fields.items()}
        waiting += [kind[kind.index("#") + 1 :] for kind in fields.values() if "#" in kind]
    return dict(sorted(found.items()))


def _type(schema: Mapping[str, Any], schemas: Schemas) -> str:
    reference = schema.get("$ref") or (schema["allOf"][0]["$ref"] if "allOf" in schema else "")
    if reference:
        name = str(reference).rpartition(".")[2]
        if name in _SCALARS:
            return _SCALARS[name]
        return f"#{name}" if "properties" in schemas[name] else _type(schemas[name], schemas)
    if schema["type"] == "array":
        return "[]" + _type(schema["items"], schemas)
    if schema["type"] == "object":
        return "{}" + _type(schema["additionalProperties"], schemas)
    if "enum" in schema:
        return "=" + "|".join(schema["enum"])
    return str(schema.get("format") or schema["type"])


def _by_short_name(schemas: Mapping[str, Any]) -> Schemas:
    return {name.rpartition(".")[2]: schema for name, schema in schemas.items()}


def newer_fields(now: Mapping[str, Mapping[str, str]], minor: int) -> dict[str, str]:
    """The fields and texts of an enum that came after the oldest supported version, each with its version."""
    found: dict[str, str] = {}
    for older in range(minor - 1, OLDEST_MINOR - 1, -1):
        then = trim(read_release(older))
        for name, fields in now.items():
            for field, kind in fields.items():
                if field not in then.get(name, {}):
                    if name in then or name in ROOTS:
                        found.setdefault(f"{name}.{field}", f"1.{older + 1}")
                    continue
                before = then[name][field].lstrip("[]{}=").rstrip("!").split("|")
                added = [text for text in kind.lstrip("[]{}=").rstrip("!").split("|") if text not in before]
                if "=" in kind and "=" in then[name][field]:
                    for text in added:
                        found.setdefault(f"{name}.{field}={text}", f"1.{older + 1}")
    return dict(sorted(found.items()))


def render(api: ApiClient) -> str:
    """The text of the file: one line for each type, so that a difference is easy to read."""
    version = api.http.get("/version").json()
    types = trim(read_openapi(api))
    newer = newer_fields(types, int(version["minor"].rstrip("+")))
    return write(version["gitVersion"], newer, types)


def write(version: str, newer: Mapping[str, str], types: Mapping[str, Mapping[str, str]]) -> str:
    """The text of the file with these parts."""
    lines = [f"{json.dumps(name)}: {json.dumps(fields)}" for name, fields in types.items()]
    since = [f"{json.dumps(name)}: {json.dumps(minor)}" for name, minor in newer.items()]
    return (
        f'{{"kubernetes": {json.dumps(version)},\n"since": {{\n'
        + ",\n".join(since)
        + '},\n"types": {\n'
        + ",\n".join(lines)
        + "}}\n"
    )


def main() -> None:
    """Writes the file."""
    with tempfile.TemporaryDirectory() as directory:
        plane = ControlPlane.start(Path(directory))
        try:
            with ApiClient(plane.kubeconfig) as api:
                FILE.write_text(render(api), "utf-8")
        finally:
            plane.stop()
    print(f"wrote {FILE}")


if __name__ == "__main__":
    main()

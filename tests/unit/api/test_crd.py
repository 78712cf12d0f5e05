from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.api.api_cases import examples

from model_operator.api import crd, parse

ROOT = Path(__file__).parents[3]
COMMITTED = ROOT / "crds" / "modeldeployments.yaml"
SCHEMA = crd.custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from nodes(schema[key], f"{path}[]")


NODES = list(nodes(SCHEMA))


def test_the_committed_crd_is_what_the_models_say(capsys):
    assert crd.main(["--check", str(COMMITTED)]) == 0, capsys.readouterr().out


def test_a_stale_crd_is_told_with_a_diff(tmp_path, capsys):
    stale = tmp_path / "crd.yaml"
    stale.write_text(crd.render().replace("shortNames", "longNames"), encoding="utf-8")
    assert crd.main(["--check", str(stale)]) == 1
    told = capsys.readouterr()
    assert "-    longNames:" in told.out
    assert "+    shortNames:" in told.out
    assert "not up to date" in told.err


def test_a_missing_crd_is_told(tmp_path, capsys):
    assert crd.main(["--check", str(tmp_path / "none.yaml")]) == 1
    assert "not up to date" in capsys.readouterr().err


def test_without_a_file_the_crd_is_printed(capsys):
    assert crd.main([]) == 0
    assert yaml.safe_load(capsys.readouterr().out) == crd.custom_resource_definition()


def test_the_crd_stays_small_enough_to_be_applied_by_a_client():
    assert len(crd.render().encode()) < 200_000


def test_every_field_has_a_description():
    described = [(path, node) for path, node in NODES if path not in {"", ".metadata"} and path[-2:] != "[]"]
    silent = [path for path, node in described if not node.get("description")]
    assert silent == []


def test_every_list_map_and_text_is_bounded():
    wanted = {"array": "maxItems", "string": "maxLength"}
    unbounded = []
    for path, node in NODES[1:]:
        limit = wanted.get(node.get("type", ""))
        if "additionalProperties" in node:
            limit = "maxProperties"
        free = path in {".apiVersion", ".kind"} or {"enum", "format"} & node.keys()
        if limit and limit not in node and not free:
            unbounded.append(path)
    assert unbounded == []


def test_every_list_says_how_it_is_merged():
    assert [
        path for path, node in NODES if node.get("type") == "array" and "x-kubernetes-list-type" not in node
    ] == []


@pytest.mark.parametrize("keyword", ["$ref", "anyOf", "allOf", "oneOf", "const", "title", "exclusiveMinimum"])
def test_the_schema_is_structural(keyword):
    assert [path for path, node in NODES if keyword in node] == []


def test_nobody_but_the_user_sets_replicas():
    assert "default" not in SCHEMA["properties"]["spec"]["properties"]["replicas"]


@pytest.mark.parametrize("example", examples().values(), ids=examples().keys())
def test_an_example_is_a_valid_spec(example):
    raw = {**example, "metadata": {**example["metadata"], "namespace": "crm"}}
    assert parse(raw).spec.model.reference().name in {"churn", "reviews", "credit", "forecast", "recommender"}


def test_no_example_is_overlooked():
    assert {"churn.yaml", "full.yaml", "bluegreen.yaml", "gitops/apps/churn/modeldeployment.yaml"} <= set(
        examples()
    )


def test_a_row_of_kubectl_get_fits_in_80_columns():
    cells = {
        "Name": "churn-crm",
        "Alias": "@champion",
        "Serving": "12",
        "Wanted": "13",
        "Ready": "Unknown",
        "Reason": "InsufficientCapacity",
        "Age": "300d",
    }
    columns = crd.custom_resource_definition()["spec"]["versions"][0]["additionalPrinterColumns"]
    shown = ["Name", *(column["name"] for column in columns if "priority" not in column)]
    # kubectl separates columns by three spaces
    width = sum(max(len(name), len(cells[name])) for name in shown) + 3 * (len(shown) - 1)
    assert shown == list(cells)
    assert width <= 80


@pytest.mark.parametrize("path", ["gates.signature", "pod.runAs", "revert.afterWatch"])
def test_an_older_operator_gets_no_value_that_it_does_not_know_by_default(path):
    assert "default" not in dict(NODES)[f".spec.{path}"]


@pytest.mark.parametrize("part", ["gates", "rollout", "revert"])
def test_everything_about_a_rollout_can_be_left_out(part):
    below = [(path, node) for path, node in NODES if path.startswith(f".spec.{part}")]
    assert below
    # what is in a list was written by somebody; a list itself may be absent
    plain = [(path, node) for path, node in below if "[]" not in path and node.get("type") != "array"]
    # no limit, and two that an older operator does not know
    bare = {".spec.gates.maxModelBytes", ".spec.gates.signature", ".spec.revert.afterWatch"}
    assert {path for path, node in plain if node.get("required") or "default" not in node} - bare == set()


def test_the_full_example_has_every_field():
    raw = yaml.safe_load((ROOT / "examples" / "full.yaml").read_text(encoding="utf-8"))

    def missing(schema: dict[str, Any], value: Any, path: str) -> Iterator[str]:
        for name, child in schema.get("properties", {}).items():
            if name not in value:
                yield f"{path}.{name}"
            elif child.get("type") == "object":
                yield from missing(child, value[name], f"{path}.{name}")

    # each of these stands in place of another field
    alternatives = {
        "spec.registry.url",
        "spec.registry.type",
        "spec.registry.credentialsSecret",
        "spec.registry.caConfigMap",
        "spec.model.name",
        "spec.model.alias",
        "spec.model.version",
        "spec.model.stage",
        "spec.replicas",
        "spec.server.image",
        "spec.server.command",
        "spec.server.args",
        "spec.fetch.volume.emptyDir",
        "spec.fetch.resources.limits",
    }
    assert set(missing(SCHEMA["properties"]["spec"], raw["spec"], "spec")) == alternatives

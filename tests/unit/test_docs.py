"""The pages tell the truth: manifests are valid, every reason of the code is explained, links lead somewhere."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from model_operator import settings
from model_operator.api import names, parse
from model_operator.api.choices import GATES, REGISTRY_KINDS, STRATEGIES
from model_operator.api.crd import custom_resource_definition
from model_operator.domain.registry import ResolutionReason
from model_operator.domain.revision import Side
from model_operator.domain.rollout import Phase
from model_operator.planner.health import EXIT_CODES, REASONS, Reason
from model_operator.planner.health.container_exits import BARE_EXITS
from model_operator.planner.health.serving import (
    BARE_EXITS_OF_ALL_PODS,
    ENOUGH_REQUESTS,
    ERROR_RATIO,
    READINESS_PATIENCE,
)

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "operator" / "model_operator"
PAGES = [
    ROOT / "README.md",
    ROOT / "SECURITY.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
]
FAILURES = ROOT / "docs" / "reference" / "failures.md"

REASON_POSITIONS = {
    "Blocker": 0,
    "Condition": 2,
    "Event": 1,
    "Failure": 1,
    "ImageProblem": 0,
    "failure": 0,
}
"""Where a reason stands in the arguments of the calls that make one."""


def _blocks(page: Path, language: str) -> Iterator[str]:
    yield from re.findall(rf"^```{language}\n(.*?)^```$", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def _manifests() -> Iterator[Any]:
    for page in PAGES:
        for text in _blocks(page, "yaml"):
            for document in yaml.safe_load_all(text):
                if isinstance(document, dict) and document.get("kind") == names.KIND:
                    yield pytest.param(document, id=f"{page.name} {len(text)}")


def _reasons_in_the_code() -> Iterator[str]:
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            position = REASON_POSITIONS.get(node.func.id)
            if position is None or len(node.args) <= position:
                continue
            # a reason may be chosen by an expression
            for part in ast.walk(node.args[position]):
                if isinstance(part, ast.Constant) and re.fullmatch(r"([A-Z][a-z]+)+", str(part.value)):
                    yield str(part.value)


def _explained() -> set[str]:
    return set(re.findall(r"^\| `([A-Za-z]+)` \|", FAILURES.read_text("utf-8"), re.MULTILINE))


@pytest.mark.parametrize("manifest", list(_manifests()))
def test_a_manifest_in_the_pages_is_valid(manifest: dict[str, Any]) -> None:
    manifest["metadata"].setdefault("namespace", "default")
    assert parse(manifest).metadata.name


def _parts_of_a_spec() -> Iterator[Any]:
    for page in PAGES:
        for text in _blocks(page, "yaml"):
            document = yaml.safe_load(text) if text.startswith("spec:") else None
            if document is not None:
                yield pytest.param(document["spec"], id=f"{page.name} {len(text)}")


@pytest.mark.parametrize("spec", list(_parts_of_a_spec()))
def test_a_part_of_a_spec_in_the_pages_is_valid_beside_a_model(spec: dict[str, Any]) -> None:
    manifest = {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": "churn", "namespace": "default"},
        "spec": {"model": {"name": "churn", "alias": "champion"}, **spec},
    }
    assert parse(manifest).metadata.name


def test_the_readme_shows_manifests() -> None:
    assert list(_blocks(ROOT / "README.md", "yaml"))
    assert len(list(_manifests())) >= 3


def test_the_readme_is_short_and_the_index_has_every_page() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 140
    docs = ROOT / "docs"
    index = (docs / "README.md").read_text("utf-8")
    linked = {(docs / path).resolve() for path in re.findall(r"\]\(([^)#]+)\)", index)}
    folders = ("start", "guides", "operate", "reference", "project")
    pages = {page for folder in folders for page in (docs / folder).glob("*.md")}
    assert pages - linked == set()


@pytest.mark.parametrize("name", ["README.md", "docs/start/install.md"])
def test_the_values_of_an_installation_are_values_of_the_chart(name: str) -> None:
    known = yaml.safe_load((ROOT / "charts" / "model-operator" / "values.yaml").read_text("utf-8"))
    (text,) = [t for t in _blocks(ROOT / name, "yaml") if "\nregistries:" in f"\n{t}"]
    given = yaml.safe_load(text)
    assert _unknown(given, known) == []
    assert given["registries"]["default"]["url"]


def test_python_in_the_pages_can_be_compiled() -> None:
    blocks = [(page, text) for page in PAGES for text in _blocks(page, "python")]
    assert blocks
    for page, text in blocks:
        compile(text, str(page), "exec")


@pytest.mark.parametrize("path", sorted((ROOT / "examples").rglob("*.yaml")), ids=lambda path: path.name)
def test_an_example_is_valid(path: Path) -> None:
    documents = list(yaml.safe_load_all(path.read_text("utf-8")))
    for document in documents:
        # a kustomization is read by kubectl itself, and has no name
        needed = {"apiVersion", "kind"} | ({"metadata"} if path.name != "kustomization.yaml" else set())
        assert needed <= document.keys()
        if document["kind"] == names.KIND:
            document["metadata"].setdefault("namespace", "default")
            parse(document)


def test_the_page_of_failures_explains_every_reason() -> None:
    reasons = {*_reasons_in_the_code(), *ResolutionReason, *Phase}
    reasons |= REASONS.keys()
    assert {"Reverted", "NameConflict", "CrashLoop"} <= reasons, "the search finds what it should"
    assert reasons - _explained() == set()


def test_the_page_of_failures_explains_nothing_that_does_not_exist() -> None:
    code = "".join(path.read_text("utf-8") for path in sorted(PACKAGE.rglob("*.py")))
    conditions = {"Ready", "Current", "Resolved", "Reconciling", "Stalled", "Admitted"}
    told = _explained() - conditions - set(Side)
    assert {reason for reason in told if f'"{reason}"' not in code} == set()


def _tried_again(known: Reason) -> str:
    if known.side is Side.ENVIRONMENT:
        return "automatic"
    return "no" if known.definite else "three attempts"


def test_the_page_of_failures_has_the_table_of_the_code_word_by_word() -> None:
    _, _, after = FAILURES.read_text("utf-8").partition("## Reasons of a failed version\n")
    section, _, _ = after.partition("\n## ")
    rows = [
        [*map(_plain, row.strip("| ").split(" | "))] for row in re.findall(r"^\| `.*$", section, re.MULTILINE)
    ]
    assert rows == [
        [*map(_plain, (reason, known.side.value, _tried_again(known), known.meaning, known.remedy))]
        for reason, known in REASONS.items()
    ]


def _plain(cell: str) -> str:
    """Without marks, and in the middle of a sentence."""
    text = cell.replace("`", "")
    return text[0].lower() + text[1:]


def test_the_page_of_failures_has_the_numbers_of_the_watch() -> None:
    text = FAILURES.read_text("utf-8")
    assert f"after {READINESS_PATIENCE.total_seconds():.0f} seconds | `ReadinessLost`" in text
    assert f"at least {ENOUGH_REQUESTS} | `ServerErrors`" in text
    assert (ERROR_RATIO, "10% of them" in text) == (0.1, True)
    assert (BARE_EXITS, BARE_EXITS_OF_ALL_PODS) == (2, 3)
    assert "twice in one pod, or three times in all pods | `CrashLoop`" in text


def test_the_page_of_failures_has_the_exit_codes_of_the_scripts() -> None:
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \| (\w+) \|", FAILURES.read_text("utf-8"), re.MULTILINE)
    assert {int(code): (reason, side) for code, reason, side in rows} == {
        code: (reason, side.value) for code, (reason, side) in EXIT_CODES.items()
    }


def test_the_configuration_file_in_the_pages_has_every_key_and_only_those() -> None:
    (text,) = [
        t for t in _blocks(ROOT / "docs" / "reference" / "configuration.md", "yaml") if "pollSeconds" in t
    ]
    settings.parse(text, "docs/reference/configuration.md")
    given = yaml.safe_load(text)
    assert given.keys() == {field.alias for field in settings.Settings.model_fields.values()}
    assert given["registries"]["default"].keys() == {
        field.alias for field in settings.RegistryConfig.model_fields.values()
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_values_in_the_pages_are_values_of_the_chart(page: Path) -> None:
    known = yaml.safe_load((ROOT / "charts" / "model-operator" / "values.yaml").read_text("utf-8"))
    for text in _blocks(page, "yaml"):
        if text.startswith("# my-values.yaml"):
            given = yaml.safe_load(text)
            registries = given.pop("registries", {})
            assert _unknown(given, known) == []
            for registry in registries.values():
                assert _unknown(registry, known["registries"]["default"]) == []


def _unknown(given: Any, known: Any, path: str = "") -> list[str]:
    if not isinstance(given, dict):
        return []
    if not isinstance(known, dict):
        return [path]
    found = [f"{path}.{key}" for key in given.keys() - known.keys()]
    return found + [u for key in given.keys() & known.keys() for u in _unknown(given[key], known[key], key)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_within_the_repository_lead_somewhere(page: Path) -> None:
    text = page.read_text("utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in _anchors(linked.read_text("utf-8")), f"{page.name}: {target}"


def _anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_make_targets_in_the_pages_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    code = re.findall(r"`make ([a-z0-9-]+)", page.read_text("utf-8"))
    code += [
        t for block in _blocks(page, "sh") for t in re.findall(r"^make ([a-z0-9-]+)", block, re.MULTILINE)
    ]
    assert set(code) <= targets


def test_the_page_of_gates_has_every_gate_in_the_order_of_the_chain() -> None:
    _, _, after = (ROOT / "docs" / "guides" / "gates.md").read_text("utf-8").partition("| Gate, in the order")
    table, _, _ = after.partition("\n\n")
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(GATES.values())


@pytest.mark.parametrize(
    ("page", "rows"), [("registries.md", REGISTRY_KINDS), ("strategies.md", STRATEGIES)], ids=str
)
def test_a_page_that_compares_choices_has_a_column_for_each(page: str, rows: dict[str, object]) -> None:
    text = (ROOT / "docs" / "guides" / page).read_text("utf-8")
    heading = re.findall(r"^\| \| (`.*) \|$", text, re.MULTILINE)[0]
    assert re.findall(r"`(\w+)`", heading) == list(rows)


def test_the_recipes_for_developers_name_files_and_tables_that_exist() -> None:
    _, _, after = (
        (ROOT / "docs" / "project" / "development.md").read_text("utf-8").partition("## Add a case\n")
    )
    section, _, _ = after.partition("\n## ")
    files = re.findall(r"`([\w/]+\.py)`", section)
    assert len(files) > 15
    assert [name for name in files if "/" in name and not _find_source(name)] == []
    tables = re.findall(r"`([A-Z_]+)` of\s+`([\w/]+/[\w/]+\.py)`", section)
    assert {"GATES", "RUNTIMES", "REGISTRY_KINDS", "STRATEGIES", "KINDS"} <= {table for table, _ in tables}
    for table, name in tables:
        (source,) = _find_source(name)
        assert re.search(rf"^{table}: ", source.read_text("utf-8"), re.MULTILINE), f"{table} of {name}"


def _find_source(name: str) -> list[Path]:
    """The file that a page means: from the top of the repository, or within the package."""
    return [path for path in (ROOT / name, PACKAGE / name) if path.exists()]


def test_the_page_for_developers_has_every_floor() -> None:
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    layers = [layer for c in linter["contracts"] if c["type"] == "layers" for layer in c["layers"]]
    page = (ROOT / "docs" / "project" / "development.md").read_text("utf-8")
    rows = [row.split(" | ")[0] for row in re.findall(r"^\| (`\w+`.*)$", page, re.MULTILINE)]
    told = [set(re.findall(r"`(\w+)`", row)) for row in rows]
    assert told == [set(layer.split(" | ")) for layer in layers]


def test_the_glossary_names_only_fields_keys_and_columns_that_exist() -> None:
    page = (ROOT / "docs" / "reference" / "glossary.md").read_text("utf-8")
    places = re.findall(r"^- \*\*Where:\*\* (.*(?:\n  .*)*)$", page, re.MULTILINE)
    assert len(places) == len(re.findall(r"^## ", page, re.MULTILINE)) > 11, "each word has one"
    named = {code for place in places for code in re.findall(r"`([^`]+)`", place)}
    (version,) = custom_resource_definition()["spec"]["versions"]
    columns = {column["name"].upper() for column in version["additionalPrinterColumns"]}
    keys = {value for value in vars(names).values() if isinstance(value, str) and "/" in value}
    alerts_file = ROOT / "charts" / "model-operator" / "files" / "alerts.yaml"
    alerts = set(re.findall(r"^\s*- alert: (\w+)$", alerts_file.read_text("utf-8"), re.MULTILINE))
    schema = version["schema"]["openAPIV3Schema"]
    fields = {name for name in named if name.startswith(("spec.", "status.")) and _has_field(schema, name)}
    assert len(fields) > 20
    assert named - fields - columns - keys - alerts - _explained() == set()


def _has_field(schema: dict[str, Any], path: str) -> bool:
    for name in path.split("."):
        if name.removesuffix("[]") not in schema.get("properties", {}):
            return False
        schema = schema["properties"][name.removesuffix("[]")]
        schema = schema["items"] if name.endswith("[]") else schema
    return True


def test_the_page_on_the_design_calls_a_canary_planned_as_long_as_there_is_none() -> None:
    page = (ROOT / "docs" / "project" / "design.md").read_text("utf-8")
    assert ("*Planned, not in this version:*" in page) == ("Canary" not in STRATEGIES)


def test_every_test_that_the_threat_model_names_exists() -> None:
    page = (ROOT / "docs" / "operate" / "security.md").read_text("utf-8")
    named = set(re.findall(r"`(test_\w+)`", page))
    there = {
        found
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for found in re.findall(r"^(?:async )?def (test_\w+)", path.read_text("utf-8"), re.MULTILINE)
    }
    _, _, after = page.partition("## Threats\n")
    threats, _, _ = after.partition("\n## ")
    rows = threats.strip().splitlines()[2:]
    assert len(rows) > 15
    assert [row for row in rows if "`test_" not in row] == [], "each threat names a test"
    assert named - there == set()


def test_the_threat_model_has_the_rights_of_the_chart() -> None:
    page = (ROOT / "docs" / "operate" / "security.md").read_text("utf-8")
    _, _, after = page.partition("## Permissions of the operator\n")
    section, _, _ = after.partition("\n## ")
    told = {
        (resource, verb)
        for row in re.findall(r"^\| `.*$", section, re.MULTILINE)
        for resource in re.findall(r"`([a-z/]+)`", row.split(" | ")[0])
        for verb in re.findall(r"get|list|watch|create|patch|delete", row.split(" | ")[1])
    }
    role = (ROOT / "deploy" / "operator.yaml").read_text("utf-8")
    (rules,) = [
        found["rules"]
        for found in yaml.safe_load_all(role)
        if found["kind"] == "ClusterRole" and found["metadata"]["name"] == "model-operator"
    ]
    given = {(name, verb) for rule in rules for name in rule["resources"] for verb in rule["verbs"]}
    assert told - {("secrets", "get")} == given, "Secrets come with a value that names them"


@pytest.mark.parametrize(
    "picture", sorted((ROOT / "docs" / "pictures").glob("*.svg")), ids=lambda path: path.name
)
def test_a_picture_can_be_drawn_says_in_words_what_it_shows_and_knows_the_dark(picture: Path) -> None:
    root = ElementTree.fromstring(picture.read_text("utf-8"))
    name = "{http://www.w3.org/2000/svg}"
    assert root.findtext(f"{name}title")
    assert len(root.findtext(f"{name}desc") or "") > 50
    assert "prefers-color-scheme: dark" in (root.findtext(f"{name}style") or "")

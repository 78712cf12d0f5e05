"""Checks the alerts with Prometheus' own tools, and that each has a runbook."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from model_operator.metrics import Metrics
from tests.cluster.binaries import ensure
from tests.monitoring.dashboard import ALERTS, ROOT, queries

TESTS = Path(__file__).with_name("alerts_test.yaml")
RUNBOOKS = ROOT / "docs" / "operate" / "runbooks"
PAGE = ROOT / "docs" / "operate" / "alerts.md"
RULES: dict[str, dict[str, Any]] = {
    rule["alert"]: rule
    for group in yaml.safe_load(ALERTS.read_text("utf-8"))["groups"]
    for rule in group["rules"]
}
SERVER_METRICS = {
    "model_server_requests_total",
    "model_server_request_seconds",
    "model_server_saturated_total",
    "model_server_worker_deaths_total",
}
each_alert = pytest.mark.parametrize("name", RULES)


def promtool(*arguments: str) -> None:
    done = subprocess.run(
        [str(ensure("promtool")["promtool"]), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_understands_the_rules() -> None:
    promtool("check", "rules", "--lint=all", "--lint-fatal", str(ALERTS))


def test_the_alerts_fire_and_keep_silent_as_their_tests_say() -> None:
    promtool("test", "rules", str(TESTS))


@each_alert
def test_an_alert_is_tested_to_fire_and_to_keep_silent(name: str) -> None:
    tested = [
        case.get("exp_alerts", [])
        for test in yaml.safe_load(TESTS.read_text("utf-8"))["tests"]
        for case in test["alert_rule_test"]
        if case["alertname"] == name
    ]
    assert any(tested), "it fires in no test"
    assert not all(tested), "it keeps silent in no test"


@each_alert
def test_an_alert_says_how_bad_it_is_and_what_happened(name: str) -> None:
    rule = RULES[name]
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert rule["annotations"].keys() == {"summary", "description"}
    assert rule["annotations"]["description"].endswith(".")


@each_alert
def test_an_alert_has_a_runbook_and_stands_in_the_table(name: str) -> None:
    page = (RUNBOOKS / f"{name}.md").read_text("utf-8")
    assert page.startswith(f"# {name}\n")
    assert re.findall(r"^## (.+)$", page, re.MULTILINE) == [
        "Meaning",
        "Impact",
        "Check",
        "Fix",
    ]
    severity = RULES[name]["labels"]["severity"]
    assert f"| [{name}](runbooks/{name}.md) | {severity} |" in PAGE.read_text("utf-8")


def test_there_is_no_runbook_without_an_alert() -> None:
    assert {page.stem for page in RUNBOOKS.glob("*.md")} == RULES.keys()


CRD = yaml.safe_load((ROOT / "crds" / "modeldeployments.yaml").read_text("utf-8"))
STATUS = CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
OF_PODS = ".containerStatuses"
OF_THE_SERVER = {"model_server_requests_in_flight", "model_server_concurrency"} | SERVER_METRICS


@each_alert
def test_a_runbook_reads_fields_and_metrics_that_exist(name: str) -> None:
    page = (RUNBOOKS / f"{name}.md").read_text("utf-8")
    for path in re.findall(r"\.status((?:\.\w+|\[[^\]]*\])+)", page):
        schema = STATUS
        # an index or a filter leads from a list to its items
        for part in re.sub(r"\[[^\]]*\]", ".[]", path).split(".")[1:] if OF_PODS not in path else ():
            schema = schema["items"] if part == "[]" else schema["properties"][part]
    assert _names(page) - OF_THE_SERVER <= {metric.name for metric in Metrics().descriptions}


def _names(expression: str) -> set[str]:
    found = set(re.findall(r"\bmodel_(?:operator|server)_[a-z_]+", expression))
    return {re.sub(r"_(bucket|count|sum)$", "", name) for name in found}


@pytest.mark.parametrize(
    "expression",
    [
        *(pytest.param(rule["expr"], id=name) for name, rule in RULES.items()),
        *(
            pytest.param(asked.expression, id=f"{asked.panel} {number}")
            for number, asked in enumerate(queries("5m"))
        ),
    ],
)
def test_an_expression_asks_for_metrics_that_exist_by_labels_that_they_have(expression: str) -> None:
    labels = {metric.name: {*metric.labels, "le"} for metric in Metrics().descriptions}
    for name in _names(expression) - SERVER_METRICS:
        assert name in labels
        for matchers in re.findall(rf"{name}(?:_bucket|_count|_sum)?{{([^}}]*)}}", expression):
            assert set(re.findall(r"(\w+)\s*[=!]", matchers)) <= labels[name]

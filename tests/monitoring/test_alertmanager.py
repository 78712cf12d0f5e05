"""Checks the example for Alertmanager with Alertmanager's own tool."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.binaries import ensure
from tests.monitoring.dashboard import ROOT
from tests.monitoring.test_alerts import RULES

EXAMPLE = ROOT / "examples" / "monitoring"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The example, with the path of its templates replaced."""
    text = (EXAMPLE / "alertmanager.yml").read_text("utf-8")
    file = tmp_path / "alertmanager.yml"
    file.write_text(text.replace("/etc/alertmanager/*.tmpl", str(EXAMPLE / "*.tmpl")))
    return file


def amtool(*arguments: str) -> str:
    done = subprocess.run(
        [str(ensure("amtool")["amtool"]), *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_alertmanager_understands_the_example(config: Path) -> None:
    assert "SUCCESS" in amtool("check-config", str(config))


@pytest.mark.parametrize(
    ("alert", "namespace", "receiver"),
    [
        ("ModelNotServing", "crm", "models-critical"),
        ("ModelReverted", "crm", "models-crm"),
        ("ModelReverted", "shop", "models"),
        ("ModelApprovalPending", "crm", "models-quiet"),
        ("ModelOperatorDown", "", "models-critical"),
        ("ModelRegistryStale", "", "models"),
    ],
)
def test_an_alert_goes_to_whom_it_concerns(config: Path, alert: str, namespace: str, receiver: str) -> None:
    labels = {"alertname": alert, "severity": RULES[alert]["labels"]["severity"], "namespace": namespace}
    given = [f"{key}={value}" for key, value in labels.items() if value]
    assert amtool("config", "routes", "test", "--config.file", str(config), *given).strip() == receiver


def test_every_alert_that_the_example_names_exists() -> None:
    text = (EXAMPLE / "alertmanager.yml").read_text("utf-8")
    named = {
        name
        for rule in yaml.safe_load(text)["inhibit_rules"]
        for matcher in (*rule["source_matchers"], *rule["target_matchers"])
        if matcher.startswith("alertname") and ".+" not in matcher
        for name in matcher.split('"')[1].split("|")
    }
    assert named
    assert named <= RULES.keys()


def alert(name: str, status: str = "firing", **labels: str) -> dict[str, Any]:
    """One alert in the form that Alertmanager passes to a template."""
    return {
        "status": status,
        "labels": {"alertname": name, **labels},
        "annotations": {
            "summary": f"{name} it is",
            "description": RULES[name]["annotations"]["description"],
            "runbook_url": f"https://wiki.example.com/{name}.md",
        },
        "startsAt": "2026-11-20T09:00:00Z",
        "endsAt": "0001-01-01T00:00:00Z",
    }


def test_a_message_says_what_happened_where_and_what_helps(tmp_path: Path) -> None:
    labels = {"namespace": "crm", "modeldeployment": "churn"}
    data = {
        "status": "firing",
        "alerts": [alert("ModelReverted", **labels), alert("ModelNotCurrent", "resolved", **labels)],
        "commonLabels": labels,
    }
    file = tmp_path / "data.json"
    file.write_text(json.dumps(data))
    message = amtool(
        "template",
        "render",
        f"--template.glob={EXAMPLE / '*.tmpl'}",
        f"--template.data={file}",
        '--template.text={{ template "model.title" . }}: {{ template "model.text" . }}',
    )
    assert message.startswith("[1 firing] crm/churn: - ModelReverted it is\n  It failed in its watch window")
    assert "Runbook: https://wiki.example.com/ModelReverted.md" in message
    assert "- resolved: ModelNotCurrent it is" in message

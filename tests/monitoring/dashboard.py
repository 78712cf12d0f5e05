"""The queries of the committed dashboard, in the form that a browser sends them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FILE = ROOT / "charts" / "model-operator" / "dashboards" / "model-operator.json"
ALERTS = ROOT / "charts" / "model-operator" / "files" / "alerts.yaml"


@dataclass(frozen=True)
class Asked:
    """One query of one panel."""

    panel: str
    expression: str
    legend: str


def panels(headings: bool = False) -> list[dict[str, Any]]:
    """All panels, with or without the headings of rows."""
    found = json.loads(FILE.read_text("utf-8"))["panels"]
    return [panel for panel in found if headings or panel["type"] != "row"]


def queries(window: str) -> Iterator[Asked]:
    """Every query, with everything selected and ``window`` for Grafana's rate interval."""
    for panel in panels():
        for target in panel["targets"]:
            yield Asked(panel["title"], filled_in(target["expr"], window), target["legendFormat"])


def filled_in(expression: str, window: str) -> str:
    """The expression without Grafana's variables."""
    for variable, value in (
        ("$namespace", ".*"),
        ("$modeldeployment", ".*"),
        ("$__rate_interval", window),
    ):
        expression = expression.replace(variable, value)
    return expression

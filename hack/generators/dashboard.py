"""Renders the Grafana dashboard of the chart from the list of its panels. `render` adds their places and settings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).parents[2]
FILE = ROOT / "charts" / "model-operator" / "dashboards" / "model-operator.json"

_COLUMNS = 24
_HERE = 'namespace=~"$namespace", modeldeployment=~"$modeldeployment"'
_STATE = "model_operator_modeldeployment"
_CONDITION = f"{_STATE}_condition{{{_HERE}"
_EACH = "max by (namespace, modeldeployment"

Kind = Literal["stat", "timeseries", "table"]


@dataclass(frozen=True)
class Query:
    """One query of a panel, with the legend of its series."""

    expression: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """A panel with its queries. ``width`` is in 24ths of the page, ``height`` in rows of Grafana's grid."""

    title: str
    description: str
    queries: Sequence[Query]
    kind: Kind = "timeseries"
    unit: str = "short"
    width: int = 8
    height: int = 7
    columns: Mapping[str, str] = field(default_factory=dict)
    """Headings of a table by label, in their order. ``Value`` is the label of the sample."""
    bad_above: float | None = None
    """A number is red from this value on."""


@dataclass(frozen=True)
class Row:
    """Panels under a heading."""

    title: str
    panels: Sequence[Panel]


def _quantile(quantile: float, histogram: str, *by: str, matching: str = "", window: str = "") -> str:
    labels = ", ".join(("le", *by))
    rate = f"rate({histogram}_bucket{matching}[{window or '$__rate_interval'}])"
    return f"histogram_quantile({quantile}, sum by ({labels}) ({rate}))"


_NOW = Row(
    "Now",
    [
        Panel(
            "Models",
            "ModelDeployments in the operator's cache.",
            [Query("max(model_operator_modeldeployments)")],
            "stat",
            width=4,
            height=4,
        ),
        Panel(
            "Ready",
            "The spec has been rolled out and is serving.",
            [Query(f'count({_EACH}) ({_CONDITION}, condition="Ready", status="True"}})) or vector(0)')],
            "stat",
            width=4,
            height=4,
        ),
        Panel(
            "Not current",
            "The version behind the alias is not the serving version.",
            [Query(f'count({_EACH}) ({_CONDITION}, condition="Current", status!="True"}})) or vector(0)')],
            "stat",
            width=4,
            height=4,
            bad_above=1,
        ),
        Panel(
            "Stalled",
            "Nothing changes until you act.",
            [Query(f'count({_EACH}) ({_CONDITION}, condition="Stalled", status="True"}})) or vector(0)')],
            "stat",
            width=4,
            height=4,
            bad_above=1,
        ),
        Panel(
            "Registry's last answer",
            "Time since the last answer, for the registry that has not answered for the longest time.",
            [
                Query(
                    "max(time() - max by (registry) (model_operator_registry_last_answer_timestamp_seconds))"
                )
            ],
            "stat",
            "s",
            width=4,
            height=4,
            bad_above=300,
        ),
        Panel(
            "Rolling out",
            "Rollouts that are under way or waiting.",
            [Query(f"count({_EACH}) ({_STATE}_candidate_since_timestamp_seconds{{{_HERE}}})) or vector(0)")],
            "stat",
            width=4,
            height=4,
        ),
    ],
)

_MODELS = Row(
    "Models",
    [
        Panel(
            "Serving versions",
            "The serving version, and the version behind the alias.",
            [Query(f"{_EACH}, model, alias, serving_version, wanted_version) ({_STATE}_info{{{_HERE}}})")],
            "table",
            width=12,
            columns={
                "namespace": "Namespace",
                "modeldeployment": "ModelDeployment",
                "model": "Model",
                "alias": "Follows",
                "serving_version": "Serving",
                "wanted_version": "Wanted",
            },
        ),
        Panel(
            "Conditions that need attention",
            "Conditions that are not True, and Stalled, with their reasons.",
            [
                Query(
                    f'{_EACH}, condition, status, reason) ({_CONDITION}, condition!="Stalled", status!="True"}})'
                    f' or {_EACH}, condition, status, reason) ({_CONDITION}, condition="Stalled"}})'
                )
            ],
            "table",
            width=12,
            columns={
                "namespace": "Namespace",
                "modeldeployment": "ModelDeployment",
                "condition": "Condition",
                "status": "Status",
                "reason": "Reason",
            },
        ),
        Panel(
            "Rejected",
            "The version that was rejected last, or is wanted and rejected, and the time since.",
            [
                Query(
                    f"time() - {_EACH}, version, stage, side, reason)"
                    f" ({_STATE}_rejected_timestamp_seconds{{{_HERE}}})"
                )
            ],
            "table",
            "s",
            width=12,
            columns={
                "namespace": "Namespace",
                "modeldeployment": "ModelDeployment",
                "version": "Version",
                "stage": "In",
                "side": "Fault of",
                "reason": "Reason",
                "Value": "Ago",
            },
        ),
        Panel(
            "Ready pods",
            "Pods of the serving version.",
            [
                Query(
                    f"{_EACH}) ({_STATE}_ready_replicas{{{_HERE}}})",
                    "{{namespace}}/{{modeldeployment}} ready",
                ),
                Query(f"{_EACH}) ({_STATE}_replicas{{{_HERE}}})", "{{namespace}}/{{modeldeployment}} all"),
            ],
            width=12,
        ),
    ],
)

_ROLLOUTS = Row(
    "Rollouts",
    [
        Panel(
            "Rollouts by outcome",
            "Rollouts that ended in the last hour: live, rejected, withdrawn or cancelled.",
            [Query("sum by (outcome) (increase(model_operator_rollouts_total[1h]))", "{{outcome}}")],
        ),
        Panel(
            "Reverts",
            "Reverts of the last hour by reason. In stage watch, the version had gone live.",
            [
                Query(
                    "sum by (stage, reason) (increase(model_operator_reverts_total[1h])) > 0",
                    "{{reason}} in {{stage}}",
                )
            ],
        ),
        Panel(
            "Time from alias move to serving",
            "Time from the registry's first answer with the new version until that version goes live, over six hours.",
            [
                Query(
                    _quantile(q, "model_operator_alias_move_to_serving_seconds", "approval", window="6h"),
                    f"{name}, {{{{approval}}}}",
                )
                for q, name in ((0.5, "half"), (0.9, "nine in ten"))
            ],
            unit="s",
        ),
        Panel(
            "Rollouts in progress",
            "Age of each rollout, with its phase and the reason for a delay.",
            [
                Query(
                    f"time() - {_EACH}, version, phase, reason)"
                    f" ({_STATE}_candidate_since_timestamp_seconds{{{_HERE}}})",
                    "{{namespace}}/{{modeldeployment}} v{{version}} {{phase}} {{reason}}",
                )
            ],
            unit="s",
            width=12,
        ),
        Panel(
            "Duration of rollouts",
            "Nine in ten rollouts of the last six hours were faster than this.",
            [Query(_quantile(0.9, "model_operator_rollout_seconds", "outcome", window="6h"), "{{outcome}}")],
            unit="s",
            width=12,
        ),
    ],
)

_SERVING = Row(
    "Serving pods",
    [
        Panel(
            "Predictions",
            "Answered requests per second.",
            [
                Query(
                    f"sum by (namespace, modeldeployment, revision) (rate(model_server_requests_total{{{_HERE}}}"
                    "[$__rate_interval]))",
                    "{{namespace}}/{{modeldeployment}} {{revision}}",
                )
            ],
            unit="reqps",
        ),
        Panel(
            "Share of 5xx",
            "Share of answers with status 5xx. At 10%, without the 503 of full pods, the operator reverts a version "
            "within its watch window.",
            [
                Query(
                    "sum by (namespace, modeldeployment, revision) (rate(model_server_requests_total"
                    f'{{{_HERE}, code=~"5.."}}[$__rate_interval])) / sum by (namespace, modeldeployment, revision)'
                    f" (rate(model_server_requests_total{{{_HERE}}}[$__rate_interval]))",
                    "{{namespace}}/{{modeldeployment}} {{revision}}",
                )
            ],
            unit="percentunit",
        ),
        Panel(
            "Response time",
            "Nine in ten answers are faster than this.",
            [
                Query(
                    _quantile(
                        0.9,
                        "model_server_request_seconds",
                        "namespace",
                        "modeldeployment",
                        "revision",
                        matching=f"{{{_HERE}}}",
                    ),
                    "{{namespace}}/{{modeldeployment}} {{revision}}",
                )
            ],
            unit="s",
        ),
    ],
)

_REGISTRY = Row(
    "Registries",
    [
        Panel(
            "Registry requests",
            "Requests per second, by outcome.",
            [
                Query(
                    "sum by (registry, outcome) (rate(model_operator_registry_request_seconds_count"
                    "[$__rate_interval]))",
                    "{{registry}} {{outcome}}",
                )
            ],
            unit="reqps",
        ),
        Panel(
            "Response time",
            "Nine in ten are faster than this.",
            [
                Query(
                    _quantile(0.9, "model_operator_registry_request_seconds", "registry", "operation"),
                    "{{registry}} {{operation}}",
                )
            ],
            unit="s",
        ),
        Panel(
            "Time since the last answer",
            "Time since the last answer of each registry.",
            [
                Query(
                    "time() - max by (registry) (model_operator_registry_last_answer_timestamp_seconds)",
                    "{{registry}}",
                )
            ],
            unit="s",
        ),
    ],
)

_OPERATOR = Row(
    "The operator",
    [
        Panel(
            "Reconciles",
            "Reconciles per second, by result.",
            [
                Query(
                    "sum by (result) (rate(model_operator_reconcile_seconds_count[$__rate_interval]))",
                    "{{result}}",
                )
            ],
            unit="ops",
            width=6,
        ),
        Panel(
            "Duration of reconciles and waits",
            "Nine in ten are faster than this.",
            [
                Query(_quantile(0.9, "model_operator_reconcile_seconds"), "reconcile"),
                Query(_quantile(0.9, "model_operator_queue_wait_seconds"), "in the queue"),
            ],
            unit="s",
            width=6,
        ),
        Panel(
            "Requests to the API server",
            "Requests per second, by verb and status code.",
            [
                Query(
                    "sum by (verb, code) (rate(model_operator_api_request_seconds_count[$__rate_interval]))",
                    "{{verb}} {{code}}",
                )
            ],
            unit="reqps",
            width=6,
        ),
        Panel(
            "Queue",
            "ModelDeployments that wait or are reconciled, and verdicts that are not written to the registry yet.",
            [
                Query("sum(model_operator_queue_depth)", "waiting"),
                Query("sum(model_operator_in_work)", "in work"),
                Query("sum(model_operator_tags_waiting)", "tags to be written"),
            ],
            width=6,
        ),
    ],
)

ROWS = (_NOW, _MODELS, _ROLLOUTS, _SERVING, _REGISTRY, _OPERATOR)


def render() -> str:
    """Returns the dashboard as JSON for an import into Grafana."""
    panels: list[dict[str, Any]] = []
    top = 0
    for row in ROWS:
        panels.append(
            {
                "type": "row",
                "title": row.title,
                "collapsed": False,
                "panels": [],
                "gridPos": _place(0, top, _COLUMNS, 1),
            }
        )
        top += 1
        left = lowest = 0
        for panel in row.panels:
            if left + panel.width > _COLUMNS:
                left, top = 0, top + lowest
                lowest = 0
            panels.append(_panel(panel, _place(left, top, panel.width, panel.height)))
            left, lowest = left + panel.width, max(lowest, panel.height)
        top += lowest
    for number, panel in enumerate(panels, start=1):
        panel["id"] = number
    return json.dumps(_dashboard(panels), indent=1) + "\n"


def _dashboard(panels: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "title": "Model operator",
        "uid": "model-operator",
        "description": "Serving versions, rollouts, rejections, and the state of the operator.",
        "tags": ["mlflow", "model-operator"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
                _variable("namespace", "Namespace", f"label_values({_STATE}_info, namespace)"),
                _variable(
                    "modeldeployment",
                    "ModelDeployment",
                    f'label_values({_STATE}_info{{namespace=~"$namespace"}}, modeldeployment)',
                ),
            ]
        },
        "panels": panels,
    }


def _variable(name: str, label: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": _datasource(),
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


def _panel(panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    instant = panel.kind != "timeseries"
    colours = [{"color": "text" if panel.kind == "stat" else "green", "value": None}]
    if panel.bad_above is not None:
        colours.append({"color": "red", "value": panel.bad_above})
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": _datasource(),
        "gridPos": place,
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": _datasource(),
                "expr": query.expression,
                "legendFormat": query.legend or "__auto",
                "instant": instant,
                "range": not instant,
                "format": "table" if panel.kind == "table" else "time_series",
            }
            for number, query in enumerate(panel.queries)
        ],
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0,
                "thresholds": {"mode": "absolute", "steps": colours},
            },
            "overrides": [],
        },
        "options": _options(panel.kind),
        "transformations": [_columns(panel.columns)] if panel.columns else [],
    }


def _options(kind: Kind) -> dict[str, Any]:
    if kind == "stat":
        return {"colorMode": "value", "graphMode": "none", "reduceOptions": {"calcs": ["lastNotNull"]}}
    if kind == "timeseries":
        return {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
    return {"showHeader": True}


def _columns(columns: Mapping[str, str]) -> dict[str, Any]:
    hidden = {"Time": True} | ({} if "Value" in columns else {"Value": True})
    order = {label: number for number, label in enumerate(columns)}
    return {
        "id": "organize",
        "options": {"excludeByName": hidden, "indexByName": order, "renameByName": dict(columns)},
    }


def _datasource() -> dict[str, str]:
    return {"type": "prometheus", "uid": "${datasource}"}


def _place(left: int, top: int, width: int, height: int) -> dict[str, int]:
    return {"x": left, "y": top, "w": width, "h": height}

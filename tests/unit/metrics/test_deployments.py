"""What is told of each ModelDeployment at a scrape."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from model_operator.metrics import ModelDeployments

Json = dict[str, Any]
Series = dict[tuple[str, frozenset[tuple[str, str]]], float]

AT = "2026-11-20T09:00:00Z"
AT_SECONDS = 1795165200.0
STATUS: Json = {
    "conditions": [
        {"type": "Ready", "status": "True", "reason": "Serving"},
        {"type": "Current", "status": "False", "reason": "VersionRejected"},
    ],
    "modelName": "churn",
    "alias": "@champion",
    "resolved": {"version": "8", "at": AT},
    "serving": {"version": "7", "since": AT, "settled": True},
    "candidate": {"version": "8", "phase": "Scheduling", "since": AT, "reason": "InsufficientCapacity"},
    "rejected": [{"version": "6", "revision": "v6-a", "side": "Model", "reason": "OutOfMemory", "at": AT}],
    "history": [{"version": "6", "revision": "v6-a", "to": AT}],
    "replicas": 3,
    "readyReplicas": 2,
}


def modeldeployment(name: str, status: Any = None, spec: Any = None) -> Json:
    return {"metadata": {"namespace": "crm", "name": name}, "spec": spec or {}, "status": status}


def told(*found: Json, most: int = 10) -> Series:
    """Everything that Prometheus reads."""
    collector, registry = ModelDeployments(lambda: found, most), CollectorRegistry()
    registry.register(collector)
    collector.look()
    return {
        (s.name.removeprefix("model_operator_"), frozenset(s.labels.items())): s.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for s in family.samples
    }


def of(series: Series, name: str) -> list[tuple[Json, float]]:
    return [
        ({k: v for k, v in labels if k not in ("namespace", "modeldeployment")}, value)
        for (found, labels), value in series.items()
        if found == f"modeldeployment_{name}"
    ]


def test_the_state_of_a_model_deployment_is_told() -> None:
    spec = {"suspend": True, "rollout": {"strategy": "BlueGreen"}, "registry": {"name": "prod"}}
    series = told(modeldeployment("churn", STATUS, spec))
    info = {
        "model": "churn",
        "alias": "@champion",
        "registry": "prod",
        "strategy": "BlueGreen",
        "serving_version": "7",
        "wanted_version": "8",
    }
    assert of(series, "info") == [(info, 1)]
    assert [(c["condition"], c["status"], c["reason"]) for c, _ in of(series, "condition")] == [
        ("Ready", "True", "Serving"),
        ("Current", "False", "VersionRejected"),
    ]
    assert of(series, "serving_since_timestamp_seconds") == [({"version": "7"}, AT_SECONDS)]
    assert of(series, "resolved_timestamp_seconds") == [({"version": "8"}, AT_SECONDS)]
    assert of(series, "candidate_since_timestamp_seconds") == [
        ({"version": "8", "phase": "Scheduling", "reason": "InsufficientCapacity"}, AT_SECONDS)
    ]
    why = {"version": "6", "stage": "watch", "side": "Model", "reason": "OutOfMemory"}
    assert of(series, "rejected_timestamp_seconds") == [(why, AT_SECONDS)]
    numbers = ("serving_settled", "replicas", "ready_replicas", "suspended")
    assert [of(series, name) for name in numbers] == [[({}, 1)], [({}, 3)], [({}, 2)], [({}, 1)]]


def test_a_rejection_before_the_version_was_live_is_told_apart() -> None:
    series = told(modeldeployment("churn", STATUS | {"history": []}))
    assert [labels["stage"] for labels, _ in of(series, "rejected_timestamp_seconds")] == ["rollout"]


def test_of_several_rejections_that_of_the_wanted_version_is_told() -> None:
    older = {"version": "8", "revision": "v8-a", "side": "Environment", "reason": "NoProgress", "at": AT}
    series = told(modeldeployment("churn", STATUS | {"rejected": [*STATUS["rejected"], older]}))
    assert [labels["version"] for labels, _ in of(series, "rejected_timestamp_seconds")] == ["8"]


def test_before_the_first_status_there_is_only_what_the_spec_says() -> None:
    series = told(modeldeployment("churn"))
    assert {name for name, _ in series} == {
        *(f"modeldeployment_{name}" for name in ("info", "replicas", "ready_replicas", "suspended")),
        "modeldeployments",
        "modeldeployments_without_series",
    }
    ((labels, _),) = of(series, "info")
    assert (labels["registry"], labels["strategy"]) == ("default", "RollingUpdate")


def test_a_registry_of_ones_own_is_not_named_by_its_url() -> None:
    found = modeldeployment("churn", STATUS, {"registry": {"url": "http://mlflow.crm:5000"}})
    ((labels, _),) = of(told(found), "info")
    assert labels["registry"] == "spec.registry"


def test_the_series_of_a_deleted_model_deployment_vanish() -> None:
    known = [modeldeployment("churn", STATUS), modeldeployment("fraud", STATUS)]
    collector, registry = ModelDeployments(lambda: tuple(known), 10), CollectorRegistry()
    registry.register(collector)
    collector.look()
    assert b'modeldeployment="fraud"' in generate_latest(registry)
    known.pop()
    collector.look()
    assert b'modeldeployment="fraud"' not in generate_latest(registry)
    assert b'modeldeployment="churn"' in generate_latest(registry)


def test_those_beyond_the_limit_are_counted_and_get_no_series() -> None:
    series = told(*(modeldeployment(f"m{number}", STATUS) for number in (1, 2, 3)), most=2)
    assert {dict(labels)["modeldeployment"] for name, labels in series if name == "modeldeployment_info"} == {
        "m1",
        "m2",
    }
    assert series["modeldeployments", frozenset()] == 3
    assert series["modeldeployments_without_series", frozenset()] == 1
    ready = frozenset({"condition": "Ready", "status": "True"}.items())
    assert series["modeldeployments_by_condition", ready] == 3


def test_a_name_of_any_length_and_shape_stays_one_short_label() -> None:
    name = 'a"b\\c\nd' + "x" * 5000
    ((labels, _),) = of(told(modeldeployment("churn", STATUS | {"modelName": name})), "info")
    assert labels["model"] == name[:128]


junk = st.sampled_from(
    [
        None,
        True,
        -1,
        "x",
        [],
        [7],
        {},
        [{"at": 1}],
        [{"at": AT, "side": []}],
        {"since": [], "version": {}},
        {"since": AT},
    ]
)


@given(status=st.dictionaries(st.sampled_from(list(STATUS)), junk))
def test_no_status_whatsoever_breaks_a_scrape(status: Json) -> None:
    assert told(modeldeployment("churn", status))

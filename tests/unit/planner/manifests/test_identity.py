"""When two targets are the same target, and what it is called."""

import copy
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_operator.domain.revision import Target
from model_operator.planner.manifests import extract_pod_spec, revision_name, same_target

TARGET = Target(
    registry_url="http://mlflow:5000",
    model="churn",
    version="8",
    run_id="r1",
    source="models:/m-1",
    digest="",
    pod_spec={"server": {"port": 8080}},
)


def shaped(pod_spec: dict[str, Any]) -> Target:
    return replace(TARGET, pod_spec=pod_spec)


def test_the_shape_is_what_shapes_the_pods_as_it_was_written() -> None:
    raw: dict[str, Any] = {
        "model": {"uri": "models:/churn@champion"},
        "replicas": 2,
        "server": {"port": 8080, "env": [{"name": "A", "value": "1"}]},
        "pod": {},
        "rollout": {"startupSeconds": 5},
    }
    before = copy.deepcopy(raw)
    pod_spec = extract_pod_spec(raw)
    assert pod_spec == {"server": raw["server"], "pod": {}, "registry": {"name": "default"}}
    pod_spec["server"]["env"][0]["value"] = "2"
    assert raw == before


def test_a_fraction_without_quotes_has_the_name_of_its_text() -> None:
    as_number, as_text = (
        shaped(extract_pod_spec({"server": {"resources": {"requests": {"cpu": cpu}}}}))
        for cpu in (0.5, "0.5")
    )
    assert revision_name(as_number) == revision_name(as_text)


def test_a_whole_number_keeps_the_name_that_it_has_in_clusters() -> None:
    raw = {"server": {"resources": {"requests": {"cpu": 1}}}}
    assert extract_pod_spec(raw)["server"] == raw["server"]


@pytest.mark.parametrize("resources", [None, 7, [], {"requests": 7}, {"limits": None}])
def test_amounts_of_another_type_are_left_alone(resources: Any) -> None:
    assert extract_pod_spec({"server": {"resources": resources}})["server"] == {"resources": resources}


def test_another_entry_of_the_same_registry_asks_for_other_pods() -> None:
    readers, strangers = ({"registry": {"name": name}} for name in ("prod", "astray"))
    assert extract_pod_spec(readers)["registry"] == {"name": "prod"}
    assert not same_target(shaped(extract_pod_spec(readers)), shaped(extract_pod_spec(strangers)))


def test_a_target_that_was_kept_without_its_entry_is_not_rolled_out_again() -> None:
    assert same_target(shaped({}), shaped(extract_pod_spec({"registry": {"name": "prod"}})))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param({}, {"server": {}}, id="an empty part and none"),
        pytest.param({}, {"server": {"port": 8080, "runtime": "MLflow"}}, id="defaults written out"),
        pytest.param({"fetch": {}}, {"fetch": {"image": ""}}, id="an empty image and none"),
        pytest.param(
            {"server": {"env": [{"name": "A", "value": "1"}]}},
            {"server": {"env": [{"value": "1", "name": "A"}]}},
            id="keys in another order",
        ),
        pytest.param(
            {"server": {"resources": {"requests": {"cpu": "500m", "memory": "1Gi"}}}},
            {"server": {"resources": {"requests": {"cpu": 0.5, "memory": 1073741824}}}},
            id="amounts as numbers",
        ),
        pytest.param(
            {"fetch": {"resources": {"limits": {"cpu": "1"}}}},
            {"fetch": {"resources": {"limits": {"cpu": "1000m"}}}},
            id="an amount in other words",
        ),
        pytest.param({"pod": {}}, {"pod": {"runAs": "Fixed"}}, id="the default of the pods' user"),
        pytest.param({"newer": {"a": 1}}, {"newer": {"a": 1}}, id="the same part that nobody knows"),
        pytest.param({"server": {"new": 1}}, {"server": {"new": 1}}, id="the same field that nobody knows"),
    ],
)
def test_wishes_that_mean_the_same_are_the_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert same_target(shaped(one), shaped(other))
    assert same_target(shaped(other), shaped(one))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param({}, {"server": {"port": 8081}}, id="another port"),
        pytest.param({}, {"pod": {"runAs": "Platform"}}, id="another user"),
        pytest.param(
            {"server": {"resources": {"requests": {"cpu": "500m"}}}},
            {"server": {"resources": {"requests": {"cpu": 0.6}}}},
            id="another amount",
        ),
        pytest.param({}, {"selfTest": {"mode": "LoadOnly"}}, id="another self-test"),
        pytest.param({}, {"pod": {"labels": {"team": "a"}}}, id="another label"),
        pytest.param({}, {"fetch": {"env": [{"name": "A", "value": "1"}]}}, id="another variable"),
        pytest.param(
            {"server": {"args": ["a", "b"], "runtime": "Custom", "image": "a/b"}},
            {"server": {"args": ["b", "a"], "runtime": "Custom", "image": "a/b"}},
            id="arguments in another order",
        ),
        pytest.param({"server": {"new": 1}}, {"server": {"new": 2}}, id="a field that nobody knows"),
        pytest.param({"server": {"new": 1}}, {"server": {}}, id="a field that nobody knows, and none"),
    ],
)
def test_wishes_that_mean_different_pods_differ(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert not same_target(shaped(one), shaped(other))
    assert not same_target(shaped(other), shaped(one))


@pytest.mark.parametrize("field", ["registry_url", "model", "version", "run_id", "source", "digest"])
def test_another_text_in_any_other_field_is_another_target_and_another_name(field: str) -> None:
    other = replace(TARGET, **{field: "99"})
    assert not same_target(TARGET, other)
    assert revision_name(TARGET) != revision_name(other)


def test_a_name_says_the_version_and_does_not_depend_on_the_order_of_keys() -> None:
    one = shaped({"server": {"port": 1, "runtime": "MLflow"}, "pod": {}})
    other = shaped({"pod": {}, "server": {"runtime": "MLflow", "port": 1}})
    assert revision_name(one) == revision_name(other)
    assert re.fullmatch(r"v8-[0-9a-f]{10}", revision_name(one))


def test_the_name_of_a_target_never_changes() -> None:
    """Names of kept revisions stand in clusters: another hash would keep the same target twice."""
    assert revision_name(TARGET) == "v8-7910bf4789"


@given(version=st.text(max_size=300), name=st.text(max_size=50))
def test_whatever_the_registry_calls_it_the_name_is_a_label_that_fits(version: str, name: str) -> None:
    called = revision_name(replace(TARGET, version=version, model=name))
    assert re.fullmatch(r"v[0-9]*-[0-9a-f]{10}", called)
    # behind the 40 characters of a ModelDeployment's name and a dash, within the 63 of a label
    assert len(called) <= 22


shapes = st.dictionaries(
    st.sampled_from(["server", "fetch", "pod", "selfTest", "unknown"]),
    st.dictionaries(
        st.sampled_from(["port", "image", "labels", "mode", "env", "nonsense"]),
        st.one_of(st.integers(), st.text(max_size=5), st.none(), st.just([]), st.just({})),
    ),
)


@given(pod_spec=shapes)
def test_every_target_is_the_same_as_itself(pod_spec: dict[str, Any]) -> None:
    assert same_target(shaped(pod_spec), shaped(copy.deepcopy(pod_spec)))


@given(one=shapes, other=shapes)
def test_sameness_has_no_direction(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert same_target(shaped(one), shaped(other)) == same_target(shaped(other), shaped(one))


def test_a_restart_asks_for_the_same_under_another_name() -> None:
    restarted = replace(TARGET, restart="2026-11-20T16:00:00Z")
    assert same_target(TARGET, restarted)
    assert revision_name(restarted) != revision_name(TARGET)
    assert revision_name(restarted) != revision_name(replace(TARGET, restart="2026-11-20T17:00:00Z"))


def test_the_name_of_a_revision_is_the_one_it_had_before_there_were_restarts() -> None:
    assert revision_name(TARGET) == "v8-7910bf4789"

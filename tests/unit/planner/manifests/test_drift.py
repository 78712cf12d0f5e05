"""The comparison on which it rests that steady state writes nothing, and that drift is repaired."""

import copy
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from model_operator.planner.manifests import differs
from model_operator.planner.manifests.quantity import parse_quantity

RECORDED = Path(__file__).parents[3] / "golden" / "manifests" / "recorded"
GOLDEN = sorted(path for path in RECORDED.parent.glob("*.yaml") if not path.name.endswith(".spec.yaml"))


def documents(path: Path) -> list[dict[str, Any]]:
    """The bodies that are compared; a ControllerRevision is never written twice."""
    return [body for body in yaml.safe_load_all(path.read_text()) if body["kind"] != "ControllerRevision"]


def pod(**spec: Any) -> dict[str, Any]:
    return {"spec": spec}


def container(**fields: Any) -> dict[str, Any]:
    return pod(containers=[{"name": "server", **fields}])


# --- what a real API server made of what was applied -----------------------------------------------


@pytest.mark.parametrize("kind", ["Deployment", "HorizontalPodAutoscaler", "Service", "PodDisruptionBudget"])
def test_what_a_real_api_server_stored_does_not_differ_from_what_was_applied(kind: str) -> None:
    """Recorded from kube-apiserver 1.36: zeros, empty maps and lists, quantities, and all its defaults."""
    (applied,) = (one for one in documents(RECORDED / "quirks.applied.yaml") if one["kind"] == kind)
    (live,) = (one for one in documents(RECORDED / "quirks.live.yaml") if one["kind"] == kind)
    assert applied != live
    assert differs(applied, live) == []


# --- every leaf of every golden body ---------------------------------------------------------------


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    elif isinstance(value, list) and value:
        for index, inner in enumerate(value):
            yield from leaves(inner, (*path, index))
    else:
        yield path


def at(value: Any, path: tuple[str | int, ...]) -> Any:
    for step in path:
        value = value[step]
    return value


def something_else(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int) else f"{value}x" if isinstance(value, str) else "another"


def compared_leaves(body: dict[str, Any]) -> Iterator[tuple[str | int, ...]]:
    return (path for path in leaves(body) if path[0] not in ("apiVersion", "kind"))


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda path: path.stem)
def test_every_changed_leaf_is_noticed(golden: Path) -> None:
    unnoticed = []
    for body in documents(golden):
        for path in compared_leaves(body):
            live = copy.deepcopy(body)
            at(live, path[:-1])[path[-1]] = something_else(at(live, path))
            if not differs(body, live):
                unnoticed.append((body["kind"], *path))
    assert unnoticed == []


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda path: path.stem)
def test_every_removed_leaf_is_noticed_unless_its_absence_says_the_same(golden: Path) -> None:
    unnoticed = []
    for body in documents(golden):
        for path in compared_leaves(body):
            live = copy.deepcopy(body)
            del at(live, path[:-1])[path[-1]]
            if not differs(body, live):
                unnoticed.append((path[-1], at(body, path)))
    # a root file system is writable unless it is read-only
    assert [leaf for leaf in unnoticed if leaf != ("readOnlyRootFilesystem", False)] == []


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda path: path.stem)
def test_a_body_does_not_differ_from_itself(golden: Path) -> None:
    for body in documents(golden):
        assert differs(body, body) == []


# --- values that are the same ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("desired", "live"),
    [
        pytest.param(
            container(resources={"requests": {"cpu": "1000m", "memory": "1024Mi"}}),
            container(resources={"requests": {"cpu": "1", "memory": "1Gi"}}),
            id="quantities in another notation",
        ),
        pytest.param(
            container(resources={"limits": {"cpu": 0.5, "nvidia.com/gpu": 1}}),
            container(resources={"limits": {"cpu": "500m", "nvidia.com/gpu": "1"}}),
            id="quantities that YAML reads as numbers",
        ),
        pytest.param(pod(nodeSelector={}, tolerations=[], affinity=None), pod(), id="empty and absent"),
        pytest.param(pod(affinity={"nodeAffinity": {}}), pod(), id="nothing but empty maps, and absent"),
        pytest.param(
            container(env=[{"name": "A", "value": ""}]), container(env=[{"name": "A"}]), id="no value"
        ),
        pytest.param(
            container(env=[{"name": "A", "value": "1"}]),
            container(env=[{"name": "B", "value": "2"}, {"name": "A", "value": "1"}]),
            id="a variable that somebody injected",
        ),
        pytest.param(
            container(volumeMounts=[{"name": "a", "mountPath": "/a"}]),
            container(volumeMounts=[{"name": "x", "mountPath": "/x"}, {"name": "a", "mountPath": "/a"}]),
            id="a mount that somebody injected",
        ),
        pytest.param(
            container(image="a"),
            pod(containers=[{"name": "sidecar", "image": "b"}, {"name": "server", "image": "a"}]),
            id="a container that somebody injected",
        ),
        pytest.param(
            pod(tolerations=[{"key": "gpu", "operator": "Exists"}]),
            pod(tolerations=[{"key": "spot", "operator": "Exists"}, {"key": "gpu", "operator": "Exists"}]),
            id="a toleration that somebody injected",
        ),
        pytest.param(
            container(ports=[{"containerPort": 80}]),
            container(ports=[{"containerPort": 80, "protocol": "TCP"}]),
            id="a port whose protocol the server filled in",
        ),
        pytest.param(
            {"metadata": {"labels": {"a": "b"}}},
            {"metadata": {"labels": {"a": "b", "c": "d"}, "uid": "u"}, "status": {"replicas": 1}},
            id="a label and a status that others wrote",
        ),
        pytest.param(
            {"metadata": {"ownerReferences": [{"uid": "u", "name": "a"}]}},
            {"metadata": {"ownerReferences": [{"uid": "w", "name": "b"}, {"uid": "u", "name": "a"}]}},
            id="a second owner",
        ),
        pytest.param(
            {"apiVersion": "apps/v1", "kind": "Deployment"}, {}, id="an item of a list, without kind"
        ),
    ],
)
def test_what_says_the_same_is_left_alone(desired: dict[str, Any], live: dict[str, Any]) -> None:
    assert differs(desired, live) == []


@pytest.mark.parametrize(
    ("desired", "live", "path"),
    [
        pytest.param(
            container(image="a"), container(image="b"), "spec.containers[server].image", id="another image"
        ),
        pytest.param(
            container(image="a"),
            pod(containers=[{"name": "other", "image": "a"}]),
            "spec.containers[server]",
            id="the container is gone",
        ),
        pytest.param(
            container(env=[{"name": "A", "value": "1000m"}]),
            container(env=[{"name": "A", "value": "1"}]),
            "spec.containers[server].env[A].value",
            id="a variable that only looks like a quantity",
        ),
        pytest.param(
            container(env=[{"name": "A", "value": ""}]),
            container(env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}]),
            "spec.containers[server].env[A].valueFrom",
            id="a reference in place of an empty value",
        ),
        pytest.param(
            container(args=["a", ""]),
            container(args=["a", "b"]),
            "spec.containers[server].args[1]",
            id="another argument",
        ),
        pytest.param(
            container(args=["a"]),
            container(args=["a", "b"]),
            "spec.containers[server].args",
            id="an argument more",
        ),
        pytest.param(
            container(envFrom=[{"secretRef": {"name": "a"}}]),
            container(envFrom=[{"secretRef": {"name": "a"}}, {"secretRef": {"name": "b"}}]),
            "spec.containers[server].envFrom",
            id="one more in a list that belongs to one manager",
        ),
        pytest.param(
            pod(tolerations=[{"operator": "Exists"}]),
            pod(tolerations=[{"operator": "Exists", "key": "gpu"}]),
            "spec.tolerations[0]",
            id="a toleration that was narrowed",
        ),
        pytest.param(
            pod(volumes=[{"name": "tmp", "emptyDir": {}}]),
            pod(volumes=[{"name": "tmp", "hostPath": {"path": "/"}}]),
            "spec.volumes[tmp].emptyDir",
            id="the node's disk in place of an empty directory",
        ),
        pytest.param(
            pod(automountServiceAccountToken=False),
            pod(),
            "spec.automountServiceAccountToken",
            id="a false whose absence means true",
        ),
        pytest.param(
            pod(runAsNonRoot=True),
            pod(runAsNonRoot=1),
            "spec.runAsNonRoot",
            id="a number that Python calls True",
        ),
        pytest.param(
            {"metadata": {"annotations": {"example.com/a": ""}}},
            {"metadata": {"annotations": {"example.com/b": ""}}},
            "metadata.annotations[example.com/a]",
            id="an empty annotation is gone",
        ),
        pytest.param(
            {"metadata": {"labels": {"sizeLimit": "1000m"}}},
            {"metadata": {"labels": {"sizeLimit": "1"}}},
            "metadata.labels.sizeLimit",
            id="a label called like a quantity",
        ),
        pytest.param(
            {"spec": {"ports": [{"port": 80, "protocol": "TCP", "targetPort": "http"}]}},
            {"spec": {"ports": [{"port": 81, "protocol": "TCP", "targetPort": "http"}]}},
            "spec.ports[80/TCP]",
            id="another port of a Service",
        ),
        pytest.param(
            container(resources={"limits": {"memory": "1Gi"}}),
            container(resources={"limits": {"memory": "1G"}}),
            "spec.containers[server].resources.limits.memory",
            id="a quantity that is nearly the same",
        ),
        pytest.param(pod(a={"b": "c"}), pod(a="c"), "spec.a", id="a text in place of a map"),
        pytest.param(pod(args=["c"]), pod(args="c"), "spec.args", id="a text in place of a list"),
        pytest.param(pod(a="c"), pod(a=["c"]), "spec.a", id="a list in place of a text"),
    ],
)
def test_what_somebody_changed_is_reported_by_its_path(
    desired: dict[str, Any], live: dict[str, Any], path: str
) -> None:
    assert differs(desired, live) == [path]


def test_a_hostile_key_of_a_list_is_no_error() -> None:
    odd = pod(topologySpreadConstraints=[{"topologyKey": {"a": []}, "whenUnsatisfiable": ["x"]}, "text"])
    assert differs(odd, odd) == []


# --- properties ------------------------------------------------------------------------------------

# tolerations have rules of their own, above
FIELDS = ["containers", "env", "metrics", "args", "labels", "resources", "requests", "value", "emptyDir"]
scalars = st.one_of(st.booleans(), st.integers(-2, 5), st.sampled_from(["", "1", "1000m", "a"]))


def maps(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4)


def named(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[list[dict[str, Any]]]:
    """A list whose elements have names of their own, as the API demands where it merges by name."""
    return st.lists(maps(inner), max_size=3).map(
        lambda items: [{**item, "name": f"n{index}"} for index, item in enumerate(items)]
    )


bodies = maps(
    st.recursive(
        scalars, lambda inner: st.one_of(maps(inner), named(inner), st.lists(scalars)), max_leaves=12
    )
)


@given(body=bodies)
def test_no_body_differs_from_itself(body: dict[str, Any]) -> None:
    assert differs(body, copy.deepcopy(body)) == []


def grown(value: Any, extra: Any) -> Any:
    """The value with a field of somebody else's in every map."""
    if isinstance(value, dict):
        return {**{key: grown(inner, extra) for key, inner in value.items()}, "theirs": extra}
    return [grown(inner, extra) for inner in value] if isinstance(value, list) else value


@given(body=bodies, extra=st.one_of(scalars, maps(scalars)))
def test_fields_that_others_add_anywhere_are_left_alone(body: dict[str, Any], extra: Any) -> None:
    assert differs(body, grown(body, extra)) == []


@given(body=bodies, data=st.data())
def test_a_changed_leaf_is_reported(body: dict[str, Any], data: st.DataObject) -> None:
    paths = [path for path in leaves(body) if at(body, path) not in ({}, [], None)]
    if not paths:
        return
    path = data.draw(st.sampled_from(paths))
    live = copy.deepcopy(body)
    at(live, path[:-1])[path[-1]] = "something else entirely"
    assert differs(body, live) != []


@given(body=bodies, live=bodies)
def test_comparing_changes_neither_side(body: dict[str, Any], live: dict[str, Any]) -> None:
    before = copy.deepcopy((body, live))
    differs(body, live)
    assert (body, live) == before


# --- quantities ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", Fraction(0)),
        ("1", Fraction(1)),
        ("-1.5", Fraction(-3, 2)),
        ("+.5", Fraction(1, 2)),
        ("5.", Fraction(5)),
        ("100m", Fraction(1, 10)),
        ("1k", Fraction(1000)),
        ("1Ki", Fraction(1024)),
        ("2E", Fraction(2 * 10**18)),
        ("2Ei", Fraction(2**61)),
        ("1e3", Fraction(1000)),
        ("1E-3", Fraction(1, 1000)),
        ("0.1n", Fraction(1, 10**9)),
        (3, Fraction(3)),
        (0.25, Fraction(1, 4)),
    ],
)
def test_a_quantity_is_read_exactly(text: object, number: Fraction) -> None:
    assert parse_quantity(text) == number


@pytest.mark.parametrize(
    "text",
    [
        "",
        "m",
        "1 Gi",
        "1gi",
        "1KB",
        "abc",
        "1e",
        "1e9999",
        "--1",
        "\u0661",
        "1" * 65,
        None,
        True,
        [],
        float("nan"),
    ],
    ids=str,
)
def test_what_is_no_quantity_is_none(text: object) -> None:
    assert parse_quantity(text) is None

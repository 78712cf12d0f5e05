"""Views of the cluster's objects: what is read of them, and that no garbage stops a reader."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_operator.api import names
from model_operator.domain.objects import (
    Controller,
    Kind,
    ObjectRef,
    read_autoscaler,
    read_child,
    read_crd,
    read_deployment,
    read_disruption_budget,
    read_endpoint_slice,
    read_lease,
    read_operator_deployment,
    read_pod,
    read_service,
    read_time,
)

Json = dict[str, Any]

READERS: dict[str, Callable[[Json], object]] = {
    "Deployment": read_deployment,
    "Service": read_service,
    "HorizontalPodAutoscaler": read_autoscaler,
    "PodDisruptionBudget": read_disruption_budget,
    "ConfigMap": partial(read_child, Kind.CONFIG_MAP),
    "Pod": read_pod,
    "EndpointSlice": read_endpoint_slice,
    "Lease": read_lease,
    "Deployment of an operator": read_operator_deployment,
    "CustomResourceDefinition": read_crd,
}

FIELDS = re.findall(
    r"\w+",
    """
    metadata spec status template labels annotations ownerReferences controller name uid generation replicas conditions
    type reason message selector matchLabels scaleTargetRef maxReplicas volumes configMap containers resources requests
    ports initContainerStatuses containerStatuses state lastState terminated waiting running exitCode restartCount
    holderIdentity leaseTransitions serviceAccountName env versions schema openAPIV3Schema properties items
    endpoints targetRef ready creationTimestamp deletionTimestamp phase podIP
""",
)
"""Most fields that a reader looks at, so that garbage reaches it."""
LEAVES = st.sampled_from(
    [None, True, 0, 7, -1, 1.5, "", "server", "fetch", "Ready", "[" * 4000, "2026-11-30T10:00:00Z"]
)
GARBAGE = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=6),
    max_leaves=30,
)


@pytest.mark.parametrize("kind", READERS)
@given(raw=st.dictionaries(st.sampled_from(FIELDS), GARBAGE, max_size=6))
def test_no_garbage_stops_the_reader_of_a(kind: str, raw: Json) -> None:
    assert READERS[kind](raw) == READERS[kind](raw)


# --- whose it is, and as which it was seen ----------------------------------------------------------------


def test_a_child_says_whose_it_is_and_as_which_it_was_seen() -> None:
    references = [
        {"kind": "Other", "name": "no"},
        {"kind": "Rollout", "name": "shop", "uid": "u", "controller": True},
    ]
    labels = {names.LABEL_MANAGED_BY: names.MANAGED_BY, names.LABEL_DEPLOYMENT: "churn"}
    meta = {
        "name": "churn",
        "uid": "7",
        "resourceVersion": "99",
        "labels": labels,
        "ownerReferences": references,
    }
    found = read_child(Kind.CONFIG_MAP, {"metadata": meta})
    assert (found.name, found.uid, found.resource_version) == ("churn", "7", "99")
    assert found.controller == Controller("Rollout", "shop", "u")
    assert (found.labelled_for, found.leaving) == ("churn", False)
    gone = read_child(Kind.CONFIG_MAP, {"metadata": {"deletionTimestamp": "2026-11-30T10:00:00Z"}})
    assert (gone.controller, gone.labelled_for, gone.leaving) == (None, "", True)


def test_an_object_has_the_name_by_which_people_know_it() -> None:
    assert ObjectRef(Kind.SERVICE, "crm", "churn").kubectl_name == "Service/churn"


# --- Deployments -----------------------------------------------------------------------------------------


def deployment(**status: Any) -> Json:
    counts = dict.fromkeys(("replicas", "updatedReplicas", "availableReplicas", "readyReplicas"), 2)
    template = {
        "metadata": {"labels": {names.LABEL_REVISION: "v3-0123456789"}},
        "spec": {"volumes": [{"configMap": {"name": "churn-scripts-1"}}, {"emptyDir": {}}, "x"]},
    }
    return {
        "metadata": {"name": "churn", "generation": 4},
        "spec": {"replicas": 2, "template": template},
        "status": {"observedGeneration": 4, **counts, **status},
    }


def test_a_deployment_says_what_it_carries_and_how_far_it_is() -> None:
    found = read_deployment(deployment(readyReplicas=1, availableReplicas=0))
    assert (found.revision, found.mounted) == ("v3-0123456789", {"churn-scripts-1"})
    assert (found.replicas, found.current, found.ready, found.available) == (2, 2, 1, 0)
    assert (found.observed, found.complete, found.is_short, found.paused) == (True, False, True, False)
    assert not found.refused_pods.is_true


@pytest.mark.parametrize(
    ("counts", "complete"),
    [
        pytest.param({}, True, id="all updated and available"),
        pytest.param({"updatedReplicas": 1}, False, id="one is old"),
        pytest.param({"availableReplicas": 1}, False, id="one is not available"),
        pytest.param({"replicas": 3}, False, id="an old one is still there"),
        pytest.param({"observedGeneration": 3}, False, id="its controller has not seen it"),
        pytest.param({"observedGeneration": "x"}, False, id="garbage"),
    ],
)
def test_a_rollout_is_complete_when(counts: Json, complete: bool) -> None:
    assert read_deployment(deployment(**counts)).complete is complete


def test_a_deployment_without_replicas_has_one() -> None:
    raw = deployment(replicas=1, updatedReplicas=1, availableReplicas=1)
    del raw["spec"]["replicas"]
    assert read_deployment(raw).replicas == 1
    assert read_deployment(raw).complete


# --- pods ------------------------------------------------------------------------------------------------


def test_the_containers_of_a_pod_are_read_with_their_last_words() -> None:
    words = '{"message": "no weights", "inputExample": true}'
    fetch = {"name": "fetch", "state": {"terminated": {"exitCode": 0, "message": words}}}
    before = {"exitCode": 137, "reason": "OOMKilled", "finishedAt": "2026-11-30T10:00:00Z", "message": "log"}
    server = {
        "name": "server",
        "ready": True,
        "restartCount": 2,
        "state": {"running": {"startedAt": "2026-11-30T10:00:05Z"}},
        "lastState": {"terminated": before},
    }
    statuses = {
        "initContainerStatuses": [fetch],
        "containerStatuses": [{"name": "proxy", "ready": True}, server],
    }
    pod = read_pod({"status": statuses})
    assert pod.fetch.end is not None
    assert (pod.fetch.end.exit_code, pod.fetch.end.said, pod.fetch.end.input_example) == (
        0,
        "no weights",
        True,
    )
    assert (pod.server.running, pod.server.restarts, pod.server.ready) == (True, 2, True)
    assert pod.server.running_since == datetime(2026, 11, 30, 10, 0, 5, tzinfo=UTC)
    assert pod.server.end is None
    assert pod.server.last_end is not None
    assert (pod.server.last_end.reason, pod.server.last_end.message, pod.server.last_end.said) == (
        "OOMKilled",
        "log",
        "",
    )
    assert pod.containers_ready
    assert not read_pod({"status": statuses | {"containerStatuses": []}}).containers_ready


def test_of_two_conditions_of_one_type_the_first_counts() -> None:
    twice = [{"type": "Ready", "status": "True"}, {"type": "Ready", "status": "False"}]
    assert read_pod({"status": {"conditions": twice}}).is_ready


def test_an_absent_condition_is_neither_true_nor_false() -> None:
    absent = read_pod({}).condition("Ready")
    assert not absent.is_true
    assert not absent.is_false


# --- times -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["2026-11-30T10:00:00Z", "2026-11-30T12:00:00+02:00"])
def test_a_time_is_read_in_utc(text: str) -> None:
    assert read_time(text) == datetime(2026, 11, 30, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["2026-11-30T10:00:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "x", 5, None]
)
def test_what_is_no_time_or_has_no_zone_is_none(text: object) -> None:
    assert read_time(text) is None

"""What did not fit, in words, from the scheduler's sentence and what the pod asks for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.planner.health.pod_objects import JSON, Json

from model_operator.domain.objects import Pod, read_pod
from model_operator.planner.health.scheduling import describe_unschedulable

GPU = "nvidia.com/gpu"


def asking(**requests: Json) -> Pod:
    """A pod whose containers ask for something."""
    containers = [{"name": name, "resources": {"requests": asked}} for name, asked in requests.items()]
    return read_pod({"spec": {"containers": containers}})


def test_the_scheduler_sentence_is_told_with_resources_taints_and_requests() -> None:
    sentence = (
        "0/3 nodes are available: 1 Insufficient nvidia.com/gpu, 2 node(s) had untolerated taint {gpu: true}. "
        "preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod."
    )
    assert describe_unschedulable(asking(server={GPU: "1", "cpu": "250m"}), sentence) == (
        "no node has room for the pod: of 3 nodes, 1 has too little nvidia.com/gpu left, 2 have a taint that "
        "pod.tolerations does not match ({gpu: true}); the pod requests nvidia.com/gpu: 1 for server; message of the "
        "scheduler: 0/3 nodes are available: 1 Insufficient nvidia.com/gpu, 2 node(s) had untolerated taint {gpu: true}"
    )


def test_what_the_schedulers_plug_ins_add_does_not_stick_to_the_resource() -> None:
    sentence = (
        "0/1 nodes are available: 1 Insufficient nvidia.com/gpu. no new claims to deallocate, "
        "preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
    )
    assert describe_unschedulable(asking(server={GPU: "1"}), sentence) == (
        "no node has room for the pod: of 1 node, 1 has too little nvidia.com/gpu left; the pod requests "
        "nvidia.com/gpu: 1 for server; message of the scheduler: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu"
    )


@pytest.mark.parametrize(
    ("part", "told"),
    [
        pytest.param("2 Insufficient memory", "2 have too little memory left", id="memory"),
        pytest.param(
            "1 node(s) had untolerated taint(s)",
            "1 has a taint that pod.tolerations does not match",
            id="a taint without a name",
        ),
        pytest.param(
            "3 node(s) didn't match Pod's node affinity/selector",
            "3 do not match pod.nodeSelector or pod.affinity",
            id="a selector",
        ),
        pytest.param("1 node(s) were unschedulable", "1 is cordoned", id="a cordoned node"),
        pytest.param("1 Too many pods", "1 has reached its limit of pods", id="a full node"),
        pytest.param(
            "2 node(s) didn't have free ports", "2: node(s) didn't have free ports", id="words unknown here"
        ),
    ],
)
def test_each_part_of_the_sentence_has_its_words(part: str, told: str) -> None:
    text = describe_unschedulable(read_pod({}), f"0/5 nodes are available: {part}.")
    assert text.startswith(f"no node has room for the pod: of 5 nodes, {told};")


def test_each_missing_resource_says_which_container_asks_for_how_much() -> None:
    text = describe_unschedulable(
        asking(server={"cpu": "64", "memory": "1Gi"}, proxy={"cpu": "100m"}),
        "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory.",
    )
    assert (
        "the pod requests cpu: 64 for server, 100m for proxy; the pod requests memory: 1Gi for server;"
        in text
    )


@pytest.mark.parametrize(
    ("sentence", "text"),
    [
        ("", "no node has room for the pod"),
        (
            "no nodes available to schedule pods",
            "no node has room for the pod: the cluster has no nodes",
        ),
        ("pod has unbound immediate PersistentVolumeClaims", "no node has room for the pod: pod has unbound"),
    ],
    ids=["no word at all", "no node at all", "another obstacle"],
)
def test_a_sentence_of_another_kind_is_quoted(sentence: str, text: str) -> None:
    assert describe_unschedulable(read_pod({}), sentence).startswith(text)


@given(
    pod=st.fixed_dictionaries({}, optional={"spec": st.fixed_dictionaries({"containers": JSON}) | JSON}),
    sentence=st.text()
    | st.lists(st.sampled_from(["0/3 nodes are available: ", "1 ", "Insufficient ", "cpu", ", ", "."])).map(
        "".join
    ),
)
def test_no_sentence_and_no_pod_stops_it(pod: Json, sentence: str) -> None:
    assert describe_unschedulable(read_pod(pod), sentence).startswith("no node has room for the pod")

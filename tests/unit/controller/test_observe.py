"""The children of a snapshot: which of the labelled objects count, and in which order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.unit.planner.execution import endpoints, ready_pod
from tests.unit.planner.worlds import carrying, kept_objects, live, pointing, revision, scripts

from model_operator.controller.observe import assemble
from model_operator.domain.objects import Kind
from model_operator.domain.world import Children

Json = dict[str, Any]

ONE, TWO = revision("1", verdict=live()), replace(revision("2"), number=10)


def test_the_children_are_those_with_the_names_of_children() -> None:
    others = carrying(ONE, track="churn-red"), {**pointing("churn"), "metadata": {"name": "churn-old"}}
    snapshot: dict[Kind, list[Json]] = {
        Kind.DEPLOYMENT: [carrying(TWO, track="churn-green"), others[0], carrying(ONE)],
        Kind.SERVICE: [others[1], pointing("churn-green")],
        Kind.CONFIG_MAP: [scripts()],
        Kind.POD: [ready_pod("a", "churn", ONE.name), ready_pod("b", "churn-green", TWO.name)],
        Kind.ENDPOINT_SLICE: [endpoints("b"), endpoints("a", service="somebody-else")],
    }
    children = assemble(snapshot, "churn")
    assert {name: d.revision for name, d in children.deployments.items()} == {
        "churn": ONE.name,
        "churn-green": TWO.name,
    }
    assert children.service is not None
    assert children.service.track == "churn-green"
    assert (children.preview, children.autoscaler, children.disruption_budget) == (None, None, None)
    assert [c.name for c in children.config_maps] == ["churn-scripts-old"]
    assert [pod.name for pod in children.pods] == ["a", "b"]
    assert [list(found.ready) for found in children.endpoint_slices] == [["b"]]


def test_kept_revisions_come_oldest_first_with_the_state_in_which_they_were_seen() -> None:
    older, newer = kept_objects(ONE, TWO)
    newer["metadata"]["resourceVersion"] = "77"
    unreadable = {"metadata": {"name": "churn-v9", "uid": "u"}, "revision": 5, "data": {"schema": 99}}
    children = assemble({Kind.REVISION: [newer, unreadable, older]}, "churn")
    assert [(r.name, r.resource_version) for r in children.revisions] == [(ONE.name, ""), (TWO.name, "77")]
    assert [o.name for o in children.revision_objects] == [
        older["metadata"]["name"],
        "churn-v9",
        newer["metadata"]["name"],
    ]


def test_an_empty_snapshot_has_no_children() -> None:
    assert assemble({}, "churn") == Children()

"""The children of a snapshot: which of the labelled objects count, and in which order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.planner.execution import endpoints, ready_pod
from tests.unit.planner.worlds import carrying, kept_objects, live, pointing, revision, scripts

from model_operator.api import names
from model_operator.controller.cache import Cache
from model_operator.controller.observe import assemble, contested_names, derives, taken_names
from model_operator.domain.objects import Kind, ObjectRef
from model_operator.domain.world import Children
from model_operator.planner.manifests import spare_name

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


# --- names that two ModelDeployments derive ----------------------------------------------------------


def named(name: str, owner: str = "") -> Json:
    """An object of that name. ``owner`` is the ModelDeployment in its labels."""
    labels = {names.LABEL_MANAGED_BY: names.MANAGED_BY, names.LABEL_DEPLOYMENT: owner}
    return {"metadata": {"name": name, "namespace": "crm", "uid": f"u-{name}-{owner}", "labels": labels}}


def cached(*objects: tuple[Kind, Json]) -> Cache:
    cache = Cache()
    for kind, body in objects:
        cache.put(kind, body)
    return cache


GREEN = ObjectRef(Kind.DEPLOYMENT, "crm", "churn-green")
PREVIEW = ObjectRef(Kind.SERVICE, "crm", "churn-candidate")


def test_the_name_of_a_model_deployment_is_taken_before_it_has_children() -> None:
    cache = cached(
        (Kind.MODEL_DEPLOYMENT, named("churn")),
        (Kind.MODEL_DEPLOYMENT, named("churn-green")),
        (Kind.MODEL_DEPLOYMENT, named("churn-candidate")),
    )
    assert taken_names(cache, ("crm", "churn")) == {GREEN, PREVIEW}
    assert taken_names(cache, ("crm", "churn-green")) == frozenset()
    assert taken_names(cache, ("hr", "churn")) == frozenset()


def test_the_name_of_another_ones_child_is_taken_and_that_of_the_own_is_not() -> None:
    cache = cached((Kind.DEPLOYMENT, named("churn-green", "churn")))
    assert taken_names(cache, ("crm", "churn")) == frozenset()
    assert taken_names(cache, ("crm", "churn-green")) == {GREEN}


def test_a_child_is_found_by_either_name_and_its_own_comes_first() -> None:
    spare = spare_name("churn", "churn-green")
    moved = carrying(TWO, track="churn-green")
    moved["metadata"]["name"] = spare
    preview = named(spare_name("churn", "churn-candidate"), "churn")
    children = assemble({Kind.DEPLOYMENT: [moved], Kind.SERVICE: [preview]}, "churn")
    assert {track: live.name for track, live in children.deployments.items()} == {"churn-green": spare}
    assert children.preview is not None
    both = assemble({Kind.DEPLOYMENT: [moved, carrying(ONE, track="churn-green")]}, "churn")
    assert both.deployments["churn-green"].name == "churn-green"


def test_who_derives_a_name_is_told_from_its_end() -> None:
    assert derives("crm", "churn-green") == (("crm", "churn"),)
    assert derives("crm", "churn-candidate") == (("crm", "churn"),)
    assert derives("crm", "churn") == derives("crm", "-green") == ()


NAMES = st.from_regex(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?", fullmatch=True)
STEMS = st.sampled_from(["a", "a-green", "a-candidate", "a-scripts", "a-v1", "a-v1-0123456789"])


@given(st.tuples(NAMES, NAMES) | st.tuples(STEMS, STEMS))
def test_no_two_model_deployments_share_a_spare_name_or_take_a_first_name(pair: tuple[str, str]) -> None:
    def spares(owner: str) -> set[str]:
        return {spare_name(owner, ref.name) for ref in contested_names(("crm", owner))}

    one, other = pair
    assert all(len(name) <= 63 for name in spares(one))
    assert spares(one).isdisjoint(ref.name for ref in contested_names(("crm", other)))
    assert one == other or spares(one).isdisjoint(spares(other))


REVISIONS = st.from_regex(r"v[0-9]{0,10}-[0-9a-f]{10}", fullmatch=True)
SCRIPTS = st.from_regex(r"scripts-[0-9a-f]{10}", fullmatch=True)


@given(st.tuples(NAMES, NAMES) | st.tuples(STEMS, STEMS), REVISIONS | SCRIPTS, REVISIONS | SCRIPTS)
def test_names_that_end_in_a_hash_differ_between_model_deployments(
    pair: tuple[str, str], first: str, second: str
) -> None:
    one, other = pair
    assert one == other or f"{one}-{first}" != f"{other}-{second}"

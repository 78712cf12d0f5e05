"""What a commit does while the wanted version is rejected: tried with it again, or with what serves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.planner.worlds import carrying, live, rejected, revision, scripts, world

from model_operator.domain.objects import Kind
from model_operator.domain.plan import Create
from model_operator.domain.revision import Revision, Side
from model_operator.domain.world import World
from model_operator.planner.health import REASONS
from model_operator.planner.manifests import read_revision
from model_operator.planner.plan import plan
from model_operator.planner.state import verdict_annotation

Json = dict[str, Any]
ONE = revision("1", verdict=live(900, settled=True))
VARIABLE = {"server": {"env": [{"name": "LOG_LEVEL", "value": "debug"}]}}
MEMORY = {"server": {"resources": {"limits": {"memory": "2Gi"}}}}
FETCH = {"fetch": {"env": [{"name": "MLFLOW_S3_ENDPOINT_URL", "value": "http://s3"}]}}
OF_FILES = {reason for reason, row in REASONS.items() if row.of_files}


def after_a_commit(reason: str, commit: Json, *, served: bool = False, **more: Any) -> World:
    """Version 1 serves, version 2 was rejected for that reason, and this is committed."""
    verdict = replace(rejected(reason, REASONS[reason].side), served=served)
    two = revision("2", verdict=verdict)
    return world(ONE, two, version="2", deployment=carrying(ONE), spec=commit, **more)


def brings(seen: World) -> str:
    """The version that the next rollout brings."""
    return str(plan(seen).status["candidate"]["version"])


MODELS = [reason for reason, row in REASONS.items() if row.side is Side.MODEL]


@pytest.mark.parametrize("reason", [reason for reason in MODELS if reason not in OF_FILES])
def test_a_commit_is_tried_with_a_version_that_took_no_requests(reason: str) -> None:
    assert brings(after_a_commit(reason, VARIABLE)) == "2"


@pytest.mark.parametrize("reason", MODELS)
def test_no_commit_brings_back_what_failed_on_live_requests(reason: str) -> None:
    decided = plan(after_a_commit(reason, VARIABLE, served=True))
    assert decided.status["candidate"]["version"] == "1"
    newest = decided.status["rejected"][0]
    assert (newest["version"], newest["reason"], newest["served"]) == ("2", reason, True)


@pytest.mark.parametrize("reason", sorted(OF_FILES))
def test_a_commit_mends_no_files(reason: str) -> None:
    assert brings(after_a_commit(reason, VARIABLE)) == "1"
    assert brings(after_a_commit(reason, FETCH)) == "2", "they may come from somewhere else now"


def test_more_memory_may_mend_what_ran_out_of_it_and_nothing_else() -> None:
    assert brings(after_a_commit("OutOfMemory", MEMORY, served=True)) == "2"
    assert brings(after_a_commit("ServerErrors", MEMORY, served=True)) == "1"


def test_the_verdict_on_a_new_shape_is_kept_where_the_status_can_not_lose_it() -> None:
    seen = after_a_commit("ServerErrors", VARIABLE, served=True)
    made = [a for a in plan(seen).actions if isinstance(a, Create) and a.ref.kind is Kind.REVISION]
    kept = [found for a in made if (found := read_revision(a.body))]
    assert {r.target.version for r in kept} == {"1", "2"}


def test_a_version_that_lived_since_is_tried_in_any_shape() -> None:
    failed = revision("2", verdict=replace(rejected("ServerErrors", seconds=900), served=True))
    lived = revision("2", 3, live(600, settled=True), **FETCH)
    one = revision("1", verdict=live(60, settled=True))
    seen = world(one, failed, lived, version="2", deployment=carrying(one), spec=VARIABLE)
    assert brings(seen) == "2"


def test_the_image_of_what_serves_is_known_though_the_registry_names_another_version() -> None:
    by_tag = {"server": {"imageFrom": {"tag": "image", "allowedPrefixes": ["registry.example.com"]}}}
    asked = revision("1", verdict=live(900, settled=True), **by_tag)
    one = replace(asked, images={"server": "registry.example.com/one:1", "fetch": "fetch:1"})
    two = revision("2", verdict=replace(rejected("ServerErrors"), served=True), **by_tag)
    commit = {"server": {**by_tag["server"], **VARIABLE["server"]}}
    seen = world(one, two, version="2", deployment=carrying(one), spec=commit)
    version = seen.resolution.version
    assert version is not None
    tagged = replace(version, tags={"image": "registry.example.com/two:1"})
    seen = replace(seen, resolution=replace(seen.resolution, version=tagged))
    decided = plan(seen)
    assert decided.status["candidate"]["version"] == "1"
    (made,) = [r for a in decided.actions if isinstance(a, Create) and (r := _revision_of(a, "1"))]
    assert made.images["server"] == "registry.example.com/one:1"


def _revision_of(action: Create, version: str) -> Revision | None:
    found = read_revision(action.body) if action.ref.kind is Kind.REVISION else None
    return found if found and found.target.version == version else None


def test_that_a_version_failed_on_live_requests_is_kept_beside_its_revision() -> None:
    verdict = replace(rejected("ServerErrors"), served=True)
    two = revision("2", verdict=verdict)
    seen = world(ONE, two, version="2", deployment=carrying(ONE))
    (kept,) = [o for o in seen.children.revision_objects if "v2" in o.name]
    assert verdict_annotation(verdict).items() <= kept.raw["metadata"]["annotations"].items()
    assert plan(seen).status["rejected"][0]["served"] is True


# --- scripts that are gone -----------------------------------------------------------------------------


def test_what_serves_is_not_restarted_because_its_scripts_are_gone() -> None:
    seen = world(ONE, deployment=carrying(ONE), config_maps=())
    decided = plan(seen)
    assert "candidate" not in decided.status
    (ready,) = [c for c in decided.status["conditions"] if c["type"] == "Ready"]
    assert (ready["status"], ready["reason"]) == ("True", "ScriptsMissing")
    assert "churn-scripts-old" in ready["message"]


@pytest.mark.parametrize("gone", [True, False], ids=["gone", "there"])
def test_a_kept_revision_is_rendered_anew_only_where_its_scripts_are_gone(gone: bool) -> None:
    two = revision("2", verdict=live(600, settled=True))
    old = revision("1", verdict=live(900, settled=True))
    other = replace(two, config_map="churn-scripts-other")
    there = (scripts("churn-scripts-other"),) if gone else (scripts(), scripts("churn-scripts-other"))
    decided = plan(world(old, other, version="1", deployment=carrying(other), config_maps=there))
    assert (decided.status["candidate"]["revision"] != old.name) is gone
    assert decided.status["candidate"]["version"] == "1"


@pytest.mark.parametrize(
    "defaults", [{}, {"pod": {"runAs": "Fixed"}}], ids=["as written", "with a new default"]
)
def test_the_pods_of_an_older_operator_stay_although_another_revision_has_the_same_amount(
    defaults: Json,
) -> None:
    half, milli = ({"server": {"resources": {"requests": {"cpu": cpu}}}} for cpu in ("0.5", "500m"))
    old = revision("1", number=1, verdict=live(900, settled=True), **milli)
    new = revision("1", number=2, verdict=live(1800, settled=True), **half)
    decided = plan(world(old, new, version="1", deployment=carrying(old), spec={**milli, **defaults}))
    assert "candidate" not in decided.status
    assert decided.status["serving"]["revision"] == old.name

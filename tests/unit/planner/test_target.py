"""What is wanted: digests, kept revisions by name, and what the registry is told in return."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.planner.worlds import ago, live, rejected, resolved, revision, target, world

from model_operator.api.spec import ModelDeploymentSpec
from model_operator.domain.plan import VersionTag
from model_operator.domain.registry import ResolvedVersion
from model_operator.domain.revision import Revision, Side
from model_operator.domain.rollout import Rejection, RolloutState, Serving
from model_operator.domain.world import World
from model_operator.planner.plan import plan
from model_operator.planner.revisions import read_pod_spec
from model_operator.planner.status.registry_tags import registry_tags
from model_operator.planner.target import build_target, digest_problem, find_held_revision

Json = dict[str, Any]

DIGEST = "0123456789abcdef" * 4
ONE, TWO = revision("1", verdict=live()), revision("2")
ON_ONE = Serving(ONE.name, "1", "@champion", ago(600), track="churn", settled=True)


def version(digest: str | None = None, key: str = "sha256") -> ResolvedVersion:
    found = resolved("2").version
    assert found is not None
    return replace(found, tags={} if digest is None else {key: digest})


def integrity(**gate: Any) -> ModelDeploymentSpec:
    raw = {"model": {"name": "churn", "alias": "champion"}, "gates": {"integrity": gate}}
    return ModelDeploymentSpec.model_validate(raw)


# --- digests ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "tagged", "reason"),
    [
        pytest.param(integrity(), version(), None, id="none, and none is required"),
        pytest.param(integrity(required=True), version(), "DigestMissing", id="none, though one is required"),
        pytest.param(integrity(required=True), version("  "), "DigestMissing", id="blanks"),
        pytest.param(
            integrity(required=True), version(DIGEST, "md5"), "DigestMissing", id="under another key"
        ),
        pytest.param(
            integrity(required=True, digestTag="md5"),
            version(DIGEST, "md5"),
            None,
            id="under the key that is asked for",
        ),
        pytest.param(integrity(required=True), version(DIGEST), None, id="the digits alone"),
        pytest.param(integrity(required=True), version(f"sha256:{DIGEST}"), None, id="with its name"),
        pytest.param(integrity(), version(f" {DIGEST.upper()}\n"), None, id="in capitals, among blanks"),
        pytest.param(integrity(), version(DIGEST[1:]), "DigestMalformed", id="a digit too few"),
        pytest.param(integrity(), version(DIGEST + "0"), "DigestMalformed", id="a digit too many"),
        pytest.param(integrity(), version(f"sha512:{DIGEST}"), "DigestMalformed", id="of another kind"),
        pytest.param(integrity(), version("$(rm -rf /)"), "DigestMalformed", id="hostile text"),
    ],
)
def test_a_digest_is(spec: ModelDeploymentSpec, tagged: ResolvedVersion, reason: str | None) -> None:
    problem = digest_problem(spec, tagged)
    assert (problem.reason if problem else None) == reason
    if problem:
        assert problem.side is Side.CONFIGURATION
        assert "sha256" in problem.message or "md5" in problem.message


def test_a_version_without_its_digest_is_not_started_and_what_serves_stays() -> None:
    seen = world(ONE, version="2", spec={"gates": {"integrity": {"required": True}}})
    decided = plan(seen)
    assert "candidate" not in decided.status
    assert decided.status["serving"]["version"] == "1"
    current = next(c for c in decided.status["conditions"] if c["type"] == "Current")
    assert current["reason"] == "DigestMissing"


def test_the_digest_is_part_of_the_target() -> None:
    assert build_target(world(), version(f" {DIGEST} ")).digest == DIGEST
    assert build_target(world(), version()).digest == ""


def test_a_shape_that_this_code_can_not_read_is_none() -> None:
    assert read_pod_spec(target("1", server={"port": 8081})) is not None
    assert read_pod_spec(target("1", server={"port": "no"})) is None


# --- kept revisions -----------------------------------------------------------------------------------------

LIVED, NEWER, SICK = (
    revision("1", 1, live(900)),
    revision("1", 2, server={"port": 8081}),
    revision("1", 3, rejected(), server={"port": 8082}),
)


@pytest.mark.parametrize(
    ("value", "kept", "expected"),
    [
        pytest.param(SICK.name, (LIVED, NEWER, SICK), SICK, id="the one of that name, whatever it did"),
        pytest.param("1", (LIVED, NEWER, SICK), LIVED, id="of a version the one that served"),
        pytest.param("1", (NEWER, SICK), SICK, id="or else the newest"),
        pytest.param("9", (LIVED,), None, id="none of a version that is not kept"),
        pytest.param("", (LIVED,), None, id="none by an empty name"),
        pytest.param("v1-0000000000", (LIVED,), None, id="none of a name that is not kept"),
    ],
)
def test_a_person_names(value: str, kept: tuple[Revision, ...], expected: Revision | None) -> None:
    assert find_held_revision(kept, value) == expected


# --- what the registry is told ----------------------------------------------------------------------------


def refused(kept: Revision, retry: bool = False) -> Rejection:
    at = ago(5)
    return Rejection(
        kept.name, kept.target.version, "", Side.MODEL, "LoadFailed", "no", at, 1, at if retry else None
    )


SAME = revision("1", 2, server={"port": 8081})
ELSEWHERE = replace(resolved("2"), registry_url="http://elsewhere")


@pytest.mark.parametrize(
    ("seen", "state", "desired", "expected"),
    [
        pytest.param(world(), RolloutState(ON_ONE), ONE, {"1": "Settled"}, id="what settled"),
        pytest.param(
            world(), RolloutState(replace(ON_ONE, settled=False)), ONE, {"1": "Serving"}, id="what is watched"
        ),
        pytest.param(
            world(),
            RolloutState(ON_ONE, None, (refused(TWO),)),
            TWO,
            {"1": "Settled", "2": "Rejected: LoadFailed"},
            id="what was rejected",
        ),
        pytest.param(
            world(),
            RolloutState(ON_ONE, None, (refused(TWO, True),)),
            TWO,
            {"1": "Settled"},
            id="not what is tried again",
        ),
        pytest.param(
            world(),
            RolloutState(ON_ONE, None, (refused(SAME),)),
            SAME,
            {"1": "Settled"},
            id="not another shape of what serves",
        ),
        pytest.param(
            world(),
            RolloutState(ON_ONE, None, (refused(TWO),)),
            None,
            {"1": "Settled"},
            id="not what is wanted no longer",
        ),
        pytest.param(world(), RolloutState(), TWO, {}, id="nothing of what was not tried"),
        pytest.param(
            world(spec={"revert": {"tagVersion": "Never"}}),
            RolloutState(ON_ONE),
            ONE,
            {},
            id="nothing where it is unwanted",
        ),
        pytest.param(
            replace(world(), resolution=ELSEWHERE),
            RolloutState(ON_ONE),
            TWO,
            {},
            id="nothing to another registry",
        ),
    ],
)
def test_the_registry_is_told(
    seen: World, state: RolloutState, desired: Revision | None, expected: Json
) -> None:
    found = registry_tags(seen, state, (ONE, TWO, SAME), desired)
    assert found == tuple(VersionTag("churn", number, value) for number, value in expected.items())

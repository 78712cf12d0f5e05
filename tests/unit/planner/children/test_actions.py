"""The writes that bring the children to what the active revision asks for, and whose the children are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.unit.planner.worlds import NOW, OWNER, ago, carrying, live, rejected, revision, scripts, world

from model_operator.api import names
from model_operator.domain.objects import Kind
from model_operator.domain.plan import Action, Adopt, Apply, Create, Delete, RecordVerdict, Scale
from model_operator.domain.revision import Revision, Side, Verdict, VerdictState
from model_operator.domain.rollout import Candidate, Phase, Rejection, RolloutState, Serving
from model_operator.domain.world import World
from model_operator.planner.children.actions import child_actions
from model_operator.planner.children.ownership import Ownership, ownership_of
from model_operator.planner.manifests import scripts_config_map

Json = dict[str, Any]


def serving(kept: Revision, seconds: float = 600) -> Serving:
    return Serving(kept.name, kept.target.version, "@champion", ago(seconds), track="churn")


def rejection(kept: Revision, seconds: float = 300) -> Rejection:
    return Rejection(kept.name, kept.target.version, "", Side.MODEL, "LoadFailed", "it said so", ago(seconds))


def actions(seen: World, state: RolloutState, desired: Revision | None = None) -> list[Action]:
    return list(child_actions(seen, state, seen.children.revisions, [desired] if desired else []))


def deleted(seen: World, state: RolloutState, desired: Revision | None) -> list[str]:
    return [a.ref.name for a in actions(seen, state, desired) if isinstance(a, Delete)]


# --- whose they are ----------------------------------------------------------------------------------


def owned(controller: Json | None) -> Json:
    references = [controller | {"controller": True}] if controller else []
    return {"kind": "Service", "metadata": {"name": "churn", "ownerReferences": references}}


def test_a_child_of_ours_and_an_orphan_are_no_conflict() -> None:
    assert ownership_of(world(service=owned(OWNER.reference()))) == Ownership()
    assert ownership_of(world(service=owned(None))) == Ownership()


def test_a_child_that_something_else_controls_is_a_conflict_and_named() -> None:
    taken = ownership_of(world(service=owned({"kind": "Rollout", "name": "shop", "uid": "u"})))
    assert taken.conflicts == ("Service churn (controlled by Rollout shop)",)


def test_a_child_of_an_earlier_modeldeployment_of_the_name_is_going_away() -> None:
    gone = ownership_of(world(service=owned({"kind": names.KIND, "name": "churn", "uid": "before"})))
    assert gone == Ownership(going_away=("Service churn",))


# --- order -------------------------------------------------------------------------------------------


def test_a_revert_is_remembered_before_it_is_carried_out() -> None:
    one, two = revision("1", verdict=live()), revision("2")
    seen = world(one, two, version="2", deployment=carrying(two), config_maps=(scripts("churn-scripts-old"),))
    first, second, *_ = actions(seen, RolloutState(serving(one), None, (rejection(two),)), two)
    assert isinstance(first, RecordVerdict)
    assert first.ref.name == f"churn-{two.name}"
    assert isinstance(second, Apply)
    assert second.resource_version == "7", "a stale actor must get a conflict"


def test_the_memory_and_the_scripts_come_before_the_deployment() -> None:
    seen = world()
    made = replace(
        revision("1"), config_map=scripts_config_map(OWNER, seen.defaults.scripts)["metadata"]["name"]
    )
    state = RolloutState(candidate=Candidate(made.name, "1", "@champion", NOW, Phase.APPLYING, track="churn"))
    created = [a.ref.kind for a in child_actions(seen, state, (made,), [made]) if isinstance(a, Create)]
    assert created == [
        Kind.CONFIG_MAP,
        Kind.REVISION,
        Kind.DEPLOYMENT,
        Kind.SERVICE,
        Kind.DISRUPTION_BUDGET,
    ]


def test_the_autoscaler_goes_before_the_deployment_is_scaled() -> None:
    one = revision("1", verdict=live())
    hpa = {"kind": "HorizontalPodAutoscaler", "metadata": {"name": "churn", "uid": "uid-hpa"}}
    seen = world(one, deployment=carrying(one, replicas=5), autoscaler=hpa)
    kinds = [type(a) for a in actions(seen, RolloutState(serving(one)), one) if a.ref.name == "churn"]
    assert kinds.index(Delete) < kinds.index(Scale)


# --- replicas ----------------------------------------------------------------------------------------


def scaled(spec: Json, replicas: int) -> list[int]:
    one = revision("1", verdict=live())
    raw = {"replicas": None} | spec
    seen = world(one, spec=raw, deployment=carrying(one, replicas=replicas))
    return [a.replicas for a in actions(seen, RolloutState(serving(one)), one) if isinstance(a, Scale)]


def test_replicas_are_written_only_where_the_manifest_owns_them() -> None:
    assert scaled({"replicas": 2}, 5) == [2]
    assert scaled({"replicas": 2}, 2) == []
    assert scaled({}, 5) == []
    assert scaled({"autoscaling": {"minReplicas": 2, "maxReplicas": 9}}, 1) == []


def test_a_deployment_that_stands_at_nothing_is_woken_for_its_autoscaler() -> None:
    assert scaled({"autoscaling": {"minReplicas": 3, "maxReplicas": 9}}, 0) == [3]


# --- what is carried ---------------------------------------------------------------------------------


def test_a_candidate_that_was_announced_but_never_kept_leaves_what_serves_in_order() -> None:
    one = revision("1", verdict=live())
    candidate = Candidate("v2-0123456789", "2", "@champion", NOW, Phase.APPLYING, track="churn")
    seen = world(one, config_maps=(scripts("churn-scripts-old"),))
    (made,) = [
        a
        for a in actions(seen, RolloutState(serving(one), candidate))
        if isinstance(a, Create) and a.ref.kind is Kind.DEPLOYMENT
    ]
    assert made.body["spec"]["template"] == one.template


# --- verdicts ----------------------------------------------------------------------------------------


def verdicts(seen: World, state: RolloutState) -> dict[str, Verdict | None]:
    return {a.ref.name: a.verdict for a in actions(seen, state) if isinstance(a, RecordVerdict)}


def test_a_verdict_that_is_kept_already_is_not_written_again() -> None:
    one, two = revision("1", verdict=live()), revision("2", verdict=rejected())
    seen = world(one, two, deployment=carrying(one))
    assert verdicts(seen, RolloutState(serving(one), None, (rejection(two),))) == {}


def test_a_rejected_revision_that_is_live_again_is_recorded_as_live() -> None:
    two = revision("2", verdict=rejected())
    seen = world(two, deployment=carrying(two))
    assert verdicts(seen, RolloutState(serving(two, 5))) == {
        f"churn-{two.name}": Verdict(VerdictState.LIVE, ago(5))
    }


def test_a_rejection_that_was_pardoned_is_taken_back_and_a_life_that_was_is_not() -> None:
    one, two, three = revision("1", verdict=live()), revision("2", verdict=rejected()), revision("3")
    seen = world(one, two, three, deployment=carrying(three))
    assert verdicts(seen, RolloutState(serving(three))) == {
        f"churn-{two.name}": None,
        f"churn-{three.name}": Verdict(VerdictState.LIVE, ago(600)),
    }


# --- tidying up --------------------------------------------------------------------------------------

SHORT = {"revert": {"historyLimit": 1}}


def test_revisions_over_the_limit_go_but_not_what_a_revert_goes_back_to() -> None:
    one, two, three = (revision(v, verdict=live()) for v in "123")
    seen = world(one, two, three, version="3", spec=SHORT, deployment=carrying(three))
    assert deleted(seen, RolloutState(serving(three)), three) == [f"churn-{one.name}"]


def test_the_revision_of_the_present_targets_rejection_stays_however_old_it_is() -> None:
    one, two = revision("1", verdict=rejected()), revision("2", verdict=rejected(seconds=200))
    three = revision("3", verdict=live(100))
    state = RolloutState(serving(three, 100), None, (rejection(two, 200), rejection(one)))
    seen = world(one, two, three, spec=SHORT, deployment=carrying(three))
    assert deleted(seen, state, one) == []


def test_no_revision_goes_while_it_is_not_known_what_is_wanted() -> None:
    one, two, three = (revision(v, verdict=live()) for v in "123")
    seen = world(one, two, three, spec=SHORT, deployment=carrying(three))
    assert deleted(seen, RolloutState(serving(three)), None) == []


def test_the_revision_and_the_scripts_of_a_first_version_that_failed_stay() -> None:
    one, two = revision("1", verdict=rejected()), replace(revision("2"), config_map="churn-scripts-new")
    failed = Candidate(one.name, "1", "@champion", ago(300), Phase.FAILED, reason="LoadFailed", track="churn")
    seen = world(
        one,
        spec=SHORT,
        deployment=carrying(one),
        config_maps=(scripts("churn-scripts-old"), scripts("churn-scripts-older")),
    )
    state = RolloutState(candidate=failed, rejected=(rejection(one),))
    gone = [a.ref.name for a in child_actions(seen, state, (one, two), [two]) if isinstance(a, Delete)]
    assert gone == ["churn-scripts-older"]


def test_scripts_that_the_deployment_mounts_stay_even_if_its_revision_can_not_be_read() -> None:
    one = revision("1", verdict=live())
    deployment = carrying(one)
    volume = {"name": "scripts", "configMap": {"name": "churn-scripts-newer"}}
    deployment["spec"]["template"] = deployment["spec"]["template"] | {"spec": {"volumes": [volume]}}
    seen = world(
        one,
        deployment=deployment,
        config_maps=(scripts("churn-scripts-newer"), scripts("churn-scripts-older")),
    )
    assert deleted(seen, RolloutState(serving(one)), one) == ["churn-scripts-older"]


def test_orphaned_scripts_and_revisions_get_their_owner_back() -> None:
    one = revision("1", verdict=live())
    seen = world(one, deployment=carrying(one))
    orphans = [replace(kept, controller=None) for kept in seen.children.revision_objects]
    seen = replace(seen, children=replace(seen.children, revision_objects=orphans))
    (adopted,) = [a for a in actions(seen, RolloutState(serving(one)), one) if isinstance(a, Adopt)]
    assert adopted.owner == OWNER.reference()
    assert adopted.uid == one.uid

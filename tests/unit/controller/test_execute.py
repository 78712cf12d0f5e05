"""What is told of a write that the API server breaks down on or somebody undoes, and what is only tried again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from tests.unit.planner.worlds import world

from model_operator.api.names import ANNOTATION_ADMITTED
from model_operator.controller.execute import Executor
from model_operator.controller.repair_limit import REPAIRS
from model_operator.domain.objects import Kind, ObjectRef
from model_operator.domain.plan import Apply, Create, Event
from model_operator.domain.world import RefusalKind, World
from model_operator.kube import ApiError, Conflict, KubeClient, Unavailable
from model_operator.planner.manifests import ANNOTATION_BODY

SERVICE, BUDGET = (ObjectRef(kind, "crm", "churn") for kind in (Kind.SERVICE, Kind.DISRUPTION_BUDGET))
ACTIONS = [Create(SERVICE, {}), Create(BUDGET, {})]


@dataclass
class BrokenForServices:
    """Takes every object but Services, which it answers for with ``status``."""

    status: int
    created: list[ObjectRef] = field(default_factory=list)

    async def create(self, ref: ObjectRef, body: Any) -> None:
        if ref == SERVICE and self.status:
            raise Unavailable(self.status, "InternalError", "failed calling webhook")
        self.created.append(ref)


async def test_the_third_breakdown_in_a_row_is_told_and_holds_up_nothing_else() -> None:
    kube = BrokenForServices(500)
    executor = Executor(cast(KubeClient, kube))
    for _ in range(2):
        with pytest.raises(Unavailable):
            await executor.carry_out(world(), ACTIONS)
    assert kube.created == []

    (refused,) = await executor.carry_out(world(), ACTIONS)

    assert (refused.ref, refused.kind, refused.message) == (
        SERVICE,
        RefusalKind.BROKEN,
        "failed calling webhook",
    )
    assert kube.created == [BUDGET]


async def test_a_write_that_succeeds_ends_the_row() -> None:
    kube = BrokenForServices(500)
    executor = Executor(cast(KubeClient, kube))
    for status in (500, 500, 0):
        kube.status = status
        if status:
            with pytest.raises(Unavailable):
                await executor.carry_out(world(), ACTIONS)
        else:
            assert await executor.carry_out(world(), ACTIONS) == ()
    kube.status = 500
    with pytest.raises(Unavailable):
        await executor.carry_out(world(), ACTIONS)


async def test_an_api_server_that_is_away_is_never_the_fault_of_one_object() -> None:
    executor = Executor(cast(KubeClient, BrokenForServices(503)))
    for _ in range(5):
        with pytest.raises(Unavailable):
            await executor.carry_out(world(), ACTIONS)


@dataclass
class Busy:
    """A Deployment whose status is written all the time, until it comes to rest."""

    busy: bool = True
    applied: int = 0

    async def apply(self, *_: Any, **__: Any) -> None:
        if self.busy:
            raise Conflict(409, "Conflict", "the object has been modified")
        self.applied += 1


async def test_a_repair_that_met_a_conflict_again_and_again_is_made_all_the_same() -> None:
    kube = Busy()
    executor = Executor(cast(KubeClient, kube))
    repair = Apply(ObjectRef(Kind.DEPLOYMENT, "crm", "churn"), {}, "u1", repair=True)
    for _ in range(2 * REPAIRS):
        with pytest.raises(Conflict):
            await executor.carry_out(world(), [repair])
    kube.busy = False
    for _ in range(REPAIRS):
        assert await executor.carry_out(world(), [repair]) == ()
    (refused,) = await executor.carry_out(world(), [repair])
    assert (refused.kind, kube.applied) == (RefusalKind.CONTESTED, REPAIRS)


@dataclass
class Changing:
    """An API server whose admission sets a budget to 2, and whose annotations can't be patched at first."""

    answers: list[ApiError | None]
    patches: list[Any] = field(default_factory=list)

    async def apply(self, _: ObjectRef, body: Any, **__: Any) -> Any:
        return {**body, "metadata": {**body["metadata"], "uid": "u1"}, "spec": {"maxUnavailable": 2}}

    async def merge_patch(self, _: ObjectRef, patch: Any, **__: Any) -> None:
        if error := self.answers.pop(0):
            raise error
        self.patches.append(patch)


MARKED = {"metadata": {"name": "churn", "annotations": {ANNOTATION_BODY: "x"}}, "spec": {"maxUnavailable": 1}}


async def test_what_admission_changes_is_recorded_as_soon_as_it_can_be() -> None:
    kube = Changing([Unavailable(500, "InternalError", "no"), Conflict(409, "Conflict", "no"), None])
    executor = Executor(cast(KubeClient, kube))
    for _ in range(3):
        assert await executor.carry_out(world(), [Apply(BUDGET, MARKED, "u1")]) == ()
    (patch,) = kube.patches
    assert list(patch["metadata"]["annotations"]) == [ANNOTATION_ADMITTED]


@pytest.mark.parametrize(
    ("found", "told"),
    [
        # admission makes it again, or the operator has a new body
        ([("spec.maxUnavailable", 2)], []),
        ([("spec.maxUnavailable", 0), (f"metadata.annotations[{ANNOTATION_BODY}]", "old")], []),
        ([("spec.maxUnavailable", 0)], ["spec.maxUnavailable"]),
        ([("a", 1), ("b", 1), ("c", 1), ("d", 1)], ["a, b, c and 1 more"]),
    ],
)
async def test_only_drift_that_was_corrected_is_told(found: Any, told: list[str]) -> None:
    events: list[str] = []

    async def hear(_: World, event: Event) -> None:
        events.append(event.message)

    executor = Executor(cast(KubeClient, Changing([None])), hear)
    await executor.carry_out(world(), [Apply(BUDGET, MARKED, "u1", repair=True, drift=found)])
    expected = "PodDisruptionBudget churn: another client changed {}, and it is set back"
    assert events == [expected.format(text) for text in told]

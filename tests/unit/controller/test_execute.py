"""What is told of a write that the API server breaks down on or somebody undoes, and what is only tried again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from tests.unit.planner.worlds import world

from model_operator.controller.execute import Executor
from model_operator.controller.repair_limit import REPAIRS
from model_operator.domain.objects import Kind, ObjectRef
from model_operator.domain.plan import Apply, Create
from model_operator.domain.world import RefusalKind
from model_operator.kube import Conflict, KubeClient, Unavailable

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

"""A strategy in one file: as BlueGreen, but a candidate has to stay ready for five minutes before the Service moves."""

from __future__ import annotations

from datetime import timedelta

from model_operator.api.choices import StrategyRow
from model_operator.domain.rollout import Candidate, Phase
from model_operator.domain.world import World
from model_operator.planner.strategy.base import Hold, Strategy

ROW = StrategyRow(
    "the new version stays ready beside the old one for five minutes first.", before_traffic=True
)
SOAK_TIME = timedelta(minutes=5)


def _hold(world: World, candidate: Candidate) -> Hold | None:
    soaks = candidate.phase is Phase.READY and candidate.reason == "Soaking"
    until = candidate.deadline if soaks and candidate.deadline else world.now + SOAK_TIME
    return Hold("Soaking", "every pod is ready and has to stay so", until) if world.now < until else None


SOAK = Strategy(
    "Soak",
    beside=True,
    extra_pods=lambda spec, number: number,
    describe=lambda spec, number: f"{number} pods soak for {SOAK_TIME}, then the Service moves",
    hold=_hold,
)

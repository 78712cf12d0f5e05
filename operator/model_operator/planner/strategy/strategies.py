"""The strategies by name, and the choice of one for a rollout."""

from __future__ import annotations

from model_operator.api import choices
from model_operator.api.spec import ModelDeploymentSpec
from model_operator.planner.strategy.base import Strategy
from model_operator.planner.strategy.blue_green import BLUE_GREEN
from model_operator.planner.strategy.rolling_update import ROLLING_UPDATE

STRATEGIES: dict[str, Strategy] = {strategy.name: strategy for strategy in (ROLLING_UPDATE, BLUE_GREEN)}


def chosen_strategy(spec: ModelDeploymentSpec) -> Strategy:
    """The strategy that the spec names."""
    return STRATEGIES[spec.rollout.strategy]


def followed_strategy(spec: ModelDeploymentSpec, *, beside: bool) -> Strategy:
    """The strategy of a candidate that is ``beside`` the serving revision, or on its track.

    It is the strategy of the spec if that one uses the same track. A rollout under way keeps the strategy that it
    started with.
    """
    chosen = chosen_strategy(spec)
    if chosen.beside == beside:
        return chosen
    return BLUE_GREEN if beside else ROLLING_UPDATE


def is_approved_before_traffic(spec: ModelDeploymentSpec) -> bool:
    """Whether the approval is required after all pods are ready and before traffic, and not before the start."""
    before_traffic = choices.STRATEGIES[spec.rollout.strategy].before_traffic
    return before_traffic and spec.gates.approval.at == "BeforeTraffic"

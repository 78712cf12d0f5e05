"""BlueGreen: the candidate starts in full size beside the serving revision, then the Service moves to it."""

from __future__ import annotations

from model_operator.api.spec import ModelDeploymentSpec
from model_operator.planner.strategy.base import Strategy


def _extra_pods(_spec: ModelDeploymentSpec, number: int) -> int:
    return number


def _describe(_spec: ModelDeploymentSpec, number: int) -> str:
    return f"{number} pods start beside the {number} that serve, then the Service moves to them at once"


BLUE_GREEN = Strategy("BlueGreen", beside=True, extra_pods=_extra_pods, describe=_describe)

"""The autoscaler and the disruption budget of a track."""

from __future__ import annotations

from dataclasses import dataclass

from model_operator.api import names
from model_operator.domain.objects.children import Child, child_fields
from model_operator.domain.objects.conditions import MISSING, Condition, read_conditions
from model_operator.domain.objects.fields import Object, count, part, spec, status
from model_operator.domain.objects.kinds import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Autoscaler(Child):
    """A HorizontalPodAutoscaler."""

    track: str
    """The Deployment that it scales. Empty if it names none."""
    at_maximum: bool
    """Whether it would add more pods but has reached ``maxReplicas``."""
    able_to_scale: Condition = MISSING
    """Whether it can read and set the size of its Deployment."""
    scaling_active: Condition = MISSING
    """Whether it can compute a size from its metrics."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DisruptionBudget(Child):
    """A PodDisruptionBudget."""

    track: str
    """The track in its selector. Empty if there is none."""


def read_autoscaler(raw: Object) -> Autoscaler:
    """The view of a HorizontalPodAutoscaler."""
    wanted, seen = spec(raw), status(raw)
    conditions = read_conditions(seen)
    limited = conditions.get("ScalingLimited", MISSING)
    most = count(wanted.get("maxReplicas"))
    return Autoscaler(
        **child_fields(Kind.AUTOSCALER, raw),
        track=str(part(wanted, "scaleTargetRef").get("name") or ""),
        at_maximum=limited.is_true
        and limited.reason == "TooManyReplicas"
        and count(seen.get("currentReplicas")) >= most > 0,
        able_to_scale=conditions.get("AbleToScale", MISSING),
        scaling_active=conditions.get("ScalingActive", MISSING),
    )


def read_disruption_budget(raw: Object) -> DisruptionBudget:
    """The view of a PodDisruptionBudget."""
    selected = part(part(spec(raw), "selector"), "matchLabels")
    return DisruptionBudget(
        **child_fields(Kind.DISRUPTION_BUDGET, raw), track=str(selected.get(names.LABEL_TRACK) or "")
    )

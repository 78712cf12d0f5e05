"""A gate in one file: the tag ``owner`` of a version has to name the team that the spec names."""

from __future__ import annotations

from pydantic import Field

from model_operator.api.spec import GatesSpec, ModelDeploymentSpec
from model_operator.planner.gates.base import OVERRIDE_REMEDY, Gate, GateResult, Subject, failed, passed

FIELD = "owner"


class ToyGates(GatesSpec):
    owner: str = Field(default="", description="The team that must own the version. Left out: any.")


class ToySpec(ModelDeploymentSpec):
    gates: ToyGates = Field(default=ToyGates(), description="What a version must pass before it may serve.")


def _is_set(gates: GatesSpec) -> bool:
    return isinstance(gates, ToyGates) and bool(gates.owner)


def _judge(gates: GatesSpec, subject: Subject) -> GateResult:
    wanted, found = getattr(gates, FIELD), subject.version.tags.get("owner", "nobody")
    if found == wanted:
        return passed("Owner", f"owned by {found}")
    text = f"version {subject.version.version} is owned by {found}, not {wanted}. Correct the tag, {OVERRIDE_REMEDY}"
    return failed("Owner", "OwnerMismatch", text)


OWNER = Gate("Owner", _is_set, _judge)

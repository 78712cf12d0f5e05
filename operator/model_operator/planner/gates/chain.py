"""The gates in their order: first the tags, then those that need more facts from the registry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from model_operator.api.spec import GatesSpec
from model_operator.domain.registry import FactsWanted, ResolvedVersion, VersionId
from model_operator.planner.gates.base import Fact, Gate, GateOutcome, GateResult, Subject
from model_operator.planner.gates.input_example import INPUT_EXAMPLE
from model_operator.planner.gates.metrics import METRICS
from model_operator.planner.gates.model_size import MODEL_SIZE
from model_operator.planner.gates.requirements import REQUIREMENTS
from model_operator.planner.gates.signature import SIGNATURE
from model_operator.planner.gates.tags import TAGS

CHAIN: tuple[Gate, ...] = (TAGS, METRICS, INPUT_EXAMPLE, MODEL_SIZE, SIGNATURE, REQUIREMENTS)


@dataclass(frozen=True, slots=True)
class GateReport:
    """The results of all gates that the spec sets, in their order."""

    results: Sequence[GateResult] = ()

    @property
    def refusal(self) -> GateResult | None:
        """The result of the first gate that stops the version."""
        return next((r for r in self.results if r.outcome is GateOutcome.FAILED), None)

    @property
    def pending(self) -> GateResult | None:
        """The result of the first gate that waits for facts."""
        return next((r for r in self.results if r.outcome is GateOutcome.PENDING), None)

    @property
    def admitted(self) -> bool:
        """Whether no gate stops the version."""
        return self.refusal is None and self.pending is None


def run_chain(gates: GatesSpec, subject: Subject) -> GateReport:
    """Runs each gate that the spec sets. With an override for this version, Failed and Pending become Overridden."""
    results = (gate.judge(gates, subject) for gate in _find_set(gates))
    return GateReport(tuple(_override(gates, subject, result) for result in results))


def asks_anything(gates: GatesSpec) -> bool:
    """Whether the spec sets any gate of this chain."""
    return bool(_find_set(gates))


def facts_wanted(
    gates: GatesSpec, version: ResolvedVersion, serving: FactsWanted | None
) -> tuple[FactsWanted, ...]:
    """The facts that these gates need, for each version.

    ``serving`` names the serving version. None if no version serves.
    """
    chosen = [gate for gate in _find_set(gates) if serving is not None or not gate.only_compares]
    candidate = FactsWanted(VersionId(version.model, version.version), version.run_id, version.source)
    wanted = [_request(candidate, chosen)]
    if serving is not None:
        wanted.append(_request(serving, [gate for gate in chosen if gate.compares(gates)]))
    return tuple(one for one in wanted if one.metrics or one.description)


def _find_set(gates: GatesSpec) -> list[Gate]:
    return [gate for gate in CHAIN if gate.is_set(gates)]


def _request(version: FactsWanted, chosen: Sequence[Gate]) -> FactsWanted:
    facts = frozenset[Fact]().union(*(gate.needs for gate in chosen))
    return replace(version, metrics=Fact.METRICS in facts, description=Fact.DESCRIPTION in facts)


def _override(gates: GatesSpec, subject: Subject, result: GateResult) -> GateResult:
    names = (subject.version.version, subject.revision)
    if result.outcome in (GateOutcome.PASSED, GateOutcome.WARNED):
        return result
    if not any(override.gate == result.gate and override.approved in names for override in gates.overrides):
        return result
    return replace(
        result, outcome=GateOutcome.OVERRIDDEN, message=f"overridden in the spec: {result.message}"
    )

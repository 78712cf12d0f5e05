"""The gates in their order: those that need only tags first, then those that ask the registry for more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from model_operator.api.spec import GateName, GatesSpec
from model_operator.domain.registry import (
    FactsWanted,
    ImageContents,
    ModelDescription,
    ResolvedVersion,
    VersionFacts,
    VersionId,
)
from model_operator.planner.gates.metrics import judge_metrics
from model_operator.planner.gates.requirements import unmet
from model_operator.planner.gates.result import (
    OVERRIDE_REMEDY,
    GateOutcome,
    GateResult,
    failed,
    passed,
    pending,
    unreadable,
)
from model_operator.planner.gates.signature import compare
from model_operator.planner.gates.tags import judge_tags
from model_operator.planner.manifests import parse_quantity

MAX_UNMET = 8


@dataclass(frozen=True, slots=True)
class Subject:
    """The version that wants to start, and what it is judged against."""

    version: ResolvedVersion
    revision: str
    """The name of the revision that it would be."""
    facts: VersionFacts
    serving: VersionFacts | None = None
    """What is known of the version that serves; None while nothing serves."""
    image: ImageContents | None = None
    """What is in the serving image; None where nobody says."""


@dataclass(frozen=True, slots=True)
class GateReport:
    """What every gate that the spec asks for said, in their order."""

    results: Sequence[GateResult] = ()

    @property
    def refusal(self) -> GateResult | None:
        """The first gate that the version does not pass."""
        return next((r for r in self.results if r.outcome is GateOutcome.FAILED), None)

    @property
    def pending(self) -> GateResult | None:
        """The first gate that can't be judged yet."""
        return next((r for r in self.results if r.outcome is GateOutcome.PENDING), None)

    @property
    def admitted(self) -> bool:
        """Whether the version may start, as far as gates go."""
        return self.refusal is None and self.pending is None


def run_chain(gates: GatesSpec, subject: Subject) -> GateReport:
    """Asks each gate that the spec sets; a failed one that a person overrides for this version is Overridden."""
    results = [ask(gates, subject) for name, ask in _CHAIN if _is_set(gates, name)]
    return GateReport(tuple(_override(gates, subject, result) for result in results))


def asks_anything(gates: GatesSpec) -> bool:
    """Whether the spec sets any gate of this chain."""
    return any(_is_set(gates, name) for name, _ in _CHAIN)


def facts_wanted(
    gates: GatesSpec, version: ResolvedVersion, serving: FactsWanted | None
) -> tuple[FactsWanted, ...]:
    """What has to be known before these gates can be judged.

    ``serving`` names the version that serves, None while nothing does.
    """
    description = any(_is_set(gates, name) for name in _BY_DESCRIPTION)
    wanted = FactsWanted(
        VersionId(version.model, version.version),
        version.run_id,
        version.source,
        metrics=bool(gates.metrics),
        description=description,
    )
    found = [wanted] if wanted.metrics or wanted.description else []
    if serving is not None:
        against = replace(
            serving,
            metrics=any(gate.no_worse_than_serving_by is not None for gate in gates.metrics),
            description=gates.signature != "Ignore",
        )
        found += [against] if against.metrics or against.description else []
    return tuple(found)


_BY_DESCRIPTION: tuple[GateName, ...] = ("InputExample", "ModelSize", "Signature", "Requirements")


def _is_set(gates: GatesSpec, name: GateName) -> bool:
    match name:
        case "Tags":
            return bool(gates.tags)
        case "Metrics":
            return bool(gates.metrics)
        case "InputExample":
            return gates.input_example == "Required"
        case "ModelSize":
            return gates.max_model_bytes is not None
        case "Signature":
            return gates.signature != "Ignore"
        case "Requirements":
            return gates.requirements != "Ignore"


def _override(gates: GatesSpec, subject: Subject, result: GateResult) -> GateResult:
    names = (subject.version.version, subject.revision)
    if result.outcome in (GateOutcome.PASSED, GateOutcome.WARNED):
        return result
    if not any(override.gate == result.gate and override.approved in names for override in gates.overrides):
        return result
    return replace(
        result, outcome=GateOutcome.OVERRIDDEN, message=f"overridden in the spec: {result.message}"
    )


# --- the gates -------------------------------------------------------------------------------------


def _tags(gates: GatesSpec, subject: Subject) -> GateResult:
    return judge_tags(gates.tags, subject.version.tags, subject.version.version)


def _metrics(gates: GatesSpec, subject: Subject) -> GateResult:
    return judge_metrics(gates.metrics, subject.version.version, subject.facts, subject.serving)


def _find_description(gate: GateName, facts: VersionFacts) -> ModelDescription | GateResult:
    """The description, or what a gate says that does not get it."""
    if facts.description is not None:
        return facts.description
    if facts.description_problem:
        return unreadable(gate, facts.description_problem)
    return pending(gate, "the model's description")


def _input_example(_gates: GatesSpec, subject: Subject) -> GateResult:
    model = _find_description("InputExample", subject.facts)
    if isinstance(model, GateResult):
        return model
    if model.input_example:
        return passed("InputExample", "the model carries one")
    text = (
        f"version {subject.version.version} carries no input example, so its self-test could only load it; log the "
        f"model with input_example, {OVERRIDE_REMEDY}"
    )
    return failed("InputExample", "InputExampleMissing", text)


def _model_size(gates: GatesSpec, subject: Subject) -> GateResult:
    model = _find_description("ModelSize", subject.facts)
    if isinstance(model, GateResult):
        return model
    limit = parse_quantity(gates.max_model_bytes) or 0
    number = subject.version.version
    if model.size_bytes is None:
        text = f"version {number} does not say how large it is; log it with a newer MLflow, {OVERRIDE_REMEDY}"
        return failed("ModelSize", "ModelSizeUnknown", text)
    if model.size_bytes > limit:
        text = (
            f"version {number} has {model.size_bytes} bytes, more than spec.gates.maxModelBytes, "
            f"{gates.max_model_bytes}; raise it, {OVERRIDE_REMEDY}"
        )
        return failed("ModelSize", "ModelTooLarge", text)
    return passed("ModelSize", f"{model.size_bytes} bytes of at most {gates.max_model_bytes}")


def _signature(gates: GatesSpec, subject: Subject) -> GateResult:
    gate: GateName = "Signature"
    only_warn = gates.signature == "Warn"
    if subject.serving is None:
        return passed(gate, "nothing serves yet that it would have to fit")
    new = _find_description(gate, subject.facts)
    old = _find_description(gate, subject.serving)
    for side in (new, old):
        if isinstance(side, GateResult):
            warned = only_warn and side.outcome is GateOutcome.FAILED
            return replace(side, outcome=GateOutcome.WARNED) if warned else side
    assert isinstance(new, ModelDescription) and isinstance(old, ModelDescription)  # noqa: S101, PT018 - for mypy
    found = compare(old.signature, new.signature)
    if found.missing:
        return GateResult(gate, GateOutcome.WARNED, found.missing, "SignatureMissing", found.differences)
    if found.compatible:
        return replace(
            passed(gate, "accepts what the serving version accepts"), differences=found.differences
        )
    text = (
        f"version {subject.version.version} does not fit the callers of the serving version: "
        f"{'; '.join(found.differences[:3])} (all in status.plan.signature); register a version that does, "
        f"{OVERRIDE_REMEDY}"
    )
    outcome = GateOutcome.WARNED if only_warn else GateOutcome.FAILED
    return GateResult(gate, outcome, text, "SignatureIncompatible", found.differences)


def _requirements(gates: GatesSpec, subject: Subject) -> GateResult:
    gate: GateName = "Requirements"
    if subject.image is None:
        text = "the operator's configuration does not say what is in the serving image (images.contents)"
        return GateResult(gate, GateOutcome.WARNED, text, "ImageUnknown")
    only_warn = gates.requirements == "Warn"
    model = _find_description(gate, subject.facts)
    if isinstance(model, GateResult):
        warned = only_warn and model.outcome is GateOutcome.FAILED
        return replace(model, outcome=GateOutcome.WARNED) if warned else model
    if complaints := unmet(model, subject.image):
        text = (
            f"version {subject.version.version} {'; it '.join(complaints[:MAX_UNMET])}; "
            f"use an image that has it (spec.server.image), {OVERRIDE_REMEDY}"
        )
        return GateResult(
            gate, GateOutcome.WARNED if only_warn else GateOutcome.FAILED, text, "RequirementsUnmet"
        )
    return passed(gate, "the serving image has what it needs")


_CHAIN: tuple[tuple[GateName, Callable[[GatesSpec, Subject], GateResult]], ...] = (
    ("Tags", _tags),
    ("Metrics", _metrics),
    ("InputExample", _input_example),
    ("ModelSize", _model_size),
    ("Signature", _signature),
    ("Requirements", _requirements),
)

"""Whether the gates let a version start. What serves is never asked, nor what a person holds or has begun."""

from __future__ import annotations

from dataclasses import replace

from model_operator.domain.plan import Event
from model_operator.domain.registry import FactsWanted, VersionFacts, VersionId
from model_operator.domain.revision import Revision
from model_operator.domain.world import World
from model_operator.planner.decision import Decision
from model_operator.planner.gates import GateReport, Subject, facts_wanted, run_chain


def admit(world: World, decision: Decision, desired: Revision) -> Decision:
    """Asks the gates about ``desired``, and says what they have to know; ``decision.admission`` is their answer.

    No answer means that there was nothing to ask.
    """
    version, spec = world.resolution.version, world.spec
    if version is None or decision.held:
        return decision
    candidate = decision.state.candidate
    if candidate and candidate.revision == desired.name and candidate.phase.in_flight:
        return decision
    serving = _serving(world, decision)
    if serving and serving.id == VersionId(desired.target.model, desired.target.version):
        return decision  # the version was admitted; its pods are only shaped anew
    wanted = facts_wanted(spec.gates, version, serving)
    subject = Subject(
        version,
        desired.name,
        world.facts.get(VersionId(version.model, version.version), VersionFacts()),
        world.facts.get(serving.id, VersionFacts()) if serving else None,
        world.defaults.image_contents.get(desired.images.get("server", "")),
    )
    return replace(decision, admission=run_chain(spec.gates, subject), facts=wanted)


def _serving(world: World, decision: Decision) -> FactsWanted | None:
    """The version that serves, where the registry that is followed now is its own."""
    state = decision.state
    revision = decision.revision(state.serving.revision) if state.serving else None
    if revision is None or revision.target.registry_url != world.resolution.registry_url:
        return None
    target = revision.target
    return FactsWanted(VersionId(target.model, target.version), target.run_id, target.source)


def turn_away(decision: Decision, report: GateReport) -> Decision:
    """What happens to a candidate when the version that is wanted in its place may not start (yet)."""
    state, candidate = decision.state, decision.state.candidate
    if candidate is None or report.refusal is None:
        return decision
    if not candidate.phase.in_flight:
        return decision.with_state(replace(state, candidate=None))
    if state.serving is None:
        return decision  # nothing else serves, so what is under way goes on
    text = (
        f"version {candidate.version} is no longer wanted, so version {state.serving.version} keeps serving"
    )
    return decision.with_state(replace(state, candidate=None), Event(False, "RolloutCancelled", text))

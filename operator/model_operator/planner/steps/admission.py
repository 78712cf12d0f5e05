"""Whether the gates let a version start.

The serving version, a revision that a person holds, and a rollout under way pass no gate again.
"""

from __future__ import annotations

from dataclasses import replace

from model_operator.domain.plan import Event
from model_operator.domain.registry import FactsWanted, VersionFacts, VersionId
from model_operator.domain.revision import Revision
from model_operator.domain.world import World
from model_operator.planner.decision import Decision
from model_operator.planner.gates import GateReport, Subject, facts_wanted, run_chain


def admit(world: World, decision: Decision, desired: Revision) -> Decision:
    """Runs the gates on ``desired``.

    Sets ``decision.admission`` to their results and ``decision.facts`` to the facts that they need from the registry.
    ``admission`` stays None if no gate has to run.
    """
    version, spec = world.resolution.version, world.spec
    if version is None or decision.held:
        return decision
    candidate = decision.state.candidate
    if candidate and candidate.revision == desired.name and candidate.phase.in_flight:
        return decision
    serving = _serving(world, decision)
    if serving and serving.id == VersionId(desired.target.model, desired.target.version):
        return decision  # the version was admitted before, only its pod settings changed
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
    """The serving version. None if it came from another registry than the one that the spec names now."""
    state = decision.state
    revision = decision.revision(state.serving.revision) if state.serving else None
    if revision is None or revision.target.registry_url != world.resolution.registry_url:
        return None
    target = revision.target
    return FactsWanted(VersionId(target.model, target.version), target.run_id, target.source)


def turn_away(decision: Decision, report: GateReport) -> Decision:
    """Drops the candidate when a gate stops the version that the alias names now.

    A pending gate drops nothing. A rollout under way continues as long as no other revision serves.
    """
    state, candidate = decision.state, decision.state.candidate
    if candidate is None or report.refusal is None:
        return decision
    if not candidate.phase.in_flight:
        return decision.with_state(replace(state, candidate=None))
    if state.serving is None:
        return decision  # no other revision serves, so the rollout continues
    text = (
        f"version {candidate.version} is no longer wanted, so version {state.serving.version} keeps serving"
    )
    return decision.with_state(replace(state, candidate=None), Event(False, "RolloutCancelled", text))

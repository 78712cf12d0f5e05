"""Whether the gates let a version start. What serves is never asked, nor what a person holds or has begun."""

from __future__ import annotations

from dataclasses import replace

from model_operator.domain.plan import Announce
from model_operator.domain.registry import FactsWanted, VersionFacts, VersionId
from model_operator.domain.revision import Revision
from model_operator.domain.world import World
from model_operator.planner.decision import Course
from model_operator.planner.gates import GateReport, Subject, facts_wanted, judge


def admit(world: World, course: Course, wished: Revision) -> Course:
    """Asks the gates about ``wished``, and says what they have to know; ``course.admission`` is their answer.

    No answer means that there was nothing to ask.
    """
    version, spec = world.resolution.version, world.spec
    if spec is None or version is None or course.held:
        return course
    candidate = course.memory.candidate
    if candidate and candidate.revision == wished.name and candidate.phase.in_flight:
        return course
    serving = _serving(world, course)
    if serving and serving.id == VersionId(wished.wish.model, wished.wish.version):
        return course  # the version was admitted; its pods are only shaped anew
    wanted = facts_wanted(spec.gates, version, serving)
    subject = Subject(
        version,
        wished.name,
        world.facts.get(VersionId(version.model, version.version), VersionFacts()),
        world.facts.get(serving.id, VersionFacts()) if serving else None,
        world.defaults.image_contents.get(wished.images.get("server", "")),
    )
    return replace(course, admission=judge(spec.gates, subject), facts=wanted)


def _serving(world: World, course: Course) -> FactsWanted | None:
    """The version that serves, where the registry that is followed now is its own."""
    memory = course.memory
    revision = course.revision(memory.serving.revision) if memory.serving else None
    if revision is None or revision.wish.registry_url != world.resolution.registry_url:
        return None
    wish = revision.wish
    return FactsWanted(VersionId(wish.model, wish.version), wish.run_id, wish.source)


def turn_away(course: Course, report: GateReport) -> Course:
    """What happens to a candidate when the version that is wanted in its place may not start (yet)."""
    memory, candidate = course.memory, course.memory.candidate
    if candidate is None or report.refusal is None:
        return course
    if not candidate.phase.in_flight:
        return course.remembering(replace(memory, candidate=None))
    if memory.serving is None:
        return course  # nothing else serves, so what is under way goes on
    text = f"version {candidate.version} is no longer wanted; version {memory.serving.version} serves on"
    return course.remembering(replace(memory, candidate=None), Announce(False, "RolloutCancelled", text))

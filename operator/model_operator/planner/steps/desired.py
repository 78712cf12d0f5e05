"""The revision that is wanted: found or rendered; and the one that a commit brings in where it may not start."""

from __future__ import annotations

from dataclasses import replace

from model_operator.domain.revision import Revision, Side, Wish
from model_operator.domain.world import World
from model_operator.planner.annotations import asked, unanswered
from model_operator.planner.decision import Course, due_at_once, without_blame
from model_operator.planner.health import Failure
from model_operator.planner.manifests import revision_name, same_version, same_wish
from model_operator.planner.revisions import render, that_can_start
from model_operator.planner.steps.rejections import carry_verdict_over
from model_operator.planner.target import digest_problem, held_revision, wish_of


def find_wanted(world: World, course: Course) -> Course:
    """Finds the revision that is wanted: held by a person, or named by the registry; rendered where it is new."""
    if asked(world, "revert"):
        return _held(world, course)
    version = world.resolution.version
    if world.spec is None or not world.resolution.ok or version is None:
        return course
    if problem := digest_problem(world.spec, version):
        return replace(course, problem=problem)
    wish = wish_of(world, version)
    wished = _kept(course, wish)
    course, restarted = _restart(world, course, wished)
    if restarted:
        wish, wished = restarted, course.revision(revision_name(restarted))
    if wished is None:
        made = render(world, course.revisions, wish)
        if isinstance(made, Failure):
            return replace(course, problem=made)
        wished = made
        course = replace(course, revisions=(*course.revisions, wished))
    course = _hear_retry(world, replace(course, wished=wished))
    return _that_can_start(world, carry_verdict_over(course, wished))


def wanted_of_old(world: World, course: Course) -> Revision | None:
    """The kept revision that is wanted, where there is one; renders nothing."""
    if asked(world, "revert"):
        return held_revision(course.revisions, asked(world, "revert"))
    version = world.resolution.version
    return _kept(course, wish_of(world, version)) if world.resolution.ok and version else None


def _held(world: World, course: Course) -> Course:
    """A person holds a kept revision; this needs no registry. What it was rejected for is forgiven once."""
    value = asked(world, "revert")
    found = held_revision(course.revisions, value)
    if found is None:
        kept = ", ".join(r.name for r in reversed(course.revisions)) or "none"
        text = f"the annotation model-operator.io/revert names {value}, which is not kept; kept are: {kept}"
        return replace(course, problem=Failure(Side.CONFIGURATION, "RevisionNotFound", text))
    course = replace(course, wished=found, held=True)
    if unanswered(world, "revert"):
        forgiven = due_at_once(world, without_blame(course, found.name))
        course = replace(course, memory=forgiven).answering("revert", value)
    return _that_can_start(world, course)


def _that_can_start(world: World, course: Course) -> Course:
    """A revision whose scripts are lost is rendered anew before it starts; what has started is left alone."""
    wished, memory = course.wished, course.memory
    candidate = memory.candidate
    if wished is None or wished.name in memory.carried().values() or memory.rejection_of(wished.name):
        return course
    tried = candidate is not None and candidate.revision == wished.name
    if candidate and tried and (candidate.retry_at is None or world.now < candidate.retry_at):
        return course
    made = that_can_start(world, course.revisions, wished)
    if isinstance(made, Failure):
        return replace(course, problem=made)
    added = () if course.revision(made.name) else (made,)
    return replace(course, wished=made, revisions=(*course.revisions, *added))


def _hear_retry(world: World, course: Course) -> Course:
    """A person asks by annotation: the version that is wanted is tried again, whatever it was rejected for."""
    value = unanswered(world, "retry")
    if course.wished is None or not value:
        return course
    for revision in course.revisions:
        # else the verdict on an earlier shape of its pods would be carried over
        if same_version(revision.wish, course.wished.wish):
            course = replace(course, memory=without_blame(course, revision.name))
    return replace(course, memory=due_at_once(world, course.memory)).answering("retry", value)


def _restart(world: World, course: Course, wished: Revision | None) -> tuple[Course, Wish | None]:
    """The wish to render anew because a person asks for a restart; None when nobody does, or it was done.

    What is restarted is what is wanted, or what serves where that is rejected. It is answered when the new
    revision is kept: an operator that dies before renders it again.
    """
    value, memory = asked(world, "restart"), course.memory
    if not value or wished is None:
        return course, None
    base = wished.wish
    if memory.serving and memory.rejection_of(wished.name):
        serving = course.revision(memory.serving.revision)
        base = _brought_in(world, course, wished) or (serving.wish if serving else base)
    under_way = course.revision(memory.candidate.revision) if memory.candidate else None
    if any(r.wish.restart == value for r in course.revisions):
        course = course.answering("restart", value)
    if under_way and under_way.wish.restart == value and same_wish(under_way.wish, base):
        return course, under_way.wish
    if not unanswered(world, "restart") or "restart" in course.answers:
        return course, None
    return course, replace(base, restart=value)


def _kept(course: Course, wish: Wish) -> Revision | None:
    """The newest kept revision of the same wish; a wish is never rendered a second time unasked."""
    return next((r for r in reversed(course.revisions) if same_wish(r.wish, wish)), None)


# --- a commit that comes while the wanted version may not start ------------------------------------------


def stand_in(world: World, course: Course) -> Course:
    """Finds what brings a commit into force while the wanted version may not start.

    That is the version that serves, with its pods shaped as the spec says now: ``course.stand_in``. There is none
    where the spec itself names the version, since then all of the commit speaks of that version, nor where what
    serves has this shape already.
    """
    wished = course.wished
    wish = _brought_in(world, course, wished) if wished else None
    serving = course.revision(course.memory.serving.revision) if course.memory.serving else None
    if wish is None or serving is None or same_wish(wish, serving.wish):
        return course
    found = _kept(course, wish)
    made = that_can_start(world, course.revisions, found) if found else render(world, course.revisions, wish)
    if isinstance(made, Failure):
        return course
    added = () if course.revision(made.name) else (made,)
    return replace(course, stand_in=made, revisions=(*course.revisions, *added))


def _brought_in(world: World, course: Course, wished: Revision) -> Wish | None:
    """The wish for the version that serves in the shape that the spec has now; None where that is not asked for."""
    serving = course.revision(course.memory.serving.revision) if course.memory.serving else None
    if world.spec is None or serving is None or course.held:
        return None
    before, now = serving.wish, wished.wish
    if world.spec.model.reference().version is not None or same_version(before, now):
        return None
    if (before.registry_url, before.model) != (now.registry_url, now.model):
        return None
    return replace(before, shape=now.shape, restart="")

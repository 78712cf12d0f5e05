"""The gate Requirements: whether the serving image has the packages that a model requires."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final
from urllib.parse import unquote, urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion, Version

from model_operator.api.spec import GatesSpec
from model_operator.domain.registry import ImageContents, ModelDescription
from model_operator.planner.gates.base import (
    OVERRIDE_REMEDY,
    Fact,
    Gate,
    GateOutcome,
    GateResult,
    Subject,
    failed,
    find_description,
    passed,
    warned,
)

_NAME: Final = "Requirements"
MAX_UNMET = 8
MAX_UNJUDGED = 3
MAX_LINES = 500
MAX_LINE = 300
# MLflow pins its own exact version in every model that it logs, and loads the models of all its minor versions
_MLFLOW = frozenset({"mlflow", "mlflow-skinny"})
_MAJOR_MINOR = re.compile(r"[0-9]{1,3}\.[0-9]{1,3}(?=\.|$)")


def _is_set(gates: GatesSpec) -> bool:
    return gates.requirements != "Ignore"


def _judge(gates: GatesSpec, subject: Subject) -> GateResult:
    if subject.image is None:
        text = (
            "the operator's configuration does not list the packages of the serving image (images.contents)"
        )
        return GateResult(_NAME, GateOutcome.WARNED, text, "ImageUnknown")
    return warned(_compare(subject, subject.image), only_warn=gates.requirements == "Warn")


def _compare(subject: Subject, image: ImageContents) -> GateResult:
    model = find_description(_NAME, subject.facts)
    if isinstance(model, GateResult):
        return model
    if complaints := unmet(model, image):
        text = (
            f"version {subject.version.version} {', and it '.join(complaints[:MAX_UNMET])}. "
            f"Use an image that has it (spec.server.image), {OVERRIDE_REMEDY}"
        )
        return failed(_NAME, "RequirementsUnmet", text)
    if model.requirements is None:
        text = f"version {subject.version.version} has no requirements.txt, so only its Python version was compared"
        return GateResult(_NAME, GateOutcome.WARNED, text, "RequirementsUnknown")
    left_out = find_unjudged(model)
    shown = ", ".join(line[:80] for line in left_out[:MAX_UNJUDGED])
    more = f" and {len(left_out) - MAX_UNJUDGED} more" if len(left_out) > MAX_UNJUDGED else ""
    note = f". Not compared: {shown}{more}" if left_out else ""
    return passed(_NAME, f"the serving image has each package that it requires{note}")


def unmet(description: ModelDescription, contents: ImageContents) -> Sequence[str]:
    """The requirements that the image does not meet, each as the rest of a sentence about the version.

    Only facts that both sides state are judged. Of a wheel or a source archive, its file name states the version. Of a
    URL, only the name counts. A requirement whose marker does not hold on the image's Linux and Python is left out.
    """
    return (*_python(description.python_version, contents.python_version), *_packages(description, contents))


def find_unjudged(description: ModelDescription) -> Sequence[str]:
    """The lines that name no package, such as a URL without a name or a file that could not be read."""
    lines = description.requirements or ()
    return [line for line in lines[:MAX_LINES] if _read(line) is None] + [*lines[MAX_LINES:]]


def _python(needed: str, had: str) -> Iterator[str]:
    wants, has = _MAJOR_MINOR.match(needed), _MAJOR_MINOR.match(had)
    if wants and has and wants.group() != has.group():
        # a pickle of one minor version may fail to load in another. Patches don't matter
        yield f"was made with Python {wants.group()}, the image has {has.group()}"


def _packages(description: ModelDescription, contents: ImageContents) -> Iterator[str]:
    if not contents.packages:
        return
    read = [_read(line) for line in (*(description.requirements or ())[:MAX_LINES],)]
    bounds = [_read(line) for line in description.constraints[:MAX_LINES]]
    required = {canonicalize_name(one.name) for one in read if one is not None and _concerns(one, contents)}
    for requirement in read:
        if requirement is not None and _concerns(requirement, contents):
            yield from _find_gap("needs", requirement, contents)
    for bound in bounds:
        # a constraint alone requires nothing
        if bound is not None and canonicalize_name(bound.name) in required and _concerns(bound, contents):
            yield from _find_gap("is constrained to", bound, contents)


def _find_gap(verb: str, requirement: Requirement, contents: ImageContents) -> Iterator[str]:
    found = contents.packages.get(canonicalize_name(requirement.name))
    if found is None:
        if verb == "needs":
            yield f"needs {requirement.name}{requirement.specifier}, which the image lacks"
    elif not _fits(requirement, found):
        yield f"{verb} {requirement.name}{requirement.specifier}, the image has {found}"


def _read(line: str) -> Requirement | None:
    """The package that a line requires, or None where it names none. Of a direct URL, only the name is known."""
    if len(line) > MAX_LINE:
        return None
    try:
        return Requirement(line.strip())
    except InvalidRequirement:
        return _read_place(line.strip())


def _read_place(line: str) -> Requirement | None:
    """A path or URL of a package: a wheel and a source archive have name and version in their file name."""
    place = line.partition(";")[0].strip()
    try:
        parts = urlsplit(place)
    except ValueError:
        return None
    name = unquote(parts.path).rpartition("/")[2]
    try:
        if name.endswith(".whl"):
            package, version, *_ = parse_wheel_filename(name)
        else:
            package, version = parse_sdist_filename(name)
        return Requirement(f"{package}=={version}")
    except (InvalidWheelFilename, InvalidSdistFilename, InvalidVersion, InvalidRequirement):
        # a repository may name its package, as in git+https://host/repo#egg=churn-features
        egg = re.search(r"(?:^|&)egg=([A-Za-z0-9._-]{1,100})(?:\[|&|$)", parts.fragment)
    try:
        return Requirement(egg.group(1)) if egg else None
    except InvalidRequirement:
        return None


def _concerns(requirement: Requirement, contents: ImageContents) -> bool:
    if requirement.marker is None:
        return True
    environment = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}
    if python := _MAJOR_MINOR.match(contents.python_version):
        environment |= {"python_version": python.group(), "python_full_version": contents.python_version}
    try:
        return requirement.marker.evaluate(environment)
    except (InvalidVersion, ValueError, KeyError):
        return False


def _major(version: str) -> int | None:
    try:
        return Version(version.removesuffix(".*")).major
    except InvalidVersion:
        return None


def _fits(requirement: Requirement, found: str) -> bool:
    try:
        version = Version(found)
    except InvalidVersion:
        return True
    if canonicalize_name(requirement.name) in _MLFLOW:
        pinned = [wanted.version for wanted in requirement.specifier if wanted.operator == "=="]
        if pinned and all(_major(pin) == version.major for pin in pinned):
            return True
    # a local part such as +cpu names the build and not the features, but a requirement may include it
    return any(
        requirement.specifier.contains(candidate, prereleases=True)
        for candidate in (version, Version(version.public))
    )


REQUIREMENTS = Gate(_NAME, _is_set, _judge, frozenset({Fact.DESCRIPTION}))
